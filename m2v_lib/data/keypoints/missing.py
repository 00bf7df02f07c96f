"""Keypoints that were not found, and how files mark them by a place instead of a score.

Exporters write a missing keypoint as NaN, null, (0, 0), (-1, -1), or where their own scaling took
one of these; many give it a score all the same. Nothing of a person is ever exactly there, so the
place tells, looked at over the whole recording.
"""
# m detections, K keypoints

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.limits import MAX_COORDINATE

#: places that only mark what is missing
MARKS: Final = ((0.0, 0.0), (-1.0, -1.0))
#: a place that this many different keypoints take, in as many detections, far from the body
MIN_KEYPOINTS: Final = 2
MIN_DETECTIONS: Final = 3
#: how far outside the box of the other keypoints such a place lies, in sides of that box
MIN_DISTANCE: Final = 0.5
#: detections among which such a place is looked for
SAMPLE: Final = 500


def mark_missing(
    points: np.ndarray,
    confidence: np.ndarray,
    where: str,
    marks: Sequence[tuple[float, float]] = (),
) -> tuple[np.ndarray, int]:
    """Confidence (m,K), 0 for what points (m,K,2) mark as missing, and how many were so marked
    that had a score; `marks` are places that are known to. Raises DataError for places that are none.
    """
    bare = ~np.isfinite(points).all(-1)
    endless = np.isinf(points).any(-1) & (confidence > 0)
    if (
        endless.any()
        or np.abs(np.where(bare[..., None], 0, points)).max(initial=0) > MAX_COORDINATE
    ):
        raise DataError(f"{where}: coordinates must lie within {MAX_COORDINATE:g} px of the image")

    missing = bare.copy()
    for mark in (*MARKS, *marks, *repeated_places(points, confidence)):
        missing |= (points == mark).all(-1)

    believed = missing & (confidence > 0)
    return np.where(missing, 0.0, confidence), int(believed.sum())


def repeated_places(points: np.ndarray, confidence: np.ndarray) -> list[tuple[float, float]]:
    """Places outside the body that several keypoints take exactly, again and again."""
    step = -(-len(points) // SAMPLE) if len(points) else 1
    points, usable = points[::step], (np.isfinite(points).all(-1) & (confidence > 0))[::step]
    flat = points[usable]
    if not len(flat):
        return []

    as_one = flat[:, 0] + 1j * flat[:, 1]  # sorted many times faster than pairs
    found_at, which, counts = np.unique(as_one, return_inverse=True, return_counts=True)
    places = np.stack([found_at.real, found_at.imag], axis=-1)
    often = np.flatnonzero(counts >= MIN_KEYPOINTS * MIN_DETECTIONS)
    rows, keypoints = np.nonzero(usable)

    found = []
    for place in often[:100]:
        here = which == place
        spread = len(set(keypoints[here])) >= MIN_KEYPOINTS
        if spread and len(set(rows[here])) >= MIN_DETECTIONS:
            others = usable & ~(points == places[place]).all(-1)
            if _far_from_body(points, others, np.unique(rows[here]), places[place]):
                found.append((float(places[place][0]), float(places[place][1])))

    return found


def _far_from_body(
    points: np.ndarray, others: np.ndarray, rows: np.ndarray, place: np.ndarray
) -> bool:
    inside = []
    for row in rows[:50]:
        body = points[row][others[row]]
        if len(body) < 2:
            continue
        low, high = body.min(0), body.max(0)
        margin = MIN_DISTANCE * float((high - low).max())
        inside.append(bool(((place >= low - margin) & (place <= high + margin)).all()))

    return bool(inside) and not any(inside)
