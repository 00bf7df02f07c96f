"""Where in the image a network is shown people: where it has seen them in training.

A network that was trained by Human3.6M's four cameras has seen everybody at about one place and
size, and is shown everybody there. One that was trained by random cameras (`data.cameras=random`)
has learnt what place and size say of the camera, so it is shown the image as it is; only who is
smaller, larger or further from the middle than nearly all it was trained on is brought nearer.
Scaling about the middle is what another focal length would do.
"""
# B windows, T frames, J joints

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons.body import standing

#: how people stand in the training cameras' images, in units of half the image's width: the
#: median over clips of the motion capture store of the larger side of the joints' box, and of
#: the box's middle (x, y)
FRAME_SIDE: Final = 0.70
FRAME_MIDDLE: Final = (0.0, -0.20)
#: the same of random cameras at their default settings: the box's side and how far its middle is
#: from the image's, either way, in 98 % of windows
SIDES: Final = (0.16, 1.4)
REACH: Final = 0.5

#: width and height, px
Image = tuple[float, float]


def box(seen_BTJ3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle (B,2) and larger side (B,) of the box around each window's joints, those of
    confidence 0 left out.

    A hundredth of the joints at either end may lie outside, so that a single gross error does
    not set the scale.
    """
    xy = np.where(seen_BTJ3[..., 2:] > 0, seen_BTJ3[..., :2], np.nan).reshape(len(seen_BTJ3), -1, 2)
    low, high = np.nanquantile(xy, (0.01, 0.99), axis=1) if xy.size else (np.zeros((0, 2)),) * 2
    return (low + high) / 2, np.maximum((high - low).max(1), 1e-6)


@cache
def place_in_frame(skeleton: Skeleton) -> tuple[float, tuple[float, float]]:
    """Side and middle of the box around the joints of people in training: FRAME_SIDE and
    FRAME_MIDDLE, which Human3.6M's joints have, for the part of the body that the skeleton covers.
    """
    whole, part = (standing(s)[:, :2] for s in (H36M17, skeleton))
    part = part[np.isfinite(part).all(1)]
    if len(part) < 2 or not np.ptp(part, axis=0).any():
        return FRAME_SIDE, FRAME_MIDDLE

    unit = FRAME_SIDE / np.ptp(whole, axis=0).max()
    lower = float(whole.max(0)[1] + whole.min(0)[1] - part.max(0)[1] - part.min(0)[1]) / 2
    x, y = FRAME_MIDDLE
    return float(unit * np.ptp(part, axis=0).max()), (x, y + unit * lower)


def as_by_the_four(seen_BTJ3: np.ndarray, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Factor (B,) and shift (B,2) that bring each window's pixels to where people stand in the
    images of Human3.6M's cameras, in units of half the image's width from its middle.
    """
    side, to = place_in_frame(skeleton)
    middle_B2, side_B = box(seen_BTJ3)
    scale_B = side / side_B
    return scale_B, np.array(to) - middle_B2 * scale_B[:, None]


def as_by_any(
    seen_BTJ3: np.ndarray, skeleton: Skeleton, image: Image
) -> tuple[np.ndarray, np.ndarray]:
    """As `as_by_the_four`, for random cameras: the image as it is, and of who is outside SIDES or
    REACH no more changed than it takes.
    """
    middle_B2, side_B = box(seen_BTJ3)
    unit, part = 2 / image[0], place_in_frame(skeleton)[0] / FRAME_SIDE
    low, high = SIDES
    scale_B = unit * np.clip(unit * side_B, part * low, part * high) / (unit * side_B)

    seen_at = (middle_B2 - np.array(image) / 2) * scale_B[:, None]
    shift_B2 = np.clip(seen_at, -REACH, REACH) - middle_B2 * scale_B[:, None]
    return scale_B, shift_B2
