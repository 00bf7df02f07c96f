"""A table by its name on the command line, whole: what the paper prints, then what was measured,
as the chapters show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.config import ConfigError
from m2v_lib.experiments.rows import groups
from m2v_lib.experiments.tables import tables as list_of_tables
from m2v_lib.results import tables
from m2v_lib.results.leaderboard.board import Cost, as_shown, leaderboard
from m2v_lib.results.per_action import curves_on_motion_capture, pretraining_curves
from m2v_lib.results.printed import printed_blocks
from m2v_lib.results.render import Block, blocks
from m2v_lib.runs.records import Record

if TYPE_CHECKING:
    import pandas as pd

#: What a system costs, by row: from the table's name and its settings.
Costs = Callable[[str, Mapping[str, Any]], dict[int, Cost]]

#: Groups that are ranked, with their costs beside.
_RANKED: Final = ("leaderboard", "leaderboard-own")
#: Its rows are curves.
_CURVES: Final = "figure6"


def suite_settings(name: str) -> dict[str, Any]:
    """DATA-PRESET-RECIPE as settings of `tables.build_table`. Raises ConfigError."""
    parts = name.rsplit("-", 2)
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"suite must be DATA-PRESET-RECIPE, got {name!r}")
    from m2v_lib.config import Experiment

    data, preset, recipe = parts
    Experiment.preset(preset, recipe=recipe)  # refuses an unknown one by name
    return {"data": data, "preset": preset, "recipe": recipe}


def named_table(
    name: str,
    records: Sequence[Record],
    costs: Costs,
    suite: Mapping[str, Any] | None = None,
) -> list[Block]:
    """The blocks of a table (`table5`, `figure6`, `leaderboard`) or of a group of rows
    (`teachers`): the print, then the runs among `records` on the paper's data and on motion
    capture; with `suite` those with its settings instead. Raises ConfigError.
    """
    by_name = {table.name: table for table in list_of_tables()}
    if name not in by_name and name not in groups():
        known = ", ".join(dict.fromkeys([*by_name, *groups()]))
        raise ConfigError(f"unknown table {name!r}; choose one of {known}")

    of_table = list(by_name[name].groups) if name in by_name else [name]
    found = printed_blocks(name)
    for group in of_table:
        if group == _CURVES:
            found += _curves(records, suite)
        else:
            frames = _frames(group, records, suite)
            shown = [block for frame in frames for block in _shown(frame, records, costs)]
            named = len(of_table) > 1 and group not in _RANKED
            found += [replace(b, title=f"{group}: {b.title}") if named else b for b in shown]

    return found


def _frames(
    group: str, records: Sequence[Record], suite: Mapping[str, Any] | None
) -> list[pd.DataFrame]:
    if suite is None:
        return tables.frames_that_ran(group, records)
    return [tables.build_table(group, records, **suite)]


def _shown(frame: pd.DataFrame, records: Sequence[Record], costs: Costs) -> list[Block]:
    about = frame.attrs
    if about["table"] not in _RANKED:
        return blocks(frame)

    settings = {key: about[key] for key in ("data", "preset", "recipe")}
    board = as_shown(leaderboard(frame, records, costs(about["table"], settings)))
    return [
        Block(
            f"{about['table']} on {about['data']}, preset {about['preset']}, recipe "
            f"{about['recipe']}: errors in mm, acceleration in mm a step of data.frame_step squared",
            ("row", *board.columns),
            [(str(row), *map(str, cells)) for row, *cells in board.itertuples()],
        )
    ]


def _curves(records: Sequence[Record], suite: Mapping[str, Any] | None) -> list[Block]:
    """Of each curve its ends: `metrics.jsonl` of the runs has all of it."""
    if suite is None:
        preset, curves = curves_on_motion_capture(_CURVES, records)
        where = f"mocap, preset {preset}"
    else:
        curves = pretraining_curves(_CURVES, records, **suite)
        where = f"{suite['data']}, preset {suite['preset']}, recipe {suite['recipe']}"

    lines: list[tuple[str, ...]] = [
        (label, f"{steps[-1]:.0f}", f"{values[0]:.4g}", f"{values[-1]:.4g}")
        for label, (steps, values) in curves.items()
    ]
    title = f"Losses of pre-training measured here on {where}"
    return [Block(title, ("experiment", "steps", "first logged loss", "last loss"), lines)]
