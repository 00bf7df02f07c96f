"""What a bench is asked to measure, and what it takes where it was not told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from m2v_lib.bench.turns import VARIANTS, Effort, Limits
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.config.models import DUAL_STREAM

TASKS = ("train", "pretrain", "inference")
#: On a CPU, models with more blocks x frames x features than this take seconds a step.
HEAVY = 100_000
QUICK = Effort(rounds=2, rounds_elsewhere=2, repetition=0.005, quick=True)


@dataclass(frozen=True)
class Options:
    """Everything has a default that suits the model and the device; `check` tells a mistake of
    the user.
    """

    variants: Sequence[
        str
    ] = ()  # all; of a heavy model on a CPU those in fp32; in a scaling run the two paths
    tasks: Sequence[str] = ()  # all
    batches: Sequence[
        int
    ] = ()  # where all variants are compared: the preset's, on a GPU also 32, heavy on a CPU 1
    max_batch: int | None = (
        None  # eager variants go through 1, 2, 4 ... up to it: 32 on a CPU, 4096 on a GPU
    )
    max_memory: float | None = None  # GiB that a step may be expected to take: 4 on a CPU
    max_seconds: float | None = (
        None  # that a step may be expected to take: 2 on a CPU, 10 on a GPU or for scaling
    )
    rounds: int | None = (
        None  # repetitions of each variant where all are compared: 7, at least 3 of slow ones
    )
    scaling: bool = False  # instead: how the cost of one block and its parts grows
    quick: bool = False  # shows that everything works; the times mean nothing

    def check(self) -> None:
        """Raises ConfigError for a name that does not exist or a number that is not positive."""
        _require_known("variant", self.variants, VARIANTS)
        _require_known("task", self.tasks, TASKS)
        numbers = {name: getattr(self, name) for name in ("max_memory", "max_seconds", "rounds")}
        for name, value in [*numbers.items(), *(("batch", size) for size in self.batches)]:
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be positive, got {value:g}")
        if self.max_batch is not None and self.max_batch < 0:
            raise ConfigError(f"max_batch must not be negative, got {self.max_batch}")

    def check_for(self, exp: Experiment) -> None:
        """Raises ConfigError for what the experiment's model has not: stage 1, parts of blocks."""
        asked = ["--scaling"] * self.scaling + [t for t in self.tasks if t not in tasks_for(exp)]
        if exp.model.name != DUAL_STREAM and asked:
            raise ConfigError(
                f"{asked[0]} is measured of model.name={DUAL_STREAM} alone, got {exp.model.name}"
            )

    def variants_for(self, exp: Experiment) -> tuple[str, ...]:
        if self.variants:
            return tuple(name for name in VARIANTS if name in self.variants)
        n = (
            2
            if self.quick or self.scaling
            else 3
            if heavy(exp) and not on_gpu(exp)
            else len(VARIANTS)
        )
        return tuple(VARIANTS)[:n]

    def sizes_for(self, exp: Experiment) -> dict[str, Sequence[int]]:
        """Batch sizes of each task at which all variants are compared."""
        own = {"train": exp.finetune.batch_size, "pretrain": exp.pretrain.batch_size}
        own["inference"] = own["train"]
        sizes: dict[str, Sequence[int]] = {}
        for task in self.tasks or tasks_for(exp):
            ready = (
                [2]
                if self.quick
                else [own[task], 32]
                if on_gpu(exp)
                else [1 if heavy(exp) else own[task]]
            )
            sizes[task] = self.batches or ready
        return sizes

    def limits_for(self, exp: Experiment) -> Limits:
        ready = (
            Limits(math.inf, 10.0, 4096)
            if on_gpu(exp)
            else Limits(4.0, 10.0 if self.scaling else 2.0, 32)
        )
        return Limits(
            ready.gib if self.max_memory is None else self.max_memory,
            ready.seconds if self.max_seconds is None else self.max_seconds,
            self.max_batch if self.max_batch is not None else 2 if self.quick else ready.batch,
        )

    @property
    def effort(self) -> Effort:
        effort = QUICK if self.quick else Effort()
        return (
            effort
            if self.rounds is None
            else replace(effort, rounds=self.rounds, all_rounds=math.inf)
        )


def on_gpu(exp: Experiment) -> bool:
    return exp.run.device.startswith("cuda")


def heavy(exp: Experiment) -> bool:
    n_layers, dim = getattr(exp.model, "n_layers", 1), getattr(exp.model, "dim", 1)
    return n_layers * exp.model.n_frames * dim > HEAVY


def tasks_for(exp: Experiment) -> tuple[str, ...]:
    """What there is to measure of the model."""
    return tuple(task for task in TASKS if task != "pretrain" or exp.model.name == DUAL_STREAM)


def smallest_batch(exp: Experiment, task: str) -> int:
    """Clips that a step needs: two where batch norm may see a single frame of each."""
    return 2 if task == "train" and exp.model.name != DUAL_STREAM else 1


def _require_known(what: str, chosen: Sequence[str], known: Iterable[str]) -> None:
    for name in chosen:
        if name not in known:
            raise ConfigError(
                f"there is no {what} {name!r} to measure; choose among {', '.join(known)}"
            )
