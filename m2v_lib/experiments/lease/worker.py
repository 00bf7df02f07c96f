"""One process of a lease: trains several of its runs at a time until none is left or the time is
up.

`python -m m2v_lib.experiments.lease.worker JOBS --runs FOLDER --lanes S --until T` trains a run on
each of S streams. Several workers share a job file: a lock beside a run's folder keeps them apart,
and a fine-tuning begins once its pre-training has weights, whoever made them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO

from m2v_lib.experiments.lease.jobs import Job, read_jobs
from m2v_lib.experiments.lease.worker_codes import DEVICE_FAILED
from m2v_lib.experiments.queue.run import claim_file
from m2v_lib.runs.locks import try_lock
from m2v_lib.runs.parents import follow_parent
from m2v_lib.runs.records import StoppedEarly
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.device import pick_device
from m2v_lib.training.engine.parallel import Run, train_together
from m2v_lib.training.engine.stopping import StopRequest
from m2v_lib.training.stage import stage_steps
from m2v_lib.training.stages import STAGES

#: Pause before the jobs are looked through again (s).
LOOK_AGAIN = 0.3


class Worker:
    """Which job is next, and what became of those begun."""

    def __init__(
        self, jobs: list[Job], runs: Path, stop: StopRequest, failures: Path | None = None
    ) -> None:
        self.waiting, self.runs, self.stop, self.failures = list(jobs), runs, stop, failures
        self.loader = ClipLoader()
        self.claims: dict[str, IO[str]] = {}
        self.failed: set[str] = set()
        self.seconds_a_step: dict[str, float] = {}
        self.looked = 0.0
        self.device_failed = False

    def next_run(self) -> Run | None:
        """The next job that can begin now; None where there is none at present."""
        if self.stop or self.device_failed or time.monotonic() < self.looked + LOOK_AGAIN:
            return None

        self.waiting = [job for job in self.waiting if not self.is_over(job)]

        for job in self.waiting:
            if job.name not in self.claims and self.may_begin(job) and self.claim(job):
                return self.begin(job)

        self.looked = time.monotonic()
        return None

    def is_over(self, job: Job) -> bool:
        """Whether nothing is left to do for a job: it is done, or failed, or its pre-training
        failed.
        """
        return (self.runs / job.name / "result.json").exists() or bool(
            {job.name, job.needs} & self.failed
        )

    def may_begin(self, job: Job) -> bool:
        """Whether its pre-training is there, and there is time for it as far as can be told."""
        if job.needs and not (self.runs / job.needs / "result.json").exists():
            return False
        expected = self.seconds_a_step.get(job.stage, 0.0) * job.exp.run.max_steps
        return time.monotonic() + expected < self.stop.deadline

    def claim(self, job: Job) -> bool:
        """Keep other workers from a job; False where one has it, or has just ended it."""
        stream = claim_file(self.runs / job.name).open("w")
        if try_lock(stream) and not self.is_over(job):
            self.claims[job.name] = stream
            return True
        stream.close()
        return False

    def begin(self, job: Job) -> Run:
        steps = stage_steps(
            STAGES[job.stage], job.exp, self.runs, loader=self.loader, stop=self.stop
        )
        return Run(steps, self.at_end(job, time.monotonic()))

    def at_end(self, job: Job, began: float) -> Callable[[BaseException | None], None]:
        """What to note when a run ends."""

        def ended(error: BaseException | None) -> None:
            self.claims.pop(job.name).close()
            self.looked = 0.0
            if error is None:
                self.seconds_a_step[job.stage] = (time.monotonic() - began) / max(
                    1, job.exp.run.max_steps
                )
            elif not isinstance(error, StoppedEarly):
                self.failed.add(job.name)
                self.device_failed |= "CUDA error" in str(error)
                self.note_failure(job, error)

        return ended

    def note_failure(self, job: Job, error: BaseException) -> None:
        """For who reads along, and a line for the lease's report."""
        traced = "".join(traceback.format_exception(error)[-3:])
        print(f"failed: {job.name}: {traced}", flush=True)
        if self.failures is not None:
            said = next(iter(str(error).splitlines()), "")
            line = {"name": job.name, "error": f"{type(error).__name__}: {said}"}
            with contextlib.suppress(OSError), self.failures.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m m2v_lib.experiments.lease.worker")
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--lanes", type=int, default=1)
    parser.add_argument(
        "--until", type=float, required=True, metavar="T", help="when to stop (monotonic clock, s)"
    )
    parser.add_argument("--failures", type=Path, metavar="FILE", help="gets a line a failed run")
    args = parser.parse_args(argv)

    jobs = read_jobs(args.jobs)
    if not jobs:
        return 0

    args.runs.mkdir(parents=True, exist_ok=True)
    device = pick_device(jobs[0].exp)

    with StopRequest(max(1e-6, (args.until - time.monotonic()) / 60)) as stop:
        worker = Worker(jobs, args.runs, stop, args.failures)
        while True:
            train_together(worker.next_run, args.lanes, device)
            if (
                stop
                or worker.device_failed
                or not [job for job in worker.waiting if not worker.is_over(job)]
            ):
                break
            if all(not worker.may_begin(job) for job in worker.waiting) and not _others_run(worker):
                break

            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(LOOK_AGAIN)

    return DEVICE_FAILED if worker.device_failed else 0


def _others_run(worker: Worker) -> bool:
    """Whether another worker is at one of the jobs that wait here, or at what one of them waits
    for.
    """
    names = {job.name for job in worker.waiting} | {
        job.needs for job in worker.waiting if job.needs
    }
    for name in names:
        path = claim_file(worker.runs / name)
        if path.exists():
            with path.open("r+") as stream:
                if not try_lock(stream):
                    return True

    return False


if __name__ == "__main__":
    follow_parent()
    sys.exit(main())
