"""A detector's scores, whatever their scale, as confidences in [0, 1]; what was done is said.

Most detectors give probabilities or the peak of a heat map, which can be a little above 1. COCO
marks 0, 1, 2 (absent, hidden, visible). SimCC models (RTMPose, RTMW) and AlphaPose's sums reach
ten, some exporters write per cent, some the logits before the last sigmoid.
"""
# m detections, K keypoints

from __future__ import annotations

from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.limits import MAX_RAW_SCORE

#: scores above 1 by no more than this are a heat map's peaks, cut to 1
MAX_PEAK: Final = 2.0
#: negative scores beyond this, in more than this share, are logits
LOGIT: Final = -1.0
MIN_NEGATIVE: Final = 0.02
#: negative scores beyond this, in more than this share, are no heat map's
DEPTH: Final = -0.05
MIN_DEPTHS: Final = 0.2
#: MediaPipe's number of landmarks, and how far from the hips (widths of the image) their depth goes
MEDIAPIPE: Final = 33
MAX_DEPTH: Final = 2.0
DEPTH_NOTE: Final = "the third number of a landmark is its depth, all are taken as seen"
#: the score of a keypoint found well, as a quantile of those above 0
GOOD: Final = 0.9


def unit_scores(scores: np.ndarray, where: str) -> tuple[np.ndarray, list[str]]:
    """Scores (m,K) of any scale in [0,1], 0 for a missing keypoint, and notes on the change.
    NaN is a missing keypoint. Raises DataError for scores that are none.
    """
    notes = list[str]()
    known = np.isfinite(scores)
    if np.isinf(scores).any() or (np.abs(scores[known]) > MAX_RAW_SCORE).any():
        raise DataError(f"{where}: scores must be finite and at most {MAX_RAW_SCORE:g}")

    scores = np.where(known, scores, 0.0)
    negative = scores < 0
    marks = negative & (scores == -1)
    if negative.any() and not (negative & ~marks).any():
        return unit_scores(np.where(marks, 0.0, scores), where)

    mostly_below = (scores < DEPTH).mean() > MIN_DEPTHS
    if mostly_below and scores.shape[-1] == MEDIAPIPE and np.abs(scores).max() <= MAX_DEPTH:
        return known.astype(float), [DEPTH_NOTE]
    if mostly_below and scores.min() >= LOGIT:
        raise DataError(
            f"{where}: scores must be 0 or more, got {negative.mean():.0%} below; is the third "
            "number of a keypoint its depth? Expected x, y, score"
        )

    if scores.min(initial=0) < LOGIT and negative.mean() > MIN_NEGATIVE:
        notes.append(
            f"scores from {scores.min():.3g} to {scores.max():.3g} taken for logits, put through a "
            "sigmoid"
        )
        return np.where(scores == 0, 0.0, 1 / (1 + np.exp(-np.clip(scores, -50, 50)))), notes

    if negative.any():
        notes.append(f"{negative.mean():.1%} of the scores were negative, taken as missing")
        scores = np.maximum(scores, 0.0)

    return _from_above(scores, notes), notes


def _from_above(scores: np.ndarray, notes: list[str]) -> np.ndarray:
    """Scores of 0 and more, brought below 1."""
    if (scores == 2).any() and np.isin(scores, (0, 1, 2)).all():
        return scores / 2

    top = float(scores.max(initial=0))
    if top <= 1:
        return scores

    if top <= MAX_PEAK:
        share = (scores > 1).mean()
        notes.append(f"{share:.1%} of the scores were above 1 (up to {top:.2f}) and cut to 1")
        return np.minimum(scores, 1.0)

    if 20 < top <= 100:
        notes.append(f"scores up to {top:.3g} taken as per cent")
        return scores / 100

    good = float(np.quantile(scores[scores > 0], GOOD))
    notes.append(f"scores up to {top:.3g} divided by {good:.3g}, nine tenths lie below, cut to 1")

    return np.minimum(scores / good, 1.0)
