"""Full precision where coordinates go in and out: bfloat16 has three digits, a pose needs four."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast on the device of `x`."""
    if x.device.type == "meta":
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


class ExactLinear(nn.Linear):
    """A linear layer that computes in its weights' precision, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))


class ExactConv1d(nn.Conv1d):
    """A convolution that computes in its weights' precision, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))
