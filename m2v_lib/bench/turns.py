"""Interleaved timing: each variant in a process of its own, one repetition each, round after
round.

So each variant's peak memory is its own, no other variant's freed memory helps it, and a
disturbance of the machine affects all alike: ratios within a round hold even where times do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from m2v_lib.bench.client import Failed, Worker
from m2v_lib.bench.record import Row, measurement
from m2v_lib.config import Experiment

#: The equations as written: what speed-ups are against.
REFERENCE = "reference"
VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {"run.path": "reference"},
    "fast": {"run.path": "fast"},
    "fast-compiled": {"run.path": "fast", "run.compile": True},
    "fast-bf16": {"run.path": "fast", "run.precision": "bf16"},
    "fast-bf16-compiled": {"run.path": "fast", "run.precision": "bf16", "run.compile": True},
}


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds at the main sizes and at the others, seconds of a repetition
    and of all rounds.
    """

    rounds: int = 7
    rounds_elsewhere: int = 3
    repetition: float = 0.2
    all_rounds: float = 60.0
    quick: bool = False


@dataclass(frozen=True)
class Limits:
    """Upper limits: a size is skipped if a step is predicted, from the size before, to need more
    memory or time; larger batches are not measured.
    """

    gib: float
    seconds: float
    batch: int


@dataclass(frozen=True)
class Point:
    """One size to measure: a step of `task` of an experiment on a batch.

    `axis` is the size that grows from point to point. Compiled variants, which take long to
    compile, are measured at `main` points alone.
    """

    exp: Experiment
    task: str
    batch: int
    axis: str = "batch"
    main: bool = False

    @property
    def value(self) -> int:
        return self.batch if self.axis == "batch" else getattr(self.exp.model, self.axis)

    @property
    def label(self) -> str:
        return f"{self.task}, {self.axis} {self.value}"


@dataclass
class InterleavedTimer:
    """Times variants in turns, each in its own worker process; `left_out` says in a sentence each
    what could not be measured.
    """

    exp: Experiment
    variants: Sequence[str]
    effort: Effort
    limits: Limits
    say: Callable[[str], None] = print
    start: Callable[[int], Worker] = Worker
    workers: dict[str, Worker] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.built: dict[str, tuple[dict[str, Any], str]] = {}

    def measure_growing_sizes(
        self, points: Sequence[Point], power: int, flops: int = 0
    ) -> list[Row]:
        """Measure points of growing size; a variant is dropped once it fails or the next point is
        predicted to exceed the limits.

        Memory and time are assumed to grow with the size to the `power`. The first point is always
        tried. `flops` are those of a step on one clip; with 0 they are counted for each point on
        the variant's own path.
        """
        rows: list[Row] = []
        last: dict[str, Row] = {}
        ended: set[str] = set()
        for point in points:
            chosen = []
            for variant in self.variants:
                if variant in ended or (VARIANTS[variant].get("run.compile") and not point.main):
                    continue
                reason = self.too_much(last[variant], point, power) if variant in last else None
                if reason:
                    self.leave_out(point, variant, reason)
                    ended.add(variant)
                else:
                    chosen.append(variant)

            measured = self.measure(point, chosen, flops)
            ended |= set(chosen) - set(measured)
            last |= measured
            rows += measured.values()

        return rows

    def too_much(self, row: Row, point: Point, power: int) -> str | None:
        growth = (point.value / row["value"]) ** power
        gib = growth * row["peak_bytes"] / 2**30
        seconds = growth * row["ms_per_clip"]["median"] * row["batch"] / 1e3
        if gib > self.limits.gib:
            return (
                f"is predicted to need {gib:.1f} GiB, allowed are {self.limits.gib:g} "
                "(--max-memory)"
            )
        if seconds > self.limits.seconds:
            return (
                f"a step is predicted to take {seconds:.1f} s, allowed are {self.limits.seconds:g} "
                "(--max-seconds)"
            )

        return None

    def measure(self, point: Point, variants: Sequence[str], flops: int = 0) -> dict[str, Row]:
        """Time the variants in turns at one point; failed variants are missing from the result."""
        ready: dict[str, dict[str, Any]] = {}
        for variant in variants:
            reply = self.attempt(point, variant, self.prepare)
            if reply:
                ready[variant] = reply

        steps = {
            v: max(1, math.ceil(self.effort.repetition / reply["seconds"]))
            for v, reply in ready.items()
        }
        turns = self.interleave(
            point, steps, sum((steps[v] + 1) * reply["seconds"] for v, reply in ready.items())
        )
        reference = [turn["seconds"] for turn in turns.get(REFERENCE, [])] or None

        rows = {}
        for variant, taken in turns.items():
            work = flops or self.count_flops(point.exp.override(VARIANTS[variant]), point.task)
            rows[variant] = {
                "axis": point.axis,
                "value": point.value,
                "task": point.task,
                "variant": variant,
                "flops": work,
                **measurement(
                    [turn["seconds"] for turn in taken],
                    reference,
                    batch=point.batch,
                    flops=work,
                    loss=ready[variant]["loss"],
                    n_bytes=ready[variant]["bytes"],
                    peak_bytes=max(turn["peak_bytes"] for turn in taken),
                ),
            }
            self.say(_progress(point, rows[variant]))

        return rows

    def interleave(
        self, point: Point, steps: dict[str, int], a_round: float
    ) -> dict[str, list[dict[str, Any]]]:
        """Equally many repetitions by variant; failed variants are removed.

        `a_round` is the expected time of one round, s.
        """
        wanted = self.effort.rounds if point.main else self.effort.rounds_elsewhere
        rounds = max(min(wanted, 3), int(min(wanted, self.effort.all_rounds / max(a_round, 1e-9))))
        turns: dict[str, list[dict[str, Any]]] = {variant: [] for variant in steps}

        for k in range(rounds):
            names = list(turns)
            first = k % max(1, len(names))
            # rotate the order so that no variant always follows the same one
            for variant in names[first:] + names[:first]:
                turn = self.attempt(
                    point, variant, lambda _, v: self.ask(v, do="time", steps=steps[v])
                )
                if turn:
                    turns[variant].append(turn)
                else:
                    del turns[variant]

        return turns

    def prepare(self, point: Point, variant: str) -> dict[str, Any]:
        """Build what the point needs unless the worker has it, and warm up."""
        wanted = (point.exp.override(VARIANTS[variant]).to_dict(), point.task)
        if VARIANTS[variant].get("run.compile"):
            self.say(f"{point.label}, {variant}: compiling")
        if self.built.get(variant) != wanted:
            self.ask(variant, do="build", experiment=wanted[0], task=point.task)
            self.built[variant] = wanted
        return self.ask(variant, do="batch", size=point.batch)

    def attempt(
        self, point: Point, variant: str, call: Callable[[Point, str], dict[str, Any]]
    ) -> dict[str, Any] | None:
        """The worker's answer; on failure None, with a note, and the worker is ended (a new one
        starts when needed).
        """
        try:
            return call(point, variant)
        except Failed as failure:
            self.workers.pop(variant).close()
            self.built.pop(variant, None)
            self.leave_out(
                point, variant, "out of memory" if failure.out_of_memory else str(failure)
            )
            return None

    def leave_out(self, point: Point, variant: str, reason: str) -> None:
        self.left_out.append(f"{point.label}, {variant}: {reason}")
        self.say(f"left out: {self.left_out[-1]}")

    def count_flops(self, exp: Experiment, task: str) -> int:
        return int(self.ask("counts", do="flops", experiment=exp.to_dict(), task=task)["flops"])

    def ask(self, name: str, **request: Any) -> dict[str, Any]:
        """The worker's answer; it is started if it is not there. Raises Failed."""
        if name not in self.workers:
            self.workers[name] = self.start(self.exp.run.threads)
        return self.workers[name].ask(**request)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()


def _progress(point: Point, row: Row) -> str:
    speedup = f"  {row['speedup']['median']:5.2f} x reference" if row["speedup"] else ""
    memory = f"{row['peak_bytes'] / 2**30:.2f} GiB"
    return (
        f"{point.label:28} {row['variant']:19} {row['ms_per_clip']['median']:10.3f} ms a clip  "
        f"{memory}{speedup}"
    )
