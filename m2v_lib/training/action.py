"""Action recognition: the encoder, from scratch or from stage 1, trained to name actions (spec
section 7).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.action_clips import Samples, for_training, make_samples
from m2v_lib.data.actions import Actions, open_actions
from m2v_lib.data.store import open_store
from m2v_lib.evaluation.protocols import evaluate_action
from m2v_lib.models.action_classifier import ActionModel, build_action_model
from m2v_lib.models.state_files import CheckpointError, load_weights, read_tensors
from m2v_lib.runs.records import read_metrics, runs_root
from m2v_lib.training.checkpoint import transfer_encoder
from m2v_lib.training.loop import Trainer, is_finished, pick_device, prepare_blocks, sole_trainer
from m2v_lib.training.pretrain import fingerprint_of
from m2v_lib.training.schedule import Schedule


def train_action(exp: Experiment, root: Path | None = None) -> Path:
    """Train and evaluate; returns the run's folder. A finished run is left as it is, a killed
    one goes on.

    With `action.init=pretrained` the encoder starts from the pre-training run of the same
    settings and seed; where there is none, ConfigError says how to make it.
    """
    _check_settings(exp)
    root = runs_root() if root is None else Path(root)
    folder = root / exp.run_name("action")
    with sole_trainer(folder):
        actions = open_actions(exp.data.name)
        return (
            folder
            if is_finished(folder, actions.fingerprint)
            else _train(exp, root, folder, actions)
        )


def _check_settings(exp: Experiment) -> None:
    """Refuse what would be silently ignored."""
    for key, value, known, instead in (
        ("run.devices", exp.run.devices, 1, "trains on one device"),
        ("data.label_fraction", exp.data.label_fraction, 1.0, "trains on all labels"),
        ("data.input_2d", exp.data.input_2d, "detected", "reads detected 2D"),
    ):
        if value != known:
            raise ConfigError(f"{key}={value}: action recognition {instead}")


def _train(exp: Experiment, root: Path, folder: Path, actions: Actions) -> Path:
    device, cfg = pick_device(exp), exp.action
    samples = make_samples(
        actions.data,
        cfg.split,
        n_frames=exp.model.n_frames,
        n_persons=cfg.n_persons,
        confidence=cfg.confidence,
        seed=exp.run.seed,
        device=device,
    )
    model = build_action_model(exp.model, cfg, len(actions.data.classes), seed=exp.run.seed)
    init = start_from_stage_1(model, exp, root)
    prepare_blocks(model.backbone, exp)
    trainer = make_trainer(exp, folder, model.to(device), samples, actions.fingerprint, device)
    trainer.run()
    return trainer.finish(model, result_of(exp, model, trainer, samples, actions, init))


def start_from_stage_1(model: ActionModel, exp: Experiment, root: Path) -> str:
    """Load the pre-trained encoder if asked for; returns "scratch" or the pre-training run's
    name.

    Stage 1 may have run on other data (`action.pretrained_on`). Raises ConfigError where there
    is no such run, CheckpointError where its data have changed since.
    """
    if exp.action.init == "scratch":
        return "scratch"
    name = exp.action.pretrained_on or exp.data.name
    folder = root / exp.override({"data.name": name}).run_name("pretrain")
    if not is_finished(folder, fingerprint_of(exp, open_store(name))):
        raise ConfigError(
            f"action.init=pretrained: no run {folder}; run `m2v pretrain --data {name}` with the "
            "same options first"
        )
    transfer_encoder(model.backbone, folder / "weights.safetensors")
    return folder.name


def make_trainer(
    exp: Experiment,
    folder: Path,
    model: ActionModel,
    samples: dict[str, Samples],
    fingerprint: str,
    device: torch.device,
) -> Trainer:
    cfg, train = exp.action, samples["train"]
    schedule = Schedule(len(train), cfg.batch_size, cfg.epochs, cfg.max_steps or exp.run.max_steps)

    def step(
        network: nn.Module, chosen_B: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        # the batch norm needs two: the same sample, moved and cropped twice
        if len(chosen_B) == 1:
            chosen_B = chosen_B.repeat(2)
        x, label = train.batch(chosen_B)
        scores = network(for_training(x, generator), generator)
        hits = (scores.detach().argmax(1) == label).float().mean()
        return F.cross_entropy(scores, label), {"top1": 100 * hits}

    def validate() -> dict[str, float]:
        seen = evaluate_action(model, samples["test"])
        return {
            "top1": seen["top1"],
            "top5": seen["top5"],
            "class_mean": seen["class_mean"],
            "wrong": 100 - seen["top1"],
        }

    return Trainer(
        exp,
        "action",
        folder,
        model,
        schedule,
        step,
        evaluate=validate,
        monitor="wrong",
        optim=replace(exp.optim, lr=cfg.lr),
        fingerprint=fingerprint,
        device=device,
    )


def result_of(
    exp: Experiment,
    model: ActionModel,
    trainer: Trainer,
    samples: dict[str, Samples],
    actions: Actions,
    init: str,
) -> dict[str, Any]:
    """Accuracy of the last epoch and, under its own name, of the one that was best on the test
    samples; leaves the selected weights in `model`.
    """
    last = evaluate_action(model, samples["test"])
    seen = [
        line for line in read_metrics(trainer.folder / "metrics.jsonl") if line["kind"] == "val"
    ]
    best = min(seen, key=lambda line: line["wrong"])
    result: dict[str, Any] = {
        "data": {
            "name": actions.name,
            "protocol": actions.protocol,
            "fingerprint": actions.fingerprint,
            "detector": actions.detector,
            "split": exp.action.split,
            "classes": list(actions.data.classes),
            "n_train": len(samples["train"]),
        },
        "init": init,
        "selected": exp.action.select,
        "last": last,
        "best_on_test": {key: best[key] for key in ("step", "top1", "top5", "class_mean")},
        "baselines": {"majority": majority(samples)},
        "test": last,
    }
    if exp.action.select == "best-on-test":
        tensors, _ = read_tensors(trainer.folder / "best.safetensors")
        load_weights(model, tensors, trainer.folder / "best.safetensors")
        result["test"] = evaluate_action(model, samples["test"])
    return result


def majority(samples: dict[str, Samples]) -> dict[str, Any]:
    """What one gets without looking: every sample is named as the class most frequent among the
    test samples.
    """
    counts = np.bincount(
        samples["test"].label_S.cpu().numpy(), minlength=len(samples["test"].classes)
    )
    return {
        "class": samples["test"].classes[int(counts.argmax())],
        "top1": 100 * float(counts.max() / counts.sum()),
    }


def load_action(path: Path | str, device: str = "cpu") -> tuple[ActionModel, Experiment]:
    """Model in evaluation mode and its experiment, from a run folder of `train_action` or its
    `weights.safetensors`.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "weights.safetensors"
    tensors, state = read_tensors(path)
    if "experiment" not in state or "fc2.bias" not in tensors:
        raise CheckpointError(
            f"{path}: is no action model; expected a file that `m2v action` wrote"
        )
    exp = Experiment.from_dict(state["experiment"])
    model = build_action_model(exp.model, exp.action, len(tensors["fc2.bias"]))
    load_weights(model, tensors, path)
    return model.to(device).eval(), exp
