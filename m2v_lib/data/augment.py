"""Mirroring, the only augmentation of the lifting task (spec 4; audit D3)."""

from __future__ import annotations

import torch
from torch import Tensor

from m2v_lib.skeleton import FLIP_ORDER

# B batch, T frames, J joints, C channels (x first)


def flip(pose_BTJC: Tensor) -> Tensor:
    """Mirror left and right: swap the sides' joints and negate x. Twice gives the input back."""
    order = torch.as_tensor(FLIP_ORDER, device=pose_BTJC.device)
    mirrored = pose_BTJC[..., order, :].clone()
    mirrored[..., 0].neg_()
    return mirrored


def random_flip(
    x_BTJC: Tensor, y_BTJC: Tensor, generator: torch.Generator, probability: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Mirror each clip of a batch, input and label together, with the given probability."""
    chosen = torch.rand(x_BTJC.shape[0], generator=generator, device=generator.device) < probability
    mask = chosen.to(x_BTJC.device)[:, None, None, None]
    return torch.where(mask, flip(x_BTJC), x_BTJC), torch.where(mask, flip(y_BTJC), y_BTJC)
