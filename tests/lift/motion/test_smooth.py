"""Smoothing shifts nothing in time, leaves half at its cut-off, and looks at confidence."""

from __future__ import annotations

import numpy as np
import pytest

from m2v_lib.lift import camera
from m2v_lib.lift.motion.smooth import smooth

FPS = 50.0


def smoothed(
    values: np.ndarray, cutoff: float = 3.0, confidence: np.ndarray | None = None
) -> np.ndarray:
    """Values (n,) of one point's x."""
    points = np.repeat(values[:, None, None], 3, axis=-1).astype(float)
    smooth(points, FPS, cutoff, None if confidence is None else confidence[:, None])
    np.testing.assert_allclose(points[:, 0, 0], points[:, 0, 2])
    return points[:, 0, 0]


def test_parabolas_stay_up_to_their_ends() -> None:
    t = np.arange(60.0)
    np.testing.assert_allclose(smoothed(2 * t**2 - 30 * t), 2 * t**2 - 30 * t, atol=1e-3)


def test_nothing_lags() -> None:
    impulse = np.zeros(101)
    impulse[50] = 1
    found = smoothed(impulse)
    np.testing.assert_allclose(found, found[::-1], atol=1e-9)
    assert found.argmax() == 50 and 0.05 < found[50] < 0.3


@pytest.mark.parametrize("cutoff", [2.0, 3.0, 6.0])
def test_half_is_left_at_the_cutoff_and_slow_motion_is_kept(cutoff: float) -> None:
    t = np.arange(400) / FPS
    for frequency, kept in ((cutoff, 0.48), (cutoff / 4, 0.99), (4 * cutoff, 0.0)):
        wave = np.sin(2 * np.pi * frequency * t)
        middle = slice(100, 300)
        share = (smoothed(wave, cutoff)[middle] @ wave[middle]) / (wave[middle] @ wave[middle])
        assert share == pytest.approx(kept, abs=0.06)


def test_what_was_not_seen_counts_little() -> None:
    values, confidence = np.zeros(80), np.ones(80)
    values[40:44], confidence[40:44] = 1000, 0
    blind, aware = smoothed(values), smoothed(values, confidence=confidence)
    assert np.abs(aware).max() < 0.15 * np.abs(blind).max()


@pytest.mark.parametrize("block", [1, 16, 59])
def test_blocks_give_what_one_piece_gives(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0, 100, 150)
    whole = smoothed(values)
    monkeypatch.setattr(camera, "BLOCK", block)
    np.testing.assert_allclose(smoothed(values), whole, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_frames(n: int) -> None:
    values = np.arange(float(n)) * 100
    np.testing.assert_allclose(smoothed(values), values, atol=0.1)
