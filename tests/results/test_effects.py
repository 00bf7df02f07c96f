"""Effects against scipy's paired t interval, noise against a sum by hand, and no conclusion
without seeds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from m2v_lib.experiments.rows import rows
from m2v_lib.results import effects
from m2v_lib.results.effects import Effect, SeedNoise, describe, effect


@pytest.mark.parametrize("n", [2, 3, 5, 11])
def test_the_interval_of_two_rows_is_the_t_interval_with_a_common_variance(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(50, 2, n), rng.normal(51, 2, n + 1)
    mine = effect(dict(enumerate(a)), dict(enumerate(b)))
    found = stats.ttest_ind(a, b, equal_var=True)
    low, high = found.confidence_interval(0.95)
    assert mine.n == n and mine.mean == pytest.approx(a.mean() - b.mean())
    assert (mine.low, mine.high, mine.p) == pytest.approx((low, high, found.pvalue), rel=1e-9)


def test_a_tables_own_noise_gives_a_row_with_one_seed_an_interval() -> None:
    noise = SeedNoise(3.5, 7)
    found = effect({0: 9.6 + 50}, {0: 50.0}, noise)
    half = stats.t.ppf(0.975, 7) * 3.5 * math.sqrt(2)
    assert (found.low, found.high) == pytest.approx((9.6 - half, 9.6 + half))
    more = effect({0: 59.6, 1: 59.6}, {0: 50.0, 1: 50.0}, noise)
    assert more.high - more.low < found.high - found.low, "a second seed never weakens a claim"


def test_no_interval_where_nothing_tells_the_noise() -> None:
    assert effect({}, {1: 1.0}).n == 0
    one = effect({0: 1.0}, {0: 3.0})
    assert (one.n, one.mean) == (1, -2.0) and math.isnan(one.low) and not one.excludes_zero


def test_holms_correction_and_seeds_needed() -> None:
    corrected = effects.holm({1: 0.01, 2: 0.03, 3: 0.02, 4: math.nan})
    assert corrected == {1: pytest.approx(0.03), 3: pytest.approx(0.04), 2: pytest.approx(0.04)}
    n, power = effects.seeds_needed(2.0, 1.5), 0.8
    reached = stats.norm.cdf(2.0 / (1.5 * math.sqrt(2 / n)) - 1.96)
    assert reached >= power and stats.norm.cdf(2.0 / (1.5 * math.sqrt(2 / (n - 1))) - 1.96) < power


def test_rows_of_a_table_and_the_noise_between_their_seeds() -> None:
    pd = pytest.importorskip("pandas")
    lines = [{0: 50.0, 1: 52.0}, {0: 49.0, 1: 52.5, 2: 48.0}, {0: 40.0}, {}]
    frame = pd.DataFrame(
        {
            "row": [1, 2, 3, 4],
            "by_seed": [{s: {"mpjpe": v} for s, v in line.items()} for line in lines],
        }
    )
    assert effects.effect_of_row(frame, 2, 1).mean == pytest.approx(-7 / 6)
    assert effects.effect_of_row(frame, 4, 1).n == 0
    squares = 2.0 + sum((v - 49.8333333) ** 2 for v in lines[1].values())
    assert effects.noise_of(frame).sd == pytest.approx(math.sqrt(squares / 3))
    assert not effects.noise_of(frame[2:]).freedom
    frame.attrs.update(preset="small", data="mocap")
    assert effects.describe_seed_noise(frame) == (
        "Seed noise: 2.09 mm MPJPE (standard deviation between seeds, 3 degrees of freedom; "
        "preset small on mocap)."
    )
    assert "unknown, no row ran with two seeds" in effects.describe_seed_noise(frame[2:])


def made(*by_seed: dict[int, float]) -> Any:
    pd = pytest.importorskip("pandas")
    lines = [{s: {"mpjpe": v} for s, v in line.items()} for line in by_seed]
    labels = [f"row {i} (as printed)" for i in range(1, len(lines) + 1)]
    return pd.DataFrame({"row": range(1, len(lines) + 1), "label": labels, "by_seed": lines})


def test_all_rows_against_one_of_them() -> None:
    frame = made(
        {0: 50.0, 1: 51.0, 2: 52.0},
        {0: 60.0, 1: 61.5, 2: 62.0},
        {0: 50.5, 1: 50.0, 2: 53.0},
        {1: 52.0},
        {},
    )
    assert {row: (e.n, e.mean) for row, e in effects.effects_of_all_rows(frame, 1).items()} == {
        2: (3, pytest.approx(10.1667, abs=1e-3)),
        3: (3, pytest.approx(1 / 6)),
        4: (1, 1.0),
    }
    drawn = effects.intervals(frame, 1)
    assert list(drawn) == ["2: row 2", "3: row 3", "4: row 4"]
    noise = effects.noise_of(frame)
    half = stats.t.ppf(0.975, noise.freedom) * noise.sd * math.sqrt(1 + 1 / 3)
    assert drawn["4: row 4"][1:] == pytest.approx((1.0 - half, 1.0 + half))
    lines = effects.summarise(frame, 1).splitlines()
    assert lines[0].startswith("2: row 2: +10.2 mm (95 % CI")
    assert lines[0].endswith("worse (95 % CI excludes 0)")
    assert lines[2].endswith("one seed): indistinguishable from seed noise")
    assert lines[3] == "not run, or not with a seed of the row to compare with: 1 rows"
    assert lines[4] == (
        "1 of 3 confidence intervals exclude 0; by chance alone 0.15 would. Read as a whole (Holm), "
        "rows 2 differ."
    )
    assert list(effects.effects_of_all_rows(frame, {3: 2})) == [3] and effects.effects_of_all_rows(
        frame, {3: 2}
    )[3].mean == pytest.approx(-10)
    assert effects.effects_of_all_rows(frame, 5) == {} and effects.summarise(frame, 5).startswith(
        "not run"
    )


def test_rows_of_the_question_are_set_against_one_that_differs_in_stage_1_alone() -> None:
    exps = {row.row: row.experiment(data="mocap", preset="small") for row in rows("label-scarcity")}
    assert set(effects.FROM_SCRATCH) == {
        row for row, exp in exps.items() if exp.finetune.init == "pretrained"
    }
    for row, scratch in effects.FROM_SCRATCH.items():
        mine, other = exps[row].flat(), exps[scratch].flat()
        changed = {key for key in mine if mine[key] != other[key]}
        assert "finetune.init" in changed and {key.partition(".")[0] for key in changed} <= {
            "pretrain",
            "finetune",
        }


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Effect(0, math.nan, math.nan, math.nan), "not run"),
        (
            Effect(1, 1.25, math.nan, math.nan),
            "+1.2 mm with one seed, so seed noise is unknown",
        ),
        (
            Effect(3, -0.2, -1.0, 0.6),
            "-0.2 mm (95 % CI -1.0 to +0.6, 3 seeds): indistinguishable from seed noise",
        ),
        (
            Effect(3, -2.0, -3.0, -1.0),
            "-2.0 mm (95 % CI -3.0 to -1.0, 3 seeds): better (95 % CI excludes 0)",
        ),
        (
            Effect(3, 2.0, 1.0, 3.0),
            "+2.0 mm (95 % CI +1.0 to +3.0, 3 seeds): worse (95 % CI excludes 0)",
        ),
    ],
)
def test_an_effect_in_words(found: Effect, words: str) -> None:
    assert describe(found) == words


def test_two_seeds_differ_by_less_than_their_range_in_most_cases() -> None:
    assert effects.two_seed_range(SeedNoise(2.0, 7)) == pytest.approx(
        stats.t.ppf(0.975, 7) * 2 * math.sqrt(2)
    )
    assert math.isnan(effects.two_seed_range(SeedNoise(math.nan, 0)))


def test_the_noise_of_all_tables_of_one_network_counts() -> None:
    frame = made({0: 50.0}, {0: 60.0})
    assert math.isnan(effects.effect_of_row(frame, 2, 1).low)
    frame.attrs["alike"] = [{s: {"mpjpe": v} for s, v in enumerate((50.0, 51.0, 52.0))}]
    found = effects.effect_of_row(frame, 2, 1)
    half = stats.t.ppf(0.975, 2) * math.sqrt(2)
    assert (found.low, found.high) == pytest.approx((10 - half, 10 + half))


def test_each_metric_has_its_own_noise() -> None:
    frame = made({0: 50.0, 1: 52.0}, {0: 60.0, 1: 62.0})
    for seeds in frame["by_seed"]:
        for values in seeds.values():
            values["p_mpjpe"] = 10 * values["mpjpe"]
    by_mpjpe, by_p = (effects.effect_of_row(frame, 2, 1, m) for m in ("mpjpe", "p_mpjpe"))
    assert by_p.high - by_p.low == pytest.approx(10 * (by_mpjpe.high - by_mpjpe.low))


def test_several_effects_read_as_a_whole() -> None:
    sure, open_ = Effect(3, 2.0, 1.0, 3.0, 0.001), Effect(3, 0.1, -1.0, 1.2, 0.8)
    assert effects.read_as_a_whole({1: sure}) == []
    assert effects.read_as_a_whole({1: sure, 2: open_})[0].endswith("(Holm), rows 1 differ.")
    assert effects.read_as_a_whole({1: sure, 2: open_}, named=False)[0].endswith("1 differ.")
    assert effects.read_as_a_whole({1: open_, 2: open_})[0].endswith("none differs.")
