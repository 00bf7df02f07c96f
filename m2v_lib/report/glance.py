"""The tables at a glance, for the front page, and the page that shows every table in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from m2v_lib.experiments.rows import rows
from m2v_lib.experiments.tables import Table
from m2v_lib.experiments.tables import tables as list_of_tables
from m2v_lib.report.badges import badge, cell_badge, with_badges
from m2v_lib.results import tables
from m2v_lib.results.cell_states import measure_of
from m2v_lib.results.per_action import curves_on_motion_capture, pretraining_curves
from m2v_lib.runs.records import Record


def at_a_glance(
    settings: Mapping[str, Any], chapters: Iterable[str], records: Sequence[Record]
) -> str:
    """A line a table: its chapter, and how many rows are in which state on the paper's data, on
    motion capture and, where that is neither, with the settings of the suite.
    """
    known = set(chapters)
    own = _own_settings(settings)
    head = [
        "table",
        "what it asks",
        "on the paper's data",
        "on motion capture",
        *(["in this suite"] if own else []),
    ]
    lines = [_row(head), "|" + "---|" * len(head)]

    for table in list_of_tables():
        cells = [_link(table.title, table.chapter, known), table.asks]

        if not table.groups:
            cells.append(badge("counted here", "reproduced"))
            lines.append(_row(cells + [""] * (len(head) - len(cells))))
            continue

        cells += [_states(table, records, "paper"), _states(table, records, "mocap")]
        if own:
            cells.append(_states(table, records, own))
        lines.append(_row(cells))

    return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _states(table: Table, records: Sequence[Record], where: str | Mapping[str, Any]) -> str:
    """Badges with the number of rows in each state."""
    found: Counter[str] = Counter()
    for group in table.groups:
        found.update(_row_states(group, records, where))
    order = sorted(found, key=tables.STATES.index)
    return " ".join(f"{found[state]} {cell_badge(state)}" for state in order)


def _row_states(group: str, records: Sequence[Record], where: str | Mapping[str, Any]) -> list[str]:
    if group == "figure6":
        return _curve_states(records, where)
    if where == "paper":
        return list(
            tables.build_table(group, records, data=measure_of(group).data, preset="base")["state"]
        )
    if where == "mocap":
        return list(tables.on_motion_capture(group, records)["state"])

    return list(tables.build_table(group, records, **where)["state"])  # type: ignore[arg-type]


def _curve_states(records: Sequence[Record], where: str | Mapping[str, Any]) -> list[str]:
    """The states of Figure 6: a curve has no number to reproduce, so on the paper's data it is
    at most partial.
    """
    every = len(rows("figure6"))
    if isinstance(where, Mapping):
        n, state = len(pretraining_curves("figure6", records, **where)), "synthetic"
    elif where == "paper":
        n, state = (
            len(pretraining_curves("figure6", records, data="h36m", preset="base")),
            "partial schedule",
        )
    else:
        preset, curves = curves_on_motion_capture("figure6", records)
        n = len(curves)
        state = "mocap" if preset == "base" else "mocap, partial schedule"

    return [state] * n + ["not run"] * (every - n)


def _link(text: str, chapter: str, known: set[str]) -> str:
    return f"[{text}]({chapter}.ipynb)" if chapter in known else text


def tables_page(records: Sequence[Record], settings: Mapping[str, Any] | None = None) -> str:
    """Every table of experiments in full: on the paper's data where a run is there, on motion
    capture, and with a suite's own settings where those are another data set. Measured cells
    lead to their runs.
    """
    parts = [
        "# All tables\n",
        "Built from the run records; a difference to the paper appears where data set, "
        "protocol, network and full schedule are the paper's. A measured number links to its "
        "run.\n",
    ]
    names = {record.name for record in records}
    for table in list_of_tables():
        for group in table.groups:
            if group == "figure6":
                continue

            input_2d = ", ground-truth 2D" if group.endswith("-gt") else ""
            parts.append(f"## {table.title}: {table.asks}{input_2d}\n")
            own = _own_settings(settings or {})
            frames = tables.frames_that_ran(group, records, own)
            parts += [with_badges(frame, names) for frame in frames]

    return "\n".join(parts)


def _own_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's settings as `build_table` takes them, where its data is neither the paper's nor
    motion capture; else empty.
    """
    if settings.get("data") in (None, "mocap", "h36m", "mpi_inf_3dhp", "ntu60"):
        return {}
    return {
        key: settings[key]
        for key in ("data", "preset", "recipe", "overrides", "seeds")
        if key in settings
    }
