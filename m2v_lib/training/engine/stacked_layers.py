"""Layers of stacked runs (`training.stacked`) as few launches: what `torch.vmap` takes apart goes
through one batched product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# K runs, N rows, D features in, F features out


class StackedLinear(nn.Linear):
    """`nn.Linear` under `vmap` over its weights: one product for all runs, and gradients that lie
    as the weights do.
    """

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.bias is not None else self.weight.new_zeros(())
        return _Linear.apply(x, self.weight, bias)


def use_stacked_layers(module: nn.Module) -> None:
    """Let the linear layers of a module whose calls are stacked compute so."""
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = StackedLinear


class _Linear(torch.autograd.Function):
    """x weight^T + bias of one run; `vmap` makes it `_BatchedLinear` of all. A bias without
    dimensions is none.
    """

    @staticmethod
    def forward(x: Tensor, weight_FD: Tensor, bias: Tensor) -> Tensor:
        return nn.functional.linear(x, weight_FD, bias if bias.ndim else None)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise NotImplementedError("only under vmap")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], x: Tensor, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, int]:
        K = info.batch_size
        x, weight, bias = (
            t.expand(K, *t.shape) if d is None else t.movedim(d, 0)
            for t, d in zip((x, weight, bias), in_dims, strict=True)
        )
        out = _BatchedLinear.apply(x.reshape(K, -1, x.shape[-1]), weight, bias)
        return out.view(*x.shape[:-1], -1), 0


class _BatchedLinear(torch.autograd.Function):
    """x (K, N, D) times weights (K, F, D), plus biases (K, F) where they have dimensions."""

    @staticmethod
    def forward(ctx: Any, x_KND: Tensor, weight_KFD: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x_KND, weight_KFD)
        ctx.has_bias = bias.ndim == 2
        if not ctx.has_bias:
            return torch.bmm(x_KND, weight_KFD.mT)
        return torch.baddbmm(bias.unsqueeze(1), x_KND, weight_KFD.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (g_KNF,) = gradients
        x_KND, weight_KFD = ctx.saved_tensors
        to_x = torch.bmm(g_KNF, weight_KFD) if ctx.needs_input_grad[0] else None
        to_weight = torch.bmm(g_KNF.mT, x_KND) if ctx.needs_input_grad[1] else None
        to_bias = g_KNF.sum(1) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias
