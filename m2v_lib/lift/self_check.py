"""Does a lifted motion belong to the keypoints it came from? A layout that was taken for another
one lifts to a body of impossible bones that does not project back to what was seen.

Measured on walks of the CMU database with the package's network: projected back, the joints miss
the keypoints by 0.004 to 0.011 of the body's diagonal in the right layout and by 0.034 to 0.062 in
a wrong one (0.018 to 0.024 where no leg is ever seen); log(bone / reference) spreads by 0.06 to
0.22 in the right and 0.47 to 0.76 in a wrong layout. The thresholds stand between.
"""
# n frames, J joints

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from m2v_lib.lift.camera import Camera, bone_lengths
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons.body import reference_lengths

MAX_REPROJECTION: Final = 0.029
MAX_BONE_SPREAD: Final = 0.35
#: frames looked at, and joints of a frame that have to be seen
SAMPLE: Final = 500
MIN_JOINTS: Final = 6


@dataclass(frozen=True)
class SelfCheck:
    """How far the lifted joints miss the keypoints (in body diagonals), and how much the bones
    differ from a body's (spread of the logarithm); NaN where too little was seen.
    """

    reprojection: float
    bone_spread: float

    @property
    def doubts(self) -> tuple[str, ...]:
        """What speaks against the result, in words."""
        found = []
        if self.reprojection > MAX_REPROJECTION:
            found.append(
                f"projected back it misses the keypoints by {self.reprojection:.1%} of the body "
                f"(at most {MAX_REPROJECTION:.1%} is usual)"
            )

        if self.bone_spread > MAX_BONE_SPREAD:
            found.append(
                f"its bones have no body's proportions (spread {self.bone_spread:.2f}, at most "
                f"{MAX_BONE_SPREAD:.2f} is usual)"
            )

        return tuple(found)


def self_check(
    pose_mm: np.ndarray,
    root_mm: np.ndarray,
    seen_px: np.ndarray,
    filled: np.ndarray,
    camera: Camera,
    skeleton: Skeleton = H36M17,
) -> SelfCheck:
    """The check of one motion: pose_mm (n,J,3) from the root, root_mm (n,3), seen_px (n,J,2),
    filled (n,J).
    """
    step = -(-len(pose_mm) // SAMPLE)
    joints = pose_mm[::step].astype(float) + root_mm[::step, None]
    seen, known = seen_px[::step], ~filled[::step]
    depth = np.maximum(joints[..., 2:], 1.0)
    projected = joints[..., :2] / depth * camera.focal + camera.middle
    off = np.linalg.norm(projected - seen, axis=-1)
    rows = known.sum(1) >= MIN_JOINTS
    if not rows.any():
        return SelfCheck(float("nan"), float("nan"))

    place = np.where(known[rows][..., None], seen[rows], np.nan)
    diagonal = np.linalg.norm(np.nanmax(place, axis=1) - np.nanmin(place, axis=1), axis=-1)
    missed = np.where(known[rows], off[rows], np.nan)
    reprojection = np.nanmean(missed, axis=1) / np.maximum(diagonal, 1e-6)
    parents, children = np.array(skeleton.bones).T
    reference = np.array(reference_lengths(skeleton))
    measured = known[:, parents].any(0) & known[:, children].any(0) & np.isfinite(reference)
    spread = float("nan")

    if measured.sum() >= MIN_JOINTS:
        length = np.median(bone_lengths(joints, skeleton), axis=0)[measured]
        spread = float(np.std(np.log(np.maximum(length, 1.0) / reference[measured])))

    return SelfCheck(float(np.median(reprojection)), spread)


def worst(checks: Sequence[SelfCheck]) -> SelfCheck:
    """The largest of each measure; NaN where no motion has one."""
    measures = np.array([(check.reprojection, check.bone_spread) for check in checks])
    known = [column[np.isfinite(column)] for column in measures.T]
    largest = [float(column.max()) if len(column) else float("nan") for column in known]
    return SelfCheck(*largest)
