"""Parts of `RESULTS.md`: how a preset trains by measurement, and the open leaderboard."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from m2v_lib.config import Experiment
from m2v_lib.config.models import DUAL_STREAM
from m2v_lib.experiments.queue.sweeps import read_cost, sweep_items, sweep_names, sweep_table
from m2v_lib.results import tables
from m2v_lib.results.effects import pooled_noise, two_seed_range
from m2v_lib.results.leaderboard.board import Cost, as_shown, leaderboard
from m2v_lib.results.leaderboard.words import conclusions
from m2v_lib.runs.records import RANGE_TESTS, Record

if TYPE_CHECKING:
    import pandas as pd

_SWEEPS_HEAD = """\
## How a preset trains, by measurement

Each choice alone, judged on validation subjects. CPU minutes are the steps times a step's seconds on
one core (`m2v queue --sweep NAME --cost`); where the runs were made, their records say.
"""

_RANGE_HEAD = """\
### Learning-rate range tests

One short run each whose rate rises at every step (`m2v range-test`): where the loss, a mean over 21
steps, falls fastest, where it is lowest, and where training diverges. The rate of a whole schedule is
to be found by the runs above; this is where to look.

| preset | stage | optimiser | seed | falls fastest at | lowest at | diverges at | record |
|---|---|---|--:|--:|--:|--:|---|"""

_BOARD_HEAD = """\
## Open leaderboard

All systems under one protocol, at sizes that cost about the same a frame (`docs/leaderboard_sizes.md`);
chapter 63 has costs and pictures. Rows that have not run are left out; ± is half the 95 % interval by
the noise between seeds that all rows share, which says nothing of other people. MPJPE is the mean of
actions, as is usual, and beside it that of frames; acceleration is its error in mm a step squared, a
step being three frames, of the runs whose motion was measured so. The recipe for all was chosen on the
validation subjects for the dual stream alone, which favours it. It moves matrices by Muon and kernels
of convolutions by AdamW: all of some networks, nothing of GLA-GCN, SRNet and VideoPose3D.
"""

#: Groups of the leaderboard and what they are called.
BOARDS = {
    "leaderboard": "One recipe for all",
    "leaderboard-own": "Each by its authors' recipe, at the preset's batch and schedule",
}


def sweeps(records: Sequence[Record], folder: Path) -> str:
    """A table for each sweep of which runs are kept, and how much of it may be noise."""
    parts, presets = [], set[str]()
    for name in sweep_names():
        if table := sweep_table(name, records, cost=read_cost(name, folder)):
            parts.append(f"### {name}\n\n{table}\n")
            presets.add(sweep_items(name)[0].exp.preset_name)
    noise = [told_apart(records, preset) for preset in sorted(presets)]
    return "\n".join([_SWEEPS_HEAD, *filter(None, noise), *parts]) if parts else ""


def told_apart(records: Sequence[Record], preset: str) -> str:
    """From where on validation errors of a preset's networks, one seed each, are told apart."""
    by_settings: dict[str, list[float]] = {}
    for record in records:
        if record.result.get("preset") == preset and _is_whole(record):
            errors = by_settings.setdefault(record.result["digest"], [])
            errors.append(record.result["val"]["mpjpe"])

    noise = pooled_noise(by_settings.values())
    if not noise.freedom:
        return f"No network of `{preset}` ran with two seeds: what of a difference is noise is unknown.\n"
    return (
        f"Between seeds of one network of `{preset}` validation errors have a standard deviation of "
        f"{noise.sd:.1f} mm\n({noise.freedom} degrees of freedom): two lines of one seed each that are "
        f"less than {two_seed_range(noise):.1f} mm apart may be alike.\n"
    )


def _is_whole(record: Record) -> bool:
    """Whether it is the paper's network on motion capture, with all labels, and was validated."""
    exp = Experiment.from_dict(record.config)
    return (
        record.result["stage"] == "finetune"
        and bool(record.result.get("val"))
        and (exp.model.name, exp.data.name, exp.recipe) == (DUAL_STREAM, "mocap", "paper")
        and (exp.data.label_fraction, exp.data.label_subjects) == (1.0, 0)
    )


def range_tests(folder: Path) -> str:
    """What the learning-rate range tests found, a line each."""
    paths = sorted((folder / RANGE_TESTS).glob("*.json"))
    tests = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    lines = []
    for path, test in zip(paths, tests, strict=True):
        exp = Experiment.from_dict(test["experiment"])
        rates = [f"{test[key]:.2g}" for key in ("falls_fastest_at", "lowest_at", "last_rate")]
        end = rates[2] if test["diverged"] else f"not up to {rates[2]}"
        link = f"[{path.stem.split('-')[-2]}](reports/records/{RANGE_TESTS}/{path.name})"
        about = [f"`{exp.preset_name}`", test["stage"], exp.optim.algorithm, str(exp.run.seed)]
        lines.append(f"| {' | '.join([*about, rates[0], rates[1], end, link])} |")

    return "\n".join([_RANGE_HEAD, *lines, ""]) if lines else ""


def boards(records: Sequence[Record]) -> str:
    """The leaderboard by each recipe of which runs are kept."""
    parts = []
    for group, title in BOARDS.items():
        frame = tables.on_motion_capture(group, records)
        if frame["n_seeds"].any():
            parts.append(f"### {title}\n\n{_board(frame, records)}\n")
    return "\n".join([_BOARD_HEAD, *parts]) if parts else ""


def _board(frame: pd.DataFrame, records: Sequence[Record]) -> str:
    by_name = {record.name: record.result for record in records}
    costs = {
        line["row"]: Cost(by_name[line["runs"][0]]["n_parameters"] if line["runs"] else 0, math.nan)
        for _, line in frame.iterrows()
    }
    board = leaderboard(frame, records, costs)
    shown = as_shown(board)[board["seeds"] > 0].drop(columns=["state", "M MACs a frame"])

    lines = [f"| {' | '.join(shown.columns)} |", "|---" + "|--:" * (len(shown.columns) - 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in shown.itertuples(index=False)]
    return "\n".join([*lines, "", conclusions(board)])
