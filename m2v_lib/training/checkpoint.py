"""Saving and loading: one atomic safetensors file with tensors and JSON state; the authors' files, read safely."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from m2v_lib.config import ConfigError, Experiment, ModelConfig
from m2v_lib.model import DualStreamModel, build_model
from m2v_lib.records import write_atomically


class CheckpointError(ValueError):
    """A checkpoint that is missing, truncated, or of another model."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Tensors and a JSON state in one file, written beside the target and moved into place."""
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"state": json.dumps(dict(state))}
    write_atomically(path, lambda beside: save_file(flat, beside, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `save_tensors`. Raises CheckpointError naming the file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata.get("state", "{}"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Strict load; raises CheckpointError that names the first tensors that are missing, unknown or of another shape."""
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - own.keys())
    other = [n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape]
    if missing or unknown or other:
        parts = [f"missing {missing[0]}" if missing else "", f"unknown {unknown[0]}" if unknown else ""]
        if other:
            name = sorted(other)[0]
            parts.append(f"{name} is {tuple(tensors[name].shape)}, the model's is {tuple(own[name].shape)}")
        matched = len(own) - len(missing) - len(other)
        raise CheckpointError(
            f"{path}: holds another model, {matched} of {len(own)} tensors match: {'; '.join(p for p in parts if p)}"
        )
    module.load_state_dict(dict(tensors))


def load_checkpoint(path: Path | str, device: str = "cpu") -> tuple[DualStreamModel, Experiment]:
    """Model in evaluation mode and its experiment, from a run folder or its `weights.safetensors`."""
    path = Path(path)
    if path.is_dir():
        path = path / "weights.safetensors"
    tensors, state = read_tensors(path)
    if "experiment" not in state:
        raise CheckpointError(f"{path}: says nothing of its experiment; expected a file that `m2v finetune` wrote")
    exp = Experiment.from_dict(state["experiment"])
    model = build_model(exp.model)
    load_weights(model, {k: v for k, v in tensors.items() if k != "mask_emb"}, path)
    return model.to(device).eval(), exp


def transfer_encoder(model: DualStreamModel, path: Path) -> int:
    """Copy a pre-trained student's embedding, positions, blocks and norm into `model`; the heads stay fresh (D7).

    Returns the number of tensors copied; raises CheckpointError when one is missing or of another shape.
    """
    tensors, _ = read_tensors(path)
    wanted = [name for name in model.state_dict() if not name.startswith(("rep_logit.", "head."))]
    fresh = {name: tensor for name, tensor in model.state_dict().items() if name not in wanted}
    load_weights(model, {**{k: v for k, v in tensors.items() if k in wanted}, **fresh}, path)
    return len(wanted)


def load_released(path: Path | str, temporal_graph: str = "similarity") -> DualStreamModel:
    """The authors' (or MotionAGFormer's) checkpoint as a `released` model in evaluation mode.

    Sizes follow from the tensors' shapes (17 joints, 8 heads, LayerScale, BatchNorm per node). `temporal_graph` is
    "similarity" or "released-fixed": the graph is not in the file. Read with `weights_only=True`: no code in the file
    runs. The loaded model's `n_matched` says how many tensors matched; anything but all is a CheckpointError.
    """
    if temporal_graph not in ("similarity", "released-fixed"):
        raise ConfigError(f"temporal_graph must be similarity or released-fixed, got {temporal_graph!r}")
    scalar_types = [np.core.multiarray.scalar if hasattr(np, "core") else None, np.dtype, *_numpy_scalars()]
    with torch.serialization.safe_globals([t for t in scalar_types if t is not None]):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(f"{path}: not a readable checkpoint ({str(error).splitlines()[0]})") from error
    if not isinstance(content, dict) or "model" not in content:
        raise CheckpointError(f"{path}: expected a dict with the key 'model'")
    tensors = OrderedDict((name.removeprefix("module."), value) for name, value in content["model"].items())
    tensors.pop("mask_emb", None)
    model = build_model(_released_config(tensors, temporal_graph, Path(path)))
    load_weights(model, tensors, Path(path))
    model.n_matched = len(tensors)  # type: ignore[assignment]
    return model.eval()


def _numpy_scalars() -> list[Any]:
    """What a pickled numpy float refers to: its dtype classes and the scalar rebuilder under its older name."""
    rebuild = getattr(getattr(np, "_core", None), "multiarray", None)
    classes = [type(np.dtype(kind)) for kind in ("f4", "f8", "i8")]
    return [*classes, *([(rebuild.scalar, "numpy.core.multiarray.scalar"), rebuild.scalar] if rebuild else [])]


def _released_config(tensors: Mapping[str, Tensor], temporal_graph: str, path: Path) -> ModelConfig:
    try:
        temporal_bn = tensors["layers.0.graph_temporal.mixer.batch_norm.weight"]
        n_layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("layers."))
        dim_rep, dim = tensors["rep_logit.fc.weight"].shape
        hidden = tensors["layers.0.att_spatial.mlp.fc1.weight"].shape[0]
        n_joints = tensors["layers.0.graph_spatial.mixer.batch_norm.weight"].shape[0]
    except KeyError as error:
        raise CheckpointError(f"{path}: no tensor {error} in it; expected the authors' layout") from error
    released = Experiment.preset("base", "released").model
    return replace(
        released, n_layers=n_layers, dim=dim, dim_rep=dim_rep, mlp_ratio=hidden // dim, n_joints=n_joints,
        n_frames=temporal_bn.shape[0], temporal_graph=temporal_graph,
    )  # fmt: skip
