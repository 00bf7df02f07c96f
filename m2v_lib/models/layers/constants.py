"""Numbers that follow from structure (graphs, orders of joints): kept on every device that they
are used on.

A list as an index, or as values of a new tensor, is copied to the device at every step: a GPU
waits for it, and a step that waits cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Places:
    """Numbers along an axis (of joints, channels): `of(x, dim)` takes them out of x."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)
        self.copies: dict[torch.device, Tensor] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, x: Tensor, dim: int) -> Tensor:
        return x.index_select(dim, self.on(x.device))

    def on(self, device: torch.device) -> Tensor:
        """The numbers, kept on the device."""
        if device not in self.copies:
            made = torch.tensor(self.numbers, device=device)
            if type(made) is not Tensor:  # a tracer's stand-in, which must not outlive the trace
                return made
            self.copies[device] = made
        return self.copies[device]


class Constant:
    """What `make` gives, a tensor in float64 that is no state of the model; `like(x)` gives it
    in x's dtype, on x's device. Copies are kept, so a step makes none.

    `make` runs on the CPU also where the model is built on the meta device.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        with torch.device("cpu"):
            self.values = make().detach().double()
        self.copies: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """The constant in the dtype and on the device of `x`."""
        key = (x.dtype, x.device)
        if key not in self.copies:
            made = self.values.to(device=x.device, dtype=x.dtype)
            if type(made) is not Tensor:  # a tracer's stand-in, which must not outlive the trace
                return made
            self.copies[key] = made
        return self.copies[key]
