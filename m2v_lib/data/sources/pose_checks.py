"""Faults of poses that no shape shows and that ruin results unseen: another joint order, 2D that
is not the 3D's image.

The limits are wide: over 1300 videos of motion capture the two sides' limbs differ by at most
0.17 in the right order and by at least 0.30 in a wrong one, and 2D of a noisy detector agrees
with 3D by a cosine of 0.85 or more.
"""
# n frames, J = 17 joints in Human3.6M's order

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.skeletons.h36m import FLIP_PAIRS, PARENTS, RIGHT

MAX_ASYMMETRY: Final = 0.22
MIN_AGREEMENT: Final = 0.5
#: pixels never stay within this many units of the origin, normalised coordinates always do
NORMALISED: Final = 8.0


def check_limbs(joints_mm: np.ndarray, where: str, expected: str) -> None:
    """Raise unless right and left limbs of (n,J,3) are about equally long, as they are in the
    right joint order.
    """
    left_of = dict(FLIP_PAIRS)
    limbs = [(PARENTS[j], j) for j in RIGHT if PARENTS[j] in RIGHT]
    right = [np.linalg.norm(joints_mm[:, a] - joints_mm[:, b], axis=-1) for a, b in limbs]
    left = [
        np.linalg.norm(joints_mm[:, left_of[a]] - joints_mm[:, left_of[b]], axis=-1)
        for a, b in limbs
    ]
    asymmetry = np.abs(np.log(np.maximum(right, 1) / np.maximum(left, 1))).mean()
    if asymmetry > MAX_ASYMMETRY:
        raise DataError(
            f"{where}: limbs of the two sides differ by {asymmetry:.0%} in length, expected "
            f"{expected}"
        )


def check_inside(joint_2d: Iterable[np.ndarray], size: tuple[int, int], where: str) -> None:
    """Raise where most joints of several videos' (n,J,2) lie outside the image: people leave it,
    but not mostly.
    """
    outside = [((px < 0) | (px > size)).any(-1).ravel() for px in joint_2d]
    if outside and (share := np.concatenate(outside).mean()) > 0.5:
        raise DataError(
            f"{where}: {share:.0%} of the joints lie outside an image of {size[0]} x {size[1]} "
            "pixels"
        )


def check_projection(joint_2d: np.ndarray, joints_mm: np.ndarray, where: str) -> None:
    """Raise unless (n,J,2) are pixels and move with x and y of (n,J,3) in camera space, y down."""
    if (most := np.abs(joint_2d).max()) <= NORMALISED:
        raise DataError(
            f"{where} stays within {most:.2g}, expected pixels and not normalised coordinates"
        )

    flat, space = joint_2d - joint_2d[:, :1], (joints_mm - joints_mm[:, :1])[..., :2]
    lengths = np.sqrt((flat**2).sum((0, 1)) * (space**2).sum((0, 1)))

    agreement = (flat * space).sum((0, 1)) / np.maximum(lengths, 1e-9)
    if agreement.min() < MIN_AGREEMENT:
        axis = "xy"[int(agreement.argmin())]
        raise DataError(
            f"{where}: its {axis} does not follow {axis} of the 3D joints (cosine "
            f"{agreement.min():.2f}), "
            "expected their projection, y down"
        )
