"""The runs of a lease, as its processes hand them to each other: a JSON file. No torch here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError, DualStreamSettings, Experiment
from m2v_lib.config.models import DUAL_STREAM
from m2v_lib.experiments.queue.wanted import Item
from m2v_lib.runs.records import write_json


@dataclass(frozen=True)
class Job:
    """A run: its stage and settings, and the name of the pre-training run that has to come
    before.
    """

    stage: str
    exp: Experiment
    needs: str = ""

    @cached_property
    def name(self) -> str:
        return self.exp.run_name(self.stage)


def kind_of(job: Job) -> str:
    """Jobs of different kinds go to processes of their own: a slow step holds up no other kind's."""
    if job.exp.model.name != DUAL_STREAM:
        return "systems"
    return "cameras" if job.exp.data.cameras == "random" else "blocks"


def by_kind(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The jobs of each kind, in order; the kind with most jobs first."""
    kinds = [kind for kind, _ in Counter(map(kind_of, jobs)).most_common()]
    return {kind: [job for job in jobs if kind_of(job) == kind] for kind in kinds}


def compiled(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, those of the dual stream whose blocks have the commonest form of their kind with
    blocks compiled: compiling takes half a minute for a form, in which its process does nothing
    else.
    """
    forms = {kind: Counter(map(_block_form, of_kind)) for kind, of_kind in by_kind(jobs).items()}
    commonest = {kind: counts.most_common(1)[0][0] for kind, counts in forms.items()}

    return [
        replace(job, exp=job.exp.override({"run.compile": True}))
        if isinstance(job.exp.model, DualStreamSettings)
        and _block_form(job) == commonest[kind_of(job)]
        else job
        for job in jobs
    ]


#: Settings of the dual stream that its blocks do not depend on.
OUTSIDE_BLOCKS = (
    "n_layers",
    "dim_rep",
    "spatial_pos",
    "temporal_pos",
    "pos_init_std",
    "input_scale",
)


def _block_form(job: Job) -> str:
    settings = dict(job.exp.to_dict()["model"])
    for name in OUTSIDE_BLOCKS:
        settings.pop(name, None)
    return json.dumps([settings, job.exp.finetune.batch_size, job.exp.pretrain.batch_size])


#: On a GPU a log line costs a run's neighbours more than it tells: every so many steps is
#: enough.
GPU_SETTINGS = {"run.log_every": 250, "run.checkpoint_every": 5000}


def jobs_of(items: Sequence[Item], settings: Mapping[str, Any]) -> list[Job]:
    """The items as jobs in the same order, `settings` of where and how they run on top.

    Raises ConfigError for a setting that decides results: it would make other runs than those
    wanted.
    """
    if str(settings.get("run.device", "cpu")).startswith("cuda"):
        settings = {**GPU_SETTINGS, **settings}
    jobs = [Job(item.stage, item.exp.override(settings), item.needs) for item in items]
    for job, item in zip(jobs, items, strict=True):
        if job.name != item.name:
            changed = ", ".join(settings)
            raise ConfigError(
                f"a setting among {changed} makes {job.name} of the wanted {item.name}"
            )

    return jobs


def write_jobs(path: Path, jobs: Sequence[Job]) -> None:
    write_json(
        path,
        [{"stage": job.stage, "experiment": job.exp.to_dict(), "needs": job.needs} for job in jobs],
    )


def read_jobs(path: Path) -> list[Job]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    return [Job(e["stage"], Experiment.from_dict(e["experiment"]), e["needs"]) for e in entries]
