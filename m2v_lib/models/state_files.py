"""Weights on disk: one atomic safetensors file with tensors and a JSON state, loaded strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from m2v_lib.errors import InputError
from m2v_lib.runs.records import write_atomically


class CheckpointError(InputError):
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from error

    return tensors, _state_of(metadata.get("state", "{}"), path)


def _state_of(text: str, path: Path) -> dict[str, Any]:
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its state is not JSON; is the file whole?") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: its state must be an object, got {type(state).__name__}")
    return state


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Strict load of what `check_tensors` finds fit."""
    check_tensors(module, tensors, path)
    module.load_state_dict(dict(tensors))


def check_tensors(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError naming the first tensors that are missing, unknown, of another shape or
    kind of number, or not finite. Nothing is taken of the module but names and shapes.
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

    for name, tensor in tensors.items():
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise CheckpointError(
                f"{path}: {name} must be of the kind {own[name].dtype}, got {tensor.dtype}"
            )
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} must be finite; is the file whole?")
