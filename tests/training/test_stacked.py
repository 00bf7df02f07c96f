"""Stacked runs are the runs alone, within rounding: losses, weights, records, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.data.store import Store
from m2v_lib.runs.records import StoppedEarly, read_metrics
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.engine import loop as loop_module
from m2v_lib.training.engine.loop import Trainer, complete
from m2v_lib.training.engine.stacked import Member, train_stacked
from m2v_lib.training.engine.stopping import StopRequest
from m2v_lib.training.finetune import Finetune
from m2v_lib.training.pretrain import Pretrain
from m2v_lib.training.stage import run_stage, stage_steps

Make = Callable[..., Experiment]
Seen = list[BaseException | None]
STAGES: dict[str, Any] = {"finetune": Finetune, "pretrain": Pretrain}
COSINE = {"optim.schedule": "cosine", "optim.warmup_steps": 3, "run.max_steps": 20}
MUON = {"optim.algorithm": "muon", "optim.ema": 0.9, "optim.max_grad_norm": 0.5, "model.dim": 16}


def stacked(kind: Any, exps: list[Experiment], root: Path, stop: Any = None) -> Seen:
    ends: Seen = []
    loader, stop = ClipLoader(), StopRequest(0) if stop is None else stop
    complete(
        train_stacked(
            [
                Member(
                    stage_steps(kind, exp, root, loader=loader, stop=stop, shared=True),
                    ends.append,
                )
                for exp in exps
            ]
        )
    )
    return ends


def assert_near(folder: Path, alone: Path, *, exact: float = 0.0) -> None:
    """In single precision errors and weights differ more than losses: a bias before batch norm
    has no gradient but rounding, which Adam blows up by the rate, and the running mean follows
    it late.
    """
    rtol, within = (exact, 1e-5) if exact else (3e-4, 2e-2)
    lines, expected = (read_metrics(f / "metrics.jsonl") for f in (folder, alone))
    assert [line["step"] for line in lines] == [line["step"] for line in expected]
    for line, other in zip(lines, expected, strict=True):
        assert line.keys() == other.keys()
        for name in line.keys() & (
            {"loss", "target_std", "teacher_distance"} if exact else {"loss"}
        ):
            assert line[name] == pytest.approx(other[name], rel=rtol), (line["step"], name)
        if "mpjpe" in line:
            assert line["mpjpe"] == pytest.approx(other["mpjpe"], rel=within)
    weights, others = (load_file(f / "weights.safetensors") for f in (folder, alone))
    assert {n: (t.shape, t.dtype) for n, t in weights.items()} == {
        n: (t.shape, t.dtype) for n, t in others.items()
    }
    for name, tensor in weights.items() if exact else ():
        torch.testing.assert_close(tensor, others[name], rtol=1e-6, atol=1e-7)


def variants(make: Make, recipe: str, changes: dict[str, Any]) -> list[Experiment]:
    base = make(recipe, {**COSINE, **changes})
    return [
        base,
        base.override({"run.seed": 1}),
        base.override({"data.label_fraction": 0.5, "pretrain.mask_prob": 0.5}),
    ]


@pytest.mark.parametrize(
    ("recipe", "changes"), [("paper", {}), ("released", MUON)], ids=["paper-adamw", "released-muon"]
)
@pytest.mark.parametrize("stage", STAGES)
def test_stacked_runs_are_the_runs_alone(
    stage: str,
    recipe: str,
    changes: dict[str, Any],
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exps = variants(tiny_experiment, recipe, {**changes, "optim.lr": 1e-4})
    assert stacked(STAGES[stage], exps, tmp_path / "stacked") == [None] * len(exps)
    assert "not stacked" not in capsys.readouterr().out
    for exp in exps:
        alone = run_stage(STAGES[stage], exp, tmp_path / "alone")
        assert_near(tmp_path / "stacked" / alone.name, alone)


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages whose weights and batches are in double precision."""
    for kind in STAGES.values():
        build, draw = kind.build.__func__, kind.draw

        def built(cls: Any, *args: Any, build: Any = build) -> Any:
            stage = build(cls, *args)
            stage.module.double()
            return stage

        def drawn(self: Any, *args: Any, draw: Any = draw) -> dict[str, Tensor]:
            return {
                name: t.double() if t.is_floating_point() else t
                for name, t in draw(self, *args).items()
            }

        monkeypatch.setattr(kind, "build", classmethod(built))
        monkeypatch.setattr(kind, "draw", drawn)
    monkeypatch.setattr("m2v_lib.training.finetune.predict_normalised", predicted_in_single)


def predicted_in_single(model: Any, clips: Any, **kwargs: Any) -> Any:
    from copy import deepcopy

    from m2v_lib.evaluation.protocols import predict_normalised

    return predict_normalised(deepcopy(model).float(), clips, **kwargs)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("changes", [{}, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize("stage", STAGES)
def test_in_double_precision_they_are_the_same(
    stage: str,
    changes: dict[str, Any],
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
) -> None:
    exps = variants(tiny_experiment, "paper", changes)
    assert stacked(STAGES[stage], exps, tmp_path / "stacked") == [None] * len(exps)
    for exp in exps:
        alone = run_stage(STAGES[stage], exp, tmp_path / "alone")
        assert_near(tmp_path / "stacked" / alone.name, alone, exact=1e-8)


class AfterSomeSteps:
    """A stop request that is raised at the n-th time it is looked at."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("stage", STAGES)
def test_stopped_together_they_go_on_alone_or_with_others(
    stage: str, tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    """Stopped between two runs' steps, so that the first is a step behind the others."""
    kind, exps = STAGES[stage], variants(tiny_experiment, "paper", MUON)
    ends = stacked(kind, exps, tmp_path / "stopped", AfterSomeSteps(21))
    assert [type(end) for end in ends] == [StoppedEarly] * 3
    run_stage(kind, exps[1], tmp_path / "stopped")
    assert stacked(kind, exps, tmp_path / "stopped") == [None] * 3
    for exp in exps:
        alone = run_stage(kind, exp, tmp_path / "alone")
        assert_near(tmp_path / "stopped" / alone.name, alone, exact=1e-7)


@pytest.mark.parametrize("stage", STAGES)
def test_recorded_stacks_are_the_eager_ones(
    stage: str,
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The recording is played by a stand-in, as in test_step."""
    kind, exps = STAGES[stage], variants(tiny_experiment, "paper", MUON)
    assert stacked(kind, exps, tmp_path / "eager") == [None] * 3
    monkeypatch.setattr(loop_module, "cuda_graph", lambda compute, device: compute)
    monkeypatch.setattr(Trainer, "may_capture", lambda self: True)
    assert stacked(kind, exps, tmp_path / "recorded") == [None] * 3
    for exp in exps:
        name = exp.run_name(stage)
        weights, expected = (
            load_file(tmp_path / which / name / "weights.safetensors")
            for which in ("recorded", "eager")
        )
        assert all(torch.equal(weights[n], t) for n, t in expected.items())


def test_an_error_ends_its_own_run_alone(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exps = variants(tiny_experiment, "paper", {"optim.lr": 1e-4})
    draw = Finetune.draw

    def fails(self: Finetune, *args: Any) -> Any:
        if self.exp.run.seed == 1 and len(args[0]) < 8:
            raise RuntimeError("no memory")
        return draw(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Finetune, "draw", fails)
        ends = stacked(Finetune, exps, tmp_path / "stacked")
    assert [str(end) for end in ends if end] == ["no memory"]
    for exp in (exps[0], exps[2]):
        alone = run_stage(Finetune, exp, tmp_path / "alone")
        assert_near(tmp_path / "stacked" / alone.name, alone)


def test_runs_of_two_rates_are_not_stacked_and_train_all_the_same(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exps = [tiny_experiment("paper"), tiny_experiment("paper", {"optim.lr": 1e-3})]
    assert stacked(Finetune, exps, tmp_path / "stacked") == [None] * 2
    assert capsys.readouterr().out.count("2 runs are not stacked: the rates differ") == 1
