"""The state of the wanted runs, and running what is not done, one after another."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from m2v_lib.experiments.queue.pace import count_clips, expected_minutes, paces
from m2v_lib.experiments.queue.wanted import Item
from m2v_lib.runs.locks import try_lock
from m2v_lib.runs.parents import PARENT
from m2v_lib.runs.records import (
    RESUME_EXIT_CODE,
    WEIGHTS_FILE,
    Record,
    keep_record,
    read_metrics,
)


@dataclass
class Queue:
    """The items and the state of their runs: `runs` is where training writes, `kept` where
    records are committed.
    """

    items: list[Item]
    runs: Path
    kept: Path
    failed: set[str] = field(default_factory=set)

    def done(self, item: Item) -> bool:
        """A run with a result; of a pre-training whose weights a run still waits for, the
        weights have to be there.
        """
        if (self.runs / item.name / WEIGHTS_FILE).exists() and _has_result(self.runs / item.name):
            return True

        waiting = [
            other for other in self.items if other.needs == item.name and not self.done(other)
        ]
        return not waiting and (
            _has_result(self.kept / item.name) or _has_result(self.runs / item.name)
        )

    def waiting(self) -> list[Item]:
        """What is not done, in order; a pre-training made again for its weights, just before who
        needs them.
        """
        by_name, order = {item.name: item for item in self.items}, dict[str, Item]()
        for item in self.items:
            if self.done(item) or (item.stage == "pretrain" and _has_result(self.kept / item.name)):
                continue
            if item.needs and not self.done(by_name[item.needs]):
                order[item.needs] = by_name[item.needs]
            order[item.name] = item
        return list(order.values())

    def ready(self) -> list[Item]:
        """What can be run now: not done, did not fail before, its pre-training there, no other
        process at it.
        """
        by_name = {item.name: item for item in self.items}
        able = [
            i
            for i in self.waiting()
            if i.name not in self.failed and not is_running(self.runs / i.name)
        ]
        return [item for item in able if not item.needs or self.done(by_name[item.needs])]

    @contextmanager
    def claim(self) -> Iterator[Item | None]:
        """The next run that can be made, kept from other queues while the context lasts; None
        where there is none.
        """
        self.runs.mkdir(parents=True, exist_ok=True)
        for item in self.ready():
            with claim_file(self.runs / item.name).open("w") as stream:
                if try_lock(stream) and not self.done(item):
                    yield item
                    return
        yield None

    def step(self, item: Item) -> int:
        """The last step that an unfinished run has logged."""
        log = self.runs / item.name / "metrics.jsonl"
        lines = read_metrics(log) if log.exists() else []
        return int(lines[-1]["step"]) if lines else 0


def _has_result(folder: Path) -> bool:
    return (folder / "result.json").exists()


def is_running(folder: Path) -> bool:
    """Whether a process trains in this run folder (it holds `training.folder.run_folder_lock`),
    or a queue is about to start one.
    """
    for path in (folder.with_name(f".{folder.name}.lock"), claim_file(folder)):
        if path.exists():
            with path.open("r+") as stream:
                if not try_lock(stream):
                    return True
    return False


def claim_file(folder: Path) -> Path:
    """The file that a queue locks while it is at a run."""
    return folder.with_name(f".{folder.name}.claim")


def listing(queue: Queue, records: Sequence[Record], device: str) -> str:
    """The queue as text: how much is done, then what is not, next first, with its command."""
    waiting = queue.waiting()
    lines = [f"{len(queue.items) - len(waiting)} of {len(queue.items)} runs are done"]
    total, clips, known = 0.0, {}, paces(records, device)

    for number, item in enumerate(waiting, 1):
        data = (item.exp.data, item.exp.model.n_frames, item.stage)
        if not item.exp.run.max_steps and data not in clips:
            clips[data] = count_clips(item.exp, item.stage)
        minutes = expected_minutes(item, known, clips.get(data))
        total += minutes or 0.0
        began = f", at step {queue.step(item)}" if queue.step(item) else ""
        running = ", running" if is_running(queue.runs / item.name) else ""
        about = (
            f"about {minutes:.0f} min" if minutes else "duration unknown, no record of this device"
        )
        lines.append(f"{number}. {'; '.join(item.labels)} ({about}{began}{running})")
        lines.append("   " + shlex.join(item.command({"run.device": device})))

    return "\n".join([*lines, f"together about {total / 60:.1f} hours" if total else ""]).rstrip()


def run_queue(
    queue: Queue, settings: Mapping[str, Any], *, max_minutes: float = 0.0, poll: float = 20.0
) -> int:
    """Run what is not done until nothing is left or the time is up, and keep each finished run's
    record.

    Each run is a process of its own, so memory is free again after it and its failure stops only
    what builds on it. Several such queues may work side by side: none takes a run that another
    is at. `settings` are added to every command. Returns 0 when all is done, 75 (resume me) when
    the time is up or at SIGTERM, 1 when a run failed.
    """
    deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")
    for made in queue.items:  # one that was killed between a run's end and the copy of its record
        if _has_result(queue.runs / made.name) and not _has_result(queue.kept / made.name):
            print(f"kept {keep_record(queue.runs / made.name, queue.kept)}", flush=True)

    while queue.waiting():
        if time.monotonic() >= deadline:
            return RESUME_EXIT_CODE
        with queue.claim() as item:
            if item is None:
                if not any(is_running(queue.runs / other.name) for other in queue.waiting()):
                    return 1  # what is left failed or waits for what failed
                time.sleep(poll)
                continue

            code = _run(item, settings, queue.runs, deadline)

            if _has_result(queue.runs / item.name):
                print(f"kept {keep_record(queue.runs / item.name, queue.kept)}", flush=True)
            elif code != RESUME_EXIT_CODE:
                print(f"failed with exit code {code}: {item.name}", file=sys.stderr, flush=True)
                queue.failed.add(item.name)

            if code == RESUME_EXIT_CODE:
                return code

    return 0


def _run(item: Item, settings: Mapping[str, Any], runs: Path, deadline: float) -> int:
    extra = dict(settings)
    if deadline != float("inf"):
        extra["run.max_minutes"] = max(0.1, (deadline - time.monotonic()) / 60)
    command = item.command(extra)
    print(shlex.join(command), flush=True)
    environment = {**os.environ, "M2V_RUNS": str(runs), PARENT: str(os.getpid())}
    child = subprocess.Popen([sys.executable, "-m", "m2v_lib.cli", *command[1:]], env=environment)

    told = list[int]()

    def stop(number: int, frame: object) -> None:
        told.append(number)
        child.terminate()  # it stops at a checkpoint, or at once where it has not begun

    before = signal.signal(signal.SIGTERM, stop)

    try:
        code = child.wait()
        return RESUME_EXIT_CODE if told else code
    finally:
        signal.signal(signal.SIGTERM, before)
        if child.poll() is None:  # this process was interrupted
            child.terminate()
            child.wait()
