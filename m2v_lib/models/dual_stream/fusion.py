"""Fusion of the two streams (paper eq. 1-2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdaptiveFusion(nn.Linear):
    """Softmax weights over the two streams for every token, from a linear map of both (eq. 2,
    audit B2).

    Starts at equal weights: weight 0, bias 0.5 (spec 2.3).
    """

    def __init__(self, dim: int) -> None:
        super().__init__(2 * dim, 2)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, 0.5)

    def weights(self, attention_BTJD: Tensor, graph_BTJD: Tensor) -> Tensor:
        """(B, T, J, 2); [..., 0] weighs the Transformer stream."""
        return super().forward(torch.cat((attention_BTJD, graph_BTJD), dim=-1)).softmax(dim=-1)

    def forward(self, attention_BTJD: Tensor, graph_BTJD: Tensor) -> Tensor:  # type: ignore[override]
        alpha = self.weights(attention_BTJD, graph_BTJD)
        return alpha[..., 0:1] * attention_BTJD + alpha[..., 1:2] * graph_BTJD


class MeanFusion(nn.Module):
    """Equal weights. The paper says summation; the released code halves it, and so do we (audit
    A5).
    """

    def forward(self, attention_BTJD: Tensor, graph_BTJD: Tensor) -> Tensor:
        return 0.5 * (attention_BTJD + graph_BTJD)
