"""Pixels of the image that a detector saw: shares of the image made pixels, a size that cannot be
refused.
"""
# K keypoints

from __future__ import annotations

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import shown
from m2v_lib.data.keypoints.formats.files import Header


def in_pixels(
    points: np.ndarray,
    confidence: np.ndarray,
    head: Header,
    where: str,
    notes: list[str],
) -> np.ndarray:
    """Pixels, converted from shares of width and height where the file has these."""
    seen = points[confidence > 0]
    if head.units not in (None, "pixels", "normalised"):
        raise DataError(f"{where}: units are {shown(head.units)}, expected pixels or normalised")
    if not len(seen):
        return points

    looks = float(np.quantile(np.abs(seen), 0.9)) <= 2.0  # nobody stands in two pixels
    if looks != (head.units == "normalised") and head.units:
        raise DataError(
            f"{where}: says its coordinates are {head.units}, but they reach "
            f"{np.abs(seen).max():.4g}"
        )
    if not looks:
        return points
    if (seen < 0).any(1).mean() > 0.2:
        raise DataError(
            f"{where}: coordinates lie in {seen.min():.2f} .. {seen.max():.2f}, scaled in a way "
            "that the "
            "file does not say; expected pixels, or 0 to 1 over the image"
        )
    if not head.width or not head.height:
        raise DataError(
            f"{where}: coordinates are shares of the image (up to {seen.max():.2f}), not pixels; "
            "give its width and height"
        )

    notes.append(f"coordinates were shares of the image, taken times {head.width} x {head.height}")
    return points * (head.width, head.height)


def check_size(seen: np.ndarray, width: int | None, height: int | None, where: str) -> None:
    """Refuse pixels that are not of an image of this size: many joints may lie a little outside,
    few far.
    """
    if not width or not height or not len(seen):
        return

    outside, swapped = (_share_outside(seen, *wh) for wh in ((width, height), (height, width)))
    (left, top), (right, bottom) = seen.min(0), seen.max(0)
    reach = (
        f"joints lie at x = {left:.0f} to {right:.0f}, y = {top:.0f} to {bottom:.0f}, outside "
        f"{width} x {height}"
    )
    if outside > 0.02 and swapped < 0.2 * outside:
        raise DataError(
            f"{where}: {reach} but inside {height} x {width}: width and height swapped?"
        )
    if outside > 0.5:
        raise DataError(f"{where}: {reach} pixels; expected the size of the image the detector saw")


def _share_outside(seen: np.ndarray, width: int, height: int) -> float:
    margin = 0.02 * max(width, height)
    return float(((seen < -margin) | (seen > (width + margin, height + margin))).any(1).mean())
