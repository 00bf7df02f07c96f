"""Tables of experiments: which runs a table asks for, and the runs that exist beside the numbers the paper prints.

A measured cell has one of the `STATES`; a difference to the paper appears only where data set, protocol, network and
full schedule are the paper's. Everything else stands in a block of its own.
"""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from m2v_lib import paper
from m2v_lib.experiments import Row as Row
from m2v_lib.experiments import rows as rows

if TYPE_CHECKING:
    import pandas as pd

    from m2v_lib.records import Record

#: What a cell of a table can be; `paper` is a published value, the others are measured here.
STATES = ("paper", "reproduced", "partial schedule", "mocap", "mocap, partial schedule", "synthetic", "not run")
#: What a run must have been for its number to be set against the paper's. The Human3.6M store writes this protocol.
PUBLISHED_DATA = "h36m"
PUBLISHED_PROTOCOL = "Human3.6M: S1 S5 S6 S7 S8 train, S9 S11 test, action-averaged, 2.5D frames"
PUBLISHED_PRESET = "base"

METRICS = {"mpjpe": "MPJPE", "p_mpjpe": "P-MPJPE"}


def cell_state(result: Mapping[str, Any]) -> str:
    """The state of one measured number from its run's `result.json`."""
    data = result["data"]["name"]
    if data == "synthetic":
        return "synthetic"
    if data != PUBLISHED_DATA:
        return "mocap, partial schedule" if result["schedule"]["partial"] else "mocap"
    return "reproduced" if not _departures(result) else "partial schedule"


def state_class(state: str) -> str:
    """The state as part of a CSS class."""
    return state.replace(", ", "-").replace(" ", "-")


def _departures(result: Mapping[str, Any]) -> list[str]:
    """What separates a run on the paper's data from the run that the paper reports."""
    departures = []
    if result["schedule"]["partial"]:
        departures.append("schedule not full")
    if result["preset"] != PUBLISHED_PRESET:
        departures.append(f"preset {result['preset']}")
    if result["data"]["protocol"] != PUBLISHED_PROTOCOL:
        departures.append("another protocol")
    if result["data"]["input_2d"] != "detected":
        departures.append("ground-truth 2D input")
    return departures


def build_table(
    table: str,
    records: Iterable[Record],
    *,
    data: str,
    preset: str,
    recipe: str = "paper",
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
) -> pd.DataFrame:
    """A table of experiments with the runs found among `records` (mm) and the paper's values.

    A run belongs to a row when its resolved settings have the row's digest, so a table never mixes schedules, data or
    overrides; `seeds` keeps only some of them. Columns: row, label, published_mpjpe, published_p_mpjpe, source, mpjpe,
    mpjpe_spread (sample standard deviation over seeds, nan for one), p_mpjpe, p_mpjpe_spread, n_seeds, state, data,
    schedule, by_seed ({seed: {metric: value}}), difference_mpjpe, difference_p_mpjpe, runs. Unknown numbers are nan.
    """
    import pandas as pd

    found = _by_digest_and_seed(records, seeds)
    asked = {"data": data, "preset": preset, "recipe": recipe, "overrides": overrides}
    lines = []
    for row in rows(table):
        exp = row.experiment(**asked)  # type: ignore[arg-type]
        lines.append(_line(row, preset, list(found.get(exp.digest("finetune"), {}).values())))
    frame = pd.DataFrame(lines)
    frame.attrs.update(table=table, data=data, preset=preset, recipe=recipe, notes=_notes(found, lines))
    return frame


def _by_digest_and_seed(records: Iterable[Record], seeds: Sequence[int] | None) -> dict[str, dict[int, Record]]:
    """Fine-tuning runs by settings and seed; of a run that is kept in two places the first counts."""
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        result = record.result
        if result.get("stage") == "finetune" and (seeds is None or result["seed"] in seeds):
            found.setdefault(result["digest"], {}).setdefault(result["seed"], record)
    return found


def _line(row: Row, preset: str, runs: Sequence[Record]) -> dict[str, Any]:
    line: dict[str, Any] = {"row": row.row, "label": row.label_at(preset)}
    for key, metric in METRICS.items():
        line[f"published_{key}"] = _published(row, metric)
    line["source"] = paper.cite(*row.published) if row.published else ""
    results = [run.result for run in runs]
    for key in METRICS:
        values = [float(result["test"][key]) for result in results]
        line[key] = statistics.fmean(values) if values else math.nan
        line[f"{key}_spread"] = statistics.stdev(values) if len(values) > 1 else math.nan
    states = {cell_state(result) for result in results}
    line["n_seeds"] = len(results)
    line["state"] = max(states, key=lambda state: "partial" in state, default="not run")
    line["data"] = results[0]["data"]["name"] if results else ""
    line["by_seed"] = {result["seed"]: {key: float(result["test"][key]) for key in METRICS} for result in results}
    line["schedule"] = "; ".join(sorted({_schedule(result) for result in results}))
    for key in METRICS:
        comparable = line["state"] == "reproduced"
        line[f"difference_{key}"] = line[key] - line[f"published_{key}"] if comparable else math.nan
    line["runs"] = tuple(run.path.name for run in runs)
    return line


def _published(row: Row, metric: str) -> float:
    if row.published is None:
        return math.nan
    value = paper.nth(row.published[0], row.published[1], metric)
    return math.nan if value is None else value


def _schedule(result: Mapping[str, Any]) -> str:
    """Steps, epochs of how many, and which epoch was taken, e.g. '60 steps (2.5 of 60 epochs), last epoch'."""
    schedule = result["schedule"]
    text = f"{schedule['steps']} steps ({schedule['epochs_done']:.3g} of {schedule['epochs_full']} epochs)"
    departures = _departures(result) if result["data"]["name"] == PUBLISHED_DATA else []
    return ", ".join([text, f"{result['selected']} epoch", *departures])


def _notes(found: Mapping[str, Mapping[int, Record]], lines: Sequence[Mapping[str, Any]]) -> list[str]:
    shown = {name for line in lines for name in line["runs"]}
    records = [run for runs in found.values() for run in runs.values() if run.path.name in shown]
    notes = []
    if len({run.result["data"]["fingerprint"] for run in records}) > 1:
        notes.append("The runs above used different builds of the data set; their rows are not comparable.")
    if len({run.result["selected"] for run in records}) > 1:
        notes.append("The runs above did not choose their epoch in the same way; see the schedule column.")
    return notes


@dataclass(frozen=True)
class _Block:
    """One table as text: what a page shows."""

    title: str
    columns: tuple[str, ...]
    lines: list[tuple[str, ...]]
    notes: tuple[str, ...] = ()


def _blocks(frame: pd.DataFrame) -> list[_Block]:
    """On the paper's data one table with differences; on other data two, so that nobody subtracts across them."""
    about = frame.attrs
    run_with = f"preset {about['preset']}, recipe {about['recipe']}"
    together = about["data"] == PUBLISHED_DATA
    lines = frame.to_dict("records")
    measured_columns = ("MPJPE (mm)", "P-MPJPE (mm)", "seeds", "state", "schedule")
    published_columns = ("paper MPJPE (mm)", "paper P-MPJPE (mm)")
    if together:
        columns = ("row", "experiment", *published_columns, *measured_columns, "difference (mm)", "source")
        both = [
            (*_names(line), *_paper_cells(line), *_measured_cells(line), _difference(line), line["source"])
            for line in lines
        ]
        return [_Block(f"Human3.6M, {run_with}, beside the paper", columns, both, tuple(about["notes"]))]
    measured = [(*_names(line), *_measured_cells(line)) for line in lines]
    published = [(*_names(line), *_paper_cells(line), "paper", line["source"]) for line in lines if line["source"]]
    return [
        _Block(
            f"Measured here on {about['data']} motion, {run_with}",
            ("row", "experiment", *measured_columns),
            measured,
            tuple(about["notes"]),
        ),
        _Block(
            "Published, on Human3.6M: other people, cameras and schedule, so not to be compared with the above",
            ("row", "experiment", *published_columns, "state", "source"),
            published,
        ),
    ]


def _names(line: Mapping[str, Any]) -> tuple[str, str]:
    return str(line["row"]), line["label"]


def _paper_cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_number(line[f"published_{key}"]) for key in METRICS)


def _measured_cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    values = []
    for key in METRICS:
        spread = line[f"{key}_spread"]
        values.append(_number(line[key]) + ("" if math.isnan(spread) else f" ± {spread:.1f}"))
    return *values, str(line["n_seeds"]), line["state"], line["schedule"]


def _difference(line: Mapping[str, Any]) -> str:
    values = [line[f"difference_{key}"] for key in METRICS]
    return "" if any(math.isnan(v) for v in values) else " / ".join(f"{v:+.1f}" for v in values)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def to_markdown(frame: pd.DataFrame) -> str:
    """A built table as Markdown, one or two tables with their titles."""
    parts = []
    for block in _blocks(frame):
        parts += [f"**{block.title}**", ""]
        parts += [f"| {' | '.join(block.columns)} |", f"|{'---|' * len(block.columns)}"]
        parts += [f"| {' | '.join(line)} |" for line in block.lines]
        parts += ["", *(f"{note}\n" for note in block.notes)]
    return "\n".join(parts).rstrip() + "\n"


def to_html(frame: pd.DataFrame) -> str:
    """A built table as HTML without ids or scripts; a row's class is its state, e.g. `m2v-not-run`."""
    return "\n".join(_html(block) for block in _blocks(frame))


def _html(block: _Block) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in block.columns)
    state_at = block.columns.index("state")
    body = []
    for line in block.lines:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in line)
        body.append(f'<tr class="m2v-{state_class(line[state_at])}">{cells}</tr>')
    lines = [
        f'<table class="m2v-table">\n<caption>{html.escape(block.title)}</caption>',
        f"<thead><tr>{head}</tr></thead>\n<tbody>",
        *body,
        "</tbody>\n</table>",
        *(f"<p>{html.escape(note)}</p>" for note in block.notes),
    ]
    return "\n".join(lines)


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
