"""The pre-norm transformer block (Dosovitskiy et al. 2021) that most of the lifters are built
of.

Parameter names are those that the authors' files of MixSTE, PoseFormer and their kin share.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from m2v_lib.config.fields import ConfigError
from m2v_lib.models.layers.stochastic_depth import StochasticDepth

# B batch, T frames, J joints, C features, H heads, E features of a head
# G groups that do not see each other, N tokens of a group

#: Of the layer norms inside these networks; torch's own default is 1e-5.
NORM_EPS = 1e-6
#: Up to so many tokens explicit weights are cheaper than the fused kernel, and have no limit of
#: G.
SHORT = 32


def attend(q_GHNE: Tensor, k_GHNE: Tensor, v_GHNE: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) v, every head for itself: (G, H, N, E)."""
    if q_GHNE.shape[-2] > SHORT:
        return scaled_dot_product_attention(q_GHNE, k_GHNE, v_GHNE, scale=scale)

    weights_GHNN = (q_GHNE @ k_GHNE.transpose(-1, -2) * scale).softmax(dim=-1)
    return weights_GHNN @ v_GHNE


class SelfAttention(nn.Module):
    """Multi-head self-attention on (G, N, C); rows of the packed projection: (q, k, v) x H x E."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        if dim % n_heads:
            raise ConfigError(f"a width of {dim} features cannot be cut into {n_heads} equal heads")
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def heads(self, x_GNC: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, (G, H, N, E) each."""
        packed_GN3HE = self.qkv(x_GNC).unflatten(-1, (3, self.n_heads, -1))
        return packed_GN3HE.permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x_GNC: Tensor) -> Tensor:
        q, k, v = self.heads(x_GNC)
        mixed_GHNE = attend(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.proj(mixed_GHNE.transpose(1, 2).flatten(-2))


class Mlp(nn.Module):
    """Linear(C, ratio * C) - GELU - Linear(ratio * C, C) of each token, with dropout after both."""

    def __init__(self, dim: int, ratio: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim, bias=bias)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(ratio * dim, dim, bias=bias)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        hidden = self.drop(self.act(self.fc1(x)))
        return self.drop(self.fc2(hidden))


class Block(nn.Module):
    """x + attention(LN(x)), then x + MLP(LN(x)), on (G, N, C).

    In training each of the two branches is left out with probability `drop_path`, group by
    group. `attention` stands in place of plain self-attention.
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        mlp_ratio: int,
        drop_path: float = 0.0,
        *,
        eps: float = NORM_EPS,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = attention or SelfAttention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, mlp_ratio)
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x_GNC: Tensor) -> Tensor:
        x = x_GNC + self.drop_path(self.attn(self.norm1(x_GNC)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def over_joints(layer: Callable[[Tensor], Tensor], x_BTJC: Tensor) -> Tensor:
    """A layer on (G, N, C) applied to the joints of each frame."""
    return layer(x_BTJC.flatten(0, 1)).unflatten(0, x_BTJC.shape[:2])


def over_frames(layer: Callable[[Tensor], Tensor], x_BTJC: Tensor) -> Tensor:
    """A layer on (G, N, C) applied to the frames of each joint."""
    return over_joints(layer, x_BTJC.transpose(1, 2)).transpose(1, 2)
