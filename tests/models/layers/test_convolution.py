"""Convolutions by product against the framework's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2v_lib.models.layers.convolution import PointwiseConv, PointwiseConv2d, convolve

B, N_IN, N_OUT, J = 4, 5, 7, 3


def drawn(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def assert_same_with_gradients(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    mine = torch.autograd.grad((ours * weights).sum(), leaves)
    expected = torch.autograd.grad((theirs * weights).sum(), leaves)
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_taps", [1, 3, 5])
@pytest.mark.parametrize("n_frames", [9, 15, 17])
@pytest.mark.parametrize("stride", [1, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("biased", [True, False])
def test_every_form_is_the_frameworks(
    n_taps: int, n_frames: int, stride: int, dilation: int, biased: bool
) -> None:
    x, weight, bias = (
        drawn(B, N_IN, n_frames),
        drawn(N_OUT, N_IN, n_taps),
        drawn(N_OUT) if biased else None,
    )
    leaves = [x, weight] if bias is None else [x, weight, bias]

    ours = convolve(x, weight, bias, stride=stride, dilation=dilation)
    theirs = F.conv1d(x, weight, bias, stride=stride, dilation=dilation)
    assert_same_with_gradients(ours, theirs, leaves)


@pytest.mark.parametrize("n_axes", [1, 2])
def test_pointwise_modules_are_the_frameworks(n_axes: int) -> None:
    """Parameters of the same names and starts, the same numbers out."""
    torch.manual_seed(0)
    ours: nn.Module = PointwiseConv(N_IN, N_OUT) if n_axes == 1 else PointwiseConv2d(N_IN, N_OUT)
    torch.manual_seed(0)
    theirs: nn.Module = nn.Conv1d(N_IN, N_OUT, 1) if n_axes == 1 else nn.Conv2d(N_IN, N_OUT, 1)
    assert [(k, v.tolist()) for k, v in ours.state_dict().items()] == [
        (k, v.tolist()) for k, v in theirs.state_dict().items()
    ]

    x = drawn(*(B, N_IN, 9, J)[: 2 + n_axes])
    assert_same_with_gradients(ours.double()(x), theirs.double()(x), [x])
