"""Attention against an explicit softmax per head, its gradient, and what may and may not see
what.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from m2v_lib.models.dual_stream.attention import Attention

# B batch, T frames, J joints, D features, H heads, E features of a head
B, T, J, D, H = 2, 4, 3, 6, 2
E = D // H


def make(axis: str, qk_scale: str = "head", seed: int = 0) -> Attention:
    torch.manual_seed(seed)
    return Attention(D, H, axis, qk_scale).double()


def tokens(seed: int = 1) -> Tensor:
    return torch.randn(
        B, T, J, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def one_group_by_hand(layer: Attention, x_KD: Tensor, scale: float) -> Tensor:
    """Attention among K tokens, one head and one query at a time; rows of the projection are (q,
    k, v) x heads.
    """
    weight = layer.qkv.weight
    joined = torch.zeros(len(x_KD), D, dtype=torch.float64)
    for h in range(H):
        rows = [slice(part * D + h * E, part * D + (h + 1) * E) for part in range(3)]
        q, k, v = (x_KD @ weight[r].T for r in rows)
        for i in range(len(x_KD)):
            scores = [math.exp(float(q[i] @ k[n]) * scale) for n in range(len(x_KD))]
            for n, score in enumerate(scores):
                joined[i, h * E : (h + 1) * E] += score / sum(scores) * v[n]
    return joined @ layer.proj.weight.T + layer.proj.bias


@pytest.mark.parametrize(
    ("qk_scale", "scale"), [("head", 1 / math.sqrt(E)), ("dim", 1 / math.sqrt(D))]
)
@pytest.mark.parametrize("axis", ["spatial", "temporal"])
def test_explicit_softmax_per_head(axis: str, qk_scale: str, scale: float) -> None:
    layer, x = make(axis, qk_scale), tokens()
    with torch.no_grad():
        ours = layer(x)
        for b in range(B):
            if axis == "spatial":
                for t in range(T):
                    torch.testing.assert_close(ours[b, t], one_group_by_hand(layer, x[b, t], scale))
            else:
                for j in range(J):
                    torch.testing.assert_close(
                        ours[b, :, j], one_group_by_hand(layer, x[b, :, j], scale)
                    )


@pytest.mark.parametrize(("axis", "dim"), [("spatial", 2), ("temporal", 1)])
def test_reordering_tokens_reorders_the_output(axis: str, dim: int) -> None:
    layer, x = make(axis), tokens()
    order = torch.randperm(x.shape[dim], generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(layer(x.index_select(dim, order)), layer(x).index_select(dim, order))


@pytest.mark.parametrize(("axis", "other"), [("spatial", 1), ("temporal", 2)])
def test_tokens_of_another_frame_or_joint_are_not_seen(axis: str, other: int) -> None:
    layer, x = make(axis), tokens()
    changed = x.clone()
    changed.select(other, 0).add_(3.0)
    changed[1] += 1.0
    moved = (layer(changed) - layer(x))[0].abs().amax(-1).movedim(other - 1, 0)
    assert moved[0].min() > 1e-3 and moved[1:].max() < 1e-12


@pytest.mark.parametrize(("axis", "within"), [("spatial", 2), ("temporal", 1)])
def test_every_token_of_the_axis_is_seen(axis: str, within: int) -> None:
    layer, x = make(axis), tokens()
    for source in range(x.shape[within]):
        changed = x.clone()
        changed.select(within, source).add_(1.0)
        assert ((layer(changed) - layer(x)).abs().sum(-1) > 1e-9).all()


@pytest.mark.parametrize("axis", ["spatial", "temporal"])
def test_gradients(axis: str) -> None:
    assert gradcheck(make(axis), tokens()[:1, :2, :2].clone().requires_grad_())


def test_the_projection_of_q_k_v_has_no_bias() -> None:
    layer = make("spatial")
    assert layer.qkv.bias is None and layer.proj.bias is not None
    assert layer.qkv.weight.shape == (3 * D, D)
