"""Tables of experiments: which runs a table asks for, and the runs that exist beside the numbers
the paper prints.

A measured cell has one of the `STATES`; a difference to the paper appears only where data set,
protocol, network and full schedule are the paper's. Everything else stands in a block of its
own.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from m2v_lib.experiments.queue import budget
from m2v_lib.experiments.rows import Row as Row
from m2v_lib.experiments.rows import rows as rows
from m2v_lib.results import paper
from m2v_lib.results.cell_states import PUBLISHED_PROTOCOL as PUBLISHED_PROTOCOL
from m2v_lib.results.cell_states import STATES as STATES
from m2v_lib.results.cell_states import Measure, measure_of
from m2v_lib.results.cell_states import cell_state as cell_state
from m2v_lib.results.cell_states import state_class as state_class
from m2v_lib.results.render import show as show
from m2v_lib.results.render import to_html as to_html
from m2v_lib.results.render import to_markdown as to_markdown

if TYPE_CHECKING:
    import pandas as pd

    from m2v_lib.runs.records import Record


#: Presets of the run plan on motion capture: the paper's networks, one that ends, one that begins.
MOCAP_PRESETS = ("base", "compact", "small")
#: Tables whose rows are one kind of network: what they tell of the noise between seeds is pooled.
ONE_NETWORK = ("label-scarcity", "table5", "table6", "table7", "table8")


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
    """A table of experiments with the runs found among `records` and the paper's values.

    A run belongs to a row when its resolved settings have the row's digest, so a table never
    mixes schedules, data or overrides; `seeds` keeps only some of them. Columns: row, label
    (what is run here), published_label (what stands in print), source, n_seeds, state, data,
    schedule, by_seed ({seed: {metric: value}}), runs, kind (steps and choice of the epoch) and, for
    each metric of the table's measure such as mpjpe, published_mpjpe, mpjpe, mpjpe_spread (sample
    standard deviation over seeds, nan for one) and difference_mpjpe. Unknown numbers are nan.
    """
    import pandas as pd

    measure = measure_of(table)
    found = by_digest_and_seed(records, measure.stage, seeds)
    settings = {"data": data, "preset": preset, "recipe": recipe, "overrides": overrides}

    lines = []
    for row in rows(table):
        exp = row.experiment(**settings)  # type: ignore[arg-type]
        runs = list(found.get(exp.digest(measure.stage), {}).values())
        labels = {"label": row.label_at(preset), "published_label": row.label}
        lines.append({"row": row.row, **labels, **_line(row, measure, runs)})

    frame = pd.DataFrame(lines)
    frame.attrs.update(
        table=table, data=data, preset=preset, recipe=recipe, notes=_notes(found, lines)
    )

    return frame


def on_motion_capture(
    table: str, records: Iterable[Record], preset: str | None = None
) -> pd.DataFrame:
    """The table's runs on motion capture as the run plan makes them, of one preset, for runs to
    their end and starts are never mixed: the first of MOCAP_PRESETS (the longest trained come
    first) of which more than half as many rows ran as of any, or the one given, as beside
    another table: presets differ in noise.

    Frame and columns as `build_table`. The frame of a table of `ONE_NETWORK` brings the runs that
    tell its noise, ``attrs["alike"]``: of every row of these tables under the preset that was
    trained as long, the epoch chosen alike.
    """
    records = list(records)
    frames = [_planned(table, records, name) for name in ([preset] if preset else MOCAP_PRESETS)]
    n_run = [int((frame["n_seeds"] > 0).sum()) for frame in frames]
    enough = [frame for frame, n in zip(frames, n_run, strict=True) if 2 * n > max(n_run)]
    frame = enough[0] if enough else frames[-1]

    if table in ONE_NETWORK:
        others = [_planned(name, records, frame.attrs["preset"]) for name in ONE_NETWORK]
        frame.attrs["alike"] = _alike(frame, others)
    return frame


def _planned(table: str, records: Sequence[Record], preset: str) -> pd.DataFrame:
    return build_table(table, records, data="mocap", preset=preset, overrides=budget(preset, table))


def _alike(frame: pd.DataFrame, others: Sequence[pd.DataFrame]) -> list[dict[int, Any]]:
    """The seeds of every row of `others` of the frame's commonest kind; a row that stands in
    several tables once.
    """
    kinds = Counter(kind for kind in frame["kind"] if kind)
    if not kinds:
        return []
    (kind, _), *_ = kinds.most_common(1)
    lines = [line for other in others for line in other.to_dict("records")]
    return list({line["runs"]: line["by_seed"] for line in lines if line["kind"] == kind}.values())


def frames_that_ran(
    table: str, records: Iterable[Record], suite: Mapping[str, Any] | None = None
) -> list[pd.DataFrame]:
    """The table on the paper's data if it ran there, on motion capture, and with the settings of a
    suite (as `build_table` takes them) if it ran there.
    """
    records = list(records)
    on_paper = build_table(table, records, data=measure_of(table).data, preset="base")
    frames = [on_paper] if on_paper["n_seeds"].any() else []
    frames.append(on_motion_capture(table, records))

    if suite:
        in_suite = build_table(table, records, **suite)
        frames += [in_suite] if in_suite["n_seeds"].any() else []
    return frames


def against(
    table: str, reference: int, *, preset: str, recipe: str = "paper", data: str = "mocap"
) -> pd.DataFrame:
    """What each row changes in the settings of the reference row: columns experiment and
    changes, by row.
    """
    import pandas as pd

    experiments = {
        row.row: (row, row.experiment(data=data, preset=preset, recipe=recipe).flat())
        for row in rows(table)
    }
    start = experiments[reference][1]

    lines = {
        number: {
            "experiment": row.label_at(preset),
            "changes": ", ".join(
                f"{key}: {start[key]} → {own[key]}" for key in own if own[key] != start[key]
            ),
        }
        for number, (row, own) in experiments.items()
    }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("row")


def by_digest_and_seed(
    records: Iterable[Record], stage: str, seeds: Sequence[int] | None
) -> dict[str, dict[int, Record]]:
    """A stage's runs by settings and seed; of a run that is kept in two places the first counts."""
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        result = record.result
        if result.get("stage") == stage and (seeds is None or result["seed"] in seeds):
            found.setdefault(result["digest"], {}).setdefault(result["seed"], record)
    return found


def _line(row: Row, measure: Measure, runs: Sequence[Record]) -> dict[str, Any]:
    results = [run.result for run in runs]
    states = {cell_state(result, measure) for result in results}
    state = max(states, key=lambda state: "partial" in state, default="not run")
    by_seed = {
        r["seed"]: {key: float(r["test"].get(key, math.nan)) for key in measure.metrics}
        for r in results
    }
    line: dict[str, Any] = {"source": "; ".join(_cite(place) for place in row.published)}
    comparable = state == "reproduced" and not any(
        place.get("uncertain") for place in row.published
    )

    for key, (metric, _) in measure.metrics.items():
        values = [seed[key] for seed in by_seed.values()]
        line[f"published_{key}"] = _published(row, metric)
        line[key] = statistics.fmean(values) if values else math.nan
        line[f"{key}_spread"] = statistics.stdev(values) if len(values) > 1 else math.nan
        gap = line[key] - line[f"published_{key}"]
        line[f"difference_{key}"] = gap if comparable else math.nan

    return line | {
        "n_seeds": len(results),
        "state": state,
        "data": results[0]["data"]["name"] if results else "",
        "schedule": "; ".join(sorted({_schedule(result, measure) for result in results})),
        "kind": _kind(results),
        "by_seed": by_seed,
        "runs": tuple(run.path.name for run in runs),
    }


def _kind(results: Sequence[Mapping[str, Any]]) -> tuple[int, str] | None:
    """Steps, and how the epoch was chosen; None where nothing ran, or not all alike."""
    kinds = {(result["schedule"]["steps"], result["selected"]) for result in results}
    return kinds.pop() if len(kinds) == 1 else None


def _published(row: Row, metric: str) -> float:
    """The printed value of a metric at the first of the row's places that has one."""
    for place in row.published:
        where = {key: value for key, value in place.items() if key not in ("table", "uncertain")}
        if "row" in where:
            return _or_nan(paper.nth(place["table"], where["row"], metric))
        fits = [line for line in paper.table(place["table"]) if where.items() <= line.items()]
        values = [line["value"] for line in fits if line.get("metric", metric) == metric]
        if values:
            return _or_nan(values[0])

    return math.nan


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _cite(place: Mapping[str, Any]) -> str:
    return paper.cite(place["table"], place.get("row", place.get("method")))


def _schedule(result: Mapping[str, Any], measure: Measure) -> str:
    """Steps, epochs of how many, and which epoch was taken, e.g. '60 steps (2.5 of 60 epochs),
    last epoch'.
    """
    schedule = result["schedule"]
    text = (
        f"{schedule['steps']} steps ({schedule['epochs_done']:.3g} of {schedule['epochs_full']} "
        "epochs)"
    )
    deviations = measure.deviations(result) if result["data"]["name"] == measure.data else []
    return ", ".join([text, f"{result['selected']} epoch", *deviations])


def _notes(
    found: Mapping[str, Mapping[int, Record]], lines: Sequence[Mapping[str, Any]]
) -> list[str]:
    shown = {name for line in lines for name in line["runs"]}
    records = [run for runs in found.values() for run in runs.values() if run.path.name in shown]

    notes = []
    if len({run.result["data"]["fingerprint"] for run in records}) > 1:
        notes.append(
            "The runs above used different builds of the data set; their rows are not comparable."
        )

    if len({run.result["selected"] for run in records}) > 1:
        notes.append(
            "The runs above did not choose their epoch in the same way; see the schedule column."
        )

    return notes
