"""How long a run of the queue takes, judged by the runs that exist. No torch here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from m2v_lib.config import DualStreamSettings, Experiment
from m2v_lib.experiments.queue.wanted import Item
from m2v_lib.runs.records import Record

STAGES = ("pretrain", "finetune")
Paces = Mapping[str, Sequence[float]]


def paces(records: Iterable[Record], device: str) -> Paces:
    """By model and stage, the seconds a unit of work (`step_work`) took in the runs that were made
    on a device.
    """
    found: dict[str, list[float]] = {}
    for record in records:
        result = record.result
        if ("cpu" if result.get("device") == "cpu" else "cuda") == device and result.get(
            "schedule", {}
        ).get("steps"):
            exp = Experiment.from_dict(record.config)
            seconds = result["seconds"] / result["schedule"]["steps"]
            of_kind = found.setdefault(_kind(exp, result["stage"]), [])
            of_kind.append(seconds / step_work(exp, result["stage"]))

    return found


def expected_minutes(item: Item, known: Paces, n_clips: int | None) -> float | None:
    """About how long the run takes where the `known` runs were made; None where none was.

    A run of another size counts by the work of its step, most alike first: the same stage, then
    any of the same model.
    """
    n_steps = item.exp.run.max_steps or (_full_steps(item, n_clips) if n_clips else 0)
    of_model = [_kind(item.exp, stage) for stage in STAGES]
    pace = known.get(_kind(item.exp, item.stage)) or [
        value for kind in of_model for value in known.get(kind, ())
    ]
    if not pace or not n_steps:
        return None
    return statistics.median(pace) * step_work(item.exp, item.stage) * n_steps / 60


def _kind(exp: Experiment, stage: str) -> str:
    return f"{exp.model.name} {stage}"


def step_work(exp: Experiment, stage: str) -> float:
    """Work of one training step in a model's own units: clips and frames, of the dual stream also
    blocks and a token's products in a block.

    The last term stands for what is no product; it weighs in small networks.
    """
    m, clips = exp.model, float(exp.finetune.batch_size)
    if stage == "pretrain":
        clips = exp.pretrain.batch_size * (
            exp.pretrain.n_masks + 1 / 3
        )  # the teacher only goes forward
    if not isinstance(m, DualStreamSettings):
        return clips * m.n_frames

    streams = 1.0 if m.streams == "both" else 0.5
    token = streams * (12 + 8 * m.mlp_ratio) * m.dim**2 + 4 * m.dim * m.n_frames + 500 * m.dim
    return clips * m.n_frames * m.n_layers * token


def _full_steps(item: Item, n_clips: int) -> int:
    part = item.exp.pretrain if item.stage == "pretrain" else item.exp.finetune
    return part.epochs * -(-n_clips // part.batch_size)


def count_clips(exp: Experiment, stage: str) -> int | None:
    """Training clips of a stage in the prepared store; None where it is not prepared."""
    from m2v_lib.data.cutting import clip_index
    from m2v_lib.data.store import DataError, open_store

    try:
        store = open_store(exp.data.name)
    except DataError:
        return None

    held_out = store.meta.val_subjects if exp.data.validation else ()
    spans = [
        (v.start, v.n_frames) for v in store.split("train").videos if v.subject not in held_out
    ]

    every = len(
        clip_index(spans, exp.model.n_frames, exp.data.train_stride, step=exp.data.frame_step)
    )
    return every if stage == "pretrain" else round(every * exp.data.label_fraction)
