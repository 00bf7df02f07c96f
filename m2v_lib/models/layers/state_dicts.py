"""What other authors' checkpoints hold: weights under some entry, sizes in their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from m2v_lib.errors import InputError


def weights_in(content: Any, entry: str | None, first: str) -> dict[str, Tensor]:
    """The state dict under `entry` of a file's content; None: the content itself.

    `first` is a tensor that the layout must have. Raises InputError, naming what is missing.
    """
    found = content
    if entry is not None:
        if not isinstance(content, Mapping) or not isinstance(content.get(entry), Mapping):
            raise InputError(f"not the authors' layout: no weights under {entry!r}")
        found = content[entry]

    if not isinstance(found, Mapping) or first not in found:
        raise InputError(f"not the authors' layout: no tensor {first!r}")

    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def n_numbered(weights: Mapping[str, Tensor], before: str) -> int:
    """How many of `before`0, `before`1, ... there are: the length of a list of layers."""
    numbers = {name[len(before) :].split(".")[0] for name in weights if name.startswith(before)}
    return len(numbers)
