"""One pre-training step's loss (paper III-B, Fig. 3; audit E4-E7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m2v_lib.config import PretrainConfig
from m2v_lib.model import DualStreamModel
from m2v_lib.pretraining.masking import draw_masks
from m2v_lib.pretraining.teacher import Teacher, effective_rank

# B batch, M masked views, T frames, J joints, D features


class MaskedPrediction(nn.Module):
    """Student, teacher and, where the fill is learned, its vector."""

    def __init__(self, student: DualStreamModel, cfg: PretrainConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.cfg = cfg
        self.student = student
        self.teacher = Teacher(student.layers)
        dim = student.cfg.dim
        if cfg.fill == "learned":
            self.mask_emb = nn.Parameter(torch.rand(1, 1, 1, dim, generator=generator))

    def forward(self, x_BTJ3: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked-token loss and what the log shows: mask ratio, and `targets` for `collapse_signs`."""
        self.student.check_input(x_BTJ3)
        embedded = self.student.joints_embed(x_BTJ3)
        clean = self.student.add_positions(embedded)
        target = self.teacher.targets(clean, self.cfg.target_layers, normalise=self.cfg.norm_targets)

        B, T, J, _ = embedded.shape
        mask = draw_masks(self.cfg, (B * self.cfg.n_masks, T, J), generator)
        x = self.hide(embedded, clean, mask, generator)
        for block in self.student.layers:
            x = block(x)
        predicted = self.student.norm(x)
        views = target.repeat_interleave(self.cfg.n_masks, dim=0)
        loss = masked_mse(predicted, views, mask)
        if self.cfg.loss_scale == "sqrt-dim":
            loss = loss / target.shape[-1] ** 0.5
        return loss, {"mask_ratio": mask.float().mean(), "targets": target, "clean": clean.detach()}

    def hide(self, embedded_BTJD: Tensor, clean_BTJD: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
        """M views (B M, T, J, D) with masked tokens filled; position embeddings go on after, or are lost (E4)."""
        source = embedded_BTJD if self.cfg.keep_spatial_pos else clean_BTJD
        views = source.repeat_interleave(self.cfg.n_masks, dim=0)
        if self.cfg.fill == "learned":
            fill: Tensor = self.mask_emb
        else:
            noise = torch.randn(views.shape, generator=generator, device=generator.device, dtype=views.dtype)
            fill = self.cfg.mask_noise_std * noise
        filled = torch.where(mask.unsqueeze(-1), fill, views)
        return self.student.add_positions(filled) if self.cfg.keep_spatial_pos else filled

    @torch.no_grad()
    def collapse_signs(self, seen: dict[str, Tensor]) -> dict[str, float]:
        """What shows collapse: the targets' spread and rank, how far the teacher is, how near targets are to inputs."""
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
