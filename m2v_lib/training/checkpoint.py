"""Checkpoints of runs: loading a trained model, and starting from a pre-trained encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.config.fields import ModelSettings
from m2v_lib.models.base import Lifter
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import CheckpointError as CheckpointError
from m2v_lib.models.state_files import check_tensors as check_tensors
from m2v_lib.models.state_files import load_weights as load_weights
from m2v_lib.models.state_files import on_cpu as on_cpu
from m2v_lib.models.state_files import read_tensors as read_tensors
from m2v_lib.models.state_files import save_tensors as save_tensors
from m2v_lib.runs.records import WEIGHTS_FILE
from m2v_lib.skeletons import VOCABULARY


def load_checkpoint(path: Path | str, device: str = "cpu") -> tuple[Lifter, Experiment]:
    """Model in evaluation mode and its experiment, from a run folder or its
    `weights.safetensors`.
    """
    path = Path(path)
    if path.is_dir():
        path = path / WEIGHTS_FILE
    tensors, state = read_tensors(path)
    exp = experiment_of(state, path)
    weights = {k: v for k, v in tensors.items() if k != "mask_emb"}
    with torch.device("meta"):  # a small file may claim a network that fills the memory
        check_tensors(build_model(exp.model), weights, path)
    model = build_model(exp.model)
    load_weights(model, weights, path)

    return model.to(device).eval(), exp


def experiment_of(state: dict[str, Any], path: Path) -> Experiment:
    """What a checkpoint's state says of its settings. Raises CheckpointError, ConfigError."""
    if not isinstance(state.get("experiment"), dict):
        raise CheckpointError(
            f"{path}: says nothing of its experiment; expected a file that `m2v finetune` wrote"
        )
    return Experiment.from_dict(state["experiment"])


def transfer_weights(model: Lifter, path: Path) -> int:
    """Start from another run's weights; a joint's embedding goes by its name in the vocabulary, and
    joints that the other had not stay fresh.

    Returns how many joints kept their embedding. Raises CheckpointError where any other tensor does
    not fit.
    """
    tensors, state = read_tensors(path)
    theirs = _embedded_words(experiment_of(state, path).model)
    mine = _embedded_words(model.settings)
    kept = [word for word in mine if word in theirs]

    rows = {}
    if "pos_embed" in tensors and hasattr(model, "pos_embed"):
        position = cast(Tensor, model.pos_embed).detach().clone()
        source = tensors["pos_embed"]
        if source.shape[1:] != (len(theirs), position.shape[-1]):
            raise CheckpointError(
                f"{path}: pos_embed must be {(1, len(theirs), position.shape[-1])}, "
                f"got {tuple(source.shape)}"
            )
        for word in kept:
            position[:, mine.index(word)] = source[:, theirs.index(word)]
        rows = {"pos_embed": position}

    load_weights(model, {k: v for k, v in tensors.items() if k != "mask_emb"} | rows, path)
    return len(kept)


def _embedded_words(settings: ModelSettings) -> tuple[str, ...]:
    """What the rows of a model's joint embedding stand for."""
    by_name = getattr(settings, "joint_embedding", "order") == "name"
    return VOCABULARY.joints if by_name else settings.joints.vocabulary


def transfer_encoder(model: Lifter, path: Path) -> int:
    """Copy what a model's pre-training has learnt into `model`; its `fresh_after_pretraining` stays
    fresh.

    Returns the number of tensors copied; raises CheckpointError when one is missing or of
    another shape.
    """
    tensors, _ = read_tensors(path)
    own = model.state_dict()
    wanted = [name for name in own if not name.startswith(model.fresh_after_pretraining)]
    fresh = {name: tensor for name, tensor in own.items() if name not in wanted}
    load_weights(model, {**{k: v for k, v in tensors.items() if k in wanted}, **fresh}, path)
    return len(wanted)
