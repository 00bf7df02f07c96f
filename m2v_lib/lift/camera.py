"""From pixels to millimetres and to a path: how large a person is, how far away, and where they
go.

A pinhole camera of focal length f (px) sees a root at depth Z with ``factor = Z / f`` mm per
pixel. The lifted pose says how many pixels long each bone is at that depth; a body of known size
says how many millimetres; so the ratio is the factor, and f times it the depth. Neither the
body's size nor f follow from keypoints: both are given, or assumed.
"""
# n frames, J joints

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import as_number
from m2v_lib.data.limits import MAX_FOCAL_PX
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons.body import reference_lengths

#: focal length over the image's longer side, of the cameras the model was trained with
#: (Human3.6M's)
FOCAL: Final = 1.145
#: bone lengths (mm) of an adult of 1.70 m as networks give them, in the order of Human3.6M's bones
BONES_MM: Final = reference_lengths(H36M17)
#: m, of someone with a skeleton's reference lengths: Human3.6M's head 1.57 m above the ankles
STATURE: Final = 1.70
#: bones that it takes to tell a size
MIN_BONES: Final = 4
#: camera axes (x right, y down, z away) to those of animation and biomechanics (y up, z towards
#: the camera): half a turn about x
Y_UP: Final = np.array([1.0, -1.0, -1.0])
#: degrees across the image of a pinhole
MIN_VIEW: Final = 1.0
MAX_VIEW: Final = 170.0
BLOCK: Final = 1024  # frames worked on at once
SMOOTH: Final = (
    0.5  # s to either side over which the size in the image is averaged, with falling weights
)


@dataclass(frozen=True)
class Camera:
    """A pinhole without distortion: focal length and image size in px, the optical axis in the
    image's middle.
    """

    focal: float
    width: int
    height: int

    @property
    def middle(self) -> np.ndarray:
        return np.array([self.width / 2, self.height / 2])


def assumed_camera(width: int, height: int, focal: float | None = None) -> Camera:
    """The camera of an image, with the training cameras' angle of view unless `focal` (px) is
    given. Raises DataError for one of no lens: it sees MIN_VIEW to MAX_VIEW degrees across the width.
    """
    if focal is not None:
        shortest, longest = (focal_of_view(view, width) for view in (MAX_VIEW, MIN_VIEW))
        as_number(focal, "focal length (px)", 1.0, MAX_FOCAL_PX)
        if not shortest <= focal <= longest:
            raise DataError(
                f"focal length must be {shortest:.0f} to {longest:.0f} px of {width} x {height} px, "
                f"got {focal:g}; is it in mm? Of a lens that is known in mm give the view (--fov)"
            )
    return Camera(focal or FOCAL * max(width, height), width, height)


def focal_of_view(degrees: float, width: int) -> float:
    """The focal length (px) of a camera that sees so many degrees across its image's width (px)."""
    as_number(degrees, "field of view (degrees)", MIN_VIEW, MAX_VIEW)
    return width / 2 / float(np.tan(np.radians(degrees) / 2))


def place(
    pose_px: np.ndarray,
    seen_px: np.ndarray,
    confidence: np.ndarray,
    camera: Camera,
    fps: float,
    stature: float = STATURE,
    out: np.ndarray | None = None,
    known: np.ndarray | None = None,
    skeleton: Skeleton = H36M17,
) -> tuple[np.ndarray, np.ndarray]:
    """Joints in camera space from root-relative poses in pixels.

    pose_px (n,J,3) as the lifter gives it, seen_px (n,J,2) and confidence (n,J) what the
    detector saw. Returns pose_mm (n,J,3) relative to the root, in `out` if given (which may be
    pose_px), and root_mm (n,3) from the camera: x right, y down, z away. `known` (J,) bool are the
    joints that were ever seen: the body's size is measured by the bones between them. Raises
    DataError where the skeleton says no bone's length.
    """
    bones = measured_bones(known, skeleton)
    blocks = [slice(first, first + BLOCK) for first in range(0, len(pose_px), BLOCK)]

    def joints(rows: slice, factor: np.ndarray) -> np.ndarray:
        pose, weight = pose_px[rows].astype(np.float64), (confidence[rows] + 1e-6)[..., None]
        root_px = (weight * (seen_px[rows] - pose[..., :2])).sum(1) / weight.sum(
            1
        )  # all joints find it better than one
        at_px = root_px[:, None] + pose[..., :2] - camera.middle
        depth = factor[rows, None] * (camera.focal + pose[..., 2])
        return np.concatenate([at_px * depth[..., None] / camera.focal, depth[..., None]], axis=-1)

    factor = _smooth(
        np.concatenate([mm_per_px(pose_px[rows], stature, bones, skeleton) for rows in blocks]), fps
    )

    for _ in range(2):  # nearer limbs look longer: measure the bones again once depth is known
        factor *= _smooth(
            np.concatenate(
                [mm_per_px(joints(rows, factor), stature, bones, skeleton) for rows in blocks]
            ),
            fps,
        )

    pose_mm = np.empty_like(pose_px) if out is None else out
    root_mm = np.empty((len(pose_px), 3), pose_mm.dtype)

    for rows in blocks:
        found = joints(rows, factor)
        root = found[:, skeleton.root]
        pose_mm[rows], root_mm[rows] = found - root[:, None], root

    return pose_mm, root_mm


def mm_per_px(
    pose: np.ndarray,
    stature: float,
    bones: Sequence[int] | None = None,
    skeleton: Skeleton = H36M17,
) -> np.ndarray:
    """What the lengths of some bones (default: all) of a pose (n,J,3) have to be multiplied by to
    be those of a body of that stature (n,).
    """
    lengths = reference_lengths(skeleton)
    chosen = list(range(len(lengths)) if bones is None else bones)
    reference = sum(lengths[bone] for bone in chosen) * stature / STATURE
    return reference / np.maximum(bone_lengths(pose, skeleton)[:, chosen].sum(1), 1e-9)


def measured_bones(known: np.ndarray | None, skeleton: Skeleton = H36M17) -> list[int]:
    """The bones of known length between joints that were seen; all of known length where too few
    were. Raises DataError where no length is known.
    """
    every = [i for i, length in enumerate(reference_lengths(skeleton)) if np.isfinite(length)]
    if not every:
        raise DataError(
            f"skeleton {skeleton.name}: millimetres need the length of a bone on an adult; give "
            "its joints reference_mm in the skeleton's file"
        )
    if known is None:
        return every

    ends = skeleton.bones
    seen = [i for i in every if known[ends[i][0]] and known[ends[i][1]]]
    return seen if len(seen) >= MIN_BONES else every


def bone_lengths(pose: np.ndarray, skeleton: Skeleton = H36M17) -> np.ndarray:
    """(n,J-1) in the unit of pose (n,J,3), in the order of the skeleton's bones."""
    parents, children = np.array(skeleton.bones).T
    return np.linalg.norm(pose[:, children] - pose[:, parents], axis=-1)


def _smooth(values: np.ndarray, fps: float) -> np.ndarray:
    """Mean over SMOOTH seconds to either side with weights that fall to 0 there, fewer at the
    ends.
    """
    reach = min(round(SMOOTH * fps), len(values) - 1)
    weight = np.concatenate([np.arange(1.0, reach + 2), np.arange(reach, 0.0, -1)])
    middle = slice(reach, reach + len(values))
    return np.convolve(values, weight)[middle] / np.convolve(np.ones(len(values)), weight)[middle]
