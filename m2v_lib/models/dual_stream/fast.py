"""The fast path: what `attention`, `graph`, `fusion` and `mlp` compute, with less memory
traffic.

Each function takes a layer of the reference path and uses its parameters, so both paths train
the same state dict; they agree to rounding in outputs, gradients and batch-norm buffers
(tests/layers/test_fast.py). What differs: attention never writes its (K, K) weights; heads and
joints merge by views where the layout allows; V and U of a graph convolution are one product;
the chain graph is a scaled shift, without a (T, T) product; a similarity graph scales rows
instead of building A_hat; LayerScale and, at inference, batch norm are folded into the weights
before them; fusion of two is a sigmoid.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from m2v_lib.models.dual_stream.attention import Attention
from m2v_lib.models.dual_stream.cpu import ChunkedMlp, ShortAttention, dense, mlp_without_gradient
from m2v_lib.models.dual_stream.fusion import AdaptiveFusion
from m2v_lib.models.dual_stream.graph import (
    ChainAggregation,
    GraphConv,
    SimilarityAggregation,
    SpatialAggregation,
    similar_frames,
)
from m2v_lib.models.dual_stream.mlp import Mlp

# B batch, T frames, J joints, D features, H heads, E features of a head

#: Up to so many nodes explicit weights are cheaper on a CPU than the fused kernel.
MAX_EXPLICIT_NODES = 32


def attend(layer: Attention, x_BTJD: Tensor) -> Tensor:
    """Attention before its output projection (B, T, J, D)."""
    B, T, J, D = x_BTJD.shape
    H, E = layer.n_heads, D // layer.n_heads

    spatial = layer.axis == "spatial"
    if x_BTJD.device.type == "cpu" and (J if spatial else T) <= MAX_EXPLICIT_NODES:
        parts = (
            linear(x_BTJD, layer.qkv.weight)
            .view(B, T, J, 3, H, E)
            .permute(3, 0, *((1, 4, 2) if spatial else (2, 4, 1)), 5)
        )
        mixed = ShortAttention.apply(parts.reshape(3, -1, parts.shape[-2], E), layer.scale).view(
            parts.shape[1:]
        )
        return mixed.permute(0, *((1, 3, 2) if spatial else (3, 1, 2)), 4).reshape(B, T, J, D)

    if (J if spatial else T) <= MAX_EXPLICIT_NODES and torch.compiler.is_compiling():
        q, k, v = linear(x_BTJD, layer.qkv.weight).view(B, T, J, 3, H, E).unbind(3)
        return attend_short(q, k, v, layer.scale, axis=2 if spatial else 1).flatten(3)

    if spatial:
        q, k, v = linear(x_BTJD, layer.qkv.weight).view(B * T, J, 3, H, E).permute(2, 0, 3, 1, 4)
    else:  # one product each: then joints and heads are one axis of a view
        q, k, v = (
            linear(x_BTJD, w).view(B, T, J * H, E).transpose(1, 2)
            for w in layer.qkv.weight.chunk(3)
        )

    return (
        scaled_dot_product_attention(q, k, v, scale=layer.scale).transpose(1, 2).reshape(B, T, J, D)
    )


def attend_short(
    q_BTJHE: Tensor, k_BTJHE: Tensor, v_BTJHE: Tensor, scale: float, axis: int
) -> Tensor:
    """Attention along a short axis as sums of products, which a compiler makes a few kernels of:
    tiles of the fused kernel are 64 wide, and a batched product of 17 by 17 fills none.
    """
    q = q_BTJHE.unsqueeze(axis + 1)
    k, v = k_BTJHE.unsqueeze(axis), v_BTJHE.unsqueeze(axis)
    weights = (scale * (q * k).sum(-1, keepdim=True)).softmax(dim=axis + 1)
    return (weights * v).sum(axis + 1)


def attention(layer: Attention, x_BTJD: Tensor, scale_D: Tensor | None) -> Tensor:
    """Attention times LayerScale."""
    return _scaled_linear(layer.proj, attend(layer, x_BTJD), scale_D)


def graph_convolution(layer: GraphConv, u_BTJD: Tensor) -> Tensor:
    """ReLU(u + BN(A_hat V(u) + U(u)))."""
    weight = torch.cat((layer.V.weight, layer.U.weight))
    bias = torch.cat((layer.V.bias, layer.U.bias))

    folded = layer.bn_axis == "channels" and not layer.training and not torch.is_grad_enabled()
    if folded:
        scale_D, shift_D = _frozen_batch_norm(layer.batch_norm)
        weight, bias = weight * scale_D.repeat(2).unsqueeze(-1), bias * scale_D.repeat(2)
        bias[len(shift_D) :] += shift_D

    neighbours, own = linear(u_BTJD, weight, bias).chunk(2, dim=-1)
    mixed = aggregate(layer.aggregation, neighbours, own, u_BTJD)
    return add_residual_(u_BTJD, mixed if folded else layer.normalise(mixed)).relu()


def _frozen_batch_norm(layer: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """The factor and the shift per channel that batch norm is outside training."""
    assert layer.running_mean is not None and layer.running_var is not None
    scale_D = layer.weight * (layer.running_var + layer.eps).rsqrt()
    return scale_D, layer.bias - layer.running_mean * scale_D


def add_residual_(x: Tensor, branch: Tensor) -> Tensor:
    """x + branch, a residual connection; the branch may be overwritten where no gradient needs
    it.
    """
    if torch.is_grad_enabled() or branch.dtype != x.dtype:
        return x + branch
    return branch.add_(x)


def aggregate(graph: nn.Module, x_BTJD: Tensor, own_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
    """own + A_hat x."""
    if isinstance(graph, SpatialAggregation):
        return own_BTJD + graph.adjacency_JJ.like(x_BTJD) @ x_BTJD

    if isinstance(graph, ChainAggregation):
        own_T, neighbour_T = graph.weights(x_BTJD)
        return _Chain.apply(
            x_BTJD, own_BTJD, own_T.view(-1, 1, 1), neighbour_T.view(-1, 1, 1), graph.previous
        )

    assert isinstance(graph, SimilarityAggregation)
    near_BJTT = similar_frames(u_BTJD.transpose(1, 2), graph.n_neighbours)
    root_BJT1 = near_BJTT.sum(-1, keepdim=True).to(x_BTJD.dtype).rsqrt()

    mixed = root_BJT1 * (near_BJTT.to(x_BTJD.dtype) @ (root_BJT1 * x_BTJD.transpose(1, 2)))
    return own_BTJD + mixed.transpose(1, 2)


class _Chain(torch.autograd.Function):
    """own + a_t x_t + b_t x_(t-1), or x_(t+1): two passes over memory forwards, two backwards."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, own: Tensor, a_T11: Tensor, b_T11: Tensor, previous: bool
    ) -> Tensor:
        ctx.save_for_backward(a_T11, b_T11)
        ctx.previous = previous
        out = torch.addcmul(own, x, a_T11)
        to, source = (out[:, 1:], x[:, :-1]) if previous else (out[:, :-1], x[:, 1:])
        to.addcmul_(source, b_T11)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        a_T11, b_T11 = ctx.saved_tensors
        to_x = gradient * a_T11
        to, source = (
            (to_x[:, :-1], gradient[:, 1:]) if ctx.previous else (to_x[:, 1:], gradient[:, :-1])
        )
        to.addcmul_(source, b_T11)
        return to_x, gradient, None, None, None


def mlp(layer: Mlp, x: Tensor, scale_D: Tensor | None) -> Tensor:
    """The MLP times LayerScale."""
    if not _on_cpu(x):
        return _scaled_linear(layer.fc2, layer.act(layer.fc1(x)), scale_D)
    weights = [layer.fc1.weight, layer.fc1.bias, *_scaled_weights(layer.fc2, scale_D)]
    if torch.is_autocast_enabled("cpu"):
        x, *weights = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, *weights))
    of_tokens = ChunkedMlp.apply if torch.is_grad_enabled() else mlp_without_gradient
    return of_tokens(x.flatten(0, -2), *weights).view(*x.shape[:-1], -1)


def fuse(layer: AdaptiveFusion, attention_BTJD: Tensor, graph_BTJD: Tensor) -> Tensor:
    """softmax over two is a sigmoid of the difference; the streams are not joined in memory."""
    with torch.autocast(attention_BTJD.device.type, enabled=False):
        weight_2D, bias = layer.weight[0] - layer.weight[1], layer.bias[0] - layer.bias[1]
        of_attention, of_graph = weight_2D.chunk(2)
        score = attention_BTJD @ of_attention + graph_BTJD @ of_graph + bias
        return torch.lerp(graph_BTJD, attention_BTJD, score.sigmoid().unsqueeze(-1))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight^T + bias."""
    if torch.is_grad_enabled() or not _on_cpu(x) or torch.is_autocast_enabled("cpu"):
        return nn.functional.linear(x, weight, bias)
    return dense(x, weight, bias)


def _scaled_linear(layer: nn.Linear, x: Tensor, scale_D: Tensor | None) -> Tensor:
    """scale * layer(x), the scale folded into the layer's weights."""
    return linear(x, *_scaled_weights(layer, scale_D))


def _scaled_weights(layer: nn.Linear, scale_D: Tensor | None) -> tuple[Tensor, Tensor]:
    if scale_D is None:
        return layer.weight, layer.bias
    return layer.weight * scale_D.unsqueeze(-1), layer.bias * scale_D


def _on_cpu(x: Tensor) -> bool:
    """Whether the CPU's own parts are worth it; a compiler fuses the plain ones."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
