"""The front page's tables at a glance and its findings, and the page that shows every table in
full.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from m2v_lib.experiments.queue import budget
from m2v_lib.experiments.rows import rows
from m2v_lib.experiments.tables import Table
from m2v_lib.experiments.tables import tables as list_of_tables
from m2v_lib.report.pages import badge, cell_badge, with_badges
from m2v_lib.report.results_page import pretraining_effects
from m2v_lib.results import paper, tables
from m2v_lib.results.cell_states import measure_of
from m2v_lib.results.per_action import pretraining_curves
from m2v_lib.runs.records import Record


def at_a_glance(
    settings: Mapping[str, Any], chapters: Iterable[str], records: Sequence[Record]
) -> str:
    """A line a table: its chapter, and how many rows are in which state on the paper's data, on
    motion capture and, where that is neither, with the settings of the suite.
    """
    known = set(chapters)
    asked = {
        key: settings[key]
        for key in ("data", "preset", "recipe", "overrides", "seeds")
        if key in settings
    }
    own = asked.get("data") not in (None, "mocap", "h36m", "mpi_inf_3dhp", "ntu60")
    head = [
        "table",
        "what it asks",
        "on the paper's data",
        "on motion capture",
        *(["in this suite"] if own else []),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for table in list_of_tables():
        title = _link(table.title, table.chapter, known)
        cells = [title, table.asks]
        if not table.groups:
            lines.append(
                f"| {' | '.join([*cells, badge('counted here', 'reproduced'), *[''] * (len(head) - 3)])} |"
            )
            continue
        cells += [_states(table, records, "paper"), _states(table, records, "mocap")]
        lines.append(
            f"| {' | '.join([*cells, *([_states(table, records, asked)] if own else [])])} |"
        )
    return "\n".join([*lines, ""])


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
        about = [
            (
                p,
                len(
                    pretraining_curves(
                        "figure6", records, data="mocap", preset=p, overrides=budget(p, "figure6")
                    )
                ),
            )
            for p in tables.MOCAP_PRESETS
        ]
        preset, n = next((found for found in about if found[1]), ("small", 0))
        state = "mocap" if preset == "base" else "mocap, partial schedule"
    return [state] * n + ["not run"] * (every - n)


#: (chapter, heading under which the cell stands)
FINDINGS = {
    "teacher": ("59_paper_vs_code", "Stage 1, rerun: teacher and targets"),
    "masks": ("55_table5", "How much of it can be $P$ and $K$?"),
    "macs": ("52_table3", "Beside the print"),
    "gt": ("50_table1", "Averages recomputed"),
    "question": ("58_table8", "On real motion"),
}


def findings(chapters: Iterable[str], records: Sequence[Record]) -> str:
    """The five findings a reader should know, each with the link to what shows it."""
    known = set(chapters)
    question = tables.on_motion_capture("label-scarcity", records)
    spread = [
        line["value"]
        for line in paper.table("table5")
        if line["metric"] == "MPJPE" and line["M"] == 3
    ]
    base, other, large = (
        paper.value("table3", method=name, metric="MACs(G)")
        for name in ("Ours-B", "MotionAGFormer-B", "Ours-L")
    )

    texts = {
        "teacher": "In the released code the teacher never moves, and its target is the network's "
        "own input embedding: pre-training there fills in masked coordinates.",
        "masks": "There the mask ratio P and the number of target blocks K change nothing, yet "
        f"Table V has such rows {max(spread) - min(spread):.1f} mm apart; the gain claimed for "
        f"pre-training is {paper.said('stage1-mpjpe', 'gain')} mm, from one run of each.",
        "macs": f"The {base} G and {other} G of Table III are one network under two counters, and "
        f"{large} G for the large one is impossible.",
        "gt": "The averages printed for ground-truth 2D do not follow from the actions printed "
        "beside them.",
        "question": f"On motion capture (preset {question.attrs['preset']}), pre-training changes "
        "the error of training from scratch as follows; the released code also reads the test "
        "subjects' 2D.",
    }
    items = [
        f"{i}. {text} {_shown(*FINDINGS[key], known)}"
        for i, (key, text) in enumerate(texts.items(), 1)
    ]
    return "\n".join([*items, "", pretraining_effects(question)])


def _shown(chapter: str, heading: str, known: set[str]) -> str:
    return (
        f"({_link('shown here', chapter, known, slug(heading))})"
        if chapter in known
        else f"(chapter {chapter})"
    )


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub and myst make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def _link(text: str, chapter: str, known: set[str], anchor: str = "") -> str:
    return (
        f"[{text}]({chapter}.ipynb{'#' + anchor if anchor else ''})" if chapter in known else text
    )


def tables_page(records: Sequence[Record]) -> str:
    """Every table of experiments in full, from the records alone: on the paper's data where a
    run is there, and on motion capture.
    """
    parts = [
        "# All tables\n",
        "Built from the run records; a difference to the paper appears where data set, "
        "protocol, network and full schedule are the paper's.\n",
    ]
    for table in list_of_tables():
        for group in table.groups:
            if group == "figure6":
                continue
            parts.append(
                f"## {table.title}: {table.asks}{', ground-truth 2D' if group.endswith('-gt') else ''}\n"
            )
            on_paper = tables.build_table(
                group, records, data=measure_of(group).data, preset="base"
            )
            parts += [with_badges(on_paper)] if on_paper["n_seeds"].any() else []
            parts.append(with_badges(tables.on_motion_capture(group, records)))
    return "\n".join(parts)
