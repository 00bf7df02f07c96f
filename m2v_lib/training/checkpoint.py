"""Checkpoints of runs: loading a trained model, and starting from a pre-trained encoder."""

from __future__ import annotations

from pathlib import Path

from m2v_lib.config import Experiment
from m2v_lib.models.base import Lifter
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import CheckpointError as CheckpointError
from m2v_lib.models.state_files import load_weights as load_weights
from m2v_lib.models.state_files import on_cpu as on_cpu
from m2v_lib.models.state_files import read_tensors as read_tensors
from m2v_lib.models.state_files import save_tensors as save_tensors

#: First names of what a pre-training file lacks and fine-tuning starts fresh (audit D7).
HEADS = ("rep_logit.", "head.")


def load_checkpoint(path: Path | str, device: str = "cpu") -> tuple[Lifter, Experiment]:
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


def transfer_encoder(model: Lifter, path: Path) -> int:
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
