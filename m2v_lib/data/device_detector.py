"""The detector's noise model of ``detector_noise``, drawn on the device for windows of frames.

The same distribution, window by window: drift and volatility start in their stationary state, and
a burst may have begun before the window. Of two bursts of one joint that overlap (six in a
thousand bursts) the later one counts alone, where the model of whole videos adds them.
"""
# B windows, T frames, J joints

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from m2v_lib.data.detector_noise import DetectorModel, joint_scales
from m2v_lib.skeletons import H36M17, Skeleton


def detect(
    true_BTJ2: Tensor,
    factor_BT: Tensor,
    generator: torch.Generator,
    model: DetectorModel | None = None,
    skeleton: Skeleton = H36M17,
    frame_step: int = 1,
) -> tuple[Tensor, Tensor]:
    """True pixels and mm per px -> detected pixels (B,T,J,2) and confidence (B,T,J) in (0,1).

    `frame_step` is how many frames of the model's rate lie between two of a window.
    """
    model = model or DetectorModel()
    error = error_mm(true_BTJ2.shape[:3], generator, model, skeleton, frame_step)
    logit = model.confidence_slope * (
        math.log(model.confidence_mid_mm) - torch.log(error.norm(dim=-1) + 5.0)
    )
    noise = _normal(logit.shape, generator)
    confidence = torch.sigmoid(logit + model.confidence_noise * noise)
    return true_BTJ2 + error / factor_BT[..., None, None], confidence


def error_mm(
    shape: tuple[int, ...] | torch.Size,
    generator: torch.Generator,
    model: DetectorModel,
    skeleton: Skeleton = H36M17,
    frame_step: int = 1,
) -> Tensor:
    """The detector's error (B,T,J,2) in mm at the person's depth, for a shape (B,T,J)."""
    drift = ar1((*shape, 2), model.rho**frame_step, generator)
    volatility = ar1((*shape, 1), model.rho_volatility**frame_step, generator)
    relative = torch.exp(model.volatility * volatility) * drift
    relative = relative + model.jitter * _normal(relative.shape, generator)
    relative = relative + bursts(shape, generator, model, frame_step)
    return _scale_mm(model.scale_mm, skeleton, generator.device)[:, None] * relative


def ar1(shape: tuple[int, ...], rho: float, generator: torch.Generator) -> Tensor:
    """A stationary first-order autoregression of unit variance along axis 1 of (B,T,...).

    y = L e with L[t, s] = rho^(t-s) sqrt(1 - rho^2), but rho^t for the first innovation.
    """
    noise = _normal(shape, generator)
    weights_TT = _ar1_weights(shape[1], rho, generator.device)
    return (weights_TT @ noise.flatten(2)).view(shape)


def bursts(
    shape: tuple[int, ...] | torch.Size,
    generator: torch.Generator,
    model: DetectorModel,
    frame_step: int = 1,
) -> Tensor:
    """Gross offsets (B,T,J,2) in units of the joint's scale: zero but for rare runs of a constant
    vector. Of what begins between two frames of a window the window sees what is left.
    """
    device = generator.device
    stay = 1 - 1 / model.burst_frames
    begin = model.burst_rate * sum(stay**i for i in range(frame_step))
    time_T = torch.arange(shape[1], device=device)[:, None]
    chance_T = torch.where(time_T == 0, model.burst_rate * model.burst_frames, begin)

    begins = torch.rand(shape, generator=generator, device=device) < chance_T
    latest = torch.where(begins, time_T, -1).cummax(dim=1).values
    since = latest.clamp(min=0)
    # a run lasts 1, 2, ... frames, each as likely to be its last as any other
    draw = torch.rand(shape, generator=generator, device=device).clamp(min=1e-30)
    lasts = 1 + torch.floor(torch.log(draw) / (frame_step * math.log(stay)))
    on = (latest >= 0) & (time_T - since < lasts.gather(1, since))
    offset = model.burst_scale * _normal((*shape, 2), generator)

    constant = offset.gather(1, since[..., None].expand(*shape, 2))
    return torch.where(on[..., None], constant, 0.0)


def _normal(shape: tuple[int, ...] | torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


@cache
def _ar1_weights(n_frames: int, rho: float, device: torch.device) -> Tensor:
    """The matrix L (T,T) of `ar1`, kept on the device."""
    apart = np.arange(n_frames)[:, None] - np.arange(n_frames)
    weights = np.where(apart >= 0, rho ** np.maximum(apart, 0) * math.sqrt(1 - rho**2), 0.0)
    weights[:, 0] = rho ** np.arange(n_frames)
    return torch.tensor(weights, dtype=torch.float32, device=device)


@cache
def _scale_mm(scale_mm: float, skeleton: Skeleton, device: torch.device) -> Tensor:
    """Each joint's error scale (J,) mm, kept on the device."""
    return torch.tensor(scale_mm * joint_scales(skeleton), dtype=torch.float32, device=device)
