"""Full precision where coordinates go in and out: bfloat16 has three digits, a pose needs four."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from m2v_lib.models.layers.convolution import PointwiseConv


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


class ExactPointwiseConv(PointwiseConv):
    """A convolution of single frames that computes in its weights' precision, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))
