"""Feed-forward half of every sub-block, and LayerScale."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear(d, ratio * d) - GELU - Linear(ratio * d, d), per token (paper eq. 6 and 8, spec
    2.4).
    """

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(self.act(self.fc1(x)))


def layer_scale(dim: int, initial: float) -> nn.Parameter | None:
    """A learned factor per channel on a residual branch, or None where the recipe has none
    (audit B6).
    """
    return nn.Parameter(torch.full((dim,), initial)) if initial > 0 else None


def scaled(branch: Tensor, scale: Tensor | None) -> Tensor:
    """``scale * branch``; a missing scale is 1."""
    return branch if scale is None else branch * scale
