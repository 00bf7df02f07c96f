"""Filling gaps and changing the frame rate: by hand, against scipy, and looking no further than
it may.
"""

from __future__ import annotations

import numpy as np
import pytest

from m2v_lib.data.keypoints import timeline
from m2v_lib.data.keypoints.timeline import at_rate, dense, fill, sample


def test_gaps_become_rows_of_zeros() -> None:
    out = dense(np.array([4, 5, 8]), np.array([[1.0], [2.0], [3.0]]))
    assert out[:, 0].tolist() == [1, 2, 0, 0, 3]


def moving(n: int = 21) -> tuple[np.ndarray, np.ndarray]:
    xy = np.zeros((n, 17, 2))
    xy[:, :, 0], xy[:, :, 1] = 3.0 * np.arange(n)[:, None] + np.arange(17), 50.0
    return xy, np.full((n, 17), 0.8)


def test_a_missing_joint_moves_in_a_straight_line_and_is_marked() -> None:
    truth, confidence = moving()
    xy, seen = truth.copy(), confidence.copy()
    xy[5:9, 3], seen[5:9, 3] = 0, 0
    filled, out, marked = fill(xy, seen, fps=20.0)
    np.testing.assert_allclose(filled, truth)
    assert np.argwhere(marked).tolist() == [[i, 3] for i in range(5, 9)]
    expected = 0.8 * 0.5 ** (np.array([1, 2, 2, 1]) / 20 / 0.1)  # halved every two frames
    np.testing.assert_allclose(out[5:9, 3], expected)
    np.testing.assert_allclose(np.delete(out, 3, 1), 0.8)


def test_before_the_first_and_after_the_last_sighting_a_joint_stands_still() -> None:
    xy, seen = moving()
    seen[:4, 2] = seen[17:, 2] = 0
    filled, _, _ = fill(xy, seen, fps=20.0)
    assert (filled[:4, 2] == xy[4, 2]).all() and (filled[17:, 2] == xy[16, 2]).all()


def test_a_low_confidence_counts_as_missing() -> None:
    truth, seen = moving()
    xy = truth.copy()
    xy[7, 5] += 40
    seen[7, 5] = 0.1
    assert fill(xy, seen, 20.0)[0][7, 5].tolist() == xy[7, 5].tolist()
    filled, _, marked = fill(xy, seen, 20.0, threshold=0.2)
    np.testing.assert_allclose(filled, truth)
    assert np.argwhere(marked).tolist() == [[7, 5]]


def test_a_joint_never_seen_lies_on_its_parent_with_confidence_0() -> None:
    xy, seen = moving()
    seen[:, [0, 2, 3]] = 0  # the root, the right knee and ankle
    filled, out, marked = fill(xy, seen, 20.0)
    np.testing.assert_allclose(filled[:, 2], xy[:, 1])
    np.testing.assert_allclose(filled[:, 3], xy[:, 1])
    np.testing.assert_allclose(
        filled[:, 0], xy[:, [j for j in range(17) if j not in (0, 2, 3)]].mean(1)
    )
    assert (out[:, [0, 2, 3]] == 0).all() and marked[:, [0, 2, 3]].all() and not marked[:, 1].any()


def test_samples_meet_the_frames_and_keep_straight_lines() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 3))
    np.testing.assert_allclose(sample(values, np.arange(9.0)), values, atol=1e-12)
    line = 2.0 * np.arange(9.0) - 3
    at = np.linspace(0, 8, 33)
    np.testing.assert_allclose(sample(line, at), 2 * at - 3, atol=1e-12)
    np.testing.assert_allclose(sample(values, np.array([-2.0, 99.0])), values[[0, -1]])
    for n in (1, 2, 3):
        assert np.isfinite(sample(values[:n], np.array([0.0, 0.5, n - 1.0]))).all()


def test_samples_are_those_of_a_hermite_cubic_with_mean_slopes() -> None:
    scipy = pytest.importorskip("scipy.interpolate")
    values = np.random.default_rng(1).normal(size=12)
    at = np.linspace(
        1, 10, 200
    )  # one frame from either end, where slopes are those of the neighbours
    slopes = np.gradient(values)
    np.testing.assert_allclose(
        sample(values, at), scipy.CubicHermiteSpline(np.arange(12), values, slopes)(at)
    )


def test_a_sample_knows_two_frames_of_the_future() -> None:
    values = np.random.default_rng(2).normal(size=20)
    changed = values.copy()
    changed[12:] += 5
    at = np.linspace(0, 10, 101)
    np.testing.assert_array_equal(sample(values, at), sample(changed, at))


@pytest.mark.parametrize(
    ("fps", "new", "n", "expected"),
    [
        (25, 50, 3, [0, 0.5, 1, 1.5, 2]),
        (60, 50, 7, [0, 1.2, 2.4, 3.6, 4.8, 6.0]),
        (30, 50, 1, [0]),
        (30, 50, 3, [0, 0.6, 1.2, 1.8, 2.4]),
    ],
)
def test_times_of_another_rate_reach_the_last_frame(
    fps: float, new: float, n: int, expected: list[float]
) -> None:
    np.testing.assert_allclose(at_rate(n, fps, new), expected)


def test_sampling_in_blocks_is_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    values, at = np.random.default_rng(0).normal(size=(40, 2)), np.linspace(-1, 41, 55)
    whole = sample(values, at)
    monkeypatch.setattr(timeline, "BLOCK", 7)
    np.testing.assert_array_equal(sample(values, at), whole)
    assert sample(values, at[:0]).shape == (0, 2)
