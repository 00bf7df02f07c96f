"""A recorded step is the eager one, to the bit; the loop asks the device for nothing between two
log lines.

Without a GPU the recording is played by a stand-in that computes again on the recorded batch's
place in memory. What it shows is everything but the kernels: the place of batch, rates, moments
and sums, and a warm-up that leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.waits import Waits, waits_of
from safetensors.torch import load_file
from torch import Tensor

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.store import Store
from m2v_lib.experiments.rows import Row, rows
from m2v_lib.models.losses import lifting_loss
from m2v_lib.models.registry import build_model
from m2v_lib.runs.records import read_metrics
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.engine import loop as loop_module
from m2v_lib.training.engine.averaging import share_of_newest
from m2v_lib.training.engine.distributed import SINGLE
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.finetune import Finetune, finetune
from m2v_lib.training.pretrain import Pretrain, pretrain

Make = Callable[..., Experiment]
CPU = torch.device("cpu")
STAGES: dict[str, Callable[[Experiment, Path], Path]] = {"pretrain": pretrain, "finetune": finetune}
#: Everything that moves beside the weights: Muon's and Adam's moments, an average, a limit to
#: gradients.
EVERYTHING = {
    "optim.algorithm": "muon",
    "optim.ema": 0.9,
    "optim.max_grad_norm": 1.0,
    "model.dim": 16,
    "optim.schedule": "cosine",
    "optim.warmup_steps": 3,
}
PRETRAINED_SYSTEMS = ({"model.name": "motionbert"}, {"model.name": "pstmo"})


def play(
    launches: Callable[[], None], device: torch.device, *generators: torch.Generator
) -> Callable[[], None]:
    """The stand-in of a CUDA graph: what draws from the global generator draws from those given."""

    def launch() -> None:
        with torch.random.fork_rng(devices=[]):
            for generator in generators:
                torch.random.set_rng_state(generator.get_state())
            launches()

    return launch


def with_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "cuda_graph", play)
    monkeypatch.setattr(Trainer, "may_capture", lambda self: True)


def trained(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    lines = [
        {k: v for k, v in line.items() if k != "seconds"}
        for line in read_metrics(folder / "metrics.jsonl")
    ]
    return lines, load_file(folder / "weights.safetensors")


def assert_same_run(folder: Path, other: Path) -> None:
    (lines, weights), (expected_lines, expected) = trained(folder), trained(other)
    assert lines == expected_lines
    assert (
        all(torch.equal(weights[name], expected[name]) for name in expected)
        and weights.keys() == expected.keys()
    )


@pytest.mark.parametrize("changes", [{}, EVERYTHING], ids=["adamw", "everything"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_recorded_run_is_the_eager_run_to_the_bit(
    stage: str,
    changes: dict[str, Any],
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exp = tiny_experiment("paper", {"run.eval_every": 5, **changes})
    eager = STAGES[stage](exp, tmp_path / "eager")
    with_recording(monkeypatch)
    assert_same_run(STAGES[stage](exp, tmp_path / "recorded"), eager)


def test_what_the_model_drops_is_dropped_again_when_recorded_and_nothing_else_draws_from_it(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset = Experiment.preset("smoke").override(
        {"data.name": "tiny", "run.max_steps": 12, "model.name": "pstmo", "finetune.batch_size": 8}
    )
    exp = preset.override({"data.train_stride": 4, "data.test_stride": 1, "run.eval_every": 5})
    eager = finetune(exp, tmp_path / "eager")
    with_recording(monkeypatch)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert_same_run(finetune(exp, tmp_path / "recorded"), eager)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("model", PRETRAINED_SYSTEMS, ids=lambda model: model["model.name"])
def test_a_systems_own_pretraining_can_be_recorded(
    model: dict[str, Any],
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exp = tiny_experiment("own", {"run.max_steps": 5}).override(
        {**model, "pretrain.batch_size": 16}
    )
    eager = pretrain(exp, tmp_path / "eager")
    with_recording(monkeypatch)
    assert_same_run(pretrain(exp, tmp_path / "recorded"), eager)


@pytest.mark.parametrize("stage", STAGES)
def test_a_recorded_run_stopped_after_every_few_steps_ends_the_same(
    stage: str,
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Moments, sums and average come from a checkpoint into a run that records again."""
    exp = tiny_experiment("paper", {"run.eval_every": 5, **EVERYTHING})
    whole = STAGES[stage](exp, tmp_path / "whole")
    with_recording(monkeypatch)
    one_step = Trainer.one_step

    def dies(self: Trainer) -> dict[str, Tensor]:
        if self.step in (6, 11) and not (marker := tmp_path / f"died-{self.step}").exists():
            marker.touch()
            raise KeyboardInterrupt
        return one_step(self)

    monkeypatch.setattr(Trainer, "one_step", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            STAGES[stage](exp, tmp_path / "killed")
    assert_same_run(STAGES[stage](exp, tmp_path / "killed"), whole)


def test_where_recording_fails_the_run_says_so_once_and_goes_on_eagerly(
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exp = tiny_experiment("paper", EVERYTHING)
    eager = finetune(exp, tmp_path / "eager")

    def fail(*_: object) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    with_recording(monkeypatch)
    monkeypatch.setattr(loop_module, "cuda_graph", fail)
    capsys.readouterr()
    failed = finetune(exp, tmp_path / "failed")
    said = capsys.readouterr().out
    reason = "operation not permitted when stream is capturing"
    assert (
        said.count(f"finetune: no CUDA graph ({reason}); going on eagerly\n")
        == 1
        == said.count("CUDA graph")
    )
    assert_same_run(failed, eager)


@pytest.mark.parametrize(
    ("kind", "recipe", "model"),
    [
        (Pretrain, "paper", {}),
        (Pretrain, "released", {}),
        (Finetune, "paper", {}),
        (Finetune, "released", {}),
        (Finetune, "paper", {"data.hidden_joints": 0.2}),
        *((Pretrain, "own", model) for model in PRETRAINED_SYSTEMS),
    ],
)
def test_steps_between_log_lines_wait_for_nothing(
    kind: Any,
    recipe: str,
    model: dict[str, Any],
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exp = tiny_experiment(recipe, {**EVERYTHING, "optim.algorithm": "muon"}).override(model)
    store, _ = kind.open_data(exp)
    trainer = Trainer(kind.build(exp, tmp_path, store, CPU, SINGLE, ClipLoader()), tmp_path / "run")
    trainer.start()
    trainer.one_step()  # moments come into being
    assert waits_of(lambda: [trainer.one_step() for _ in range(6)], monkeypatch) == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool(x.any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x[:, [0, 1]],
        lambda x: x * torch.tensor([1.0, 2.0, 3.0]),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
    ],
)
def test_the_net_catches_what_waits(
    wait: Callable[[Tensor], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.ones(3, 3)
    assert waits_of(lambda: wait(x), monkeypatch) != []
    assert waits_of(lambda: x[:, :2].add_(1.0).sum(), monkeypatch) == []


class ClockOfDevice:
    """A moment on a device that takes its steps later."""

    def __init__(self, device: object) -> None:
        self.waited = 0

    def __call__(self) -> None:
        self.waited += 1


def test_a_gpu_is_given_a_few_steps_more_than_it_has_taken(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has to stop waits for these, not for all steps since the last log line."""
    made: list[ClockOfDevice] = []

    def moment(device: object) -> ClockOfDevice:
        made.append(ClockOfDevice(device))
        return made[-1]

    exp = tiny_experiment("paper", {"run.max_steps": 30, "run.log_every": 30})
    store, _ = Finetune.open_data(exp)
    built = Finetune.build(exp, tmp_path, store, CPU, SINGLE, ClipLoader())
    trainer = Trainer(built, tmp_path / "run")
    assert trainer.pace() is None, "a CPU has taken each step that it was given"

    def with_gpu(self: Trainer) -> Any:
        self.device = torch.device("cuda")
        try:
            return pace(self)
        finally:
            self.device = CPU

    pace = Trainer.pace
    monkeypatch.setattr(loop_module, "Moment", moment)
    monkeypatch.setattr(Trainer, "pace", with_gpu)
    trainer.run()
    waited = [clock.waited for clock in made]
    assert waited == [1] * (30 - loop_module.STEPS_AHEAD) + [0] * loop_module.STEPS_AHEAD


@pytest.mark.parametrize(
    "row",
    [row for group in ("leaderboard", "leaderboard-own") for row in rows(group)],
    ids=lambda row: row.name,
)
def test_the_loss_of_no_system_waits(row: Row) -> None:
    exp = row.experiment(data="mocap", preset="smoke", overrides={"run.seed": 0})
    model = build_model(exp.model, seed=0).train()
    x, y = (torch.rand(4, exp.model.n_frames, 17, 3, dtype=torch.float64) for _ in range(2))
    model.double()

    for first in (True, False):  # the first time constants come to the device
        with Waits() as waits:
            lifting_loss(model, model, x, y, exp.finetune)[0].backward()
        assert first or waits.seen == []


def test_recording_is_refused_where_it_was_demanded_and_cannot_be(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="run.cuda_graph=on does not go with run.device=cpu"):
        finetune(tiny_experiment("paper", {"run.cuda_graph": "on"}))


def test_the_average_is_what_is_evaluated_and_saved(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand from the weights of every step, with batch-norm buffers as they are."""
    exp = tiny_experiment("paper", {"optim.ema": 0.5, "run.eval_every": 12})
    seen: list[dict[str, Tensor]] = []
    one_step = Trainer.one_step

    def watch(self: Trainer) -> dict[str, Tensor]:
        if not seen:
            seen.append({k: v.detach().clone() for k, v in self.named.items()})
        extras = one_step(self)
        seen.append({k: v.detach().clone() for k, v in self.named.items()})
        return extras

    monkeypatch.setattr(Trainer, "one_step", watch)
    _, weights = trained(finetune(exp))
    average = seen[0]
    for step, latest in enumerate(seen[1:], 1):
        share = share_of_newest(0.5, step)
        average = {name: value + share * (latest[name] - value) for name, value in average.items()}
    for name, value in average.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(weights[name], seen[-1][name], atol=1e-4) for name in average)
    assert (
        share_of_newest(0.5, 1) == pytest.approx(1 - 1 / 11) and share_of_newest(0.5, 1000) == 0.5
    )


def test_gradients_are_limited(
    tiny_store: Store, tiny_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []
    after = Finetune.after_step

    def watch(self: Finetune, values: Any) -> None:
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        norms.append(float(torch.stack([g.norm() for g in gradients]).norm()))
        after(self, values)

    monkeypatch.setattr(Finetune, "after_step", watch)
    finetune(tiny_experiment("paper", {"optim.max_grad_norm": 0.01}))
    assert norms == pytest.approx([0.01] * 12, rel=1e-3)
