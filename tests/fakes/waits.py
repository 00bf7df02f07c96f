"""A net for what would make a program wait for its GPU, cast on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

#: Methods that bring a number to Python.
METHODS = ("item", "tolist", "numpy", "cpu", "__float__", "__bool__", "__int__")


class Waits(TorchDispatchMode):
    """Notes the operations for which a GPU makes the program wait: a number is fetched, a size
    depends on one, or Python's numbers become a tensor there (a list as an index, too).
    """

    NAMES = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "equal",
        "is_nonzero",
        "unique",
        "lift_fresh",
    )

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if any(word in name for word in self.NAMES):
            self.seen.append(name)
        if "index" in name and any(t is not None and t.dtype == torch.bool for t in _tensors(args)):
            self.seen.append(name)  # a boolean index
        return func(*args, **(kwargs or {}))


def _tensors(args: Any) -> list[Tensor]:
    flat = [a for arg in args for a in (arg if isinstance(arg, (list, tuple)) else [arg])]
    return [a for a in flat if isinstance(a, Tensor)]


def waits_of(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations and methods of tensors that wait, of all that `work` does."""
    calls: list[str] = []
    with monkeypatch.context() as patch, Waits() as waits:
        for name in METHODS:
            patch.setattr(Tensor, name, _noting(calls, name, getattr(Tensor, name)))
        work()
    return waits.seen + calls


def _noting(calls: list[str], name: str, method: Any) -> Any:
    def noted(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return method(self, *args, **kwargs)

    return noted
