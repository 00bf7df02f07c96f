"""Batch normalisation whose statistics span every process of a distributed run."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """`nn.BatchNorm1d`, or 2d, on (rows, channels) and any positions (rows, channels, ...).

    In training on several processes, mean and variance are those of the whole batch, so the
    numbers are those of one process that holds it. (`nn.SyncBatchNorm` does the same on GPUs
    only.)
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm takes rows and channels, got {tuple(input.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        if (
            self.training
            and dist.is_available()
            and dist.is_initialized()
            and dist.get_world_size() > 1
        ):
            return self.forward_synced(x)
        return super().forward(x)

    def forward_synced(self, x: Tensor) -> Tensor:
        rows = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        count = all_reduced(wide.new_tensor([wide.numel() / wide.shape[1]]))
        mean = all_reduced(wide.sum(rows)) / count
        centred = wide - mean.view(shape)
        variance = all_reduced(centred.square().sum(rows)) / count

        with torch.no_grad():
            assert (
                self.running_mean is not None
                and self.running_var is not None
                and self.momentum is not None
            )
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = variance * count / (count - 1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)

        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


class _AllReduce(torch.autograd.Function):
    """Sum over processes; the gradient of each addend is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def all_reduced(x: Tensor) -> Tensor:
    """The sum of `x` over all processes, differentiable."""
    return _AllReduce.apply(x)
