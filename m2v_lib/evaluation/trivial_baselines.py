"""The two trivial baselines that any lifting network must beat: the mean pose, and a linear map
from one frame's 2D pose.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from m2v_lib.data.clips import Clips
from m2v_lib.evaluation.protocols import evaluate_3dhp_predictions, evaluate_predictions

# n frames, C clips, T frames of a clip, J joints, F features


def features(clips: Clips, frames: np.ndarray) -> np.ndarray:
    """One frame's x, y, confidence of all joints and a constant, (n, 3 J + 1)."""
    flat = clips.input_nJ3.cpu().numpy()[frames].reshape(len(frames), -1)
    return np.concatenate([flat, np.ones((len(frames), 1), flat.dtype)], axis=1).astype(np.float64)


def fit_ridge(clips: Clips, strength: float = 1e-3) -> np.ndarray:
    """Ridge regression (F, 3 J) from a frame's 2D pose to its normalised 3D pose, on the frames
    the clips cover.

    `strength` multiplies the mean diagonal of the Gram matrix, so it does not depend on the
    number of frames.
    """
    frames = np.unique(clips.index_CT.cpu().numpy())
    gram: Any = 0.0
    cross: Any = 0.0
    labels = clips.label_nJ3.cpu().numpy()
    for part in np.array_split(frames, max(1, len(frames) // 50_000)):
        x = features(clips, part)
        gram = gram + x.T @ x
        cross = cross + x.T @ labels[part].reshape(len(part), -1)

    return np.linalg.solve(gram + strength * np.trace(gram) / len(gram) * np.eye(len(gram)), cross)


def evaluate_trivial_baselines(train: Clips, test: Clips) -> dict[str, dict[str, float]]:
    """Errors in mm on `test` of the training mean pose and of the ridge regression, same
    protocol as the network.
    """
    index = test.index_CT[:, test.evaluated].cpu().numpy()
    covered = np.unique(train.index_CT.cpu().numpy())
    mean_pose = train.truth_nJ3[covered].mean(0)
    ridge = (features(test, index.ravel()) @ fit_ridge(train)).reshape(*index.shape, -1, 3)
    root = slice(test.skeleton.root, test.skeleton.root + 1)
    ridge = (ridge - ridge[..., root, :]) * test.mm_per_unit_n[index][..., None, None]
    predictions = {
        "mean_pose": np.broadcast_to(mean_pose, (*index.shape, *mean_pose.shape)),
        "ridge": ridge,
    }

    wanted = ("mpjpe", "p_mpjpe", "n_mpjpe", "mpjve", "frame_mean_mpjpe", "pck", "auc")
    return {
        name: {key: value for key, value in _evaluated(pred, test).items() if key in wanted}
        for name, pred in predictions.items()
    }


def _evaluated(pred_CTJ3: np.ndarray, test: Clips) -> dict[str, Any]:
    return (
        evaluate_3dhp_predictions(pred_CTJ3[:, 0], test)
        if test.centred and test.protocol == "mpi_inf_3dhp"
        else evaluate_predictions(pred_CTJ3, test)
    )
