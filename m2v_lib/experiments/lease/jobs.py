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
