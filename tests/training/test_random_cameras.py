"""Both stages on motion seen by random cameras: every batch is new and decided by seed and step,
so that a run that stops goes on to the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes.waits import waits_of

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data import prepare
from m2v_lib.data.augment import flip
from m2v_lib.data.sources.packs import write_pack
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, Store, open_store
from m2v_lib.models.state_files import CheckpointError, read_tensors
from m2v_lib.runs.records import StoppedEarly, read_metrics
from m2v_lib.training.action import ActionRecognition
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.engine.distributed import SINGLE
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.engine.randomness import seeded
from m2v_lib.training.finetune import Finetune, finetune
from m2v_lib.training.pretrain import Pretrain, pretrain
from m2v_lib.training.rerun import rerun

CPU = torch.device("cpu")
STAGES: dict[str, Callable[[Experiment, Path], Path]] = {"pretrain": pretrain, "finetune": finetune}
RANDOM: dict[str, Any] = {"data.name": "people", "data.cameras": "random"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, write_tiny_store: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("home")
    plan = Plan(n_train=2, n_test=1, n_frames=40, styles=("walk", "wave"))
    file = write_pack(root / "pack.npz", make_pack(plan))
    options: dict[str, Any] = {"test_subjects": ["SYN_3"], "val_subjects": ["SYN_2"]}
    prepare("people", root=root / "stores", source=file, **options)
    write_tiny_store(root / "stores")
    return root


@pytest.fixture(autouse=True)
def store_in_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2V_STORE", str(home / "stores"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_that_stops_goes_on_to_the_same_numbers(
    stage: str,
    tiny_experiment: Callable[..., Experiment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moving = {"optim.algorithm": "muon", "optim.ema": 0.9, "model.dim": 16}
    exp = tiny_experiment("paper", {**RANDOM, **moving})
    whole = STAGES[stage](exp, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(StoppedEarly):
        patch.setattr(Trainer, "must_stop", lambda self, stop: self.step == 7)
        STAGES[stage](exp, tmp_path / "parts")
    parts = STAGES[stage](exp, tmp_path / "parts")

    weights, _ = read_tensors(whole / "weights.safetensors")
    again, _ = read_tensors(parts / "weights.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)

    def losses(folder: Path) -> list[float]:
        lines = read_metrics(folder / "metrics.jsonl")
        return [line["loss"] for line in lines if line["kind"] == "train"]

    assert losses(whole) == losses(parts) and len(losses(whole)) == 6


@pytest.mark.parametrize("kind", [Pretrain, Finetune])
def test_a_step_with_new_cameras_waits_for_nothing(
    kind: Any,
    tiny_experiment: Callable[..., Experiment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exp = tiny_experiment("paper", RANDOM)
    store, _ = kind.open_data(exp)
    trainer = Trainer(kind.build(exp, tmp_path, store, CPU, SINGLE, ClipLoader()), tmp_path / "run")
    trainer.start()
    trainer.one_step()  # constants come to the device
    assert waits_of(lambda: [trainer.one_step() for _ in range(3)], monkeypatch) == []


def test_every_step_sees_the_same_windows_by_other_cameras(
    tiny_experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    exp = tiny_experiment("paper", RANDOM)
    store = open_store("people")
    stage = Finetune.build(exp, tmp_path, store, CPU, SINGLE, ClipLoader())
    assert stage.views is not None and stage.schedule.n_clips == len(stage.views)
    assert len(stage.views) == len(stage.train)  # an epoch is as long as with the own cameras

    chosen = torch.tensor([0, 1, 2])
    first, second = (stage.draw(chosen, seeded(CPU, 0, 1, step)) for step in (1, 2))
    again = stage.draw(chosen, seeded(CPU, 0, 1, 1))
    assert torch.equal(first["x"], again["x"]) and not torch.equal(first["x"], second["x"])


def test_the_result_says_which_motion_was_seen_and_a_change_of_it_is_refused(
    tiny_experiment: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = tiny_experiment("paper", RANDOM)
    store = open_store("people")
    result = json.loads((finetune(exp, tmp_path) / "result.json").read_text())
    assert result["data"]["world"] == store.world().fingerprint
    assert result["data"]["fingerprint"] == store.meta.fingerprint

    with monkeypatch.context() as patch, pytest.raises(StoppedEarly):
        patch.setattr(Trainer, "must_stop", lambda self, stop: self.step == 7)
        finetune(exp, tmp_path / "other")
    record = tmp_path / exp.run_name("finetune")
    changed = replace(store.world(), fingerprint="0" * 64)
    monkeypatch.setattr(Store, "world", lambda self: changed)
    with pytest.raises(CheckpointError, match="was made with fingerprint"):
        finetune(exp, tmp_path / "other")
    with pytest.raises(ConfigError, match="motion in world space of fingerprint"):
        rerun(record, tmp_path / "again")


def test_keypoints_of_another_store_join_random_views(
    tiny_experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    exp = tiny_experiment("paper", {**RANDOM, "pretrain.extra_2d": "tiny"})
    stage = Pretrain.build(exp, tmp_path, open_store("people"), CPU, SINGLE, ClipLoader())
    assert stage.views is not None and stage.clips is not None
    n_views = len(stage.views)
    assert stage.schedule.n_clips == n_views + len(stage.clips)

    chosen = torch.tensor([0, n_views - 1, n_views, n_views + 3])
    x, y = (stage.drawn_clips(chosen, seeded(CPU, seed))["x"] for seed in (1, 2))
    assert not torch.equal(x[:2], y[:2])
    stored = stage.clips.batch(torch.tensor([0, 3]))[0]
    mirrored = flip(stored)
    for mine, one, other in zip(x[2:], stored, mirrored, strict=True):
        assert torch.equal(mine, one) or torch.equal(mine, other)


def test_action_recognition_keeps_the_stores_cameras(
    tiny_experiment: Callable[..., Experiment],
) -> None:
    exp = tiny_experiment("paper", RANDOM)
    with pytest.raises(ConfigError, match="data.cameras=random: action recognition sees what"):
        ActionRecognition.check_settings(exp)
    ActionRecognition.check_settings(exp.override({"action.init": "pretrained"}))


def test_a_store_without_world_space_is_refused_in_one_sentence(
    tiny_experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    exp = tiny_experiment("paper", {"data.cameras": "random"})
    with pytest.raises(DataError, match="tiny: holds no motion in world space"):
        finetune(exp, tmp_path)


@pytest.mark.parametrize("stage", STAGES)
def test_windows_that_shall_be_padded_are_refused(
    stage: str, tiny_experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    """They would be stretched without a word."""
    exp = tiny_experiment("paper", {**RANDOM, "data.short_videos": "pad"})
    with pytest.raises(ConfigError, match="data.short_videos=pad must come with"):
        STAGES[stage](exp, tmp_path)
