"""The open leaderboard: all systems under one protocol, their errors beside their costs, from run
records and counts alone.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.results.effects import SIGNIFICANCE, SeedNoise, pooled_noise
from m2v_lib.results.leaderboard.over_recordings import compare_over_recordings

if TYPE_CHECKING:
    import pandas as pd

    from m2v_lib.runs.records import Record

#: What the label of the paper's own row begins with.
OURS: Final = "Motion2vec's network"
METRICS: Final = {
    "mpjpe": "MPJPE",
    "frame_mean_mpjpe": "MPJPE over frames",
    "p_mpjpe": "P-MPJPE",
    "accel": "acceleration",
}
#: The two averages of MPJPE, over actions and over frames, and where a board has the ridge
#: regression's, on the same frames.
FLOORS: Final = {"mpjpe": "floor", "frame_mean_mpjpe": "frame_mean_floor"}


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
    has two), n_frames tested, floor and frame_mean_floor (ridge regression's MPJPE on the same
    frames), apart (over recordings, from the paper's network: `compare_over_recordings`), devices
    (how many runs by name), epochs (of recipe `own`, the share of its authors'), parameters and
    macs_per_frame. Errors are in mm, acceleration in mm a step of `data.frame_step` squared.
    """
    import pandas as pd

    results = {record.path.name: record.result for record in records}
    runs = [[results[name] for name in names] for names in frame["runs"]]
    noise = {key: pooled_noise([_values(of_row, key) for of_row in runs]) for key in METRICS}
    over_frames = noise["frame_mean_mpjpe"]
    of_line = list(zip(frame.to_dict("records"), runs, strict=True))
    ours = [of_row for line, of_row in of_line if line["label"].startswith(OURS)]
    lines = [
        _line(line, of_row, costs[line["row"]], noise)
        | {"apart": compare_over_recordings(of_row, ours[0], over_frames) if ours else None}
        for line, of_row in of_line
    ]

    board = pd.DataFrame(lines, index=pd.Index(frame["row"], name="row"))
    return board.sort_values("mpjpe", kind="stable")


def _line(
    line: Mapping[Any, Any],
    results: Sequence[Mapping[str, Any]],
    cost: Cost,
    noise: Mapping[str, SeedNoise],
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "system": line["label"],
        "state": line["state"],
        "seeds": len(results),
    }
    for key in METRICS:
        found[key], found[f"{key}_half"] = mean_and_half(_values(results, key), noise[key])

    for key, floor in FLOORS.items():
        of_ridge = [result["baselines"]["ridge"][key] for result in results]
        found[floor] = statistics.fmean(of_ridge) if of_ridge else math.nan

    return found | {
        "n_frames": results[0]["test"]["n_frames"] if results else math.nan,
        "devices": Counter(result["device"] for result in results),
        "epochs": _share_of_own_epochs(results),
        "parameters": cost.parameters,
        "macs_per_frame": cost.macs_per_frame,
    }


def _values(results: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """A metric of the runs that have it: some were measured without motion."""
    return [result["test"][key] for result in results if key in result["test"]]


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
        columns[name] = [with_half(mean, half) for mean, half in pairs]

    columns["ridge's MPJPE"] = [with_half(floor, math.nan) for floor in board["floor"]]
    columns["parameters (k)"] = [f"{n / 1e3:,.0f}" for n in board["parameters"]]
    columns["M MACs a frame"] = [f"{n / 1e6:.2f}" for n in board["macs_per_frame"]]

    return pd.DataFrame(columns, index=board.index)


def with_half(mean: float, half: float) -> str:
    if math.isnan(mean):
        return "-"
    return f"{mean:.1f}" if math.isnan(half) else f"{mean:.1f} ± {half:.1f}"
