"""The authors' checkpoint files (and MotionAGFormer's), read into the `released` network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from m2v_lib.config import ConfigError, DualStreamSettings, Experiment
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.state_files import CheckpointError, load_weights
from m2v_lib.models.torch_files import read_checkpoint
from m2v_lib.skeletons.h36m import H36M_FROM_MPI, N_JOINTS


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
    model = _fresh(_released_config(tensors, graphs, path))
    if joints == "3dhp":
        tensors = {name: _in_our_order(name, tensor) for name, tensor in tensors.items()}
    heads = {
        k: v for k, v in model.state_dict().items() if k.startswith(model.fresh_after_pretraining)
    }
    fresh = heads if pretrained and not heads.keys() & tensors.keys() else {}
    load_weights(model, {**fresh, **tensors}, path)
    model.n_matched = len(tensors)  # type: ignore[assignment]

    return model.eval()


def _released_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors under the file's key `model`, their names without `module.`."""
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        raise CheckpointError(str(error)) from error

    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not all(isinstance(v, Tensor) for v in model.values()):
        raise CheckpointError(f"{path}: must be a dict with a state dict under the key 'model'")

    return {str(name).removeprefix("module."): value for name, value in model.items()}


def _fresh(settings: DualStreamSettings) -> DualStreamModel:
    """The network with the same fresh weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = DualStreamModel(settings)
    model.use("fast")
    return model


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
) -> DualStreamSettings:
    released = Experiment.preset("base", "released")
    try:
        sizes = {
            "n_layers": 1
            + max(int(name.split(".")[1]) for name in tensors if name.startswith("layers.")),
            "dim": tensors["joints_embed.weight"].shape[0],
            "mlp_ratio": tensors["layers.0.att_spatial.mlp.fc1.weight"].shape[0]
            // tensors["norm.weight"].shape[0],
            "n_frames": tensors["layers.0.graph_temporal.mixer.batch_norm.weight"].shape[0],
            "dim_rep": tensors["rep_logit.fc.bias"].shape[0]
            if "rep_logit.fc.bias" in tensors
            else 512,
        }
        n_joints = len(tensors["layers.0.graph_spatial.mixer.batch_norm.weight"])
        if n_joints != N_JOINTS:
            raise CheckpointError(f"{path}: must be a model of {N_JOINTS} joints, got {n_joints}")

        sizes_by_key = {f"model.{key}": value for key, value in sizes.items()}
        small = {"pretrain.target_layers": 1, **graphs}  # K must not exceed n_layers
        return released.override({**sizes_by_key, **small}).model
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: not in the authors' layout ({error})") from error
