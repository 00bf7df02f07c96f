"""The loop both stages share, on a small regression: same numbers as a plain loop, whenever it
is interrupted.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from m2v_lib.config import Experiment, OptimConfig
from m2v_lib.models import state_files as checkpoint
from m2v_lib.models.state_files import CheckpointError
from m2v_lib.runs.records import StoppedEarly, read_metrics
from m2v_lib.training.engine import loop as loop_module
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.engine.randomness import seeded
from m2v_lib.training.schedule import Schedule, ScheduledValues, learning_rate
from m2v_lib.training.stage import Stage

CPU = torch.device("cpu")


# Randomness, rates, schedule


def test_a_generator_depends_on_its_key_alone() -> None:
    def draw(*key: int) -> list[float]:
        return torch.rand(4, generator=seeded(CPU, *key)).tolist()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert (
        len(
            {
                tuple(draw(*key))
                for key in [(1, 2, 3), (1, 3, 2), (0, 2, 3), (1, 2), (1, 2, 3, 0, 1)]
            }
        )
        == 5
    )


def test_rate_decays_by_epoch() -> None:
    cfg = OptimConfig(lr=5e-4, schedule="decay", lr_decay=0.99)
    rates = [learning_rate(cfg, step, step // 10, 600) for step in range(600)]
    assert rates[0] == rates[9] == 5e-4 and rates[10] == pytest.approx(5e-4 * 0.99)
    assert rates[-1] == pytest.approx(5e-4 * 0.99**59)


def test_rate_follows_a_cosine_after_a_linear_warm_up() -> None:
    cfg = OptimConfig(lr=1.0, schedule="cosine", warmup_steps=4)
    rates = [learning_rate(cfg, step, 0, 24) for step in range(25)]
    np.testing.assert_allclose(rates[:4], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(
        rates[4:], [0.5 * (1 + math.cos(math.pi * k / 20)) for k in range(21)], atol=1e-12
    )
    warm = OptimConfig(lr=1.0, schedule="decay", warmup_steps=10)
    assert learning_rate(warm, 4, 0, 100) == 0.5


def test_schedule_counts_steps_and_says_when_it_is_cut_short() -> None:
    full = Schedule(n_clips=10, batch_size=4, epochs_full=6, max_steps=0)
    assert (full.per_epoch, full.n_steps) == (3, 18)
    assert full.summary() == {
        "steps": 18,
        "epochs_done": 6.0,
        "epochs_full": 6,
        "partial": False,
        "n_clips": 10,
    }
    short = Schedule(n_clips=10, batch_size=4, epochs_full=6, max_steps=5)
    assert (
        short.n_steps == 5
        and short.summary()["partial"]
        and short.summary()["epochs_done"] == 1.667
    )


# A regression with everything a stage has: random draws, a buffer, an average, several losses

N_CLIPS, N_STEPS = 10, 13


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, generator=generator))
        self.unused = nn.Parameter(torch.ones(2))
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("average", torch.zeros(3))
        self.average: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) @ self.weight


DATA = torch.randn(N_CLIPS, 3, generator=torch.Generator().manual_seed(1))


class Killed(Exception):
    """Stands for a kill: nothing in the loop catches it."""


class Toy(Stage):
    """The regression as a stage; `die_before` a step it is killed, `chosen` notes which clips
    each batch has.
    """

    name = "pretrain"
    has_validation = True

    def __init__(
        self, exp: Experiment, die_before: int = 0, chosen: list[list[int]] | None = None
    ) -> None:
        self.exp, self.optim, self.device, self.fingerprint = exp, exp.optim, CPU, "abc"
        self.module = self.model = self.regression = Regression()
        self.schedule = Schedule(N_CLIPS, 4, 60, exp.run.max_steps)
        self.die_before, self.chosen, self.count = die_before, chosen, 0
        self.now: Callable[[], int] = lambda: 0

    @classmethod
    def open_data(cls, exp: Experiment) -> tuple[Any, str]:
        return None, "abc"

    @classmethod
    def build(cls, exp: Experiment, *_: Any) -> Toy:
        return cls(exp)

    def draw(self, chosen_B: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        if self.now() + 1 == self.die_before:
            raise Killed
        if self.chosen is not None:
            self.chosen.append(chosen_B.tolist())
        return {"x": DATA[chosen_B], "noise": torch.randn(len(chosen_B), generator=generator)}

    def loss(
        self, network: nn.Module, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, noise = batch["x"], batch["noise"]
        loss = (network(x) - x.sum(1) - 0.1 * noise).square().mean()
        self.count += 1
        return loss, {
            "n_clips": torch.tensor(float(len(x))),
            "noise": noise,
            "count": torch.tensor(self.count),
        }

    def scheduled_values(self, step: int, n_steps: int) -> dict[str, float]:
        return {"share": 0.3}

    def after_step(self, values: ScheduledValues) -> None:
        with torch.no_grad():
            self.regression.average.lerp_(self.regression.weight.detach(), values["share"].float())

    def evaluate(self) -> Callable[[], dict[str, float]]:
        size, step = float(self.regression.weight.detach().norm()), self.now()
        return lambda: {"mpjpe": size + 10 * step}

    def result(self, folder: Path) -> Callable[[], dict[str, Any]]:
        return lambda: {"data": {"fingerprint": "abc"}}


def make(
    folder: Path,
    die_before: int = 0,
    chosen: list[list[int]] | None = None,
    exp: Experiment | None = None,
) -> Trainer:
    default = {
        "optim.lr": 0.05,
        "run.log_every": 3,
        "run.checkpoint_every": 4,
        "run.eval_every": 5,
        "run.max_steps": N_STEPS,
    }
    toy = Toy(exp or Experiment.preset("smoke").override(default), die_before, chosen)
    trainer = Trainer(toy, folder)
    toy.now = lambda: trainer.step
    return trainer


def without_clock(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "count")} for line in lines]


def outcome(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    return without_clock(read_metrics(folder / "metrics.jsonl")), load_file(
        folder / "checkpoint.safetensors"
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    make(folder).run()
    return folder


def assert_same(folder: Path, other: Path) -> None:
    (lines, tensors), (expected_lines, expected) = outcome(folder), outcome(other)
    assert lines == expected_lines
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    best, expected_best = (checkpoint.read_tensors(f / "best.safetensors") for f in (folder, other))
    assert best[1] == expected_best[1] == {"step": 5}  # the first validation has the least error
    assert all(torch.equal(best[0][name], expected_best[0][name]) for name in expected_best[0])


def test_the_numbers_of_a_plain_loop(tmp_path: Path) -> None:
    """AdamW, order, rate and logged means, written out again with torch's unfused optimiser."""
    chosen: list[list[int]] = []
    trainer = make(tmp_path / "run", chosen=chosen)
    trainer.run()
    assert [len(batch) for batch in chosen] == [4, 4, 2] * 4 + [4]
    for epoch in range(4):
        assert sorted(sum(chosen[3 * epoch : 3 * epoch + 3], [])) == list(range(N_CLIPS))
    assert chosen[:3] != chosen[3:6]

    model = Regression()
    optimiser = torch.optim.AdamW(
        [p for n, p in model.named_parameters() if n != "unused"],
        lr=0.05,
        weight_decay=0.01,
        foreach=False,
    )
    losses = []
    for step, batch in enumerate(chosen):
        optimiser.param_groups[0]["lr"] = 0.05 * 0.99 ** (step // 3)
        noise = torch.randn(len(batch), generator=seeded(CPU, 0, sum(b"pretrain"), 2, step))
        loss = (model(DATA[batch]) - DATA[batch].sum(1) - 0.1 * noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    trained = trainer.module.state_dict()
    for name, value in model.state_dict().items():
        if name != "average":
            torch.testing.assert_close(trained[name], value, rtol=1e-5, atol=1e-6)
    assert trained["unused"].tolist() == [1, 1]

    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    logged = [line for line in lines if line["kind"] == "train"]
    assert [line["step"] for line in logged] == [3, 6, 9, 12, 13]
    assert [line["epoch"] for line in logged] == [0, 1, 2, 3, 4]
    groups = [losses[:3], losses[3:6], losses[6:9], losses[9:12], losses[12:]]
    np.testing.assert_allclose(
        [line["loss"] for line in logged], [np.mean(g) for g in groups], rtol=1e-4
    )
    assert logged[0]["n_clips"] == pytest.approx(10 / 3) and "noise" not in logged[0]
    assert logged[1]["lr"] == pytest.approx(0.05 * 0.99)
    assert [line["step"] for line in lines if line["kind"] == "val"] == [5, 10, 13]


def test_adam_with_amsgrad_and_where_it_was_killed(tmp_path: Path) -> None:
    """Against torch's unfused optimiser; the largest second moment outlives a kill."""
    changes = {
        "optim.algorithm": "adam-amsgrad",
        "optim.weight_decay": 0.0,
        "optim.lr": 0.05,
        "run.max_steps": N_STEPS,
        "run.checkpoint_every": 4,
    }
    exp = Experiment.preset("smoke").override(changes)
    chosen: list[list[int]] = []
    make(tmp_path / "whole", chosen=chosen, exp=exp).run()
    with pytest.raises(Killed):
        make(tmp_path / "killed", die_before=7, exp=exp).run()
    make(tmp_path / "killed", exp=exp).run()
    whole, killed = (
        load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "killed")
    )
    assert (
        all(torch.equal(whole[name], killed[name]) for name in whole)
        and whole.keys() == killed.keys()
    )

    model = Regression()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05, amsgrad=True, foreach=False)
    for step, batch in enumerate(chosen):
        optimiser.param_groups[0]["lr"] = 0.05 * 0.99 ** (step // 3)
        noise = torch.randn(len(batch), generator=seeded(CPU, 0, sum(b"pretrain"), 2, step))
        optimiser.zero_grad()
        (model(DATA[batch]) - DATA[batch].sum(1) - 0.1 * noise).square().mean().backward()
        optimiser.step()
    torch.testing.assert_close(whole["module.weight"], model.weight.detach(), rtol=1e-5, atol=1e-6)
    largest = optimiser.state[model.weight]["max_exp_avg_sq"]
    torch.testing.assert_close(whole["optim.max_exp_avg_sq.weight"], largest, rtol=1e-4, atol=1e-8)


def test_the_global_random_state_does_not_matter(tmp_path: Path, uninterrupted: Path) -> None:
    torch.manual_seed(123)
    make(tmp_path / "run").run()
    assert_same(tmp_path / "run", uninterrupted)


def test_another_seed_gives_other_numbers(tmp_path: Path, uninterrupted: Path) -> None:
    trainer = make(tmp_path / "run")
    trainer.exp = trainer.exp.override({"run.seed": 1})
    trainer.run()
    assert outcome(tmp_path / "run")[0] != outcome(uninterrupted)[0]


@pytest.mark.parametrize("moment", range(1, N_STEPS + 1))
def test_interrupted_before_any_step_the_run_goes_on_to_the_same_numbers(
    moment: int, tmp_path: Path, uninterrupted: Path
) -> None:
    with pytest.raises(Killed):
        make(tmp_path / "run", die_before=moment).run()
    resumed = make(tmp_path / "run")
    resumed.run()
    assert_same(tmp_path / "run", uninterrupted)
    assert resumed.best == make_best(uninterrupted)


def make_best(folder: Path) -> float:
    return min(
        line["mpjpe"] for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "val"
    )


def test_interrupted_again_and_again(tmp_path: Path, uninterrupted: Path) -> None:
    for moment in (3, 6, 7, 11, 11, 13):
        with pytest.raises(Killed):
            make(tmp_path / "run", die_before=moment).run()
    make(tmp_path / "run").run()
    assert_same(tmp_path / "run", uninterrupted)


def test_running_a_complete_run_again_adds_nothing(tmp_path: Path, uninterrupted: Path) -> None:
    make(tmp_path / "run").run()
    make(tmp_path / "run", die_before=1).run()
    assert_same(tmp_path / "run", uninterrupted)


def test_a_full_disk_while_saving_costs_only_the_steps_since(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(Killed):
        make(folder, die_before=6).run()

    save_file = checkpoint.save_file

    def full(tensors: Any, beside: Path, metadata: Any) -> None:
        if "checkpoint" not in str(beside):
            return save_file(tensors, beside, metadata)
        Path(beside).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(
            OSError, match=r"checkpoint.safetensors: could not be saved .*No space left"
        ):
            make(folder).run()
    assert not list(folder.glob("*.tmp"))
    make(folder).run()
    assert_same(folder, uninterrupted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda t: setattr(t.stage, "fingerprint", "xyz"),
            "made with fingerprint abc, this run has xyz",
        ),
        (lambda t: setattr(t.schedule, "max_steps", 20), "made with n_steps 13, this run has 20"),
        (lambda t: setattr(t, "module", nn.Linear(2, 2)), "holds another model"),
    ],
)
def test_another_data_set_schedule_or_model_is_not_resumed(
    change: Callable[[Trainer], None], words: str, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        make(tmp_path / "run", die_before=9).run()
    trainer = make(tmp_path / "run")
    change(trainer)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    with pytest.raises(CheckpointError, match=rf"checkpoint.safetensors: .*{words}") as caught:
        trainer.run()
    assert "\n" not in str(caught.value)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_the_best_validation_is_kept_apart(tmp_path: Path) -> None:
    values = iter([3.0, 1.0, 2.0])
    trainer = make(tmp_path / "run")
    trainer.stage.evaluate = lambda: lambda: {"mpjpe": next(values)}  # type: ignore[method-assign]
    trainer.run()
    tensors, state = checkpoint.read_tensors(tmp_path / "run" / "best.safetensors")
    assert state == {"step": 10} and trainer.best == 1.0
    assert not torch.equal(tensors["weight"], trainer.module.state_dict()["weight"])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    trainer = make(tmp_path / "run")
    loss = trainer.stage.loss
    trainer.stage.loss = lambda network, batch: (loss(network, batch)[0] * float("nan"), {})  # type: ignore[method-assign]
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 3; lower optim.lr"):
        trainer.run()
    assert not read_metrics(tmp_path / "run" / "metrics.jsonl")


def test_settings_and_environment_are_written_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        make(tmp_path / "run", die_before=1).run()
    assert Experiment.from_yaml(tmp_path / "run" / "config.yaml").run.max_steps == N_STEPS
    assert (tmp_path / "run" / "env.json").exists()


def test_a_second_process_waits_until_the_first_stops_training(tmp_path: Path) -> None:
    """As after `kill -9` of the workflow, whose notebooks go on alone."""
    held = (
        "import sys, time; from pathlib import Path; from m2v_lib.training.folder import "
        "run_folder_lock\n"
    )
    held += "with run_folder_lock(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"

    def start() -> tuple[subprocess.Popen[str], IO[str]]:
        words = [sys.executable, "-c", held, str(tmp_path / "run")]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, process.stdout

    first, said_first = start()
    assert said_first.readline() == "in\n"
    second, said_second = start()
    try:
        assert said_second.readline().startswith("waiting for another process")
        first.kill()
        assert said_second.readline() == "in\n"
    finally:
        first.kill()
        second.kill()


# Stopping early, and checkpoints written while training goes on


def test_time_up_stops_at_a_checkpoint_and_the_run_goes_on_to_the_same_numbers(
    tmp_path: Path, uninterrupted: Path
) -> None:
    hurried = make(tmp_path / "run").exp.override({"run.max_minutes": 1e-9})
    stops = 0
    while True:
        try:
            make(tmp_path / "run", exp=hurried).run()
            break
        except StoppedEarly as stopped:
            stops += 1
            assert f"stopped at step {stops} of {N_STEPS}, to be resumed" in str(stopped)
    assert stops == N_STEPS - 1
    assert_same(tmp_path / "run", uninterrupted)


def test_sigterm_stops_at_a_checkpoint_and_its_handler_goes_away(
    tmp_path: Path, uninterrupted: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    trainer = make(tmp_path / "run")
    draw = trainer.stage.draw

    def asked_to_stop(*given: Any) -> dict[str, Tensor]:
        if trainer.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(*given)

    trainer.stage.draw = asked_to_stop  # type: ignore[method-assign, assignment]
    with pytest.raises(StoppedEarly, match="step 6 of 13"):
        trainer.run()
    assert signal.getsignal(signal.SIGTERM) is before
    make(tmp_path / "run").run()
    assert_same(tmp_path / "run", uninterrupted)


def test_a_checkpoint_holds_the_moment_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that come while it is being written leave it alone."""
    seen: list[tuple[int, list[float]]] = []
    release = threading.Event()

    def slow(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        release.wait(20)
        seen.append((state["step"], tensors["module.weight"].tolist()))

    trainer = make(tmp_path / "run")
    monkeypatch.setattr(loop_module, "save_tensors", slow)
    trainer.start()
    trainer.one_step()
    expected = trainer.module.weight.tolist()  # type: ignore[operator]
    trainer.save()
    trainer.one_step()
    assert trainer.module.weight.tolist() != expected and not seen  # type: ignore[operator]
    release.set()
    trainer.finish_writing()
    assert seen == [(1, expected)]


def test_a_checkpoint_that_cannot_be_written_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(loop_module, "save_tensors", full)
    with pytest.raises(OSError, match="disk full"):
        make(tmp_path / "run").run()


# Dropout that draws from torch's global generator


class Dropping(Toy):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.regression.add_module("dropout", nn.Dropout(0.5))

    def loss(
        self, network: nn.Module, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        dropped = self.regression.dropout(batch["x"])  # type: ignore[operator]
        return super().loss(network, {**batch, "x": dropped})


def test_a_model_with_dropout_is_killed_and_resumed_to_the_same_numbers(
    tmp_path: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "Toy", Dropping)
    make(tmp_path / "whole").run()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    with pytest.raises(Killed):
        make(tmp_path / "killed", die_before=7).run()
    make(tmp_path / "killed").run()
    assert torch.equal(torch.random.get_rng_state(), before), "the user's own draws are left alone"
    assert_same(tmp_path / "killed", tmp_path / "whole")
    assert outcome(tmp_path / "whole")[0] != outcome(uninterrupted)[0]
