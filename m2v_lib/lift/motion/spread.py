"""How unsure every joint is: from how much the network differs from itself, over the windows that
a frame is in and between a motion and its mirror image, to millimetres that mean something.

The network's own spread is a few millimetres where its error is many: what it does not know it
does not know in every window alike. But it tells which joints are worse than others, and so does
how far a joint is from the root. The figures below are a fit to the error of the package's network
on recordings of the test subjects other than those that `docs/motion.md` measures, by Human3.6M's
cameras and six of the grid, such that 68 % of joints lie within `spread_mm` of the truth: that
network was trained on everybody else. Fitted on two of the three people it is 38 to 86 % of the
third's: people differ, so expect as much of others. Of another network the order of joints and
frames is to be trusted, the millimetres are not.
"""
# n frames, J joints

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from m2v_lib.lift import camera

if TYPE_CHECKING:
    from m2v_lib.lift.people import Lifted

#: spread_mm = SCALE (network's spread + NEAR)^OWN (distance from the root)^DISTANCE, mm
SCALE: Final = 1.116
OWN: Final = 0.630
NEAR: Final = 3.0
DISTANCE: Final = 0.3425


def calibrate(person: Lifted, root: int) -> None:
    """Turn the network's spread (n,J) mm, in place, into one sigma of each joint's distance from
    its true place beside the root, whose own is 0.
    """
    if person.spread_mm is None:
        return
    for first in range(0, person.n_frames, camera.BLOCK):
        rows = slice(first, first + camera.BLOCK)
        distance = np.linalg.norm(person.pose_mm[rows], axis=-1)
        own = person.spread_mm[rows]
        own[:] = SCALE * (own + NEAR) ** OWN * distance**DISTANCE
        own[:, root] = 0.0
