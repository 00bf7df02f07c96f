"""Saving and loading: one atomic safetensors file with tensors and JSON state; the authors'
files, read safely.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from m2v_lib.config import ConfigError, Experiment, ModelConfig
from m2v_lib.models.dual_stream.model import DualStreamModel, build_model
from m2v_lib.runs.records import write_atomically
from m2v_lib.skeletons.h36m import H36M_FROM_MPI, N_JOINTS

#: First names of what a pre-training file lacks and fine-tuning starts fresh (audit D7).
HEADS = ("rep_logit.", "head.")


class CheckpointError(ValueError):
    """A checkpoint that is missing, truncated, or of another model."""


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in main memory that later steps leave alone."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Tensors and a JSON state in one file, written beside the target and moved into place."""
    metadata = {"state": json.dumps(dict(state))}
    flat = on_cpu(tensors)
    write_atomically(path, lambda beside: save_file(flat, beside, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `save_tensors`. Raises CheckpointError naming the file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, json.loads(
                metadata.get("state", "{}")
            )
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Strict load; CheckpointError names the first tensors that are missing, unknown or of
    another shape.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - own.keys())
    other = [n for n in own.keys() & tensors.keys() if own[n].shape != tensors[n].shape]
    if missing or unknown or other:
        parts = [
            f"missing {missing[0]}" if missing else "",
            f"unknown {unknown[0]}" if unknown else "",
        ]
        if other:
            name = sorted(other)[0]
            parts.append(
                f"{name} is {tuple(tensors[name].shape)}, the model's is {tuple(own[name].shape)}"
            )
        matched = len(own) - len(missing) - len(other)
        raise CheckpointError(
            f"{path}: holds another model, {matched} of {len(own)} tensors match: "
            f"{'; '.join(p for p in parts if p)}"
        )
    module.load_state_dict(dict(tensors))


def load_checkpoint(path: Path | str, device: str = "cpu") -> tuple[DualStreamModel, Experiment]:
    """Model in evaluation mode and its experiment, from a run folder or its
    `weights.safetensors`.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "weights.safetensors"
    tensors, state = read_tensors(path)
    if "experiment" not in state:
        raise CheckpointError(
            f"{path}: says nothing of its experiment; expected a file that `m2v finetune` wrote"
        )
    exp = Experiment.from_dict(state["experiment"])
    model = build_model(exp.model)
    load_weights(model, {k: v for k, v in tensors.items() if k != "mask_emb"}, path)
    return model.to(device).eval(), exp


def transfer_encoder(model: DualStreamModel, path: Path) -> int:
    """Copy a pre-trained student's embedding, positions, blocks and norm into `model`; the heads
    stay fresh (D7).

    Returns the number of tensors copied; raises CheckpointError when one is missing or of
    another shape.
    """
    tensors, _ = read_tensors(path)
    wanted = [name for name in model.state_dict() if not name.startswith(HEADS)]
    fresh = {name: tensor for name, tensor in model.state_dict().items() if name not in wanted}
    load_weights(model, {**{k: v for k, v in tensors.items() if k in wanted}, **fresh}, path)
    return len(wanted)


def load_released(
    path: Path | str, temporal_graph: str = "similarity", *, joints: str = "h36m"
) -> DualStreamModel:
    """The authors' (or MotionAGFormer's) checkpoint as a `released` model in evaluation mode.

    Sizes follow from the tensors' shapes (8 heads, LayerScale, BatchNorm per node).
    `temporal_graph` is "similarity" or "released-fixed": the graph is not in the file. Nor is
    the order of `joints`: "3dhp" is for a model of MPI-INF-3DHP, which then takes and gives
    poses in our order. Read with `weights_only=True`: no code in the file runs. A pre-training
    file (known by its `mask_emb`) has no heads: theirs are fresh. The loaded model's `n_matched`
    says how many tensors came from the file; one that is missing, unknown or of another shape is
    a CheckpointError.
    """
    if joints not in ("h36m", "3dhp"):
        raise ConfigError(f"joints must be h36m or 3dhp, got {joints!r}")
    if temporal_graph not in ("similarity", "released-fixed"):
        raise ConfigError(
            f"temporal_graph must be similarity or released-fixed, got {temporal_graph!r}"
        )
    path = Path(path)
    tensors = _released_tensors(path)
    pretrained = tensors.pop("mask_emb", None) is not None
    graphs = {"model.temporal_graph": temporal_graph}
    if joints == "3dhp":
        graphs["model.spatial_graph"] = "released-3dhp"
    model = build_model(_released_config(tensors, graphs, path), seed=0)
    if joints == "3dhp":
        tensors = {name: _in_our_order(name, tensor) for name, tensor in tensors.items()}
    heads = {k: v for k, v in model.state_dict().items() if k.startswith(HEADS)}
    fresh = heads if pretrained and not heads.keys() & tensors.keys() else {}
    load_weights(model, {**fresh, **tensors}, path)
    model.n_matched = len(tensors)  # type: ignore[assignment]
    return model.eval()


def _released_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors under the file's key `model`, their names without `module.`."""
    with torch.serialization.safe_globals(_numpy_scalars()):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{path}: no such file, expected a checkpoint of the authors"
            ) from error
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path}: refused, expected a torch file of tensors and numbers alone"
            ) from error
        except (
            Exception
        ) as error:  # torch documents no type: OSError, RuntimeError, EOFError were seen
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CheckpointError(
                f"{path}: not readable as a torch file, truncated? ({reason})"
            ) from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(isinstance(v, Tensor) for v in model.values()):
        raise CheckpointError(f"{path}: expected a dict with a state dict under the key 'model'")
    return {str(name).removeprefix("module."): value for name, value in model.items()}


def _numpy_scalars() -> list[Any]:
    """What a pickled numpy number refers to, under the module names of numpy 1 and 2."""
    rebuild = np.float64(0).__reduce__()[0]
    names = [(rebuild, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*names, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8"))]


def _in_our_order(name: str, tensor: Tensor) -> Tensor:
    """A tensor that has one entry a joint, from MPI-INF-3DHP's order to ours; any other as it
    is.
    """
    order = list(H36M_FROM_MPI)
    if name == "pos_embed" and tensor.ndim == 3 and tensor.shape[1] == N_JOINTS:
        return tensor[:, order]
    per_joint = ".graph_spatial.mixer.batch_norm." in name and tensor.shape == (N_JOINTS,)
    return tensor[order] if per_joint else tensor


def _released_config(
    tensors: Mapping[str, Tensor], graphs: Mapping[str, str], path: Path
) -> ModelConfig:
    released = Experiment.preset("base", "released")
    try:
        sizes = {
            "n_layers": 1
            + max(int(name.split(".")[1]) for name in tensors if name.startswith("layers.")),
            "dim": tensors["joints_embed.weight"].shape[0],
            "mlp_ratio": tensors["layers.0.att_spatial.mlp.fc1.weight"].shape[0]
            // tensors["norm.weight"].shape[0],
            "n_joints": tensors["layers.0.graph_spatial.mixer.batch_norm.weight"].shape[0],
            "n_frames": tensors["layers.0.graph_temporal.mixer.batch_norm.weight"].shape[0],
            "dim_rep": tensors["rep_logit.fc.bias"].shape[0]
            if "rep_logit.fc.bias" in tensors
            else 512,
        }
        if sizes["n_joints"] != N_JOINTS:
            raise CheckpointError(
                f"{path}: is a model of {sizes['n_joints']} joints, expected {N_JOINTS}"
            )
        sizes_by_key = {f"model.{key}": value for key, value in sizes.items()}
        small = {"pretrain.target_layers": 1, **graphs}  # K must not exceed n_layers
        return released.override({**sizes_by_key, **small}).model
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not in the authors' layout ({error})") from error
