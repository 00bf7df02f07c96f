"""Is an effect larger than seed noise? Differences of rows of a built table with their 95 %
confidence intervals, and the sentences that say what follows.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Share of 95 % confidence intervals that exclude 0 by chance alone.
SIGNIFICANCE = 0.05
#: Pre-trained rows of `label-scarcity`, each with its counterpart trained from scratch: all
#: labels, 10 %, 1 %; labels of one and of three people; the released network, all and 10 %.
FROM_SCRATCH = {
    **{2: 1, 3: 1, 5: 4, 6: 4, 12: 11, 13: 11},
    **{15: 14, 16: 14, 18: 17, 19: 17},
    **{8: 7, 10: 9},
}


@dataclass(frozen=True)
class Effect:
    """Difference of two rows' means, its 95 % confidence interval and p value; nan where nothing
    tells the noise. `n` is the smaller number of seeds of the two.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside the confidence interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation between seeds, pooled over rows, and its degrees of freedom."""

    sd: float
    freedom: int


def effect(
    by_seed: Mapping[int, float], reference: Mapping[int, float], noise: SeedNoise | None = None
) -> Effect:
    """How the runs of a row differ from the reference's.

    The interval is that of two independent means with one common variance, `noise`: without it the
    variance pooled over these two rows (Welch needs no more than that here, since all rows of a
    table are the same kind of run).

    >>> effect({0: 10.0, 1: 12.0}, {0: 11.0, 1: 12.0}).mean
    -0.5
    """
    if not by_seed or not reference:
        return Effect(0, math.nan, math.nan, math.nan)

    n = min(len(by_seed), len(reference))
    mean = statistics.fmean(by_seed.values()) - statistics.fmean(reference.values())
    noise = noise or pooled_noise([list(by_seed.values()), list(reference.values())])
    if noise.freedom == 0:
        return Effect(n, mean, math.nan, math.nan)

    from scipy import special

    error = noise.sd * math.sqrt(1 / len(by_seed) + 1 / len(reference))
    half = _quantile(noise.freedom) * error

    p = float(2 * special.stdtr(noise.freedom, -abs(mean) / error)) if error else math.nan
    return Effect(n, mean, mean - half, mean + half, p)


def pooled_noise(groups: Iterable[Sequence[float]]) -> SeedNoise:
    """The common variance of groups of runs that differ in their seed alone.

    >>> pooled_noise([[1.0, 3.0], [5.0, 7.0]])
    SeedNoise(sd=1.4142135623730951, freedom=2)
    """
    several = [list(group) for group in groups if len(group) > 1]
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in several)
    freedom = sum(len(group) - 1 for group in several)
    return SeedNoise(math.sqrt(squares / freedom) if freedom else math.nan, freedom)


def noise_of(frame: pd.DataFrame, metric: str = "mpjpe") -> SeedNoise:
    """The seed noise of a built table, pooled over its rows, or over the rows of all tables that
    it brings (`tables.on_motion_capture`): one noise for all networks of a preset and schedule.
    """
    by_row = frame.attrs.get("alike") or frame["by_seed"]
    return pooled_noise([[values[metric] for values in seeds.values()] for seeds in by_row])


def effect_of_row(frame: pd.DataFrame, row: int, reference: int, metric: str = "mpjpe") -> Effect:
    """The effect of a row of a built table against another one, by the table's own noise."""
    lines = {line["row"]: line["by_seed"] for line in frame.to_dict("records")}
    of_row, of_reference = (
        {seed: values[metric] for seed, values in lines[number].items()}
        for number in (row, reference)
    )
    noise = noise_of(frame, metric)
    return effect(of_row, of_reference, noise if noise.freedom else None)


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


def holm(p_values: Mapping[int, float]) -> dict[int, float]:
    """P values corrected for reading a table as a whole (Holm's step-down method).

    >>> holm({1: 0.01, 2: 0.04, 3: 0.5})
    {1: 0.03, 2: 0.08, 3: 0.5}
    """
    known = sorted((p, row) for row, p in p_values.items() if not math.isnan(p))
    corrected: dict[int, float] = {}
    largest = 0.0
    for rank, (p, row) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[row] = largest
    return corrected


def seeds_needed(difference: float, noise: float, power: float = 0.8) -> int:
    """Seeds of each of two rows that find a difference with this power at the 5 % level, given the
    standard deviation between seeds (normal approximation).

    >>> seeds_needed(0.2, 1.0)
    393
    """
    from statistics import NormalDist

    z = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2) + NormalDist().inv_cdf(power)
    return math.ceil(2 * (z * noise / difference) ** 2)


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


def summarise(frame: pd.DataFrame, reference: int | Mapping[int, int]) -> str:
    """A line a row against the reference row, then what they say read as a whole."""
    labels = dict(zip(frame["row"], frame["label"], strict=True))
    every = effects_of_all_rows(frame, reference)
    lines = [f"{row}: {_short(labels[row])}: {describe(found)}" for row, found in every.items()]
    absent = len(_pairs(frame, reference)) - len(every)
    if absent:
        lines.append(f"not run, or not with a seed of the row to compare with: {absent} rows")

    return "\n".join([*lines, *read_as_a_whole(every)])


def read_as_a_whole(every: Mapping[int, Effect], named: bool = True) -> list[str]:
    """How many of several intervals exclude 0, how many would by chance, and which rows (or how
    many, where numbers are no names) differ once that is allowed for; nothing of fewer than two.
    """
    tried = {row: found.p for row, found in every.items() if not math.isnan(found.p)}
    if len(tried) < 2:
        return []

    excluding = sum(every[row].excludes_zero for row in tried)
    after = [str(row) for row, p in sorted(holm(tried).items()) if p < SIGNIFICANCE]
    rows = f"rows {', '.join(after)} differ" if named else f"{len(after)} differ"
    differ = rows if after else "none differs"
    return [
        f"{excluding} of {len(tried)} confidence intervals exclude 0; by chance alone "
        f"{len(tried) * SIGNIFICANCE:.2g} would. Read as a whole (Holm), {differ}."
    ]


def _pairs(frame: pd.DataFrame, reference: int | Mapping[int, int]) -> dict[int, int]:
    if isinstance(reference, int):
        return {row: reference for row in frame["row"] if row != reference}
    return dict(reference)


def _short(label: str) -> str:
    return label.partition(" (")[0]


def describe(found: Effect, unit: str = "mm") -> str:
    """The effect in words: size, confidence interval, number of seeds, conclusion."""
    if found.n == 0:
        return "not run"

    seeds = "one seed" if found.n == 1 else f"{found.n} seeds"
    if math.isnan(found.low):
        return f"{found.mean:+.1f} {unit} with {seeds}, so seed noise is unknown"

    if not found.excludes_zero:
        conclusion = "indistinguishable from seed noise"
    else:
        conclusion = f"{'worse' if found.mean > 0 else 'better'} (95 % CI excludes 0)"

    interval = f"95 % CI {found.low:+.1f} to {found.high:+.1f}"
    return f"{found.mean:+.1f} {unit} ({interval}, {seeds}): {conclusion}"


def two_seed_range(noise: SeedNoise) -> float:
    """The difference that two runs of the same settings with different seeds stay below in 95 %
    of cases; nan where nothing tells the noise.
    """
    if not noise.freedom:
        return math.nan
    return _quantile(noise.freedom) * math.sqrt(2) * noise.sd


def _quantile(freedom: int) -> float:
    """Two-sided quantile of the t distribution at 95 %."""
    from scipy import special  # not scipy.stats, whose import takes half a second more

    return float(special.stdtrit(freedom, 1 - SIGNIFICANCE / 2))


def describe_power(frame: pd.DataFrame, difference: float = 0.2) -> str:
    """How many seeds a difference would take at this table's noise, as a sentence; the range is
    that of the noise, which few seeds tell no better.
    """
    noise = noise_of(frame)
    if noise.freedom == 0:
        return f"How many seeds {difference:g} mm would take is unknown: no row ran with two seeds."

    from scipy import special

    tails = (1 - SIGNIFICANCE / 2, SIGNIFICANCE / 2)
    low, high = (
        noise.sd * math.sqrt(noise.freedom / special.chdtri(noise.freedom, 1 - tail))
        for tail in tails
    )
    n, fewest, most = (seeds_needed(difference, sd) for sd in (noise.sd, low, high))
    return (
        f"At a standard deviation of {noise.sd:.2f} mm between seeds, finding a difference of "
        f"{difference:g} mm with a power of 80 % would take {n:,} seeds of each row ({fewest:,} to "
        f"{most:,}, as well as {noise.freedom} degrees of freedom tell that deviation)."
    )


def describe_seed_noise(frame: pd.DataFrame) -> str:
    """How much runs that differ in their seed alone vary, as a sentence."""
    found = noise_of(frame)
    about = f"preset {frame.attrs['preset']} on {frame.attrs['data']}"
    if not found.freedom:
        return f"Seed noise: unknown, no row ran with two seeds ({about})."
    return (
        f"Seed noise: {found.sd:.2f} mm MPJPE (standard deviation between seeds, {found.freedom} "
        f"degrees of freedom; {about})."
    )
