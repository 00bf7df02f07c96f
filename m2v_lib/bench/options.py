"""What a bench measures: the user's options, and the defaults for the model and the device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from m2v_lib.bench.turns import REFERENCE, VARIANTS, Effort, Limits
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.config.models import DUAL_STREAM

TASKS = ("train", "pretrain", "inference")
#: Blocks x frames x features above which a step takes seconds on a CPU.
SLOW_MODEL_SIZE = 100_000
QUICK = Effort(rounds=2, rounds_elsewhere=2, repetition=0.005, quick=True)


@dataclass(frozen=True)
class Options:
    """All options have defaults that suit the model and the device."""

    #: Default: all; on a CPU, for slow models, those in fp32; in a scaling run the two paths.
    variants: Sequence[str] = ()
    #: Default: all.
    tasks: Sequence[str] = ()
    #: Batch sizes at which all variants are compared. Default: the preset's; on a GPU also 32; for
    #: slow models on a CPU 1.
    batches: Sequence[int] = ()
    #: Eager variants are timed at 1, 2, 4 ... up to this. Default: 32 on a CPU, 4096 on a GPU.
    max_batch: int | None = None
    #: Sizes predicted to need more memory are skipped, GiB. Default: 4 on a CPU.
    max_memory: float | None = None
    #: Sizes predicted to take longer are skipped, s a step. Default: 2 on a CPU, 10 on a GPU or for
    #: scaling.
    max_seconds: float | None = None
    #: Repetitions of each variant where all are compared. Default: 7, at least 3 of slow ones.
    rounds: int | None = None
    #: Measure how the cost of one block and its parts grows, not the variants.
    scaling: bool = False
    #: Smoke test in seconds; timings are meaningless.
    quick: bool = False

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
        """Raises ConfigError for what the experiment's model has not: stage 1, parts of blocks, a
        second way to compute its layers.
        """
        asked = ["--scaling"] * self.scaling + [t for t in self.tasks if t not in tasks_for(exp)]
        asked += [name for name in self.variants if name not in all_variants_of(exp)]
        if exp.model.name != DUAL_STREAM and asked:
            raise ConfigError(
                f"{asked[0]} is measured of model.name={DUAL_STREAM} alone, got {exp.model.name}"
            )

    def variants_for(self, exp: Experiment) -> tuple[str, ...]:
        there = all_variants_of(exp)
        if self.variants:
            return tuple(name for name in there if name in self.variants)

        chosen = tuple(VARIANTS)
        if self.quick or self.scaling:
            chosen = chosen[:2]
        elif is_slow_on_cpu(exp) and not on_gpu(exp):
            chosen = chosen[:3]
        return tuple(name for name in chosen if name in there)

    def sizes_for(self, exp: Experiment) -> dict[str, Sequence[int]]:
        """Batch sizes of each task at which all variants are compared."""
        own = {"train": exp.finetune.batch_size, "pretrain": exp.pretrain.batch_size}
        own["inference"] = own["train"]

        return {
            task: self.batches or self._default_sizes(exp, own[task])
            for task in self.tasks or tasks_for(exp)
        }

    def _default_sizes(self, exp: Experiment, own: int) -> Sequence[int]:
        if self.quick:
            return [2]
        if on_gpu(exp):
            return [own, 32]
        return [1 if is_slow_on_cpu(exp) else own]

    def limits_for(self, exp: Experiment) -> Limits:
        on_cpu = Limits(4.0, 10.0 if self.scaling else 2.0, 32)
        default = Limits(math.inf, 10.0, 4096) if on_gpu(exp) else on_cpu
        if self.quick:
            default = replace(default, batch=2)

        return Limits(
            default.gib if self.max_memory is None else self.max_memory,
            default.seconds if self.max_seconds is None else self.max_seconds,
            default.batch if self.max_batch is None else self.max_batch,
        )

    @property
    def effort(self) -> Effort:
        effort = QUICK if self.quick else Effort()
        if self.rounds is None:
            return effort
        return replace(effort, rounds=self.rounds, all_rounds=math.inf)


def on_gpu(exp: Experiment) -> bool:
    return exp.run.device.startswith("cuda")


def is_slow_on_cpu(exp: Experiment) -> bool:
    n_layers, dim = getattr(exp.model, "n_layers", 1), getattr(exp.model, "dim", 1)
    return n_layers * exp.model.n_frames * dim > SLOW_MODEL_SIZE


def all_variants_of(exp: Experiment) -> tuple[str, ...]:
    """Without `reference` where the model has one way to compute its layers: a speed-up would
    compare it with itself.
    """
    two_ways = exp.model.name == DUAL_STREAM
    return tuple(name for name in VARIANTS if two_ways or name != REFERENCE)


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
