"""The linear floors against scipy's least squares and a mean taken by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import lstsq

from m2v_lib.data.clips import Clips, evaluation_clips, make_clips, training_clips
from m2v_lib.data.store import Split, Store
from m2v_lib.evaluation.protocols import evaluate_predictions
from m2v_lib.evaluation.trivial_baselines import evaluate_trivial_baselines, features, fit_ridge


@pytest.fixture
def sets(tiny_store: Store) -> tuple[Clips, Clips]:
    train = training_clips(tiny_store, 9, 4, input_2d="detected", validation=True, device="cpu")
    return train, evaluation_clips(tiny_store, "test", 9, 9, input_2d="detected", device="cpu")


def covered(clips: Clips) -> list[int]:
    return sorted(set(clips.index_CT.flatten().tolist()))


def test_features_are_one_frame_and_a_constant(sets: tuple[Clips, Clips]) -> None:
    train, _ = sets
    rows = features(train, np.array([3, 5]))
    assert rows.shape == (2, 3 * 17 + 1) and rows.dtype == np.float64
    np.testing.assert_allclose(rows[1], [*train.input_nJ3[5].flatten().tolist(), 1.0])


@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_ridge_is_least_squares_with_penalty_rows(
    strength: float, sets: tuple[Clips, Clips]
) -> None:
    train, _ = sets
    frames = covered(train)
    x = np.array([[*train.input_nJ3[f].flatten().tolist(), 1.0] for f in frames])
    y = train.label_nJ3[frames].flatten(1).double().numpy()
    penalty = np.sqrt(strength * (x**2).sum() / x.shape[1])
    zeros = np.zeros((x.shape[1], y.shape[1]))
    expected, *_ = lstsq(np.vstack([x, penalty * np.eye(x.shape[1])]), np.vstack([y, zeros]))
    np.testing.assert_allclose(fit_ridge(train, strength), expected, atol=1e-6)


def test_a_linear_world_is_recovered(make_people: Callable[..., Split]) -> None:
    split = make_people((("a", "S1", "walk", 200, 1000, 1000),))
    clips = make_clips(split, 9, 9)
    rule = torch.randn(51, 51, generator=torch.Generator().manual_seed(0)) * 0.1
    linear = replace(clips, label_nJ3=(clips.input_nJ3.flatten(1) @ rule).view(-1, 17, 3))
    fitted = features(linear, np.arange(198)) @ fit_ridge(linear, strength=1e-9)
    np.testing.assert_allclose(fitted, linear.label_nJ3[:198].flatten(1), atol=1e-3)


def test_floors_by_hand(sets: tuple[Clips, Clips]) -> None:
    train, test = sets
    floors = evaluate_trivial_baselines(train, test)
    mean_pose = np.mean([train.truth_nJ3[f] for f in covered(train)], axis=0)
    guess = np.stack([np.stack([mean_pose] * 9)] * len(test))
    assert floors["mean_pose"]["mpjpe"] == pytest.approx(evaluate_predictions(guess, test)["mpjpe"])
    weights = fit_ridge(train)
    ridge = np.zeros((len(test), 9, 17, 3))
    for c, frames in enumerate(test.index_CT.tolist()):
        for t, f in enumerate(frames):
            pose = (np.array([*test.input_nJ3[f].flatten().tolist(), 1.0]) @ weights).reshape(17, 3)
            ridge[c, t] = (pose - pose[0]) * test.mm_per_unit_n[f]
    assert floors["ridge"]["mpjpe"] == pytest.approx(
        evaluate_predictions(ridge, test)["mpjpe"], rel=1e-6
    )


def test_on_its_own_training_frames_ridge_beats_the_mean_pose(sets: tuple[Clips, Clips]) -> None:
    train, _ = sets
    floors = evaluate_trivial_baselines(train, train)
    assert floors["ridge"]["mpjpe"] < 0.7 * floors["mean_pose"]["mpjpe"]
    assert floors["mean_pose"]["mpjve"] > 0
