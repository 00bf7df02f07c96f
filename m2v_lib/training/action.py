"""Action recognition: the encoder, from scratch or from stage 1, trained to name actions (spec
section 7).
"""

from __future__ import annotations

from collections.abc import Callable
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
from m2v_lib.evaluation.protocols import action_scores, score_actions
from m2v_lib.models.action_classifier import ActionModel, build_action_model
from m2v_lib.models.registry import require_encoder
from m2v_lib.models.state_files import (
    CheckpointError,
    check_tensors,
    load_weights,
    read_tensors,
)
from m2v_lib.runs.records import WEIGHTS_FILE, read_metrics
from m2v_lib.training.checkpoint import experiment_of
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.device import prepare_blocks, uncompiled
from m2v_lib.training.engine.distributed import ProcessGroup
from m2v_lib.training.pretrain import fingerprint_of
from m2v_lib.training.pretraining.of_model import check_pretraining
from m2v_lib.training.schedule import Schedule
from m2v_lib.training.stage import Stage, run_stage
from m2v_lib.training.starting_weights import start_from_stage_1


def train_action(exp: Experiment, root: Path | None = None) -> Path:
    """Train and evaluate; returns the run's folder. A finished run is left as it is, a killed
    one goes on.

    With `action.init=pretrained` the encoder starts from the pre-training run of the same
    settings and seed, which may have run on other data (`action.pretrained_on`); where there is
    none, ConfigError says how to make it.
    """
    return run_stage(ActionRecognition, exp, root)


class ActionRecognition(Stage):
    """The encoder with a classifier, trained on labelled samples of one or two people."""

    name = "action"
    monitor = "wrong"
    has_validation = True  # on the test samples: the protocol has no others

    def __init__(
        self,
        exp: Experiment,
        model: ActionModel,
        samples: dict[str, Samples],
        actions: Actions,
        device: torch.device,
        init: str = "scratch",
    ) -> None:
        cfg = exp.action
        self.exp, self.device, self.init = exp, device, init
        self.optim = replace(exp.optim, lr=cfg.lr)
        self.model: ActionModel = model
        self.module = model
        self.samples, self.actions, self.fingerprint = samples, actions, actions.fingerprint
        self.schedule = Schedule(
            len(samples["train"]), cfg.batch_size, cfg.epochs, cfg.max_steps or exp.run.max_steps
        )

    @classmethod
    def check_settings(cls, exp: Experiment) -> None:
        require_encoder(exp.model, "action recognition")
        if exp.action.init == "pretrained":
            check_pretraining(exp, "action.init=pretrained")

        for key, value, known, instead in (
            ("run.devices", exp.run.devices, 1, "trains on one device"),
            ("data.label_fraction", exp.data.label_fraction, 1.0, "trains on all labels"),
            ("data.input_2d", exp.data.input_2d, "detected", "reads detected 2D"),
            (
                "data.frame_step",
                exp.data.frame_step,
                1,
                "spreads a clip's frames over the whole sample",
            ),
        ):
            if value != known:
                raise ConfigError(f"{key}={value}: action recognition {instead}")

        if exp.data.cameras != "fixed" and exp.action.init == "scratch":
            raise ConfigError(
                f"data.cameras={exp.data.cameras}: action recognition sees what the store's cameras "
                "saw; only its pre-training can have had others"
            )

    @classmethod
    def open_data(cls, exp: Experiment) -> tuple[Actions, str]:
        actions = open_actions(exp.data.name)
        return actions, actions.fingerprint

    @classmethod
    def build(
        cls,
        exp: Experiment,
        root: Path,
        data: Actions,
        device: torch.device,
        group: ProcessGroup,
        loader: ClipLoader,
    ) -> ActionRecognition:
        cfg = exp.action
        samples = make_samples(
            data.data,
            cfg.split,
            n_frames=exp.model.n_frames,
            n_persons=cfg.n_persons,
            confidence=cfg.confidence,
            seed=exp.run.seed,
            device=device,
        )
        model = build_action_model(exp.model, cfg, len(data.data.classes), seed=exp.run.seed)
        init = load_stage_1(model, exp, root) if cfg.init == "pretrained" else "scratch"
        prepare_blocks(model.backbone, exp)

        return cls(exp, model.to(device), samples, data, device, init)

    def draw(self, chosen_B: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        # the batch norm needs two: the same sample, moved and cropped twice
        if len(chosen_B) == 1:
            chosen_B = chosen_B.repeat(2)
        x, label = self.samples["train"].batch(chosen_B)
        x = for_training(x, generator)
        return {"x": x, "label": label, "kept": self.model.draw_kept(x, generator)}

    def loss(
        self, network: nn.Module, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        scores, label = network(batch["x"], batch["kept"]), batch["label"]
        hits = (scores.detach().argmax(1) == label).float().mean()
        return F.cross_entropy(scores, label), {"top1": 100 * hits}

    def evaluate(self) -> Callable[[], dict[str, float]]:
        score = self.score()

        def values() -> dict[str, float]:
            seen = score()
            kept = {key: seen[key] for key in ("top1", "top5", "class_mean")}
            return {**kept, "wrong": 100 - seen["top1"]}

        return values

    def score(self) -> Callable[[], dict[str, Any]]:
        """Scores of the test samples, and a function that makes accuracies of them."""
        test = self.samples["test"]
        with uncompiled(self.exp):
            scores, labels = action_scores(self.model, test), test.label_S.cpu().numpy()
        return lambda: score_actions(scores, labels)

    def result(self, folder: Path) -> Callable[[], dict[str, Any]]:
        """Accuracy of the last epoch and, under its own name, of the one that was best on the
        test samples.
        """
        last = self.score()
        selected = last

        if self.exp.action.select == "best-on-test":
            tensors, _ = read_tensors(folder / "best.safetensors")
            load_weights(self.model, tensors, folder / "best.safetensors")
            selected = self.score()

        def values() -> dict[str, Any]:
            seen = [
                line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "val"
            ]
            best = min(seen, key=lambda line: line["wrong"])
            return {
                **self.about(),
                "last": last(),
                "best_on_test": {key: best[key] for key in ("step", "top1", "top5", "class_mean")},
                "baselines": {"majority": majority(self.samples)},
                "test": selected(),
            }

        return values

    def about(self) -> dict[str, Any]:
        """What was trained on which data, and how its weights were selected."""
        actions = self.actions
        return {
            "data": {
                "name": actions.name,
                "protocol": actions.protocol,
                "fingerprint": actions.fingerprint,
                "detector": actions.detector,
                "split": self.exp.action.split,
                "classes": list(actions.data.classes),
                "n_train": len(self.samples["train"]),
            },
            "init": self.init,
            "selected": self.exp.action.select,
        }


def load_stage_1(model: ActionModel, exp: Experiment, root: Path) -> str:
    """Load the pre-trained encoder; returns the pre-training run's name. Errors as
    `starting_weights.start_from_stage_1`.
    """
    pretrained = exp.override({"data.name": exp.action.pretrained_on or exp.data.name})
    fingerprint = fingerprint_of(exp, open_store(pretrained.data.name))
    return start_from_stage_1(model.backbone, pretrained, root, fingerprint, setting="action.init")


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
        path = path / WEIGHTS_FILE
    tensors, state = read_tensors(path)
    if "experiment" not in state or "fc2.bias" not in tensors:
        raise CheckpointError(
            f"{path}: is no action model; expected a file that `m2v action` wrote"
        )

    exp = experiment_of(state, path)
    n_actions = len(tensors["fc2.bias"])
    with torch.device("meta"):  # as in load_checkpoint
        check_tensors(build_action_model(exp.model, exp.action, n_actions), tensors, path)
    model = build_action_model(exp.model, exp.action, n_actions)
    load_weights(model, tensors, path)

    return model.to(device).eval(), exp
