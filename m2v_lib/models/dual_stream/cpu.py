"""Two parts of the fast path on CPUs, where fresh memory is dear: the MLP in pieces, attention
over a short axis.

Both are autograd functions with their gradients written out; `fast` chooses when to use them.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

# N tokens, D features, F hidden features, G groups times heads, K nodes of a group, E features
# of a head

#: Numbers of the hidden layer that are alive at once: with fewer, starting the products costs
#: more than memory saves.
HIDDEN_NUMBERS = 1 << 21


@cache
def keep_freed_memory() -> None:
    """Let this process keep what it frees (glibc only): fetching the same pages anew each step
    costs a fifth of it.
    """
    if sys.platform != "linux":
        return
    trim_threshold, mmap_threshold = -1, -3  # names of malloc.h
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 1 << 25)
        libc.mallopt(trim_threshold, (1 << 31) - 1)


def dense(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none"
) -> Tensor:
    """x weight^T + bias without gradient, then "gelu" where asked; float32 by oneDNN, on some
    CPUs faster than MKL.
    """
    if x.dtype == torch.float32 and x.device.type == "cpu" and _ONEDNN is not None:
        return _ONEDNN(x, weight, bias, activation, [], "none")
    y = linear(x, weight, bias)
    return gelu(y) if activation == "gelu" else y


def _onednn_linear() -> Any:
    """torch.compile's own operator for a linear layer on a CPU, or None where this torch has
    none.
    """
    packet = (
        getattr(torch.ops.mkldnn, "_linear_pointwise", None)
        if torch.backends.mkldnn.is_available()
        else None
    )
    return getattr(packet, "default", None)


_ONEDNN = _onednn_linear()


def pieces(x_ND: Tensor, n_hidden: int) -> tuple[Tensor, ...]:
    """The tokens in pieces of nearly equal size, about HIDDEN_NUMBERS of the hidden layer each."""
    return x_ND.tensor_split(max(1, round(len(x_ND) * n_hidden / HIDDEN_NUMBERS)))


def mlp_without_gradient(
    x_ND: Tensor, w1_FD: Tensor, b1_F: Tensor, w2_DF: Tensor, b2_D: Tensor
) -> Tensor:
    """fc2(gelu(fc1(x))), some tokens at a time, GELU within the first product."""
    return torch.cat(
        [dense(dense(x, w1_FD, b1_F, "gelu"), w2_DF, b2_D) for x in pieces(x_ND, len(w1_FD))]
    )


class ChunkedMlp(torch.autograd.Function):
    """fc2(gelu(fc1(x))) for x (N, D), some tokens at a time: what follows GELU exists for one
    piece only.

    Of the hidden layer only the values before GELU are kept for the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, w1_FD: Tensor, b1_F: Tensor, w2_DF: Tensor, b2_D: Tensor
    ) -> Tensor:
        before = [dense(x, w1_FD, b1_F) for x in pieces(x_ND, len(w1_FD))]
        ctx.save_for_backward(x_ND, w1_FD, w2_DF, *before)
        return torch.cat([dense(gelu(h), w2_DF, b2_D) for h in before])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (g_ND,) = gradients
        x_ND, w1_FD, w2_DF, *before = ctx.saved_tensors
        sizes = [len(h) for h in before]
        gx = []
        gw1, gb1, gw2 = (
            torch.zeros_like(w1_FD),
            w1_FD.new_zeros(len(w1_FD)),
            torch.zeros_like(w2_DF),
        )

        for x, g, h in zip(x_ND.split(sizes), g_ND.split(sizes), before, strict=True):
            gw2.addmm_(g.T, gelu(h))
            inner = torch.ops.aten.gelu_backward(dense(g, w2_DF.T), h)
            gw1.addmm_(inner.T, x)
            gb1 += inner.sum(0)
            gx.append(dense(inner, w1_FD.T))

        return torch.cat(gx), gw1, gb1, gw2, g_ND.sum(0)


class ShortAttention(torch.autograd.Function):
    """softmax(scale q k^T) v for qkv (3, G, K, E) with few nodes K, by explicit weights; returns
    (G, K, E).
    """

    @staticmethod
    def forward(ctx: Any, qkv_3GKE: Tensor, scale: float) -> Tensor:
        q, k, v = qkv_3GKE
        weights_GKK = torch.bmm(q, k.mT).mul_(scale).softmax(-1)
        ctx.save_for_backward(qkv_3GKE, weights_GKK)
        ctx.scale = scale
        return torch.bmm(weights_GKK, v)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        g_GKE = gradients[0].contiguous()
        qkv_3GKE, weights_GKK = ctx.saved_tensors
        q, k, v = qkv_3GKE
        out = torch.empty_like(qkv_3GKE)
        torch.bmm(weights_GKK.mT, g_GKE, out=out[2])
        of_weights = torch.bmm(g_GKE, v.mT)
        of_scores = torch.ops.aten._softmax_backward_data(
            of_weights, weights_GKK, -1, weights_GKK.dtype
        )
        of_scores.mul_(ctx.scale)
        torch.bmm(of_scores, k, out=out[0])
        torch.bmm(of_scores.mT, q, out=out[1])

        return out, None
