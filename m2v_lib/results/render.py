"""A built table as Markdown and HTML: published and measured side by side only on the paper's
own data set.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from m2v_lib.results.cell_states import Measure, measure_of, state_class

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Block:
    """One table as text: what a page shows."""

    title: str
    columns: tuple[str, ...]
    lines: list[tuple[str, ...]]
    runs: Sequence[tuple[str, ...]] = ()
    measured: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


TITLES = {"h36m": "Human3.6M", "mpi_inf_3dhp": "MPI-INF-3DHP", "ntu60": "NTU RGB+D 60"}


def blocks(frame: pd.DataFrame) -> list[Block]:
    """A built table as one or two tables of text: on the paper's data one table with differences; on
    other data two, so that nobody subtracts across them.
    """
    about, measure = frame.attrs, measure_of(frame.attrs["table"])
    run_with = f"preset {about['preset']}, recipe {about['recipe']}"
    lines = frame.to_dict("records")
    names = [name for _, name in measure.metrics.values()]
    measured_columns = (*names, "seeds", "state", "schedule")
    published_columns = tuple(f"paper {name}" for name in names)
    runs = [tuple(line["runs"]) for line in lines]

    if about["data"] == measure.data:
        columns = (
            "row",
            "experiment",
            *published_columns,
            *measured_columns,
            "difference",
            "source",
        )
        both = [
            (
                *_names(line),
                *_paper_cells(line, measure),
                *_measured_cells(line, measure),
                _difference(line, measure),
                line["source"],
            )
            for line in lines
        ]
        return [
            Block(
                f"{TITLES[measure.data]}, {run_with}, beside the paper",
                columns,
                both,
                runs,
                tuple(names),
                tuple(about["notes"]),
            )
        ]

    measured = [(*_names(line), *_measured_cells(line, measure)) for line in lines]
    published = [
        (
            str(line["row"]),
            line["published_label"],
            *_paper_cells(line, measure),
            "paper",
            line["source"],
        )
        for line in lines
        if line["source"]
    ]
    return [
        Block(
            f"Measured here on {about['data']} motion, {run_with}",
            ("row", "experiment", *measured_columns),
            measured,
            runs,
            tuple(names),
            tuple(about["notes"]),
        ),
        Block(
            f"Published, on {TITLES[measure.data]}: other people, cameras and schedule, so not to "
            "be compared with the "
            "above",
            ("row", "experiment", *published_columns, "state", "source"),
            published,
            [() for _ in published],
        ),
    ]


def _names(line: Mapping[str, Any]) -> tuple[str, str]:
    return str(line["row"]), line["label"]


def _paper_cells(line: Mapping[str, Any], measure: Measure) -> tuple[str, ...]:
    return tuple(_number(line[f"published_{key}"]) for key in measure.metrics)


def _measured_cells(line: Mapping[str, Any], measure: Measure) -> tuple[str, ...]:
    values = []
    for key in measure.metrics:
        spread = line[f"{key}_spread"]
        values.append(_number(line[key]) + ("" if math.isnan(spread) else f" ± {spread:.1f}"))
    return *values, str(line["n_seeds"]), line["state"], line["schedule"]


def _difference(line: Mapping[str, Any], measure: Measure) -> str:
    values = [line[f"difference_{key}"] for key in measure.metrics]
    return "" if any(math.isnan(v) for v in values) else " / ".join(f"{v:+.1f}" for v in values)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def to_markdown(frame: pd.DataFrame) -> str:
    """A built table as Markdown, one or two tables with their titles."""
    return blocks_to_markdown(blocks(frame))


def blocks_to_markdown(blocks: Iterable[Block]) -> str:
    """Each block as a Markdown table under its title."""
    parts = []
    for block in blocks:
        parts += [f"**{block.title}**", ""]
        parts += [f"| {' | '.join(block.columns)} |", f"|{'---|' * len(block.columns)}"]
        parts += [f"| {' | '.join(line)} |" for line in block.lines]
        parts += ["", *(f"{note}\n" for note in block.notes)]
    return "\n".join(parts).rstrip() + "\n"


def to_html(frame: pd.DataFrame) -> str:
    """A built table as HTML without ids or scripts; a row's class is its state, e.g.
    `m2v-not-run`, and `data-runs` names the runs behind it.
    """
    return "\n".join(_html(block) for block in blocks(frame))


def _html(block: Block) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in block.columns)
    state_at = block.columns.index("state")
    kinds = {**dict.fromkeys(block.measured, "m2v-measured"), "seeds": "m2v-seeds"}

    body = []
    for line, runs in zip(block.lines, block.runs, strict=True):
        marks = [kinds.get(column, "") if runs else "" for column in block.columns]
        cells = "".join(map(_html_cell, line, marks))
        of_runs = f' data-runs="{html.escape(" ".join(runs))}"' if runs else ""
        body.append(f'<tr class="m2v-{state_class(line[state_at])}"{of_runs}>{cells}</tr>')

    lines = [
        f'<table class="m2v-table">\n<caption>{html.escape(block.title)}</caption>',
        f"<thead><tr>{head}</tr></thead>\n<tbody>",
        *body,
        "</tbody>\n</table>",
        *(f"<p>{html.escape(note)}</p>" for note in block.notes),
    ]
    return "\n".join(lines)


def _html_cell(text: str, mark: str) -> str:
    kind = f' class="{mark}"' if mark else ""
    return f"<td{kind}>{html.escape(text)}</td>"


@dataclass(frozen=True)
class Shown:
    """A built table as the last value of a notebook cell."""

    frame: pd.DataFrame

    def _repr_html_(self) -> str:
        return to_html(self.frame)

    def _repr_markdown_(self) -> str:
        return to_markdown(self.frame)

    def __repr__(self) -> str:
        return f"{self.frame.attrs['table']}: {len(self.frame)} rows"


def show(frame: pd.DataFrame) -> Shown:
    """Show a built table in a notebook."""
    return Shown(frame)
