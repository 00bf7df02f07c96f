"""Fusion of the two streams: equal at the start, a softmax per token afterwards."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd import gradcheck

from m2v_lib.models.dual_stream.fusion import AdaptiveFusion, MeanFusion

B, T, J, D = 2, 3, 4, 5


def streams() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(B, T, J, D, generator=generator, dtype=torch.float64) for _ in range(2)
    )  # type: ignore


def trained() -> AdaptiveFusion:
    torch.manual_seed(1)
    layer = AdaptiveFusion(D).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    return layer


def test_starts_at_equal_weights() -> None:
    a, g = streams()
    fresh = AdaptiveFusion(D).double()
    assert (fresh.weights(a, g) == 0.5).all()
    assert (fresh.weight == 0).all() and (fresh.bias == 0.5).all()
    torch.testing.assert_close(fresh(a, g), (a + g) / 2)
    torch.testing.assert_close(MeanFusion()(a, g), (a + g) / 2)


def test_softmax_of_a_linear_map_for_every_token() -> None:
    a, g = streams()
    layer = trained()
    fused, weights = layer(a, g), layer.weights(a, g)
    assert weights.shape == (B, T, J, 2)
    for b in range(B):
        for t in range(T):
            for j in range(J):
                both = torch.cat((a[b, t, j], g[b, t, j]))
                e = [math.exp((both @ layer.weight[s] + layer.bias[s]).item()) for s in range(2)]
                expected = e[0] / sum(e) * a[b, t, j] + e[1] / sum(e) * g[b, t, j]
                torch.testing.assert_close(fused[b, t, j], expected)


def test_row_0_weighs_the_transformer_stream() -> None:
    a, g = streams()
    layer = AdaptiveFusion(D).double()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([50.0, 0.0]))
    torch.testing.assert_close(layer(a, g), a)


def test_gradients() -> None:
    a, g = (x[:1, :2, :2].clone().requires_grad_() for x in streams())
    assert gradcheck(trained(), (a, g))
