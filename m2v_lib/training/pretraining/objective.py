"""One pre-training step's loss (paper III-B, Fig. 3; audit E4-E7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m2v_lib.config import PretrainConfig
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.training.pretraining.masking import draw_masks
from m2v_lib.training.pretraining.teacher import Teacher, effective_rank

# B batch, M masked views, T frames, J joints, D features


class MaskedPrediction(nn.Module):
    """Student, teacher and, where the fill is learned, its vector."""

    def __init__(
        self, student: DualStreamModel, cfg: PretrainConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.student = student
        student.rep_logit.requires_grad_(False)  # the heads have no part in stage 1
        student.head.requires_grad_(False)
        self.teacher = Teacher(student.layers)
        dim = student.cfg.dim
        if cfg.fill == "learned":
            self.mask_emb = nn.Parameter(torch.rand(1, 1, 1, dim, generator=generator))

    def forward(
        self, x_BTJ3: Tensor, generator: torch.Generator, own: slice = slice(None)
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked-token loss and what the log shows: mask ratio, and `targets` for
        `collapse_signs`.

        Of several processes each passes the whole batch and its `own` clips: masks and noise are
        drawn for all, only these clips are computed, and the sum of the losses over the
        processes is the loss of the batch.
        """
        self.student.check_input(x_BTJ3)
        B, T, J, _ = x_BTJ3.shape
        M = self.cfg.n_masks
        every_mask = draw_masks(self.cfg, (B * M, T, J), generator)
        first, last, _ = own.indices(B)
        views = slice(first * M, last * M)
        mask = every_mask[views]
        embedded = self.student.embed(x_BTJ3[own])
        clean = self.student.add_positions(embedded)
        target = self.teacher.targets(
            clean, self.cfg.target_layers, normalise=self.cfg.norm_targets
        )
        x = self.hide(embedded, clean, mask, self.draw_fill(every_mask, generator)[views])
        for block in self.student.layers:
            x = block(x)
        predicted = self.student.norm(x)
        loss = masked_mse(predicted, target.repeat_interleave(M, dim=0), mask)
        loss = loss * (mask.sum().to(loss.dtype) / every_mask.sum())
        if self.cfg.loss_scale == "sqrt-dim":
            loss = loss / target.shape[-1] ** 0.5
        return loss, {
            "mask_ratio": every_mask.float().mean(),
            "targets": target,
            "clean": clean.detach(),
        }

    def draw_fill(self, mask_BTJ: Tensor, generator: torch.Generator) -> Tensor:
        """What stands in place of masked tokens (B M, T, J, D): the learned vector, or noise
        (audit E4).
        """
        weight = self.student.joints_embed.weight
        shape = (*mask_BTJ.shape, len(weight))
        if self.cfg.fill == "learned":
            return self.mask_emb.expand(shape)
        noise = torch.randn(shape, generator=generator, device=generator.device, dtype=weight.dtype)
        return self.cfg.mask_noise_std * noise

    def hide(self, embedded_BTJD: Tensor, clean_BTJD: Tensor, mask: Tensor, fill: Tensor) -> Tensor:
        """M views (B M, T, J, D) with masked tokens filled; position embeddings go on after, or
        are lost (E4).
        """
        source = embedded_BTJD if self.cfg.keep_spatial_pos else clean_BTJD
        views = source.repeat_interleave(self.cfg.n_masks, dim=0)
        filled = torch.where(mask.unsqueeze(-1), fill, views)
        return self.student.add_positions(filled) if self.cfg.keep_spatial_pos else filled

    @torch.no_grad()
    def collapse_signs(self, seen: dict[str, Tensor]) -> dict[str, float]:
        """What shows collapse: the targets' spread and rank, how far the teacher is, how near
        targets are to inputs.
        """
        rows = seen["targets"].flatten(0, 2).float()
        clean = seen["clean"].flatten(0, 2).float()
        some = rows[:: max(1, len(rows) // 1024)]
        return {
            "target_std": float(rows.std(0).mean()),
            "target_rank": float(effective_rank(some)),
            "target_from_input": float((rows - clean).norm() / clean.norm()),
            "teacher_distance": float(self.teacher.distance(self.student.layers)),
        }


def masked_mse(predicted: Tensor, target: Tensor, mask_BTJ: Tensor) -> Tensor:
    """Mean squared error over the features of the masked tokens."""
    per_token = (predicted - target).square().mean(-1)
    weight = mask_BTJ.to(per_token.dtype)
    return (per_token * weight).sum() / weight.sum().clamp_min(1.0)
