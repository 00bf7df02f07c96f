"""Pose errors on numpy arrays of shape (..., T, J, 3), in the unit of the inputs (millimetres in
reports).

Each function averages over everything it is given; `frame_errors` and `procrustes_align` give
the parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def _same_shape(pred: Array, target: Array) -> None:
    if pred.shape != target.shape or pred.shape[-1] != 3 or pred.ndim < 2:
        raise ValueError(
            f"expected two arrays (..., J, 3) of one shape, got {pred.shape} and {target.shape}"
        )


def joint_errors(pred: Array, target: Array) -> Array:
    """Distance of each joint, (..., J)."""
    _same_shape(pred, target)
    return np.linalg.norm(pred - target, axis=-1)


def frame_errors(pred: Array, target: Array) -> Array:
    """Mean joint distance of each frame, (...); the root counts (spec 5.5, item 7)."""
    return joint_errors(pred, target).mean(-1)


def mpjpe(pred: Array, target: Array) -> float:
    """Mean joint distance (paper eq. 9), protocol 1."""
    return float(frame_errors(pred, target).mean())


def procrustes_align(pred: Array, target: Array) -> Array:
    """Each predicted pose moved onto its target by the best scale, rotation and translation; no
    reflection.

    Least squares over the joints of a frame: with the covariance's SVD U S V', the rotation is V
    diag(1, 1, det) U'.
    """
    _same_shape(pred, target)
    pred_mean, target_mean = pred.mean(-2, keepdims=True), target.mean(-2, keepdims=True)
    p, t = pred - pred_mean, target - target_mean
    u, s, vt = np.linalg.svd(np.swapaxes(p, -1, -2) @ t)
    sign = np.ones_like(s)
    sign[..., -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    spread = (p * p).sum((-1, -2))

    scale = (s * sign).sum(-1) / np.where(spread > 0, spread, 1.0)
    return scale[..., None, None] * (p @ rotation) + target_mean


def p_mpjpe(pred: Array, target: Array) -> float:
    """Error after a similarity alignment of each frame, protocol 2."""
    return mpjpe(procrustes_align(pred, target), target)


def rescale(pred: Array, target: Array) -> Array:
    """Each frame times the factor <pred, target> / <pred, pred> that brings it nearest to its
    target.
    """
    _same_shape(pred, target)
    dot = (pred * target).sum((-1, -2), keepdims=True)
    square = (pred * pred).sum((-1, -2), keepdims=True)
    return pred * (dot / np.where(square > 0, square, 1.0))


def n_mpjpe(pred: Array, target: Array) -> float:
    """Error after the best scale of each frame (paper eq. 10 as coded, audit B15)."""
    return mpjpe(rescale(pred, target), target)


def mpjve(pred: Array, target: Array) -> float:
    """Mean error of the frame-to-frame displacement (paper eq. 11-12), per frame step; 0 for a
    single frame.
    """
    _same_shape(pred, target)
    if pred.shape[-3] < 2:
        return 0.0
    return mpjpe(np.diff(pred, axis=-3), np.diff(target, axis=-3))


def accel_error(pred: Array, target: Array) -> float:
    """Mean error of the second difference over frames, per squared frame step; 0 for fewer than
    three frames.
    """
    _same_shape(pred, target)
    if pred.shape[-3] < 3:
        return 0.0
    return mpjpe(np.diff(pred, n=2, axis=-3), np.diff(target, n=2, axis=-3))


def pck(pred: Array, target: Array, threshold: float = 150.0) -> float:
    """Share of joints nearer than the threshold, in percent (spec 6.5; strict <)."""
    return float(100.0 * (joint_errors(pred, target) < threshold).mean())


def auc(pred: Array, target: Array, thresholds: Array | None = None) -> float:
    """Mean PCK over 0, 5, ..., 150 mm; 96.77 for perfect predictions, as 0 < 0 is false (spec
    6.5).
    """
    errors = joint_errors(pred, target)
    limits = np.arange(0.0, 151.0, 5.0) if thresholds is None else thresholds
    return float(np.mean([100.0 * (errors < limit).mean() for limit in limits]))
