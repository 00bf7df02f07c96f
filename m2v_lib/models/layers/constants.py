"""Numbers that follow from structure (graphs): kept in float64, used in whatever dtype comes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
