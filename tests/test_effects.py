"""Effects against scipy's paired t interval, noise against a sum by hand, and no conclusion without seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from m2v_lib import effects
from m2v_lib.effects import Effect, effect, in_words


@pytest.mark.parametrize("n", [2, 3, 5, 11])
def test_the_interval_is_the_paired_t_interval(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(50, 2, n), rng.normal(51, 2, n)
    mine = effect(dict(enumerate(a)), {**dict(enumerate(b)), 99: 0.0})
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert mine.n == n and mine.mean == pytest.approx((a - b).mean())
    assert (mine.low, mine.high) == pytest.approx((low, high), rel=1e-3)


def test_no_interval_without_two_seeds_of_both() -> None:
    assert effect({0: 1.0}, {1: 1.0}).n == 0
    one = effect({0: 1.0, 1: 5.0}, {0: 3.0})
    assert (one.n, one.mean) == (1, -2.0) and math.isnan(one.low) and not one.clear


def test_rows_of_a_table_and_the_noise_between_their_seeds() -> None:
    pd = pytest.importorskip("pandas")
    lines = [{0: 50.0, 1: 52.0}, {0: 49.0, 1: 52.5, 2: 48.0}, {0: 40.0}, {}]
    frame = pd.DataFrame(
        {"row": [1, 2, 3, 4], "by_seed": [{s: {"mpjpe": v} for s, v in line.items()} for line in lines]}
    )
    assert effects.of_rows(frame, 2, 1).mean == pytest.approx(-0.25)
    assert effects.of_rows(frame, 4, 1).n == 0
    squares = 2.0 + sum((v - 49.8333333) ** 2 for v in lines[1].values())
    assert effects.noise(frame) == pytest.approx(math.sqrt(squares / 3))
    assert math.isnan(effects.noise(frame[2:]))
    frame.attrs.update(preset="small", data="mocap")
    assert effects.noise_in_words(frame) == (
        "Runs that differ in their seed alone differ by 2.09 mm MPJPE (standard deviation; preset small on mocap)."
    )
    assert "not known, no row ran with two seeds" in effects.noise_in_words(frame[2:])


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Effect(0, math.nan, math.nan, math.nan), "not run"),
        (Effect(1, 1.25, math.nan, math.nan), "+1.2 mm with one seed, so nothing can be said about noise"),
        (Effect(3, -0.2, -1.0, 0.6), "-0.2 mm (95 % interval -1.0 to +0.6, 3 seeds): not to be told from noise"),
        (Effect(3, -2.0, -3.0, -1.0), "-2.0 mm (95 % interval -3.0 to -1.0, 3 seeds): better beyond the noise"),
        (Effect(3, 2.0, 1.0, 3.0), "+2.0 mm (95 % interval +1.0 to +3.0, 3 seeds): worse beyond the noise"),
    ],
)
def test_in_words(found: Effect, words: str) -> None:
    assert in_words(found) == words
