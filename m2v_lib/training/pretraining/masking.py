"""Masks over (T, J) tokens, drawn on the device from a generator, without a loop over samples
(audit E5).
"""

from __future__ import annotations

import torch
from torch import Tensor

from m2v_lib.config import PretrainConfig

SPAN = 5  # joints of a released span


def draw_masks(
    cfg: PretrainConfig, shape_BTJ: tuple[int, int, int], generator: torch.Generator
) -> Tensor:
    """Boolean masks (B, T, J), True where hidden, by the configured rule."""
    draw = token_masks if cfg.mask == "tokens" else joint_span_masks
    return draw(shape_BTJ, cfg.mask_prob, generator)


def token_masks(
    shape_BTJ: tuple[int, int, int], mask_prob: float, generator: torch.Generator
) -> Tensor:
    """Exactly round(P T J) tokens of each row, uniformly without replacement (paper III-B.1)."""
    B, T, J = shape_BTJ
    scores = torch.rand(B, T * J, generator=generator, device=generator.device)
    return _top(scores, round(mask_prob * T * J)).view(B, T, J)


def joint_span_masks(
    shape_BTJ: tuple[int, int, int], mask_prob: float, generator: torch.Generator
) -> Tensor:
    """The released rule: spans of 5 consecutive joints in every frame, cut to the smallest count
    of the clip.

    Each frame draws floor(P J / 5 + u) different starts among 0 .. J - 6, so the last joint is
    never hidden. Two neighbouring starts cover 6 joints; a long clip always has such a frame,
    and every frame is thinned to its count: at T = 243 the ratio is 6/17 whatever P is.
    """
    B, T, J = shape_BTJ
    device = generator.device
    n_starts = J - SPAN
    extra = torch.rand(B, T, 1, generator=generator, device=device)
    n_spans = (mask_prob * J / SPAN + extra).floor().clamp(max=n_starts)
    order = torch.rand(B, T, n_starts, generator=generator, device=device).argsort(-1).argsort(-1)
    starts = (order < n_spans).float()
    covered = torch.zeros(B, T, J, device=device)
    for offset in range(SPAN):
        covered[..., offset : offset + n_starts] += starts

    hidden = covered > 0
    fewest = hidden.sum(-1).amin(-1, keepdim=True)  # (B, 1)
    scores = torch.rand(B, T, J, generator=generator, device=device).masked_fill(~hidden, -1.0)

    rank = scores.argsort(-1, descending=True).argsort(-1)
    return rank < fewest.unsqueeze(-1)


def _top(scores_BL: Tensor, count: int) -> Tensor:
    """Mask of the `count` highest scores of each row."""
    mask = torch.zeros_like(scores_BL, dtype=torch.bool)
    return mask.scatter_(1, scores_BL.topk(count, dim=1).indices, True)
