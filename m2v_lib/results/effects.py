"""Is an effect larger than seed noise? Differences of rows of a built table with their 95 %
confidence intervals, and the sentences that say what follows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Share of 95 % confidence intervals that exclude 0 by chance alone.
SIGNIFICANCE = 0.05
#: Two-sided quantile of the normal distribution at that level.
Z_975 = 1.96
#: Pre-trained rows of `label-scarcity`, each with its counterpart trained from scratch: all
#: labels, 10 %, 1 %; then the released network, with all and with 10 %.
FROM_SCRATCH = {2: 1, 3: 1, 5: 4, 6: 4, 12: 11, 13: 11, 8: 7, 10: 9}


@dataclass(frozen=True)
class Effect:
    """Mean of the differences between runs with the same seed, and its 95 % confidence interval;
    nan where too few seeds ran.
    """

    n: int
    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the confidence interval."""
        return self.low > 0 or self.high < 0


def effect(by_seed: Mapping[int, float], reference: Mapping[int, float]) -> Effect:
    """How the runs differ from the reference's runs of the same seeds.

    Runs are paired by seed, since equal seeds start from the same weights.

    >>> effect({0: 10.0, 1: 12.0}, {0: 11.0, 1: 12.0}).mean
    -0.5
    """
    gaps = [by_seed[seed] - reference[seed] for seed in sorted(by_seed.keys() & reference.keys())]
    if not gaps:
        return Effect(0, math.nan, math.nan, math.nan)
    mean = statistics.fmean(gaps)
    if len(gaps) == 1:
        return Effect(1, mean, math.nan, math.nan)

    half = _t_quantile(len(gaps) - 1) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Effect(len(gaps), mean, mean - half, mean + half)


def _t_quantile(freedom: int) -> float:
    """Two-sided quantile of Student's t at the level of the confidence intervals."""
    from scipy import stats

    return float(stats.t.ppf(1 - SIGNIFICANCE / 2, freedom))


def effect_of_row(frame: pd.DataFrame, row: int, reference: int, metric: str = "mpjpe") -> Effect:
    """The effect of a row of a built table against another one."""
    lines = {line["row"]: line["by_seed"] for line in frame.to_dict("records")}
    of_row, of_reference = (
        {seed: values[metric] for seed, values in lines[number].items()}
        for number in (row, reference)
    )
    return effect(of_row, of_reference)


def effects_of_all_rows(
    frame: pd.DataFrame, reference: int | Mapping[int, int], metric: str = "mpjpe"
) -> dict[int, Effect]:
    """The effect, by row number, of every row that ran against the reference row, if that ran
    too.

    `reference` is one row for all others, or names the row that each is set against.
    """
    every = {
        row: effect_of_row(frame, row, other, metric)
        for row, other in _pairs(frame, reference).items()
    }
    return {row: found for row, found in every.items() if found.n}


def intervals(
    frame: pd.DataFrame, reference: int | Mapping[int, int], metric: str = "mpjpe"
) -> dict[str, tuple[float, float, float]]:
    """The same as (mean, low, high) by row number and label, for `plots.intervals`."""
    labels = dict(zip(frame["row"], frame["label"], strict=True))
    every = effects_of_all_rows(frame, reference, metric)
    return {
        f"{row}: {_short(labels[row])}": (found.mean, found.low, found.high)
        for row, found in every.items()
    }


def summarise(
    frame: pd.DataFrame, reference: int | Mapping[int, int], noise: float = math.nan
) -> str:
    """A line a row against the reference row, then how many intervals exclude 0 and how many
    would by chance.

    `noise` is the standard deviation between seeds, for tables that ran with one seed.
    """
    labels = dict(zip(frame["row"], frame["label"], strict=True))
    every = effects_of_all_rows(frame, reference)
    lines = [
        f"{row}: {_short(labels[row])}: {describe(found, noise=noise)}"
        for row, found in every.items()
    ]
    absent = len(_pairs(frame, reference)) - len(every)
    if absent:
        lines.append(f"not run, or not with a seed of the row to compare with: {absent} rows")
    tried = sum(found.n > 1 for found in every.values())
    if tried > 1:
        excluding = sum(found.excludes_zero for found in every.values())
        lines.append(
            f"{excluding} of {tried} confidence intervals exclude 0; by chance alone "
            f"{tried * SIGNIFICANCE:.1f} of {tried} would."
        )
    return "\n".join(lines)


def _pairs(frame: pd.DataFrame, reference: int | Mapping[int, int]) -> dict[int, int]:
    if isinstance(reference, int):
        return {row: reference for row in frame["row"] if row != reference}
    return dict(reference)


def _short(label: str) -> str:
    return label.partition(" (")[0]


def seed_noise(frame: pd.DataFrame, metric: str = "mpjpe") -> float:
    """Standard deviation between seeds, pooled over the rows that ran with two seeds or more;
    nan if none did.
    """
    groups = [
        [v[metric] for v in by_seed.values()] for by_seed in frame["by_seed"] if len(by_seed) > 1
    ]
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    return math.sqrt(squares / freedom) if freedom else math.nan


def describe(found: Effect, unit: str = "mm", noise: float = math.nan) -> str:
    """The effect in words: size, confidence interval, number of seeds, conclusion.

    With one seed the conclusion needs `noise`, the standard deviation between seeds of other runs.
    """
    if found.n == 0:
        return "not run"
    if found.n == 1 and math.isnan(noise):
        return f"{found.mean:+.1f} {unit} with one seed, so seed noise is unknown"
    if found.n == 1:
        limit = two_seed_range(noise)
        where = "more than" if abs(found.mean) > limit else "within"
        return (
            f"{found.mean:+.1f} {unit} with one seed, {where} the {limit:.1f} {unit} by which two "
            "seeds may differ"
        )

    if not found.excludes_zero:
        conclusion = "indistinguishable from seed noise"
    else:
        conclusion = f"{'worse' if found.mean > 0 else 'better'} (95 % CI excludes 0)"
    interval = f"95 % CI {found.low:+.1f} to {found.high:+.1f}"
    return f"{found.mean:+.1f} {unit} ({interval}, {found.n} seeds): {conclusion}"


def two_seed_range(noise: float) -> float:
    """The difference that two runs of the same settings with different seeds stay below in 95 %
    of cases.
    """
    return Z_975 * math.sqrt(2) * noise


def describe_seed_noise(frame: pd.DataFrame) -> str:
    """How much runs that differ in their seed alone vary, as a sentence."""
    found = seed_noise(frame)
    about = f"preset {frame.attrs['preset']} on {frame.attrs['data']}"
    if math.isnan(found):
        return f"Seed noise: unknown, no row ran with two seeds ({about})."
    return f"Seed noise: {found:.2f} mm MPJPE (standard deviation between seeds; {about})."
