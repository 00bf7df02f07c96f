"""What a step of each variant of a sweep costs on a CPU: one thread's seconds, measured in turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from m2v_lib.config import Experiment
from m2v_lib.experiments.queue.sweeps import COST_FILE, label, sweep_items
from m2v_lib.runs.records import environment, write_json
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.engine.distributed import SINGLE
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.finetune import Finetune

CPU: Final = torch.device("cpu")
#: Steps of a round, and rounds: in each all variants take their turn, the median counts.
STEPS, ROUNDS = 8, 3


def measure_cost(
    name: str, data: str, kept: Path, *, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Measure the sweep's variants and file the result under `kept`; returns what it holds.

    Raises ConfigError for an unknown sweep, DataError where the store is not there.
    """
    torch.set_num_threads(1)
    seed = min(item.exp.run.seed for item in sweep_items(name, data))
    variants = [item.exp for item in sweep_items(name, data) if item.exp.run.seed == seed]
    loader = ClipLoader()

    with tempfile.TemporaryDirectory() as folder:
        trainers = [_trainer(exp, Path(folder) / str(i), loader) for i, exp in enumerate(variants)]
        for trainer in trainers:
            trainer.one_step()
        rounds = [[_seconds(trainer) for trainer in trainers] for _ in range(ROUNDS)]

    cost = {
        label(name, number): statistics.median(seconds)
        for number, seconds in enumerate(zip(*rounds, strict=True))
    }
    for change, seconds in cost.items():
        say(f"{1e3 * seconds:6.1f} ms a step: {change}")

    found = {"schema": 1, "sweep": name, **environment({"device": "cpu", "threads": 1})}
    write_json(kept / COST_FILE.format(name=name), {**found, "seconds_a_step": cost})
    return {**found, "seconds_a_step": cost}


def _trainer(exp: Experiment, folder: Path, loader: ClipLoader) -> Trainer:
    store, _ = Finetune.open_data(exp)
    trainer = Trainer(Finetune.build(exp, folder, store, CPU, SINGLE, loader), folder)
    trainer.start()
    return trainer


def _seconds(trainer: Trainer) -> float:
    """A step's seconds of this process."""
    began = time.process_time()
    for _ in range(STEPS):
        trainer.one_step()
    return (time.process_time() - began) / STEPS
