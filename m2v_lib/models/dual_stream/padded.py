"""Blocks over clips that are padded to one length: frames that are not there take no part.

Each function takes a layer of the reference path and a mask `present_BT`, and gives every frame
that is there what it has in its clip alone. Temporal attention has no such keys, the graph over
time no such edges, batch norm no such rows; all else looks at one frame. What comes out at
padding is finite and means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from m2v_lib.models.dual_stream.attention import Attention
from m2v_lib.models.dual_stream.graph import (
    ChainAggregation,
    GraphConv,
    SimilarityAggregation,
    normalise_adjacency,
)
from m2v_lib.models.dual_stream.mlp import scaled

if TYPE_CHECKING:
    from m2v_lib.models.dual_stream.model import AttentionBlock, DualStreamBlock, GraphBlock

# B batch, T frames, J joints, D features


def through(block: nn.Module, x_BTJD: Tensor, present_BT: Tensor | None) -> Tensor:
    """What a block gives, of padded clips where `present_BT` says which frames are there."""
    if present_BT is None:
        return block(x_BTJD)
    return padded_block(cast("DualStreamBlock", block), x_BTJD, present_BT)


def padded_block(layer: DualStreamBlock, x_BTJD: Tensor, present_BT: Tensor) -> Tensor:
    """`DualStreamBlock.forward`."""
    streams = []
    if layer.streams != "gcn":
        x = layer.att_spatial(x_BTJD)
        streams.append(_attention_block(layer.att_temporal, x, present_BT))
    if layer.streams != "transformer":
        x = _graph_block(layer.graph_spatial, x_BTJD, present_BT)
        streams.append(_graph_block(layer.graph_temporal, x, present_BT))
    return layer.fusion(*streams) if layer.streams == "both" else streams[0]


def _attention_block(layer: AttentionBlock, x_BTJD: Tensor, present_BT: Tensor) -> Tensor:
    mixed = attention(layer.mixer, layer.norm1(x_BTJD), present_BT)
    x = x_BTJD + scaled(mixed, layer.layer_scale_1)
    return x + scaled(layer.mlp(layer.norm2(x)), layer.layer_scale_2)


def _graph_block(layer: GraphBlock, x_BTJD: Tensor, present_BT: Tensor) -> Tensor:
    if layer.literal:
        x = graph_convolution(layer.mixer, x_BTJD, present_BT)
    else:
        mixed = graph_convolution(layer.mixer, layer.norm1(x_BTJD), present_BT)
        x = x_BTJD + scaled(mixed, layer.layer_scale_1)
    return x + scaled(layer.mlp(layer.norm2(x)), layer.layer_scale_2)


def attention(layer: Attention, x_BTJD: Tensor, present_BT: Tensor) -> Tensor:
    """Attention over time whose keys are the frames that are there."""
    q, k, v = (layer.split_heads(p) for p in layer.qkv(x_BTJD.transpose(1, 2)).chunk(3, dim=-1))

    # a clip of padding alone has no keys: its meaningless frames see each other
    keys_BT = present_BT | ~present_BT.any(1, keepdim=True)
    mixed = scaled_dot_product_attention(
        q, k, v, attn_mask=keys_BT[:, None, None, None], scale=layer.scale
    )
    return layer.proj(mixed.transpose(2, 3).flatten(-2).transpose(1, 2))


def graph_convolution(layer: GraphConv, u_BTJD: Tensor, present_BT: Tensor) -> Tensor:
    """ReLU(u + BN(A_hat V(u) + U(u))), as `GraphConv.forward`."""
    v_BTJD = layer.V(u_BTJD)
    if layer.axis == "spatial":
        neighbours = layer.aggregation(v_BTJD, u_BTJD)
    else:
        graph = adjacency(layer.aggregation, u_BTJD, present_BT)  # (B, T, T) or (B, J, T, T)
        graph = graph if graph.ndim == 4 else graph.unsqueeze(1)
        neighbours = (graph @ v_BTJD.transpose(1, 2)).transpose(1, 2)

    mixed = neighbours + layer.U(u_BTJD)
    if not layer.training:
        return torch.relu(u_BTJD + layer.normalise(mixed))

    there = mixed[present_BT].flatten(0, 1)
    normed = torch.zeros_like(mixed)
    normed[present_BT] = layer.batch_norm(there).view(-1, *mixed.shape[2:]).to(mixed.dtype)
    return torch.relu(u_BTJD + normed)


def adjacency(aggregation: object, u_BTJD: Tensor, present_BT: Tensor) -> Tensor:
    """The normalised graph over time between the frames that are there."""
    both_BTT = present_BT.unsqueeze(1) & present_BT.unsqueeze(2)
    if isinstance(aggregation, ChainAggregation):
        n = present_BT.shape[1]
        offset = -1 if aggregation.previous else 1
        chain_TT = u_BTJD.new_ones(n).diag() + u_BTJD.new_ones(max(n - 1, 0)).diag(offset)
        return _normalised(chain_TT * both_BTT)

    assert isinstance(aggregation, SimilarityAggregation)
    nodes_BJTD = u_BTJD.detach().transpose(1, 2)
    likeness = nodes_BJTD @ nodes_BJTD.mT
    likeness = likeness.masked_fill(~present_BT[:, None, None], -torch.inf)
    least = likeness.topk(aggregation.n_neighbours, dim=-1).values[..., -1:]
    return _normalised((likeness >= least) & both_BTT.unsqueeze(1), u_BTJD.dtype)


def _normalised(edges: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A_hat; a frame that is not there keeps an edge to itself, so that it has a degree."""
    edges = edges.to(dtype) if dtype is not None else edges
    lone = (edges.sum(-1) == 0).to(edges.dtype)
    return normalise_adjacency(edges + torch.diag_embed(lone))
