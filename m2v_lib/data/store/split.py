"""The arrays of one split of a store, and what is checked of them."""
# n frames of all videos of a split, J joints of the store's skeleton

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from m2v_lib.data.checks import LARGEST, DataError, Video, check_finite, check_millimetres
from m2v_lib.skeletons import H36M17, Skeleton

MAX_CONFIDENCE: Final = 2.0  # heat maps peak a little above 1; more is another unit
ARRAYS: Final = ("joint_2d", "confidence", "label_px", "truth_mm", "factor")
LABELS: Final = ("label_px", "truth_mm", "factor")
#: frames whose values are looked at when a split is opened
N_SAMPLED: Final = 256


@dataclass(frozen=True)
class Split:
    """Frames of all videos one after another, float32.

    joint_2d (n,J,2) px: the detector's output; confidence (n,J) in [0,1], a heat map's peak to
    MAX_CONFIDENCE. label_px (n,J,3) px: the true projection and, as z, depth relative to the
    root in the same scale (spec 5.1). truth_mm (n,J,3) mm: ``label_px * factor``, what
    evaluation compares with; factor (n,) mm per px. valid (n,) bool: the frames that count in
    the metric (MPI-INF-3DHP); None: all do. A store holds it only where some do not. An array
    given to ``write_store`` may have any number type and be a view of a mapped file. Where only
    2D is known (see ``Meta.labelled``) label_px, truth_mm and factor are NaN, and no file holds
    them.
    """

    joint_2d: np.ndarray
    confidence: np.ndarray
    label_px: np.ndarray
    truth_mm: np.ndarray
    factor: np.ndarray
    videos: tuple[Video, ...]
    valid: np.ndarray | None = None

    @property
    def n_frames(self) -> int:
        return len(self.joint_2d)


def array_shapes(n_joints: int) -> dict[str, tuple[int, ...]]:
    """Array name -> shape after the frame axis."""
    return {
        "joint_2d": (n_joints, 2),
        "confidence": (n_joints,),
        "label_px": (n_joints, 3),
        "truth_mm": (n_joints, 3),
        "factor": (),
    }


def no_labels(n_frames: int, n_joints: int = len(H36M17)) -> dict[str, np.ndarray]:
    """The label arrays of a split of which only 2D is known: NaN, taking no memory."""
    shapes = array_shapes(n_joints)
    return {key: np.broadcast_to(np.float32(np.nan), (n_frames, *shapes[key])) for key in LABELS}


def check_split(split: Split, where: str, skeleton: Skeleton, *, labelled: bool = True) -> None:
    """Raise ``DataError`` (one sentence that begins with ``where``) unless the split keeps every
    promise above.
    """
    n = split.n_frames
    if n == 0 or not split.videos:
        raise DataError(f"{where} is empty, expected at least one video")

    for name, shape in array_shapes(len(skeleton)).items():
        array = getattr(split, name)
        if array.shape != (n, *shape):
            raise DataError(
                f"{where}: {name} has shape {array.shape}, expected {(n, *shape)} "
                f"({len(skeleton)} joints)"
            )
        if array.dtype.kind not in "fiu":
            raise DataError(f"{where}: {name} holds {array.dtype}, expected numbers")

    _check_valid(split.valid, n, where)
    _check_videos(split.videos, n, where)

    for name in ARRAYS:
        if labelled or name not in LABELS:
            check_finite(getattr(split, name), f"{where}: {name}", split.videos)

    if split.confidence.min() < 0 or split.confidence.max() > MAX_CONFIDENCE:
        bad = int(np.argmax(((split.confidence < 0) | (split.confidence > MAX_CONFIDENCE)).any(1)))
        raise DataError(f"{where}: confidence at frame {bad} is outside [0, 1]")

    if not labelled:
        return
    if split.factor.min() <= 0:
        raise DataError(
            f"{where}: factor at frame {int(split.factor.argmin())} is not positive (mm per px)"
        )

    check_millimetres(split.truth_mm, f"{where}: truth_mm", skeleton)


def check_cheaply(split: Split, where: str, n_joints: int, *, labelled: bool) -> None:
    """Raise ``DataError`` where shapes, videos or a sample of the values are not what was written:
    what can be known at opening without reading it all (``verify`` does).
    """
    n = split.n_frames
    for name, shape in array_shapes(n_joints).items():
        if getattr(split, name).shape != (n, *shape):
            raise DataError(
                f"{where}: {name} has shape {getattr(split, name).shape}, expected {(n, *shape)}"
            )

    if n or split.videos:
        _check_videos(split.videos, n, where)
    step = max(1, n // N_SAMPLED)
    sample = replace(
        split, videos=(), valid=None, **{key: getattr(split, key)[::step] for key in ARRAYS}
    )

    for name in ARRAYS if labelled else ("joint_2d", "confidence"):
        values = getattr(sample, name)
        if not np.isfinite(values).all() or (len(values) and np.abs(values).max() > LARGEST):
            raise DataError(
                f"{where}: {name} holds numbers that no store has; run `m2v data verify`"
            )


def _check_valid(valid: np.ndarray | None, n: int, where: str) -> None:
    if valid is None:
        return
    if valid.shape != (n,) or valid.dtype != bool:
        raise DataError(f"{where}: valid is {valid.dtype} {valid.shape}, expected bool {(n,)}")
    if not valid.any():
        raise DataError(
            f"{where}: no frame is valid, expected at least one that counts in the metric"
        )


def _check_videos(videos: tuple[Video, ...], n: int, where: str) -> None:
    expected = 0
    for video in videos:
        if video.start != expected or video.n_frames < 1:
            raise DataError(
                f"{where}: video {video.source} covers {video.n_frames} frames from {video.start}, "
                f"expected to begin at {expected}"
            )
        if video.width < 1 or video.height < 1:
            raise DataError(
                f"{where}: video {video.source} has image size {video.width} x {video.height}"
            )
        expected += video.n_frames

    if expected != n:
        raise DataError(f"{where}: the videos cover {expected} frames, the arrays hold {n}")
