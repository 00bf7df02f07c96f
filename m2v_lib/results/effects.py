"""Is an effect larger than the noise between seeds? Differences of rows of a built table, with
intervals, in words.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

T_975 = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
}
#: Rows of `pretraining-question` that were pre-trained, each with its like from scratch: all
#: labels, 10 %, 1 %; then the released network, with all and with 10 %.
FROM_SCRATCH = {2: 1, 3: 1, 5: 4, 6: 4, 12: 11, 13: 11, 8: 7, 10: 9}


@dataclass(frozen=True)
class Effect:
    """Mean of the differences of runs with the same seed, and its 95 % interval; nan where too
    few seeds ran.
    """

    n: int
    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def effect(by_seed: Mapping[int, float], reference: Mapping[int, float]) -> Effect:
    """What the runs differ from the reference's runs of the same seeds. The weights start alike,
    so pairs say more.
    """
    gaps = [by_seed[seed] - reference[seed] for seed in sorted(by_seed.keys() & reference.keys())]
    if not gaps:
        return Effect(0, math.nan, math.nan, math.nan)
    mean = statistics.fmean(gaps)
    if len(gaps) == 1:
        return Effect(1, mean, math.nan, math.nan)
    half = T_975.get(len(gaps) - 1, 1.96) * statistics.stdev(gaps) / math.sqrt(len(gaps))
    return Effect(len(gaps), mean, mean - half, mean + half)


def of_rows(frame: pd.DataFrame, row: int, reference: int, metric: str = "mpjpe") -> Effect:
    """The effect of a row of a built table against another one."""
    lines = {line["row"]: line["by_seed"] for line in frame.to_dict("records")}
    mine, other = ({s: v[metric] for s, v in lines[number].items()} for number in (row, reference))
    return effect(mine, other)


def of_all(
    frame: pd.DataFrame, reference: int | Mapping[int, int], metric: str = "mpjpe"
) -> dict[int, Effect]:
    """The effect, by row number, of every row that ran against the reference row, if that ran
    too.

    `reference` is one row for all others, or names the row that each is set against.
    """
    every = {
        row: of_rows(frame, row, other, metric) for row, other in _pairs(frame, reference).items()
    }
    return {row: found for row, found in every.items() if found.n}


def intervals(
    frame: pd.DataFrame, reference: int | Mapping[int, int], metric: str = "mpjpe"
) -> dict[str, tuple[float, float, float]]:
    """The same as (mean, low, high) by row number and label, for `plots.intervals`."""
    labels = dict(zip(frame["row"], frame["label"], strict=True))
    every = of_all(frame, reference, metric)
    return {
        f"{row}: {_short(labels[row])}": (found.mean, found.low, found.high)
        for row, found in every.items()
    }


def in_lines(
    frame: pd.DataFrame, reference: int | Mapping[int, int], noise: float = math.nan
) -> str:
    """A line a row against the reference row, and how many of them chance alone would let stand
    out.

    `noise` is the standard deviation between seeds where this table ran with one.
    """
    labels = dict(zip(frame["row"], frame["label"], strict=True))
    every = of_all(frame, reference)
    lines = [
        f"{row}: {_short(labels[row])}: {in_words(found, noise=noise)}"
        for row, found in every.items()
    ]
    absent = len(_pairs(frame, reference)) - len(every)
    if absent:
        lines.append(f"not run, or not with a seed of the row to compare with: {absent} rows")
    tried = sum(found.n > 1 for found in every.values())
    if tried > 1:
        clear = sum(found.clear for found in every.values())
        lines.append(
            f"{clear} of {tried} intervals leave out 0; by chance alone {tried / 20:.1f} of "
            f"{tried} would."
        )
    return "\n".join(lines)


def _pairs(frame: pd.DataFrame, reference: int | Mapping[int, int]) -> dict[int, int]:
    if isinstance(reference, int):
        return {row: reference for row in frame["row"] if row != reference}
    return dict(reference)


def _short(label: str) -> str:
    return label.partition(" (")[0]


def noise(frame: pd.DataFrame, metric: str = "mpjpe") -> float:
    """Standard deviation between seeds, pooled over the rows that ran with two seeds or more;
    nan if none did.
    """
    groups = [
        [v[metric] for v in by_seed.values()] for by_seed in frame["by_seed"] if len(by_seed) > 1
    ]
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    return math.sqrt(squares / freedom) if freedom else math.nan


def in_words(found: Effect, unit: str = "mm", noise: float = math.nan) -> str:
    """The effect as a sentence's end: size, interval, number of seeds and what may be concluded.

    With one seed that needs the `noise`, a standard deviation between seeds known from other
    runs.
    """
    if found.n == 0:
        return "not run"
    if found.n == 1 and math.isnan(noise):
        return f"{found.mean:+.1f} {unit} with one seed, so nothing can be said about noise"
    if found.n == 1:
        where = "more than" if abs(found.mean) > reach(noise) else "within"
        said = f"{found.mean:+.1f} {unit} with one seed, {where} the {reach(noise):.1f} {unit}"
        return f"{said} by which two seeds may differ"
    if not found.clear:
        conclusion = "not to be told from noise"
    else:
        conclusion = "worse beyond the noise" if found.mean > 0 else "better beyond the noise"
    interval = f"95 % interval {found.low:+.1f} to {found.high:+.1f}"
    return f"{found.mean:+.1f} {unit} ({interval}, {found.n} seeds): {conclusion}"


def reach(noise: float) -> float:
    """By how much two runs of one setting, alike but for their seed, differ in 19 of 20 cases."""
    return 1.96 * math.sqrt(2) * noise


def noise_in_words(frame: pd.DataFrame) -> str:
    """How much runs of one setting differ, as a sentence."""
    found = noise(frame)
    about = f"preset {frame.attrs['preset']} on {frame.attrs['data']}"
    if math.isnan(found):
        return f"Noise between seeds: not known, no row ran with two seeds ({about})."
    return (
        f"Runs that differ in their seed alone differ by {found:.2f} mm MPJPE (standard "
        f"deviation; {about})."
    )
