"""The runs of a lease, as its processes hand them to each other: a JSON file. No torch here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError, Experiment
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


#: Settings of either stage in which stacked runs may differ: they decide what a run starts from,
#: draws and writes, not what its step computes. Shares of labels are none of them: where an
#: epoch's last batch differs in size, every run takes that step by itself.
FREE_SETTINGS = {
    "pretrain": (
        "run.seed",
        "model.pos_init_std",
        "data.input_2d",
        "data.flip_train",
        "data.label_fraction",
        "data.label_subjects",
        "data.test_stride",
        "pretrain.mask",
        "pretrain.mask_prob",
        "pretrain.mask_noise_std",
    ),
    "finetune": (
        "run.seed",
        "model.pos_init_std",
        "data.input_2d",
        "data.flip_train",
        "finetune.init",
        "finetune.w_scale",
        "finetune.w_velocity",
        "finetune.select",
        "finetune.flip_test",
    ),
}
#: Sections that a stage's step does not read.
FREE_SECTIONS = {"pretrain": ("finetune", "action"), "finetune": ("pretrain", "action")}


def group_key(job: Job) -> str:
    """Jobs with one key can share their steps; empty for one that goes alone."""
    if job.stage not in FREE_SETTINGS or job.exp.run.compile or job.exp.run.devices > 1:
        return ""

    settings = job.exp.to_dict()
    for section in FREE_SECTIONS[job.stage]:
        settings.pop(section, None)

    for name in FREE_SETTINGS[job.stage]:
        section, _, key = name.partition(".")
        settings.get(section, {}).pop(key, None)

    # a name for settings is none of them
    kept = {k: v for k, v in settings.items() if isinstance(v, dict)}
    return json.dumps([job.stage, kept], sort_keys=True)


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
