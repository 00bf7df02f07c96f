"""Human3.6M as VideoPose3D keeps it: ``data_3d_h36m.npz`` and one ``data_2d_h36m_*.npz`` (spec
5.6, 5.7).

``positions_3d`` holds, by subject and action, 32 joints (n,32,3) in world metres;
``positions_2d`` four arrays (n,17,2) px, one a camera. 17 of the 32 joints are kept, and every
camera's frame of reference is taken in turn. The network's unit is a metre: labels are mm times
half the image width over 1000, ``factor`` turns them back.
"""
# n frames of a recording, J = 17 joints

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError, Video, check_finite, check_millimetres
from m2v_lib.data.foreign_values import as_list, as_text, as_whole, listed, shown
from m2v_lib.data.limits import MAX_KEYPOINTS
from m2v_lib.data.safe_pickle.reader import read_object_npz
from m2v_lib.data.sources.pose_checks import check_inside, check_limbs, check_projection
from m2v_lib.data.store import CAMERA_SPACE, GROUND_TRUTH, Split
from m2v_lib.geometry.cameras import CAMERA_NAMES, Camera, project, subject_cameras, world_to_camera
from m2v_lib.skeletons.h36m import N_JOINTS

SUBJECTS: Final = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}
N_PUBLISHED: Final = 32
#: which of the 32 joints are the 17, in Human3.6M's order
KEPT_JOINTS: Final = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
#: joints that mirror each other, as ``metadata`` names them
SYMMETRY: Final = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
#: mm for a label px of an image 1000 px wide: half of it is a metre
MM_PER_PX: Final = 2.0
#: nearer to the projection than this (px) on average, 2D was computed and not detected
MAX_COMPUTED_OFFSET_PX: Final = 0.5
SAMPLE: Final = 100


@dataclass(frozen=True)
class Take:
    """A recording seen by one camera: world mm (n,J,3), px (n,J,2)."""

    subject: str
    action: str
    camera: Camera
    world: np.ndarray
    seen: np.ndarray


def read_h36m_npz(path_3d: Path | str, path_2d: Path | str) -> tuple[Split, Split, dict[str, Any]]:
    """The training and the test split, and what made the 2D. Every fault is a ``DataError`` that
    names the file.
    """
    path_3d, path_2d = Path(path_3d), Path(path_2d)
    world = _by_subject(read_object_npz(path_3d), "positions_3d", path_3d)
    held = read_object_npz(path_2d)
    seen = _by_subject(held, "positions_2d", path_2d)
    _check_metadata(held.get("metadata"), path_2d)

    takes = {
        name: list(_takes(world, seen, subjects, path_3d, path_2d))
        for name, subjects in SUBJECTS.items()
    }
    for name, found in takes.items():
        if not found:
            raise DataError(
                f"{path_3d}: split {name} is empty: it needs {' or '.join(SUBJECTS[name])}, "
                f"the file has {listed(list(world))}"
            )

    every = [take for found in takes.values() for take in found]
    off = np.median([_check_take(take, path_2d) for take in every])
    check_inside(
        (take.seen[:: max(1, len(take.seen) // SAMPLE)] for take in every),
        (1000, 1002),
        str(path_2d),
    )

    detector = (
        {"model": GROUND_TRUTH}
        if off < MAX_COMPUTED_OFFSET_PX
        else {"model": path_2d.stem, "labels": CAMERA_SPACE}
    )
    return to_split(takes["train"]), to_split(takes["test"]), detector


def to_split(takes: Sequence[Take]) -> Split:
    """Takes one after another, labels in camera space; confidence is 1, as these files have
    none.
    """
    starts = np.cumsum([0, *(len(take.world) for take in takes)])
    n = int(starts[-1])
    joint_2d, truth = np.empty((n, N_JOINTS, 2), np.float32), np.empty((n, N_JOINTS, 3), np.float32)

    videos = []
    for take, start in zip(takes, starts[:-1], strict=True):
        here, camera = slice(start, start + len(take.world)), take.camera
        joint_2d[here] = take.seen
        truth[here] = world_to_camera(take.world, camera)
        action = take.action.split(" ")[0]
        videos.append(
            Video(
                f"{take.subject}.{take.action}.{camera.name}",
                take.subject,
                action,
                camera.name,
                int(start),
                len(take.world),
                camera.width,
                camera.height,
            )
        )

    factor = np.broadcast_to(np.float32(MM_PER_PX), n)
    confidence = np.broadcast_to(np.float32(1), (n, N_JOINTS))
    return Split(joint_2d, confidence, truth / np.float32(MM_PER_PX), truth, factor, tuple(videos))


def _by_subject(content: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    found = content.get(key)
    if not isinstance(found, Mapping) or not all(
        isinstance(actions, Mapping) for actions in found.values()
    ):
        raise DataError(f"{path}: has no dict of subjects and actions under the key {key!r}")
    return found


def _check_metadata(metadata: Any, path: Path) -> None:
    """Some 2D files in this layout hold other joints, also 17; they say so here, older files say
    nothing.
    """
    if not isinstance(metadata, Mapping):
        return

    where = f"{path}: metadata"
    name = as_text(metadata.get("layout_name", "h36m"), f"{where}: layout_name")
    n = as_whole(metadata.get("num_joints", N_JOINTS), f"{where}: num_joints", 1, MAX_KEYPOINTS)
    where = f"{where}: keypoints_symmetry"

    sides = []
    for side in as_list(metadata.get("keypoints_symmetry", SYMMETRY), where):
        joints = as_list(side, where)
        sides.append(sorted(as_whole(joint, where, 0, MAX_KEYPOINTS) for joint in joints))

    if name != "h36m" or n != N_JOINTS or sides != SYMMETRY:
        raise DataError(
            f"{path}: metadata says {n} joints of layout {shown(name)} with other left and right "
            f"sides than Human3.6M's, expected {N_JOINTS} of 'h36m'"
            if name == "h36m" and n == N_JOINTS
            else f"{path}: metadata says {n} joints of layout {shown(name)}, expected {N_JOINTS} "
            "of 'h36m'"
        )


def _takes(
    world: Mapping[str, Any],
    seen: Mapping[str, Any],
    subjects: Sequence[str],
    path_3d: Path,
    path_2d: Path,
) -> Iterator[Take]:
    for subject in subjects:
        for action, positions in world.get(subject, {}).items():
            action = as_text(action, f"{path_3d}: {subject}: action")
            joints = _positions(positions, f"{path_3d}: {subject}, {action}")
            views = seen.get(subject, {}).get(action)
            where = f"{path_2d}: {subject}, {action}"
            row = isinstance(views, np.ndarray) and views.ndim > 0

            listed_views = list(views) if row or isinstance(views, list | tuple) else []
            if len(listed_views) != len(CAMERA_NAMES):
                told = "is missing" if views is None else "is no list of them"
                raise DataError(
                    f"{where} {told}, expected an array for each of {len(CAMERA_NAMES)} cameras"
                )

            for camera, view in zip(subject_cameras(subject).values(), listed_views, strict=True):
                yield Take(
                    subject,
                    action,
                    camera,
                    joints,
                    _view(view, len(joints), f"{where}, {camera.name}"),
                )


def _positions(positions: Any, where: str) -> np.ndarray:
    """The 17 joints in mm (n,J,3) of one recording."""
    if not isinstance(positions, np.ndarray) or positions.dtype.kind != "f" or positions.ndim != 3:
        raise DataError(f"{where} is no array of numbers, expected positions (n, {N_PUBLISHED}, 3)")
    if positions.shape[1:] != (N_PUBLISHED, 3) or len(positions) == 0:
        raise DataError(
            f"{where} has shape {positions.shape}, expected (frames, {N_PUBLISHED} joints, 3)"
        )

    joints = positions[:, list(KEPT_JOINTS)].astype(np.float64) * 1000
    check_finite(joints, where)
    check_millimetres(joints[:: max(1, len(joints) // SAMPLE)], f"{where}, metres times 1000")

    return joints


def _view(view: Any, n: int, where: str) -> np.ndarray:
    """Pixels (n,J,2) of one camera, cut to the length of the motion capture: some videos go on
    longer.
    """
    if not isinstance(view, np.ndarray) or view.dtype.kind != "f" or view.ndim != 3:
        raise DataError(f"{where} is no array of numbers, expected pixels (n, {N_JOINTS}, 2)")
    if view.shape[1] != N_JOINTS or view.shape[2] < 2:
        raise DataError(f"{where} has shape {view.shape}, expected (frames, {N_JOINTS} joints, 2)")
    if len(view) < n:
        raise DataError(f"{where} has {len(view)} frames, expected the {n} of its 3D at least")
    check_finite(view[:n], where)
    return view[:n, :, :2]


def _check_take(take: Take, path: Path) -> float:
    """Raise where 2D and 3D are not of one person and camera; returns how far they are apart,
    px.
    """
    step = max(1, len(take.world) // SAMPLE)
    where = f"{path}: {take.subject}, {take.action}, {take.camera.name}"
    space = world_to_camera(take.world[::step], take.camera)
    seen = take.seen[::step].astype(np.float64)

    try:
        projected = project(space, take.camera, h36m=True)
    except ValueError as error:
        raise DataError(f"{where}: {error}; are positions_3d in world metres, z up?") from error

    check_limbs(space, where, "the 32 joints of Human3.6M in their order")
    check_projection(seen, space, where)

    return float(np.median(np.linalg.norm(seen - projected, axis=-1)))
