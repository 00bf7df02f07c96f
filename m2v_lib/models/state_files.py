"""Weights on disk: one atomic safetensors file with tensors and a JSON state, loaded strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
