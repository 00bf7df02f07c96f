"""`RESULTS.md`: what has been measured so far, from the committed records alone.

Nothing in it is written by hand but headings and explanations that hold whatever the numbers are.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2v_lib.bench import find_benches
from m2v_lib.config import Experiment
from m2v_lib.experiments.queue import items
from m2v_lib.experiments.queue.sweeps import sweep_items, sweep_names
from m2v_lib.report.pages.comparisons import boards, range_tests, sweeps
from m2v_lib.results import effects, paper, tables
from m2v_lib.runs.records import Record

if TYPE_CHECKING:
    import pandas as pd

#: Settings that say where and how a run was computed, or that have a column of their own; and the
#: one of them that its numbers depend on.
_NO_CHANGES, _COMPUTED_IN = ("run.", "data.name"), "run.precision"

#: Rows of `label-scarcity` by share of labels: from scratch, pre-trained as released, as the
#: paper says.
QUESTION = {"all": (1, 2, 3), "10 %": (4, 5, 6), "1 %": (11, 12, 13)}

#: What the question is asked of.
ERRORS = {"mpjpe": "MPJPE", "p_mpjpe": "P-MPJPE"}

#: Presets with committed runs of the queue.
QUEUED = ("small", "compact", "base")

#: Ablations with the row that the others are compared with.
ABLATIONS = {"table5": 2, "table6": 4, "table7": 1, "table8": 1}

_HEAD = """\
# Results

Everything measured so far, from the records under `reports/records/`; `m2v report` writes this
page. Errors are MPJPE in mm on subjects who are not in the training data, after the last epoch. The
data is public motion capture (`mocap`), so no number here can be compared with the paper's on
Human3.6M, which has not been run. What the states of a table's cells mean is in
[docs/architecture.md](docs/architecture.md#numbers); words such as CI and seed noise are in
[docs/glossary.md](docs/glossary.md).
"""

_LIFTING_HEAD = """\
## Lifting

Runs that belong to no table below, the mean where there are several seeds. Beside each stands ridge
regression, from the 2D of one frame to its 3D, with the same labels and on the same test frames.
Where the data or the frames tested are others, so are joints or motion: read such a line against its
own ridge regression only.

| preset | steps | settings changed | data | frames tested | MPJPE (mm) | P-MPJPE (mm) | ridge, MPJPE (mm) | records |
|---|--:|---|---|--:|--:|--:|--:|---|"""

_QUESTION_HEAD = """\
## Does pre-training help?

Mean over the seeds that ran, and what pre-training changes. The released stage 1 also reads the
test subjects' 2D. Pre-trained runs take the steps of both stages. Where networks are above ridge
regression they have hardly begun, and what is said of pre-training is said of a start.
"""


_ABLATIONS_HEAD = """\
## Tables V to VIII

What a row changes against the row it is compared with; rows that have not run are left out. The
noise between seeds is one for all networks of a preset and schedule: pooled over every row of these
tables and of the question above that was trained as long, the last epoch taken.
"""

_SPEED_HEAD = """\
## Speed

A step's speed-up over the equations as written, median of rounds in which all variants took turns.

| preset | device | task | variant | speed-up | ms a clip |
|---|---|---|---|--:|--:|
"""


def results_page(records: Sequence[Record], records_folder: Path) -> str:
    """The text of `RESULTS.md` from committed records and the benches beside them."""
    single = _single(records)
    parts = [
        _HEAD,
        _lifting(single),
        _pretraining(records),
        sweeps(records, records_folder),
        range_tests(records_folder),
        boards(records),
        _ablations(records),
        _actions(single),
        _speed(records_folder),
    ]
    return "\n".join(part for part in parts if part)


def pretraining_effects(question: pd.DataFrame) -> str:
    """What pre-training changes, as a table: a line for each share of labels and error, a column a
    recipe; then what that says read as a whole.
    """
    lines = [
        "| labels | error | as the paper says | as the released code does |",
        "|---|---|---|---|",
    ]
    tried: dict[int, effects.Effect] = {}
    for metric, name in ERRORS.items():
        for labels, (scratch, *pretrained) in QUESTION.items():
            found = {
                row: effects.effect_of_row(question, row, scratch, metric) for row in pretrained
            }
            words = [effects.describe(found[row]) for row in reversed(pretrained)]
            lines.append(f"| {' | '.join([labels, name, *words])} |")
            tried |= {len(tried) + i: effect for i, effect in enumerate(found.values())}
    return "\n".join([*lines, "", *effects.read_as_a_whole(tried, named=False), ""])


def _lifting(single: Sequence[Record]) -> str:
    """Single runs that belong to no table, the longest training first, seeds of one kind in a line."""
    kinds: dict[str, list[Record]] = {}
    for run in single:
        if run.result["stage"] == "finetune":
            kinds.setdefault(run.name.rpartition("-s")[0], []).append(run)
    if not kinds:
        return ""

    def mean(runs: Sequence[Record], *path: str) -> float:
        return statistics.fmean(float(reduce(getitem, path, run.result)) for run in runs)  # type: ignore[arg-type]

    def steps_and_error(runs: Sequence[Record]) -> tuple[int, float]:
        return -runs[0].result["schedule"]["steps"], mean(runs, "test", "mpjpe")

    lines = [
        _row(
            runs,
            _data(runs[0]),
            f"{runs[0].result['test']['n_frames']:,}",
            f"{mean(runs, 'test', 'mpjpe'):.1f}",
            f"{mean(runs, 'test', 'p_mpjpe'):.1f}",
            f"{mean(runs, 'baselines', 'ridge', 'mpjpe'):.1f}",
        )
        for runs in sorted(kinds.values(), key=steps_and_error)
    ]
    return "\n".join([_LIFTING_HEAD, *lines, ""])


def _data(run: Record) -> str:
    """The store and the first letters of its fingerprint, and whose definition its joints follow."""
    data = run.result["data"]
    joints = data["protocol"].rpartition("joints ")[2] if "joints " in data["protocol"] else ""
    return f"`{data['name']}` {data['fingerprint'][:8]}" + f", {joints}" * bool(joints)


def _actions(single: Sequence[Record]) -> str:
    runs = [run for run in single if run.result["stage"] == "action"]
    if not runs:
        return ""

    majority = runs[0].result["baselines"]["majority"]
    n_classes = len(runs[0].result["data"]["classes"])
    head = [
        "## Action recognition\n",
        f"Which of {n_classes} groups of actions a video shows. Always answering "
        f"`{majority['class']}` is right in {majority['top1']:.1f} %.\n",
        "| preset | steps | settings changed | top-1 (%) | record |",
        "|---|--:|---|--:|---|",
    ]

    lines = [_row([run], f"{run.result['test']['top1']:.1f}") for run in runs]
    return "\n".join([*head, *lines, ""])


def _single(records: Iterable[Record]) -> list[Record]:
    """Records that are cells of no table: no runs of the queue, but for the package's own network,
    nor of a sweep.
    """
    planned = [item for preset in QUEUED for item in items(preset)]
    queued = {item.name for item in planned if not item.labels[0].startswith("package")}
    queued |= {item.name for name in sweep_names() for item in sweep_items(name)}
    return [run for run in records if run.name not in queued and run.result.get("test")]


def _row(runs: Sequence[Record], *values: str) -> str:
    """A line for runs of the same settings and several seeds."""
    result = runs[0].result
    links = [f"[s{run.result['seed']}](reports/records/{run.name})" for run in runs]
    cells = [
        f"`{result['preset']}`",
        f"{result['schedule']['steps']:,}",
        _changes(runs[0]) or "none",
        *values,
        f"{result['digest']} {' '.join(links)}",
    ]
    return f"| {' | '.join(cells)} |"


def _changes(run: Record) -> str:
    """In what a run's settings differ from its preset's, of its model."""
    exp = Experiment.from_dict(run.config)
    start = Experiment.preset(exp.preset_name, exp.recipe)
    of_model = start.override({"model.name": exp.model.name}).flat()
    preset = {**of_model, "model.name": start.model.name}
    changed = {
        key: value
        for key, value in exp.flat().items()
        if preset[key] != value and (key == _COMPUTED_IN or not key.startswith(_NO_CHANGES))
    }
    return ", ".join(f"{key} {value}" for key, value in changed.items())


def _pretraining(records: Sequence[Record]) -> str:
    """Runs to the end of their schedule and starts, each preset in a part of its own."""
    parts = []
    for preset in tables.MOCAP_PRESETS:
        question = tables.on_motion_capture("label-scarcity", records, preset)
        if question["n_seeds"].any():
            parts.append(_question_of(question, records))
    return "\n".join([_QUESTION_HEAD, *parts]) if parts else ""


def _question_of(question: pd.DataFrame, records: Sequence[Record]) -> str:
    by_name = {run.name: run.result for run in records}
    shown = question[question["row"].isin([row for rows in QUESTION.values() for row in rows])]
    schedules = {_schedule(by_name[runs[0]]) for runs in shown["runs"] if runs}
    lines = [
        f"### Preset `{question.attrs['preset']}`\n",
        f"Fine-tuning: {'; '.join(sorted(schedules))}. {effects.describe_seed_noise(question)} "
        f"{effects.describe_power(question)}\n",
        "| labels | epochs of them | ridge regression | from scratch | pre-trained, paper "
        "| pre-trained, released |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    rows = question.set_index("row")
    for labels, (scratch, released, by_paper) in QUESTION.items():
        runs = rows.loc[scratch, "runs"]
        if runs:
            epochs = f"{by_name[runs[0]]['schedule']['epochs_done']:.3g}"
            ridge = by_name[runs[0]]["baselines"]["ridge"]["mpjpe"]
            errors = [
                _against(rows.loc[row, "mpjpe"], ridge) for row in (scratch, by_paper, released)
            ]
            lines.append(f"| {' | '.join([labels, epochs, f'{ridge:.1f}', *errors])} |")
    return "\n".join([*lines, "", pretraining_effects(question)])


def _schedule(result: Mapping[str, Any]) -> str:
    schedule = result["schedule"]
    return (
        f"{schedule['steps']:,} steps (the paper: {schedule['epochs_full']} epochs of all labels), "
        f"{result['selected']} epoch"
    )


def _against(error: float, ridge: float) -> str:
    """An error, marked where it is no lower than ridge regression's."""
    if math.isnan(error):
        return "not run"
    return f"{error:.1f}" + (" (above)" if error >= ridge else "")


def _ablations(records: Sequence[Record]) -> str:
    claimed = paper.claim("stage1-mpjpe", "gain")

    parts = [_ABLATIONS_HEAD, f"The gain that the paper claims for stage 1 is {claimed} mm.\n"]
    for table, reference in ABLATIONS.items():
        frame = tables.on_motion_capture(table, records)
        if frame["n_seeds"].any():
            parts.append(_ablation(frame, reference))

    return "\n".join(parts)


def _ablation(frame: pd.DataFrame, reference: int) -> str:
    labels = dict(zip(frame["row"], frame["label"], strict=True))
    title = paper.TITLES[paper.resolve(frame.attrs["table"])]

    schedules = ", ".join(sorted(set(frame["schedule"]) - {""}))

    noise = effects.describe_seed_noise(frame)
    lines = [f"### {title}\n", f"Preset `{frame.attrs['preset']}`: {schedules}. {noise}\n"]
    lines.append(f"| row, against row {reference} ({labels[reference]}) | MPJPE |")
    lines.append("|---|---|")
    every = effects.effects_of_all_rows(frame, reference)
    lines += [
        f"| {row}: {labels[row]} | {effects.describe(found)} |" for row, found in every.items()
    ]
    return "\n".join([*lines, "", *effects.read_as_a_whole(every), ""])


def _speed(folder: Path) -> str:
    lines = []
    for record in find_benches(folder):
        if record["kind"] == "speed":
            lines += [_speed_row(record, row) for row in _fastest(record["measurements"])]
    return _SPEED_HEAD + "\n".join([*lines, ""]) if lines else ""


def _fastest(measurements: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each task the measurement with the largest speed-up."""
    best: dict[str, Mapping[str, Any]] = {}
    for row in measurements:
        if row["speedup"] is None:
            continue
        known = best.get(row["task"])
        if known is None or row["speedup"]["median"] > known["speedup"]["median"]:
            best[row["task"]] = row
    return list(best.values())


def _speed_row(record: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    device = f"{record['device']}, {record['threads']} threads"
    about = f"`{record['preset']}` | {device} | {row['task']} | {row['variant']}"
    return f"| {about} | {row['speedup']['median']:.2f} | {row['ms_per_clip']['median']:.1f} |"
