"""Runs that take turns in one process are the runs alone, bit for bit; an error ends its own run
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from m2v_lib.config import Experiment
from m2v_lib.data.store import Store
from m2v_lib.runs.records import StoppedEarly, load_record, read_metrics
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.engine.parallel import Run, train_together
from m2v_lib.training.engine.stopping import StopRequest
from m2v_lib.training.finetune import Finetune
from m2v_lib.training.pretrain import Pretrain
from m2v_lib.training.stage import run_stage, stage_steps

Make = Callable[..., Experiment]
CPU = torch.device("cpu")


def experiments(make: Make) -> list[tuple[Any, Experiment]]:
    """Runs of both stages, of different lengths, with dropped-in validations."""
    muon = {"optim.algorithm": "muon", "optim.ema": 0.9, "model.dim": 16, "run.eval_every": 5}
    return [
        (Finetune, make("paper", {"run.seed": 0})),
        (
            Finetune,
            make("paper", {"run.seed": 1, "run.max_steps": 7, "finetune.select": "best-on-val"}),
        ),
        (Pretrain, make("paper", {"run.seed": 0})),
        (Finetune, make("released", {"run.seed": 2, **muon})),
        (Pretrain, make("released", {"run.max_steps": 5})),
    ]


def together(
    runs: list[tuple[Any, Experiment]], root: Path, stop: Any = None
) -> list[BaseException | None]:
    """The runs three at a time; how each ended, in the order of their ends."""
    ends: list[BaseException | None] = []
    loader, stop = ClipLoader(), StopRequest(0) if stop is None else stop
    waiting: Iterator[Run] = (
        Run(stage_steps(kind, exp, root, loader=loader, stop=stop), ends.append)
        for kind, exp in runs
    )
    train_together(lambda: next(waiting, None), 3, CPU)
    return ends


def outcome(folder: Path) -> tuple[Any, ...]:
    record = load_record(folder)
    result = {k: v for k, v in record.result.items() if k not in ("seconds", "final")}
    lines = [
        {k: v for k, v in line.items() if k != "seconds"}
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    weights = {k: v.tolist() for k, v in load_file(folder / "weights.safetensors").items()}
    return result, lines, weights


def test_runs_together_are_the_runs_alone(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    runs = experiments(tiny_experiment)
    assert together(runs, tmp_path / "together") == [None] * len(runs)
    for kind, exp in runs:
        alone = run_stage(kind, exp, tmp_path / "alone")
        assert outcome(tmp_path / "together" / alone.name) == outcome(alone)
    assert not list((tmp_path / "together").glob("*/checkpoint*"))


def test_an_error_ends_its_own_run_alone(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = experiments(tiny_experiment)
    draw = Finetune.draw

    def fails(self: Finetune, chosen_B: Any, generator: Any) -> Any:
        if self.exp.run.seed == 1:
            raise RuntimeError("out of memory")
        return draw(self, chosen_B, generator)

    monkeypatch.setattr(Finetune, "draw", fails)
    ends = together(runs, tmp_path)
    assert [str(e) for e in ends if e] == ["out of memory"]
    assert len(list(tmp_path.glob("*/result.json"))) == len(runs) - 1


def test_when_the_time_is_up_all_stop_at_a_checkpoint_and_go_on_to_the_same_numbers(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    runs = experiments(tiny_experiment)[:3]

    class AfterSomeSteps:
        asked = 0

        def __bool__(self) -> bool:
            self.asked += 1
            return self.asked > 9

    ends = together(runs, tmp_path / "stopped", AfterSomeSteps())
    assert [type(e) for e in ends] == [StoppedEarly] * 3
    assert len(list((tmp_path / "stopped").glob("*/checkpoint.safetensors"))) == 3
    assert together(runs, tmp_path / "stopped") == [None] * 3
    for kind, exp in runs:
        alone = run_stage(kind, exp, tmp_path / "alone")
        assert outcome(tmp_path / "stopped" / alone.name) == outcome(alone)


def test_clips_are_made_once_for_all_runs(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m2v_lib.training import clip_loader

    made: list[float] = []
    training_clips = clip_loader.training_clips

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(kwargs["label_fraction"])
        return training_clips(*args, **kwargs)

    monkeypatch.setattr(clip_loader, "training_clips", counted)
    runs = [(Finetune, tiny_experiment("paper", {"run.seed": seed})) for seed in range(3)]
    runs.append((Finetune, tiny_experiment("paper", {"data.label_fraction": 0.5})))
    assert together(runs, tmp_path) == [None] * 4
    assert made == [1.0, 0.5]
