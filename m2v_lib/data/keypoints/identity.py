"""Who is who: a person detected twice counts once, and people keep their identity by ids that mean
something, else by motion.
"""
# m detections, J joints

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from m2v_lib.data.keypoints.tracking import link

#: two detections of a frame nearer than this (body sizes, mean over joints seen in both) are of
#: one person: people side by side are farther apart than their own joints
SAME_PERSON: Final = 0.05
#: joints seen in both that it takes to tell
MIN_SHARED: Final = 4


def first_of_duplicates(
    frame: np.ndarray, points: np.ndarray, confidence: np.ndarray
) -> np.ndarray:
    """Which detections (m,) bool to keep: of several of one person in a frame the surest."""
    keep, seen = np.ones(len(frame), bool), confidence > 0
    order = np.argsort(frame, kind="stable")
    if (np.diff(frame[order]) > 0).all():
        return keep

    for rows in np.split(order, np.flatnonzero(np.diff(frame[order])) + 1):
        if len(rows) < 2:
            continue
        surest = sorted(rows.tolist(), key=lambda row: (-confidence[row].sum(), row))
        kept = list[int]()
        for row in surest:
            keep[row] = not _same(points, seen, row, np.array(kept, int)).any()
            kept += [row] if keep[row] else []

    return keep


def _same(points: np.ndarray, seen: np.ndarray, one: int, others: np.ndarray) -> np.ndarray:
    """Which of the `others` (n,) are the person that detection `one` is (n,) bool."""
    both = (seen[one] & seen[others])[..., None]
    place, n_both = points[one], both.sum(1)[:, 0]
    low, high = (np.where(both, place, edge) for edge in (np.inf, -np.inf))
    size = np.linalg.norm(np.maximum(high.max(1) - low.min(1), 0), axis=-1)
    apart = np.linalg.norm(np.where(both, place - points[others], 0.0), axis=-1).sum(1)
    return np.asarray((n_both >= MIN_SHARED) & (apart <= SAME_PERSON * size * n_both))


def person_names(
    ids: Sequence[str | None],
    frame: np.ndarray,
    xy: np.ndarray,
    confidence: np.ndarray,
    fps: float | None,
) -> tuple[list[str], bool]:
    """A name for each detection, and whether they were told by motion."""
    if not _ids_mean_nothing(ids, frame):
        return [str(name) for name in ids], False
    return [str(number) for number in link(frame, xy, confidence, fps)], True


def _ids_mean_nothing(ids: Sequence[str | None], frame: np.ndarray) -> bool:
    """No ids, some missing, or (AlphaPose without tracking) one id for all people of a frame."""
    if None in ids:
        return True
    crowded = max(Counter(frame.tolist()).values()) > 1
    return crowded and len(set(ids)) == 1
