"""The pre-trainings of comparison systems as stage 1: what is drawn, resumed and taken over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.augment import flip
from m2v_lib.data.clips import training_clips
from m2v_lib.data.store import Store
from m2v_lib.models.registry import build_model, model_names, pretraining_class
from m2v_lib.models.state_files import CheckpointError
from m2v_lib.runs.records import StoppedEarly
from m2v_lib.training.checkpoint import transfer_encoder
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.engine.distributed import SINGLE
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.engine.randomness import seeded
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import Pretrain, pretrain
from m2v_lib.training.pretraining.of_model import make_objective

Make = Callable[..., Experiment]
CPU = torch.device("cpu")
NAMES = [name for name in model_names() if pretraining_class(name)]
of_all = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def make(tiny_store: Store, tiny_experiment: Make) -> Make:
    """`make(name, {key: value})`: a system by its own recipe, on the store `tiny`."""
    tiny: Any = tiny_experiment()
    schedule = {key: tiny.flat()[key] for key in tiny.flat() if key.startswith("run.")}

    def made(name: str, changes: dict[str, Any] | None = None) -> Experiment:
        start = Experiment.preset("smoke", "own").override({"model.name": name})
        data = {"data.name": "tiny", "data.train_stride": 4, "data.test_stride": 9}
        sizes = {"model.n_frames": 9, "pretrain.batch_size": 4, "finetune.batch_size": 8}
        steps = {"run.max_steps": 6, "run.checkpoint_every": 3, "run.log_every": 2}
        held = {"data.validation": True, "finetune.select": "last"}
        return start.override({**schedule, **data, **sizes, **steps, **held, **(changes or {})})

    return made


def stage_of(exp: Experiment, root: Path) -> Pretrain:
    store, _ = Pretrain.open_data(exp)
    return Pretrain.build(exp, root, store, CPU, SINGLE, ClipLoader())


def test_two_systems_have_one() -> None:
    assert NAMES == ["motionbert", "pstmo"]


@of_all
@pytest.mark.parametrize("preset", ["smoke", "small", "compact", "medium"])
def test_it_fits_the_sizes_of_every_preset(name: str, preset: str) -> None:
    exp = Experiment.preset(preset, "own").override({"model.name": name})
    objective, T = make_objective(exp), exp.model.n_frames
    x = torch.rand(2, T, 17, 3, generator=seeded(CPU, 0))
    loss, _ = objective(x, {**objective.draw((2, T, 17), seeded(CPU, 1)), "y": x})
    loss.backward()
    assert loss.isfinite()


@of_all
def test_a_killed_run_ends_as_one_that_was_not(
    name: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = make(name)
    whole = pretrain(exp, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "must_stop", lambda trainer, stop: trainer.step == 2)
        with pytest.raises(StoppedEarly):
            pretrain(exp, tmp_path / "parts")
    parts = pretrain(exp, tmp_path / "parts")

    expected = load_file(whole / "weights.safetensors")
    for key, value in load_file(parts / "weights.safetensors").items():
        assert torch.equal(value, expected[key]), key
    lines = [(f / "metrics.jsonl").read_text().count('"step"') for f in (whole, parts)]
    assert lines == [3, 3]


@pytest.mark.parametrize(
    ("name", "fresh"), [("motionbert", ()), ("pstmo", ("Transformer_reduce.", "fcn.", "fcn_1."))]
)
def test_fine_tuning_starts_from_exactly_what_was_learnt(
    name: str, fresh: tuple[str, ...], make: Make, tmp_path: Path
) -> None:
    exp = make(name, {"finetune.init": "pretrained"})
    with pytest.raises(ConfigError, match="finetune.init=pretrained: no run .*m2v pretrain"):
        finetune(exp, tmp_path / "runs")
    folder = pretrain(exp, tmp_path / "runs")
    learnt = load_file(folder / "weights.safetensors")

    model = build_model(exp.model, seed=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    n_taken = transfer_encoder(model, folder / "weights.safetensors")

    now = model.state_dict()
    taken = [key for key in now if not key.startswith(fresh)]
    assert n_taken == len(taken) == len(now.keys() & learnt.keys())
    assert all(torch.equal(now[key], learnt[key]) for key in taken)
    assert all(torch.equal(now[key], before[key]) for key in now.keys() - set(taken))
    assert sum(not torch.equal(now[key], before[key]) for key in taken) > len(taken) / 2

    result = json.loads((finetune(exp, tmp_path / "runs") / "result.json").read_text())
    assert result["init"] == folder.name

    other = build_model(exp.override({"model.dim": 32}).model)
    with pytest.raises(CheckpointError, match="holds another model"):
        transfer_encoder(other, folder / "weights.safetensors")


@of_all
def test_rate_and_input_are_its_own(name: str, make: Make, tmp_path: Path) -> None:
    exp = make(name)
    stage = stage_of(exp, tmp_path)
    assert stage.optim == replace(exp.optim, lr=exp.pretrain.lr)
    assert exp.pretrain.lr not in (0, exp.optim.lr)
    assert make(name, {"pretrain.lr": 0.0}).digest("finetune") == exp.digest("finetune")
    assert stage_of(make(name, {"pretrain.lr": 0.0}), tmp_path).optim == exp.optim

    folder = pretrain(exp, tmp_path / "runs")
    result = json.loads((folder / "result.json").read_text())
    assert result["data"]["input_2d"] == ("gt" if name == "motionbert" else "detected")
    log = result["final"]
    assert {"motionbert": "velocity", "pstmo": "hidden_frames_error"}[name] in log
    assert log["lr"] == pytest.approx(exp.pretrain.lr, rel=0.2)


def test_motionbert_reads_the_training_subjects_3d_and_its_projection(
    make: Make, tiny_store: Store, tmp_path: Path
) -> None:
    exp = make("motionbert")
    stage = stage_of(exp, tmp_path)
    cut: Any = {"stride": 4, "validation": True, "input_2d": "gt", "device": CPU}
    x, y = training_clips(tiny_store, 9, **cut).batch(torch.arange(4))
    assert (x[..., 2] == 1).all()

    drawn = stage.draw(torch.arange(4), seeded(CPU, 1))
    mirrored = torch.tensor([not torch.equal(a, b) for a, b in zip(drawn["x"], x, strict=True)])
    assert mirrored.any() and not mirrored.all()
    for name, pose in (("x", x), ("y", y)):  # both or none
        assert torch.equal(drawn[name][mirrored], flip(pose)[mirrored])
        assert torch.equal(drawn[name][~mirrored], pose[~mirrored])
    assert "y" not in stage_of(make("pstmo"), tmp_path).draw(torch.arange(4), seeded(CPU, 1))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.label_fraction", 0.5),
        ("data.label_subjects", 1),
        ("data.cameras", "random"),
        ("pretrain.splits", "train+test"),
        ("pretrain.extra_2d", "tiny"),
    ],
)
def test_labels_that_a_run_may_not_have_are_not_read(
    key: str, value: Any, make: Make, tmp_path: Path
) -> None:
    exp = make("motionbert", {key: value, "finetune.init": "pretrained"})
    for stage, what in ((pretrain, "pre-training"), (finetune, "finetune.init=pretrained")):
        said = f"^{what}: .*{key} must be .*, got {re.escape(repr(value))}$"
        with pytest.raises(ConfigError, match=said):
            stage(exp, tmp_path / "runs")
    Pretrain.check_settings(make("pstmo", {key: value}))


@of_all
def test_steps_are_of_one_shape_and_parts_add_up(name: str, make: Make, tmp_path: Path) -> None:
    """As a recorded step and several processes need it."""
    exp = make(name)
    objective = make_objective(exp).double().eval()
    x = torch.rand(4, 9, 17, 3, generator=seeded(CPU, 0), dtype=torch.float64)

    def of(own: slice, seed: int = 1) -> dict[str, Tensor]:
        drawn = objective.draw((4, 9, 17), seeded(CPU, seed), own)
        return {**drawn, "y": x[own].flip(0)}

    whole, other = (of(slice(None), seed) for seed in (1, 2))
    assert {k: t.shape for k, t in whole.items()} == {k: t.shape for k, t in other.items()}

    parts = [slice(0, 1), slice(1, 4)]
    labels = x.flip(0)
    losses = [objective(x[own], {**of(own), "y": labels[own]})[0] for own in parts]
    torch.testing.assert_close(sum(losses), objective(x, {**whole, "y": labels})[0])
