"""The open leaderboard: all systems under one protocol, their errors beside their costs, and what
follows in words, from run records and counts alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.results.effects import SIGNIFICANCE, SeedNoise, pooled_noise

if TYPE_CHECKING:
    import pandas as pd

    from m2v_lib.runs.records import Record

#: The share of their authors' epochs below which rows say so.
SHORT: Final = 0.5
#: The share of the most frames tested that every row should reach: tails of videos are less.
MOST_FRAMES: Final = 0.8
#: What the label of the paper's own row begins with.
OURS: Final = "Motion2vec's network"
METRICS: Final = {"mpjpe": "MPJPE", "p_mpjpe": "P-MPJPE", "accel": "acceleration"}


@dataclass(frozen=True)
class Cost:
    """What a system costs: numbers it is made of, multiply-accumulates for a frame that comes
    out.
    """

    parameters: int
    macs_per_frame: float


def leaderboard(
    frame: pd.DataFrame, records: Iterable[Record], costs: Mapping[int, Cost]
) -> pd.DataFrame:
    """A built table of experiments (`tables.build_table`) as a leaderboard, its best row first.

    Columns by row: system, state, seeds, for each of `METRICS` its mean and `KEY_half`, half the
    95 % confidence interval by the noise between seeds, which all rows share (nan where no row
    has two), n_frames tested, floor (ridge regression's MPJPE
    on the same data), epochs (of recipe `own`, the share of its authors'), parameters and
    macs_per_frame. Errors are in mm, acceleration in mm a
    frame squared.
    """
    import pandas as pd

    results = {record.path.name: record.result for record in records}
    runs = [[results[name] for name in names] for names in frame["runs"]]
    noise = {
        key: pooled_noise([[result["test"][key] for result in of_row] for of_row in runs])
        for key in METRICS
    }
    lines = [
        _line(line, of_row, costs[line["row"]], noise)
        for line, of_row in zip(frame.to_dict("records"), runs, strict=True)
    ]

    board = pd.DataFrame(lines, index=pd.Index(frame["row"], name="row"))
    return board.sort_values("mpjpe", kind="stable")


def _line(
    line: Mapping[Any, Any],
    results: Sequence[Mapping[str, Any]],
    cost: Cost,
    noise: Mapping[str, SeedNoise],
) -> dict[str, Any]:
    tests = [result["test"] for result in results]
    found: dict[str, Any] = {
        "system": line["label"],
        "state": line["state"],
        "seeds": len(results),
    }
    for key in METRICS:
        found[key], found[f"{key}_half"] = mean_and_half([test[key] for test in tests], noise[key])

    floors = [result["baselines"]["ridge"]["mpjpe"] for result in results]
    return found | {
        "n_frames": tests[0]["n_frames"] if tests else math.nan,
        "floor": statistics.fmean(floors) if floors else math.nan,
        "epochs": _share_of_own_epochs(results),
        "parameters": cost.parameters,
        "macs_per_frame": cost.macs_per_frame,
    }


def _share_of_own_epochs(results: Sequence[Mapping[str, Any]]) -> float:
    """How much of its authors' epochs a row of recipe `own` was trained for; nan for others."""
    plans = [result["schedule"] for result in results if result["recipe"] == "own"]
    if not plans:
        return math.nan
    return statistics.fmean(plan["epochs_done"] / plan["epochs_full"] for plan in plans)


def mean_and_half(values: Sequence[float], noise: SeedNoise) -> tuple[float, float]:
    """The mean over seeds and half its 95 % confidence interval; nan where nothing tells it.

    >>> mean_and_half([2.0], SeedNoise(sd=math.nan, freedom=0))
    (2.0, nan)
    """
    if not values:
        return math.nan, math.nan

    mean = statistics.fmean(values)
    if not noise.freedom:
        return mean, math.nan

    from scipy import special

    quantile = float(special.stdtrit(noise.freedom, 1 - SIGNIFICANCE / 2))
    return mean, quantile * noise.sd / math.sqrt(len(values))


def as_shown(board: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard as it is printed: numbers with their intervals, "not run" where none is."""
    import pandas as pd

    columns: dict[str, list[str]] = {
        "system": list(board["system"]),
        "state": list(board["state"]),
        "seeds": [str(n) for n in board["seeds"]],
    }

    for key, name in METRICS.items():
        pairs = zip(board[key], board[f"{key}_half"], strict=True)
        columns[name] = [_with_half(mean, half) for mean, half in pairs]

    columns["parameters (k)"] = [f"{n / 1e3:,.0f}" for n in board["parameters"]]
    columns["M MACs a frame"] = [f"{n / 1e6:.2f}" for n in board["macs_per_frame"]]

    return pd.DataFrame(columns, index=board.index)


def _with_half(mean: float, half: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"


def conclusions(board: pd.DataFrame) -> str:
    """What follows from the leaderboard, and what does not, in sentences."""
    ran = board[board["seeds"] > 0]
    if ran.empty:
        return f"None of the {len(board)} rows has been run under these settings."

    sentences = [f"{len(ran)} of {len(board)} rows have runs, {_seeds(ran)}."]

    best = ran.iloc[0]
    sentences.append(f"The lowest MPJPE is that of {_short(best['system'])}, {_mm(best)}.")
    near = [
        _short(line["system"]) for _, line in ran.iloc[1:].iterrows() if _indistinct(best, line)
    ]
    if near:
        sentences.append(f"By the noise between seeds it may as well be {', '.join(near)}.")
    sentences += _better_than_ours(ran)

    above = [_short(line["system"]) for _, line in ran.iterrows() if line["mpjpe"] > line["floor"]]
    floor = f"ridge regression's {ran['floor'].mean():.1f} mm"
    sentences.append(
        f"Above {floor}, and so not trained to any use: {', '.join(above)}."
        if above
        else f"All lie below {floor}."
    )
    if (ran["epochs"] < SHORT).any():
        low, high = 100 * ran["epochs"].min(), 100 * ran["epochs"].max()
        sentences.append(
            f"Trained for {low:.1f} to {high:.1f} % of their authors' epochs, at rates that were "
            "chosen for all of them: a low rate has hardly moved its network."
        )
    if ran["mpjpe_half"].isna().any():
        sentences.append("No row has two seeds, so the noise is not known and no order follows.")

    return "\n".join(sentences + _frames_tested(ran))


def _better_than_ours(ran: pd.DataFrame) -> list[str]:
    """Which systems have a lower error than the paper's network, by more than the noise."""
    for _, ours in ran[ran["system"].str.startswith(OURS)].iterrows():
        lower = ran[ran["mpjpe"] < ours["mpjpe"]]
        better = [
            _short(line["system"])
            for _, line in lower.iterrows()
            if not (math.isnan(line["mpjpe_half"]) or _indistinct(ours, line))
        ]
        if better:
            return [f"Below {OURS}, {_mm(ours)}, by more than that noise: {', '.join(better)}."]
    return []


def _frames_tested(ran: pd.DataFrame) -> list[str]:
    """What to say where rows were not tested on the same frames."""
    low, high = ran["n_frames"].min(), ran["n_frames"].max()
    few = [
        _short(line["system"])
        for _, line in ran.iterrows()
        if line["n_frames"] < MOST_FRAMES * high
    ]
    if few:
        return [
            f"Tested on as few as {low:,.0f} of {high:,.0f} frames, and so not to be compared: "
            f"{', '.join(few)}. Of a system that gives the centre frame the row needs "
            "data.test_stride: 1."
        ]
    if low == high:
        return []
    return [
        f"The frames tested are {low:,.0f} to {high:,.0f}: whole windows leave the tails of "
        "videos out, windows about each frame do not."
    ]


def _seeds(ran: pd.DataFrame) -> str:
    low, high = int(ran["seeds"].min()), int(ran["seeds"].max())
    return f"of {low} seed{'s' * (low > 1)} each" if low == high else f"of {low} to {high} seeds"


def _mm(line: Mapping[str, Any]) -> str:
    return f"{_with_half(line['mpjpe'], line['mpjpe_half'])} mm"


def _indistinct(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether the 95 % interval of the difference holds 0: of independent means, so the halves
    add as squares.
    """
    return abs(a["mpjpe"] - b["mpjpe"]) <= math.hypot(a["mpjpe_half"], b["mpjpe_half"])


def _short(label: str) -> str:
    """A system's name: what stands before the year or the first comma."""
    return label.split(" (")[0].split(",")[0].split(":")[0]
