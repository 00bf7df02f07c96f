"""The first minutes of a lease: does the engine hold on this machine, and how fast is it?

`python -m m2v_lib.experiments.lease.trial JOBS --out FILE --bench-seconds S --lanes 1 8` takes
the first job of either stage, checks on it what no machine without this device could show,
measures steps a second, and writes both as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from m2v_lib.bench.ceilings import wait
from m2v_lib.config import Experiment
from m2v_lib.experiments.lease.jobs import Job, read_jobs
from m2v_lib.models.registry import build_model
from m2v_lib.runs.parents import follow_parent
from m2v_lib.runs.records import StoppedEarly, read_metrics, write_json
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.device import describe, pick_device
from m2v_lib.training.engine.coroutine import Moment, Steps, complete
from m2v_lib.training.engine.distributed import SINGLE
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.engine.parallel import Lane, Run, train_together
from m2v_lib.training.stages import STAGES

STEPS = 20
#: Relative differences that count as rounding: of an output whose sums are taken in another order,
#: of losses that the same kernels give (lost moments change them by no more than 3e-3 while the rate
#: warms up), and of losses in half of the digits.
SAME_OUTPUT, SAME_LOSSES, SAME_IN_BFLOAT16 = 1e-3, 1e-4, 0.1
#: Steps before steps are timed: recording, the first log line.
WARM_UP = 60
#: Length of the runs that are timed, which is the most that can be timed.
TIMED_STEPS = 8000

Say = Callable[[str], None]


@dataclass
class Check:
    """A claim about the engine: whether it holds on this device (None: does not apply), and what
    was seen.
    """

    name: str
    holds: bool | None
    seen: str
    seconds: float


@dataclass
class Trial:
    """Checks and timings on the first job of each stage."""

    jobs: dict[str, Job]
    device: torch.device
    loader: ClipLoader = field(default_factory=ClipLoader)
    checks: list[Check] = field(default_factory=list)
    known: dict[Any, list[float]] = field(default_factory=dict)
    #: Called after each check: what is known stays, should the rest not end in time.
    noted: Callable[[], object] = lambda: None

    def check(self, name: str, look: Callable[[], tuple[bool | None, str]]) -> None:
        """Note what `look` finds; an error is a claim that does not hold."""
        began = time.monotonic()
        try:
            holds, seen = look()
        except Exception as error:
            holds, seen = (
                False,
                f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}",
            )

        self.checks.append(Check(name, holds, seen, round(time.monotonic() - began, 2)))
        word = {True: "holds", False: "FAILS", None: "does not apply"}[holds]
        print(f"check: {name}: {word} ({seen})", flush=True)
        self.noted()

    def check_all(self, compiling: bool = False) -> None:
        """Every claim, those first that decide how runs are made."""
        if compiling:
            self.check("blocks can be compiled", self.compiles)
        self.check("fast path = reference path", self.paths_agree)
        for look, name in (
            (self.graph_agrees, "graph = eager"),
            (self.resumes, "stopped and resumed = whole"),
            (self.neighbours_agree, "together = alone"),
            (self.bfloat16, "bfloat16 near float32"),
        ):
            for stage in self.jobs:
                self.check(f"{name}, {stage}", partial(look, stage))

    def compiles(self) -> tuple[bool, str]:
        """A bare machine may lack the C compiler that torch.compile calls."""
        x = torch.linspace(-1, 1, 64, device=self.device, requires_grad=True)
        torch.compile(_wave, dynamic=False)(x).backward()
        expected = torch.cos(x) * 2 * torch.sin(x)
        difference = float((x.grad - expected).abs().max()) if x.grad is not None else math.inf
        return difference < SAME_OUTPUT, f"largest difference {difference:.1e}"

    def paths_agree(self) -> tuple[bool, str]:
        cfg = next(iter(self.jobs.values())).exp.model
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(8, cfg.n_frames, cfg.n_joints, 3, generator=generator).to(self.device)
        out = [self.output(path, x) for path in ("reference", "fast")]
        difference = float((out[0] - out[1]).abs().max() / out[0].abs().max())
        return difference < SAME_OUTPUT, f"largest difference {difference:.1e}"

    @torch.no_grad()
    def output(self, path: str, x: Tensor) -> Tensor:
        """Of a fresh network in training mode."""
        model = build_model(next(iter(self.jobs.values())).exp.model, seed=0, path=path)
        return model.to(self.device).train()(x)

    def graph_agrees(self, stage: str) -> tuple[bool | None, str]:
        if self.device.type != "cuda":
            return None, "no CUDA device"

        eager = self.losses(stage, "off")
        captured: list[bool] = []
        recorded = self.losses(
            stage, "on", watch=lambda t: captured.append(t.training_step.capture is not None)
        )

        difference = _largest_difference(recorded, eager)
        return (
            captured[-1] and difference < SAME_LOSSES,
            f"recorded: {captured[-1]}, losses differ by {difference:.1e}",
        )

    def resumes(self, stage: str) -> tuple[bool, str]:
        whole = self.losses(stage, "auto")
        stopped = self.losses(stage, "auto", stop_at=STEPS // 2)
        difference = _largest_difference(stopped, whole)
        return difference < SAME_LOSSES, f"losses differ by {difference:.1e}"

    def neighbours_agree(self, stage: str) -> tuple[bool, str]:
        """Three seeds, each alone, then side by side on streams of their own."""
        seeds = range(3)
        alone = [self.losses(stage, "auto", {"run.seed": seed}) for seed in seeds]

        ends: list[BaseException | None] = []
        with tempfile.TemporaryDirectory() as name:
            folders = [Path(name) / str(seed) for seed in seeds]
            exps = [self.short(stage, "auto", {"run.seed": seed}) for seed in seeds]
            runs = (
                Run(self.built_when_begun(stage, exp, folder), ends.append)
                for exp, folder in zip(exps, folders, strict=True)
            )
            train_together(lambda: next(runs, None), len(seeds), self.device)
            if failed := [end for end in ends if end is not None]:
                raise failed[0]
            together = [_losses_in(folder) for folder in folders]

        difference = max(map(_largest_difference, together, alone))
        return difference < SAME_LOSSES, f"losses differ by {difference:.1e}"

    def bfloat16(self, stage: str) -> tuple[bool, str]:
        """Whatever the precision of the job is."""
        halved = self.losses(stage, "auto", {"run.precision": "bf16"})
        whole = self.losses(stage, "auto", {"run.precision": "fp32"})
        difference = _largest_difference(halved, whole)
        return difference < SAME_IN_BFLOAT16, f"losses differ by {difference:.1e}"

    def losses(
        self,
        stage: str,
        graph: str,
        changes: dict[str, Any] | None = None,
        *,
        stop_at: int = 0,
        watch: Callable[[Trainer], None] = lambda trainer: None,
    ) -> list[float]:
        """Losses of the first steps; with `stop_at` of a run that stopped there and was resumed. A
        run that several checks ask for is made once.
        """
        exp = self.short(stage, graph, changes or {})
        key = (stage, json.dumps(exp.to_dict()), stop_at)
        if key not in self.known or graph == "on":
            self.known[key] = self.made_losses(stage, exp, stop_at, watch)
        return self.known[key]

    def made_losses(
        self, stage: str, exp: Experiment, stop_at: int, watch: Callable[[Trainer], None]
    ) -> list[float]:
        with tempfile.TemporaryDirectory() as folder, Lane(self.device).current():
            if stop_at:
                with suppress(StoppedEarly):
                    complete(self.trainer(stage, exp, Path(folder)).steps(_After(stop_at)))  # type: ignore[arg-type]
            trainer = self.trainer(stage, exp, Path(folder))
            complete(trainer.steps(_After(math.inf)))  # type: ignore[arg-type]
            watch(trainer)
            return _losses_in(Path(folder))

    def short(self, stage: str, graph: str, changes: dict[str, Any]) -> Experiment:
        """The settings of a stage's job, for the first steps alone."""
        allowed = "auto" if self.device.type != "cuda" and graph == "on" else graph
        steps = {"run.max_steps": STEPS, "run.log_every": 1, "run.cuda_graph": allowed}
        return self.jobs[stage].exp.override({**steps, **changes})

    def built_when_begun(self, stage: str, exp: Experiment, folder: Path) -> Steps:
        """A run's steps, its trainer built on the stream that it trains on."""
        yield from self.trainer(stage, exp, folder).steps(_After(math.inf))  # type: ignore[arg-type]

    def trainer(self, stage: str, exp: Experiment, folder: Path) -> Trainer:
        kind = STAGES[stage]
        scratch = exp.override({f"{stage}.init": "scratch"}) if stage != "pretrain" else exp
        data, _ = kind.open_data(scratch)
        built = kind.build(scratch, folder, data, self.device, SINGLE, self.loader)
        built.has_validation = False
        return Trainer(built, folder)

    def bench(self, seconds: float, lanes: list[int], keep: Callable[[Any], None]) -> None:
        """Steps a second of each stage, eager and recorded, of one run and of several; `keep` gets
        what is known.
        """
        graphs = ["off", "auto"] if self.device.type == "cuda" else ["off"]
        cases = [
            (stage, graph, n)
            for stage in self.jobs
            for graph in graphs
            for n in (lanes if graph == graphs[-1] else [1])
        ]
        found: dict[str, dict[str, float]] = {stage: {} for stage in self.jobs}

        for stage, graph, n in cases:
            name = f"{'eager' if graph == 'off' else 'graph'}, {n} at a time"

            try:
                rate = self.steps_a_second(stage, graph, n, seconds / len(cases))
            except Exception as error:
                print(f"bench: {stage}: {name}: {type(error).__name__}: {error}", flush=True)
                continue

            found[stage][name] = round(rate, 1)
            print(f"bench: {stage}: {name}: {rate:.1f} steps/s", flush=True)
            keep(found)

    def steps_a_second(self, stage: str, graph: str, n_lanes: int, seconds: float) -> float:
        """Steps of all runs together, after a warm-up that does not count."""
        with tempfile.TemporaryDirectory() as folder:
            lanes, waiting = [Lane(self.device) for _ in range(n_lanes)], dict[int, Any]()
            runs: list[Any] = []
            for seed, lane in enumerate(lanes):
                with lane.current():
                    trainer = self.idle_trainer(stage, graph, seed, Path(folder))
                    runs.append(trainer.steps(_After(math.inf)))  # type: ignore[arg-type]

            def turn() -> None:
                for i, lane in enumerate(lanes):
                    wish = waiting.pop(i, None)
                    with lane.current():
                        wish = runs[i].send(wish() if wish is not None else None)
                    if isinstance(wish, Moment):
                        waiting[i] = wish

            n_warm = WARM_UP if self.device.type == "cuda" else 1
            for _ in range(n_warm):
                turn()

            most = TIMED_STEPS - n_warm - 1
            return rate_of(turn, partial(wait, self.device), seconds, most) * n_lanes

    def idle_trainer(self, stage: str, graph: str, seed: int, folder: Path) -> Trainer:
        """A trainer at its first step."""
        long = {"run.max_steps": TIMED_STEPS, "run.log_every": 250, "run.checkpoint_every": 50_000}
        exp = self.jobs[stage].exp.override({**long, "run.cuda_graph": graph, "run.seed": seed})
        return self.trainer(stage, exp, folder / str(seed))


class _After:
    """A stop request that is raised at the n-th time it is looked at."""

    deadline = math.inf

    def __init__(self, n: float) -> None:
        self.left = n

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def rate_of(turn: Callable[[], None], wait: Callable[[], None], seconds: float, most: int) -> float:
    """Turns a second, `most` of them at most; `wait` returns when the device has done what turns
    gave it to do.

    Turns go ahead of the device: it is waited for before the clock starts and after ever longer
    series, or a slow one would have a minute's work before it when the time is up.
    """
    wait()
    n, series, began = 0, 1, time.monotonic()
    while (taken := time.monotonic() - began) < seconds and n < most:
        if n:
            fits = int(n * (seconds - taken) / max(taken, 1e-9))
            series = max(1, min(2 * series, fits, most - n))
        for _ in range(series):
            turn()
        wait()
        n += series
    return n / (time.monotonic() - began)


def _wave(x: Tensor) -> Tensor:
    return (torch.sin(x) ** 2).sum()


def _losses_in(folder: Path) -> list[float]:
    lines = read_metrics(folder / "metrics.jsonl")
    return [line["loss"] for line in lines if line["kind"] == "train"]


def _largest_difference(losses: list[float], expected: list[float]) -> float:
    """Relative to the larger of the two; infinite where a loss is no number or one is missing."""
    if len(losses) != len(expected) or not all(math.isfinite(v) for v in losses):
        return math.inf
    return max(
        abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in zip(losses, expected, strict=True)
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m m2v_lib.experiments.lease.trial")
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bench-seconds", type=float, default=30.0)
    parser.add_argument("--lanes", nargs="+", type=int, default=[1])
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args(argv)

    every = read_jobs(args.jobs)
    stages = Counter(job.stage for job in every).most_common()
    jobs = {stage: next(job for job in every if job.stage == stage) for stage, _ in stages}
    device = pick_device(next(iter(jobs.values())).exp)
    trial = Trial(jobs, device)
    report: dict[str, Any] = {
        "device": describe(device),
        "torch": torch.__version__,
        "checks": trial.checks,
        "bench": {},
    }

    def keep() -> None:
        write_json(args.out, {**report, "checks": [vars(check) for check in trial.checks]})

    trial.noted = keep
    trial.check_all(args.compile)

    def keep_rates(found: Any) -> None:
        report["bench"] = found
        keep()

    trial.bench(args.bench_seconds, args.lanes, keep_rates)

    return 0


if __name__ == "__main__":
    follow_parent()
    sys.exit(main())
