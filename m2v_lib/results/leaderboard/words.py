"""What follows from the leaderboard, and what does not, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.results.leaderboard.board import FLOORS, OURS, with_half

if TYPE_CHECKING:
    import pandas as pd

#: The share of their authors' epochs below which rows say so.
SHORT: Final = 0.5
#: The share of the most frames tested that every row should reach: tails of videos are less.
MOST_FRAMES: Final = 0.8


def conclusions(board: pd.DataFrame) -> str:
    """What follows from the leaderboard, and what does not, in sentences."""
    ran = board[board["seeds"] > 0]
    if ran.empty:
        return f"None of the {len(board)} rows has been run under these settings."

    lines = [line for _, line in ran.iterrows()]
    sentences = [f"{len(ran)} of {len(board)} rows have runs, {_seeds(ran)}, {_devices(ran)}."]

    best = lines[0]
    sentences.append(f"The lowest MPJPE is that of {_short(best['system'])}, {_mm(best)}.")
    known = [line for line in lines[1:] if not math.isnan(line["mpjpe_half"])]
    if near := _names(line for line in known if _indistinct(best, line)):
        sentences.append(f"By the noise between seeds it may as well be {near}.")
    sentences += _better_than_ours(lines)

    above = _names(line for line in lines if line["mpjpe"] > line["floor"])
    floor = f"ridge regression's {_range(ran['floor'])} mm"
    sentences.append(
        f"Above {floor}, and so not trained to any use: {above}."
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


def _better_than_ours(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which systems have a lower error than the paper's network, by more than the noise; of which
    that holds by one average only; and what the test recordings say.
    """
    ours = next((line for line in lines if line["system"].startswith(OURS)), None)
    if ours is None:
        return []

    lower = [line for line in lines if _is_lower(line, ours, "mpjpe")]
    by_both = [line for line in lower if _is_lower(line, ours, "frame_mean_mpjpe")]
    by_one = [line for line in lower if not _is_lower(line, ours, "frame_mean_mpjpe")]

    sentences = []
    if by_both:
        sentences.append(f"Below {OURS}, {_mm(ours)}, by more than that noise: {_names(by_both)}.")
    if by_one:
        sentences.append(
            f"By the mean over actions, not by that over frames, also below {OURS}, {_mm(ours)}: "
            f"{_names(by_one)}."
        )
    return sentences + _over_recordings(lower)


def _over_recordings(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    known = [(line, line["apart"]) for line in lines if line["apart"] is not None]
    found = [
        f"{_short(line['system'])} {apart.mean:+.1f} mm ({apart.low:+.1f} to {apart.high:+.1f}; "
        f"{apart.n} {'seed' if apart.n == 1 else 'seeds'})"
        for line, apart in known
    ]
    if not found:
        return []
    return [
        "Over frames, with other test recordings of these people as well as other seeds, they are "
        f"from it: {', '.join(found)} (95 %; of the seeds whose errors by recording are kept)."
    ]


def _frames_tested(ran: pd.DataFrame) -> list[str]:
    """What to say where rows were not tested on the same frames."""
    low, high = ran["n_frames"].min(), ran["n_frames"].max()
    few = _names(line for _, line in ran.iterrows() if line["n_frames"] < MOST_FRAMES * high)
    if few:
        return [
            f"Tested on as few as {low:,.0f} of {high:,.0f} frames, and so not to be compared: "
            f"{few}. Of a system that gives the centre frame the row needs data.test_stride: 1."
        ]
    if low == high:
        return []
    return [
        f"The frames tested are {low:,.0f} to {high:,.0f}: whole windows leave the tails of "
        f"videos out, windows about each frame do not. Ridge regression is at {_range(ran['floor'])} "
        "mm on them, so what is said above of two systems is said of their distances from it."
    ]


def _is_lower(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> bool:
    return _gap(a, b, key) < 0 and not _indistinct(a, b, key)


def _gap(a: Mapping[str, Any], b: Mapping[str, Any], key: str = "mpjpe") -> float:
    """By how much a's error is higher than b's, each against ridge regression on the frames it was
    tested on.
    """
    floor = FLOORS[key]
    return float((a[key] - a[floor]) - (b[key] - b[floor]))


def _indistinct(a: Mapping[str, Any], b: Mapping[str, Any], key: str = "mpjpe") -> bool:
    """Whether the 95 % interval of the difference holds 0: of independent means, so the halves
    add as squares. Where the noise is not known nothing is told apart.
    """
    half = math.hypot(a[f"{key}_half"], b[f"{key}_half"])
    return math.isnan(half) or abs(_gap(a, b, key)) <= half


def _names(lines: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(_short(line["system"]) for line in lines)


def _seeds(ran: pd.DataFrame) -> str:
    low, high = int(ran["seeds"].min()), int(ran["seeds"].max())
    return f"of {low} seed{'s' * (low > 1)} each" if low == high else f"of {low} to {high} seeds"


def _devices(ran: pd.DataFrame) -> str:
    total = sum(ran["devices"], Counter[str]())
    return " and ".join(f"{n} on {device}" for device, n in sorted(total.items()))


def _range(values: pd.Series[float]) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"


def _mm(line: Mapping[str, Any]) -> str:
    return f"{with_half(line['mpjpe'], line['mpjpe_half'])} mm"


def _short(label: str) -> str:
    """A system's name: what stands before the year or the first comma."""
    return label.split(" (")[0].split(",")[0].split(":")[0]
