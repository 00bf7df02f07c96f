"""Stage 2: lift 2D to 3D (paper section III-A.3, spec section 4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.augment import random_flip
from m2v_lib.data.clips import Clips, evaluation_clips, training_clips
from m2v_lib.data.store import Store, open_store
from m2v_lib.evaluation.protocols import evaluate_lifting
from m2v_lib.evaluation.trivial_baselines import evaluate_floors
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import load_weights, read_tensors
from m2v_lib.runs.records import runs_root
from m2v_lib.training.checkpoint import transfer_encoder
from m2v_lib.training.distributed import ALONE, Team, joined, launch, must_launch
from m2v_lib.training.loop import (
    Trainer,
    check_finished,
    is_finished,
    pick_device,
    prepare_blocks,
    sole_trainer,
)
from m2v_lib.training.losses import pose_loss
from m2v_lib.training.pretrain import fingerprint_of
from m2v_lib.training.schedule import Schedule


def finetune(exp: Experiment, root: Path | None = None) -> Path:
    """Train and evaluate; returns the run's folder. A finished run is left as it is, a killed
    one goes on.

    With `finetune.init=pretrained` the encoder starts from the pre-training run of the same
    settings and seed; where there is none, ConfigError says how to make it.
    """
    root = runs_root() if root is None else Path(root)
    folder = root / exp.run_name("finetune")
    if must_launch(exp):
        launch("finetune", exp, root)
        return check_finished(folder)
    with joined(exp) as team, sole_trainer(folder, team):
        store = open_store(exp.data.name)
        if not is_finished(folder, store.meta.fingerprint):
            _train(exp, root, folder, store, team)
        team.wait()
    return folder


def _train(exp: Experiment, root: Path, folder: Path, store: Store, team: Team) -> None:
    device = pick_device(exp)
    sizes = {"n_frames": exp.model.n_frames, "input_2d": exp.data.input_2d, "device": device}
    cut = {"stride": exp.data.train_stride, "validation": exp.data.validation}
    train = training_clips(store, **cut, label_fraction=exp.data.label_fraction, **sizes)
    held_out = {
        which: evaluation_clips(store, which, stride=exp.data.test_stride, **sizes)
        for which in (["val", "test"] if exp.data.validation else ["test"])
    }
    model = build_model(exp.model, seed=exp.run.seed)
    init = start_from_stage_1(model, exp, root, fingerprint_of(exp, store))
    prepare_blocks(model, exp).to(device)
    trainer = make_trainer(exp, folder, model, train, held_out, store, device, team)
    trainer.run()
    if team.leads:
        trainer.finish(model, result_of(exp, model, trainer, train, held_out, store, init))


def start_from_stage_1(
    model: DualStreamModel, exp: Experiment, root: Path, fingerprint: str
) -> str:
    """Load the pre-trained encoder if asked for; returns "scratch" or the pre-training run's
    name.

    Raises ConfigError where there is no such run, CheckpointError where it was trained on other
    data.
    """
    if exp.finetune.init == "scratch":
        return "scratch"
    folder = root / exp.run_name("pretrain")
    if not is_finished(folder, fingerprint):
        raise ConfigError(
            f"finetune.init=pretrained: no run {folder}; run `m2v pretrain` with the same options "
            "first"
        )
    transfer_encoder(model, folder / "weights.safetensors")
    return folder.name


def make_trainer(
    exp: Experiment,
    folder: Path,
    model: DualStreamModel,
    train: Clips,
    held_out: dict[str, Clips],
    store: Store,
    device: torch.device,
    team: Team = ALONE,
) -> Trainer:
    cfg = exp.finetune

    def step(
        network: nn.Module, chosen_B: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = train.batch(chosen_B)
        if exp.data.flip_train:
            x, y = random_flip(x, y, generator)
        own, weight = team.share(len(x)), team.weight(len(x))
        loss, parts = pose_loss(network(x[own]), y[own], cfg.w_scale, cfg.w_velocity)
        return weight * loss, {name: weight * value for name, value in parts.items()}

    watched = "test" if cfg.select == "best-on-test" else "val"

    def validate() -> dict[str, float]:
        errors = evaluate_lifting(model, held_out[watched], flip_test=cfg.flip_test)
        return {key: errors[key] for key in ("mpjpe", "p_mpjpe", "pck", "auc") if key in errors}

    return Trainer(
        exp,
        "finetune",
        folder,
        model,
        Schedule(len(train), cfg.batch_size, cfg.epochs, exp.run.max_steps),
        step,
        evaluate=validate if watched in held_out else None,
        fingerprint=store.meta.fingerprint,
        device=device,
        team=team,
    )


def result_of(
    exp: Experiment,
    model: DualStreamModel,
    trainer: Trainer,
    train: Clips,
    held_out: dict[str, Clips],
    store: Store,
    init: str,
) -> dict[str, Any]:
    """Errors of the last epoch, of the best one under its own name, and of the linear floors;
    leaves the selected weights in `model`.
    """
    flip = exp.finetune.flip_test
    errors = {
        which: evaluate_lifting(model, clips, flip_test=flip) for which, clips in held_out.items()
    }
    result: dict[str, Any] = {
        "data": {
            "name": store.meta.name,
            "protocol": store.meta.protocol,
            "fingerprint": store.meta.fingerprint,
            "input_2d": exp.data.input_2d,
            "detector": store.meta.detector,
        },
        "init": init,
        "selected": exp.finetune.select,
        "last": errors["test"],
        "val": errors.get("val"),
        "best_on_val": None,
        "best_on_test": None,
        "baselines": evaluate_floors(train, held_out["test"]),
    }
    result["test"] = result["last"]
    best = trainer.folder / "best.safetensors"
    if exp.finetune.select != "last" and best.exists():
        tensors, state = read_tensors(best)
        load_weights(model, tensors, best)
        chosen = {
            **evaluate_lifting(model, held_out["test"], flip_test=flip),
            "step": state["step"],
        }
        result[exp.finetune.select.replace("-", "_")] = result["test"] = chosen
    return result
