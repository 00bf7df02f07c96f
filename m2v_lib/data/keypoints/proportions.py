"""A body's proportions: how long its bones are, and how well keypoints keep to them.

The longest that each bone is ever seen, over a person's size, is close to its true length; in the
right layout these lengths have the proportions of a body. The spread of log(length / reference) is
0.09 to 0.25 in the right layout and 0.34 to 1.2 in a wrong one (walks of the CMU database).
"""
# m detections, K keypoints of a layout, J = 17 joints

from __future__ import annotations

from typing import Final

import numpy as np

from m2v_lib.data.keypoints.layouts import Layout
from m2v_lib.skeletons import H36M17
from m2v_lib.skeletons.body import reference_lengths
from m2v_lib.skeletons.h36m import BONES, JOINTS

#: of a detector's keypoints: its neck lies lower than Human3.6M's, its spine halfway to the hips
_OF_DETECTORS: Final = {"spine": 218.1, "neck": 234.1, "nose": 192.2}
#: bone lengths (mm) of an adult of 1.70 m between these, in the order of BONES
BONES_MM: Final = tuple(
    _OF_DETECTORS.get(JOINTS[child], length)
    for (_, child), length in zip(BONES, reference_lengths(H36M17), strict=True)
)
#: bones that have to be seen for the spread to mean anything
MIN_BONES: Final = 8
#: detections looked at
SAMPLE: Final = 300


def spread_of_bones(layout: Layout, points: np.ndarray, confidence: np.ndarray) -> float | None:
    """Spread of log(longest length seen / reference) over the bones; None where too few are seen."""
    step = max(1, len(points) // SAMPLE)
    points, confidence = points[::step, : layout.n_keypoints], confidence[::step]
    xy, score = layout.to_h36m(points, confidence[:, : layout.n_keypoints])
    parents, children = np.array(BONES).T
    seen = (score[:, parents] > 0) & (score[:, children] > 0)
    place = np.where(score[..., None] > 0, xy, np.nan)
    some = (score > 0).any(1)
    if not some.any():
        return None

    size = _size(place[some])
    length = np.linalg.norm(xy[some][:, children] - xy[some][:, parents], axis=-1)
    share = np.where(seen[some], length / np.maximum(size, 1e-9)[:, None], 0.0)
    longest = np.quantile(share, 0.9, axis=0)
    kept = longest > 0
    if kept.sum() < MIN_BONES:
        return None

    ratio = np.log(np.maximum(longest[kept], 1e-6) / np.array(BONES_MM)[kept])
    return float(np.sqrt(np.mean((ratio - np.median(ratio)) ** 2)))


def _size(place: np.ndarray) -> np.ndarray:
    """The larger side of the box of the joints that are seen (m,)."""
    return (np.nanmax(place, axis=1) - np.nanmin(place, axis=1)).max(-1)
