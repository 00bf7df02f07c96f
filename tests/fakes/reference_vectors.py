"""Weights and inputs by an integer formula: two programs compare outputs without sharing a file."""

from __future__ import annotations

import math
import zlib
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from m2v_lib.models.base import Lifter, count_parameters

M = TypeVar("M", bound=nn.Module)
Summary = tuple[float, float, float, float]


def numbers(shape: tuple[int, ...], c: int) -> Tensor:
    """u(c, i) = 2 ((31 i^2 + 7919 i + 104729 c) mod 10007) / 10007 - 1, row-major, fp64."""
    n = math.prod(shape)
    i = torch.arange(min(n, 10007), dtype=torch.int64)  # the formula repeats itself every 10007
    u = 2 * ((31 * i * i + 7919 * i + 104729 * c) % 10007).double() / 10007 - 1
    return u.repeat(-(-n // 10007))[:n].reshape(shape)


def filled(model: M) -> M:
    """The model in fp64 and evaluation mode, every floating tensor set from its name."""
    model.double().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(_value(name, tensor))
    return model


def _value(name: str, tensor: Tensor) -> Tensor:
    u = numbers(tuple(tensor.shape), zlib.crc32(name.encode()) % 1000)
    if name.endswith("running_var"):
        return 1 + 0.5 * u
    if tensor.ndim <= 1:
        return 1 + 0.1 * u if name.endswith(("weight", "a_2")) else 0.1 * u
    return u * math.sqrt(3 * tensor.shape[0] / tensor.numel())


def assert_summary(y: Tensor, expected: Summary) -> None:
    """Mean, mean of absolute values, first and last element, each to 1e-9."""
    found = (y.mean(), y.abs().mean(), y.flatten()[0], y.flatten()[-1])
    assert [float(v.detach()) for v in found] == pytest.approx(list(expected), abs=1e-9, rel=0)


def n_parameters(model_class: type[Lifter], **settings: Any) -> int:
    """Parameters at these settings, without memory for them."""
    with torch.device("meta"):
        return count_parameters(model_class(model_class.Settings(**settings)))


def n_macs(model: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulates of all matrix products and convolutions of one forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops() // 2


def assert_reads_back(model: Lifter, content: Any, x_BTJC: Tensor, **settings: Any) -> None:
    """A file of `model` in the authors' layout makes one of the same settings and output."""
    read_settings, weights = type(model).read_authors_file(content, **settings)
    assert read_settings == model.settings

    again = type(model)(read_settings).to(x_BTJC.dtype).eval()
    elsewhere = {k: v for k, v in again.state_dict().items() if k in again.not_in_authors_file}
    again.load_state_dict({**elsewhere, **weights}, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(again(x_BTJC), model(x_BTJC), rtol=0, atol=0)


def assert_learns(
    model: Lifter, x_BTJC: Tensor, target_BTJ3: Tensor, *, idle: tuple[str, ...] = ()
) -> None:
    """One step's loss and gradients are finite; only weights named after `idle` go without."""
    model.train()
    value, parts = model.loss(x_BTJC, target_BTJ3)
    value.backward()

    assert value.isfinite() and all(part.isfinite().all() for part in parts.values())
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    without = [name for name, gradient in gradients.items() if gradient is None]
    assert [name for name in without if not any(word in name for word in idle)] == []
    assert all(gradient.isfinite().all() for gradient in gradients.values() if gradient is not None)


def assert_ignores_confidence(model: Lifter, x_BTJ2: Tensor) -> None:
    """A third channel changes nothing."""
    model.eval()
    with_confidence = torch.cat([x_BTJ2, torch.rand_like(x_BTJ2[..., :1])], dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(model(with_confidence), model(x_BTJ2), rtol=0, atol=0)
