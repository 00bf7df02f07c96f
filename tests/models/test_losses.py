"""Losses against hand loops, their gradients against finite differences, and the scale question
of eq. (10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from m2v_lib.config import FinetuneConfig
from m2v_lib.errors import InputError
from m2v_lib.models.losses import lifting_loss, mpjpe_loss, n_mpjpe_loss, pose_loss, velocity_loss
from m2v_lib.models.systems.convolution.videopose3d import Settings, VideoPose3D


def poses(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(
        *shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    return poses(2, 4, 5, seed=1), poses(2, 4, 5, seed=2)


def by_hand(pred: Tensor, target: Tensor) -> tuple[float, float, float]:
    """MPJPE, N-MPJPE and velocity by loops over clips, frames and joints."""
    p, g = pred.numpy(), target.numpy()
    plain, scaled, velocity = [], [], []
    for b in range(p.shape[0]):
        for t in range(p.shape[1]):
            scale = (p[b, t] * g[b, t]).sum() / (p[b, t] ** 2).sum()
            for j in range(p.shape[2]):
                plain.append(np.sqrt(((p[b, t, j] - g[b, t, j]) ** 2).sum()))
                scaled.append(np.sqrt(((scale * p[b, t, j] - g[b, t, j]) ** 2).sum()))
                if t:
                    dp, dg = p[b, t, j] - p[b, t - 1, j], g[b, t, j] - g[b, t - 1, j]
                    velocity.append(np.sqrt(((dp - dg) ** 2).sum()))
    return float(np.mean(plain)), float(np.mean(scaled)), float(np.mean(velocity))


def test_losses_by_hand(pair: tuple[Tensor, Tensor]) -> None:
    plain, scaled, velocity = by_hand(*pair)
    assert mpjpe_loss(*pair).item() == pytest.approx(plain)
    assert n_mpjpe_loss(*pair).item() == pytest.approx(scaled)
    assert velocity_loss(*pair).item() == pytest.approx(velocity)
    total, parts = pose_loss(*pair, w_scale=0.5, w_velocity=20.0)
    assert total.item() == pytest.approx(plain + 0.5 * scaled + 20 * velocity)
    assert {name: value.item() for name, value in parts.items()} == pytest.approx(
        {"mpjpe": plain, "n_mpjpe": scaled, "velocity": velocity}
    )


@pytest.mark.parametrize(
    "loss", [mpjpe_loss, n_mpjpe_loss, velocity_loss, lambda p, g: pose_loss(p, g, 0.5, 20.0)[0]]
)
def test_gradients(loss: Callable[[Tensor, Tensor], Tensor], pair: tuple[Tensor, Tensor]) -> None:
    pred, target = pair
    assert gradcheck(lambda p: loss(p, target), pred.requires_grad_())


def test_gradient_flows_through_the_scale(pair: tuple[Tensor, Tensor]) -> None:
    """The loss does not change along the prediction itself, so its gradient is at right angles
    to every frame.
    """
    pred, target = pair
    n_mpjpe_loss(pred.requires_grad_(), target).backward()
    along = (pred.grad * pred).sum((-1, -2))  # type: ignore[operator]
    assert along.abs().max() < 1e-12 and pred.grad.abs().max() > 1e-3  # type: ignore[union-attr]


def test_a_perfect_prediction_has_zero_loss_and_finite_gradient(
    pair: tuple[Tensor, Tensor],
) -> None:
    _, target = pair
    pred = target.clone().requires_grad_()
    total, _ = pose_loss(pred, target, 0.5, 20.0)
    total.backward()
    assert total.item() < 1e-14 and torch.isfinite(pred.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [1e-3, 0.5, 1.0, 30.0])
def test_scaled_truth_costs_nothing(k: float, pair: tuple[Tensor, Tensor]) -> None:
    _, target = pair
    assert n_mpjpe_loss(k * target, target).item() == pytest.approx(0, abs=1e-12)


def test_equation_10_as_printed_is_not_free_of_scale(pair: tuple[Tensor, Tensor]) -> None:
    """With the scale outside the norm, k times the truth costs |k - 1| / k times the mean joint
    norm (audit B15).

    It is 0 at k = 1 only and grows without bound as k -> 0, which is why `n_mpjpe_loss` has the
    scale inside.
    """
    _, target = pair

    def literal(pred: Tensor) -> Tensor:
        scale = (pred * target).sum((-1, -2)) / (pred * pred).sum((-1, -2))
        return (scale * (pred - target).norm(dim=-1).mean(-1)).mean()

    mean_norm = target.norm(dim=-1).mean().item()
    for k in (1e-3, 0.5, 1.0, 2.0):
        assert literal(k * target).item() == pytest.approx(abs(k - 1) / k * mean_norm, abs=1e-12)
    assert literal(1e-3 * target).item() > 1000


def test_velocity_of_a_single_frame_is_zero(pair: tuple[Tensor, Tensor]) -> None:
    pred, target = pair
    assert velocity_loss(pred[:, :1], target[:, :1]).item() == 0
    assert velocity_loss(target + 3.0, target).item() == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(pose_loss(pred[:, :1], target[:, :1], 0.5, 20.0)[0])


def test_all_terms_are_linear_in_the_unit(pair: tuple[Tensor, Tensor]) -> None:
    """Weights need no unit (audit B17)."""
    pred, target = pair
    one, _ = pose_loss(pred, target, 0.5, 20.0)
    thousand, _ = pose_loss(1000 * pred, 1000 * target, 0.5, 20.0)
    assert thousand.item() == pytest.approx(1000 * one.item())


class CentreModel(nn.Module):
    """Gives the centre frame, doubled, and has a loss of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x[:, 2:3]

    def output_frames(self, y: Tensor) -> Tensor:
        return y[:, 2:3]

    def loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (self(x) - self.output_frames(y)).abs().sum(), {}


def test_a_model_of_the_centre_frame_is_compared_with_the_centre_frame() -> None:
    model, (x, y) = (
        CentreModel(),
        torch.randn(2, 3, 5, 17, 3, generator=torch.Generator().manual_seed(0)),
    )
    cfg = FinetuneConfig(w_scale=0.0)
    loss, parts = lifting_loss(model, model, x, y, cfg)
    assert loss.item() == pytest.approx(
        float((2 * x[:, 2] - y[:, 2]).norm(dim=-1).mean()), rel=1e-6
    )
    assert parts["velocity"] == 0
    own, _ = lifting_loss(model, model, x, y, replace(cfg, loss="own"))
    assert own.item() == pytest.approx(float((2 * x[:, 2] - y[:, 2]).abs().sum()), rel=1e-6)


def test_an_output_of_another_shape_is_no_pose() -> None:
    """A path of the root alone would be compared with every joint."""
    x, y = torch.zeros(2, 3, 9, 17, 3)
    path = VideoPose3D(Settings(n_frames=9, dim=8, part="trajectory"))
    with pytest.raises(InputError, match=r"must be poses of shape \(3, 1, 17, 3\), got \(3, 1, 1,"):
        lifting_loss(path, path, x, y, FinetuneConfig())


def test_the_loss_of_padded_clips_is_that_of_the_frames_that_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.randn((2, 1, 6, 5, 3), generator=generator, dtype=torch.float64)
    nonsense = 100 * torch.randn((2, 1, 4, 5, 3), generator=generator, dtype=torch.float64)
    present = torch.arange(10)[None] < 6

    alone, parts = pose_loss(pred, target, 0.5, 20.0)
    padded = [torch.cat(pair, dim=1) for pair in zip((pred, target), nonsense, strict=True)]
    found, of_padded = pose_loss(padded[0], padded[1], 0.5, 20.0, present)

    torch.testing.assert_close(found, alone)
    torch.testing.assert_close(of_padded, parts)
