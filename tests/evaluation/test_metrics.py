"""Metrics against hand loops and scipy's alignment, and the symmetries each must have or lack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from m2v_lib.evaluation import metrics

Array = np.ndarray


@pytest.fixture
def pair() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    target = rng.normal(0, 300, (4, 6, 17, 3))
    return target + rng.normal(0, 60, target.shape), target


def similarity(poses: Array, scale: float = 1.7, seed: int = 3) -> Array:
    rng = np.random.default_rng(seed)
    return scale * poses @ Rotation.random(random_state=seed).as_matrix().T + rng.normal(0, 500, 3)


def aligned_by_scipy(pred: Array, target: Array) -> Array:
    """One pose (J, 3): rotation from scipy, then the least-squares scale."""
    p, t = pred - pred.mean(0), target - target.mean(0)
    rotation, _ = Rotation.align_vectors(t, p)
    turned = rotation.apply(p)
    return (turned * t).sum() / (p * p).sum() * turned + target.mean(0)


def test_mpjpe_by_hand(pair: tuple[Array, Array]) -> None:
    pred, target = pair
    total = 0.0
    for b in range(4):
        for t in range(6):
            for j in range(17):
                total += sum((pred[b, t, j, c] - target[b, t, j, c]) ** 2 for c in range(3)) ** 0.5
    assert metrics.mpjpe(pred, target) == pytest.approx(total / (4 * 6 * 17))


def test_parts_have_the_shapes_they_promise(pair: tuple[Array, Array]) -> None:
    assert metrics.joint_errors(*pair).shape == (4, 6, 17)
    assert metrics.frame_errors(*pair).shape == (4, 6)
    assert metrics.joint_errors(np.zeros((17, 3)), np.full((17, 3), 2.0))[0] == pytest.approx(
        12**0.5
    )


def test_procrustes_against_scipy(pair: tuple[Array, Array]) -> None:
    pred, target = pair
    ours = metrics.procrustes_align(pred, target)
    for b in range(4):
        for t in range(6):
            np.testing.assert_allclose(
                ours[b, t], aligned_by_scipy(pred[b, t], target[b, t]), atol=1e-6
            )


def test_procrustes_against_scipy_where_a_reflection_would_fit_better(
    pair: tuple[Array, Array],
) -> None:
    """For a mirrored pose scipy's best orthogonal matrix is a reflection; ours must stay a
    rotation.
    """
    _, target = pair
    mirrored = target[0, 0] * (-1, 1, 1)
    free, _ = orthogonal_procrustes(
        mirrored - mirrored.mean(0), target[0, 0] - target[0, 0].mean(0)
    )
    assert np.linalg.det(free) == pytest.approx(-1)
    ours = metrics.procrustes_align(mirrored, target[0, 0])
    np.testing.assert_allclose(ours, aligned_by_scipy(mirrored, target[0, 0]), atol=1e-6)


def test_no_nearby_similarity_is_better(pair: tuple[Array, Array]) -> None:
    pred, target = pair[0][0, 0], pair[1][0, 0]
    best = metrics.procrustes_align(pred, target)
    least = ((best - target) ** 2).sum()
    centre = best.mean(0)
    for i in range(20):
        turn = Rotation.from_rotvec(np.random.default_rng(i).normal(0, 0.05, 3))
        moved = turn.apply(best - centre) * (1 + 0.01 * (i - 10)) + centre + i - 10
        assert ((moved - target) ** 2).sum() >= least


def test_p_mpjpe_ignores_similarities_of_the_prediction(pair: tuple[Array, Array]) -> None:
    pred, target = pair
    assert metrics.p_mpjpe(similarity(pred), target) == pytest.approx(metrics.p_mpjpe(pred, target))
    assert metrics.p_mpjpe(similarity(target), target) == pytest.approx(0, abs=1e-6)
    assert metrics.p_mpjpe(pred, target) < metrics.mpjpe(pred, target)


def test_p_mpjpe_sees_reflections(pair: tuple[Array, Array]) -> None:
    _, target = pair
    assert metrics.p_mpjpe(target * (-1, 1, 1), target) > 50


def test_n_mpjpe_is_zero_for_scaled_truth_and_uses_one_factor_a_frame(
    pair: tuple[Array, Array],
) -> None:
    pred, target = pair
    for k in (1e-3, 0.5, 1.0, 40.0):
        assert metrics.n_mpjpe(k * target, target) == pytest.approx(0, abs=1e-8)
    per_frame = np.linspace(0.5, 2, 6)[:, None, None]
    assert metrics.n_mpjpe(per_frame * target, target) == pytest.approx(0, abs=1e-8)
    per_joint = np.linspace(0.5, 2, 17)[:, None]
    assert metrics.n_mpjpe(per_joint * target, target) > 10
    assert metrics.n_mpjpe(3 * pred, target) == pytest.approx(metrics.n_mpjpe(pred, target))


def test_n_mpjpe_by_hand(pair: tuple[Array, Array]) -> None:
    pred, target = pair
    errors = []
    for p, g in zip(pred.reshape(-1, 17, 3), target.reshape(-1, 17, 3), strict=True):
        scale = np.dot(p.ravel(), g.ravel()) / np.dot(p.ravel(), p.ravel())
        errors.append(np.sqrt(((scale * p - g) ** 2).sum(1)).mean())
    assert metrics.n_mpjpe(pred, target) == pytest.approx(np.mean(errors))


def test_an_all_zero_prediction_is_an_error_not_a_nan(pair: tuple[Array, Array]) -> None:
    _, target = pair
    for metric in (metrics.n_mpjpe, metrics.p_mpjpe):
        assert 0 < metric(np.zeros_like(target), target) < 1e4


def test_velocity_and_acceleration_by_hand(pair: tuple[Array, Array]) -> None:
    pred, target = pair
    error = pred - target
    velocity = [np.linalg.norm(error[:, t] - error[:, t - 1], axis=-1) for t in range(1, 6)]
    second = [
        np.linalg.norm(error[:, t + 1] - 2 * error[:, t] + error[:, t - 1], axis=-1)
        for t in range(1, 5)
    ]
    assert metrics.mpjve(pred, target) == pytest.approx(np.mean(velocity))
    assert metrics.accel_error(pred, target) == pytest.approx(np.mean(second))


def test_constant_offset_has_no_velocity_and_constant_drift_no_acceleration(
    pair: tuple[Array, Array],
) -> None:
    _, target = pair
    assert metrics.mpjve(target + 5, target) == pytest.approx(0, abs=1e-9)
    drift = np.arange(6.0)[:, None, None]
    assert metrics.accel_error(target + drift, target) == pytest.approx(0, abs=1e-9)
    assert metrics.mpjve(target + drift, target) == pytest.approx(3**0.5)


def test_too_few_frames_to_differ(pair: tuple[Array, Array]) -> None:
    pred, target = pair
    assert metrics.mpjve(pred[:, :1], target[:, :1]) == 0
    assert metrics.accel_error(pred[:, :2], target[:, :2]) == 0
    assert metrics.mpjve(pred[:, :2], target[:, :2]) > 0


def test_pck_counts_strictly_nearer() -> None:
    target = np.zeros((1, 4, 3))
    pred = np.zeros((1, 4, 3))
    pred[0, :, 0] = (0, 149.9, 150, 151)
    assert metrics.pck(pred, target) == 50.0
    assert metrics.pck(pred, target, threshold=1.0) == 25.0


def test_auc_of_perfect_predictions_is_not_100(pair: tuple[Array, Array]) -> None:
    _, target = pair
    assert metrics.auc(target, target) == pytest.approx(100 * 30 / 31)
    assert round(metrics.auc(target, target), 2) == 96.77
    assert metrics.auc(target + 1000, target) == 0


def test_auc_by_hand(pair: tuple[Array, Array]) -> None:
    pred, target = pair
    distance = np.linalg.norm(pred - target, axis=-1).ravel()
    shares = [sum(d < limit for d in distance) / len(distance) for limit in range(0, 155, 5)]
    assert len(shares) == 31
    assert metrics.auc(pred, target) == pytest.approx(100 * np.mean(shares))


@pytest.mark.parametrize(
    "metric", [metrics.mpjpe, metrics.p_mpjpe, metrics.n_mpjpe, metrics.mpjve, metrics.auc]
)
def test_shapes_that_do_not_match_are_refused(metric: Callable[[Array, Array], float]) -> None:
    for shapes in (((2, 17, 3), (1, 17, 3)), ((2, 17, 2), (2, 17, 2)), ((3,), (3,))):
        with pytest.raises(ValueError, match="one shape, got"):
            metric(*(np.ones(shape) for shape in shapes))
