"""Attention over time, then strided attention that ends in one frame: Strided Transformer,
P-STMO.

Names are those of the authors' files, whose layer norm and initial copies are their own too.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from m2v_lib.errors import InputError
from m2v_lib.models.layers.convolution import PointwiseConv

# B batch, T frames (V of them seen), D features, F hidden features, H heads, K features of a head


@dataclass(frozen=True)
class LayerSizes:
    """Features, hidden features of the feed-forward, heads, and the share dropped everywhere."""

    dim: int
    dim_ff: int
    n_heads: int
    dropout: float


class StdNorm(nn.Module):
    """a (x - mean) / (std + 1e-6) + b: unbiased std, and epsilon beside it, not in the variance."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(dim))
        self.b_2 = nn.Parameter(torch.zeros(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        std, mean = torch.std_mean(x_BTD, dim=-1, keepdim=True)
        return self.a_2 * (x_BTD - mean) / (std + 1e-6) + self.b_2


class MultiHeadAttention(nn.Module):
    """`linears` are query, key, value and output, all four the same at the start."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.n_heads = sizes.n_heads
        self.linears = copies(nn.Linear(sizes.dim, sizes.dim), 4)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        q_BHTK, k_BHTK, v_BHTK = (self.heads(linear(x_BTD)) for linear in list(self.linears)[:3])

        logits_BHTT = q_BHTK @ k_BHTK.transpose(-1, -2) / math.sqrt(q_BHTK.shape[-1])
        y_BHTK = self.dropout(logits_BHTT.softmax(dim=-1)) @ v_BHTK
        return self.linears[3](y_BHTK.transpose(1, 2).flatten(2))

    def heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, Linear."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.w_1 = nn.Linear(sizes.dim, sizes.dim_ff)
        self.w_2 = nn.Linear(sizes.dim_ff, sizes.dim)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.w_2(self.dropout(torch.relu(self.w_1(x_BTD))))


class StridedFeedForward(nn.Module):
    """As `FeedForward`, but the second layer convolves and gives every `stride`-th frame."""

    def __init__(self, sizes: LayerSizes, stride: int) -> None:
        super().__init__()
        self.w_1 = PointwiseConv(sizes.dim, sizes.dim_ff)
        self.w_2 = nn.Conv1d(sizes.dim_ff, sizes.dim, 3, stride=stride, padding=1)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BFT = self.dropout(torch.relu(self.w_1(x_BTD.transpose(1, 2))))
        return self.w_2(h_BFT).transpose(1, 2)


class Sublayer(nn.Module):
    """What a branch reads and how much of it counts: dropout(branch(norm(x)))."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.norm = StdNorm(sizes.dim)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x_BTD: Tensor, branch: nn.Module) -> Tensor:
        return self.dropout(branch(self.norm(x_BTD)))


class EncoderLayer(nn.Module):
    """x + attention, then x + feed-forward, both of the norm of x; of the sum every s-th frame."""

    def __init__(
        self, sizes: LayerSizes, self_attn: nn.Module, feed_forward: nn.Module, stride: int = 1
    ) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.feed_forward = feed_forward
        self.sublayer = nn.ModuleList(Sublayer(sizes) for _ in range(2))
        self.stride = stride

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.sublayer[0](x_BTD, self.self_attn)
        return x_BTD[:, :: self.stride] + self.sublayer[1](x_BTD, self.feed_forward)


class Layers(nn.Module):
    """A stack; its norm is in the files and never used."""

    def __init__(self, layers: nn.ModuleList, dim: int) -> None:
        super().__init__()
        self.layers = layers
        self.norm = StdNorm(dim)


class VanillaTransformer(nn.Module):
    """Attention over all frames; with positions if `n_frames` is given. Layers start the same."""

    def __init__(self, n_layers: int, sizes: LayerSizes, n_frames: int | None = None) -> None:
        super().__init__()
        self.pos_embedding = positions(n_frames, sizes.dim) if n_frames else None
        layer = EncoderLayer(sizes, MultiHeadAttention(sizes), FeedForward(sizes))
        self.model = Layers(copies(layer, n_layers), sizes.dim)

    def forward(self, x_BTD: Tensor, seen_V: Tensor | None = None) -> Tensor:
        """(B, T, D), or (B, V, D) of the frames of these numbers, the others not there."""
        if self.pos_embedding is not None:
            x_BTD = x_BTD + self.pos_embedding
        if seen_V is not None:
            x_BTD = x_BTD[:, seen_V]

        for layer in self.model.layers:
            x_BTD = layer(x_BTD)
        return x_BTD


class StridedLayers(Layers):
    """Layers that keep every s-th frame. The first three add positions: a prefix of T rows."""

    def __init__(self, strides: Sequence[int], sizes: LayerSizes, n_frames: int) -> None:
        attention = MultiHeadAttention(sizes)  # copied: all start the same, unlike the rest
        layers = nn.ModuleList(
            EncoderLayer(sizes, copy.deepcopy(attention), StridedFeedForward(sizes, s), s)
            for s in strides
        )

        super().__init__(layers, sizes.dim)
        self.pos_embedding_1 = positions(n_frames, sizes.dim)
        self.pos_embedding_2 = positions(n_frames, sizes.dim)
        self.pos_embedding_3 = positions(n_frames, sizes.dim)

    def forward(self, x_BTD: Tensor) -> Tensor:
        all_positions = (self.pos_embedding_1, self.pos_embedding_2, self.pos_embedding_3)
        for i, layer in enumerate(self.layers):
            if i < len(all_positions):
                x_BTD = x_BTD + all_positions[i][:, : x_BTD.shape[1]]
            x_BTD = layer(x_BTD)
        return x_BTD


class StridedTransformer(nn.Module):
    """T frames to one, (B, 1, D)."""

    def __init__(self, strides: Sequence[int], sizes: LayerSizes, n_frames: int) -> None:
        super().__init__()
        n_left = n_frames
        for stride in strides:
            n_left = -(-n_left // stride)

        if n_left != 1:
            raise InputError(
                f"strides {tuple(strides)} leave {n_left} of {n_frames} frames, not one"
            )

        self.model = StridedLayers(strides, sizes, n_frames)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.model(x_BTD)


def positions(n_frames: int, dim: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(1, n_frames, dim))


def copies(module: nn.Module, n: int) -> nn.ModuleList:
    """Modules of their own, equal at the start."""
    return nn.ModuleList(copy.deepcopy(module) for _ in range(n))


def strides_for(n_frames: int, text: str, known: Mapping[int, tuple[int, ...]]) -> tuple[int, ...]:
    """Strides such as "3,9,13", or, of an empty text, those known for `n_frames`.

    Raises InputError where none are known, and for what is no list of numbers.
    """
    if not text:
        if n_frames not in known:
            raise InputError(f"no strides known for {n_frames} frames; known: {sorted(known)}")
        return known[n_frames]
    try:
        return tuple(int(stride) for stride in text.split(","))
    except ValueError:
        raise InputError(f"strides must be numbers such as 3,9,13; got {text!r}") from None
