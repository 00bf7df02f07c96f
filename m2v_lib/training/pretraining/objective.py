"""One pre-training step's loss (paper III-B, Fig. 3; audit E4-E7)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from m2v_lib.config import PretrainConfig
from m2v_lib.models.dual_stream.model import DualStreamModel, use_bones
from m2v_lib.models.dual_stream.padded import through
from m2v_lib.models.pretraining import Pretraining
from m2v_lib.skeletons import Skeleton
from m2v_lib.training.pretraining.masking import draw_masks
from m2v_lib.training.pretraining.teacher import Teacher, effective_rank, tau_at
from m2v_lib.training.schedule import ScheduledValues

# B batch, M masked views, T frames, J joints, D features


class MaskedPrediction(Pretraining):
    """The dual stream's: student, teacher and, where the fill is learned, its vector."""

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

    def kept(self) -> nn.Module:
        return self.student

    def use_skeleton(self, skeleton: Skeleton) -> None:
        """Student and teacher take these joints from now on."""
        self.student.use_skeleton(skeleton)
        if self.student.any_skeleton:
            use_bones(self.teacher, skeleton)

    def draw(
        self,
        shape_BTJ: tuple[int, int, int],
        generator: torch.Generator,
        own: slice = slice(None),
        present_BT: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """All that is random in a step: which tokens are hidden in each view, and the noise that
        fills them.

        Of several processes each passes its `own` clips: masks and noise are drawn for the whole
        batch, and the views of its own clips are kept. Frames that are not `present_BT` (padding)
        are never hidden.
        """
        B, T, J = shape_BTJ
        M = self.cfg.n_masks
        every_mask = draw_masks(self.cfg, (B * M, T, J), generator)
        if present_BT is not None:
            every_mask &= present_BT.repeat_interleave(M, dim=0).unsqueeze(-1)
        first, last, _ = own.indices(B)
        views = slice(first * M, last * M)

        drawn = {
            "mask": every_mask[views],
            "n_masked": every_mask.sum(),
            "mask_ratio": every_mask.float().mean(),
        }
        if self.cfg.fill == "noise":
            drawn["noise"] = self.draw_noise(every_mask.shape, generator)[views]

        return drawn

    def draw_noise(self, shape_BTJ: torch.Size, generator: torch.Generator) -> Tensor:
        """Noise in place of masked tokens (B M, T, J, D) (audit E4)."""
        weight = self.student.joints_embed.weight
        shape = (*shape_BTJ, len(weight))
        noise = torch.randn(shape, generator=generator, device=generator.device, dtype=weight.dtype)
        return self.cfg.mask_noise_std * noise

    def forward(
        self, x_BTJ3: Tensor, drawn: dict[str, Tensor] | torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Masked-token loss and what the log shows: mask ratio, and `targets` for
        `collapse_diagnostics`.

        `drawn` comes from `draw`, or is a generator to draw from. Of several processes each
        passes its own clips; the sum of the losses over the processes is the loss of the batch.
        """
        self.student.check_input(x_BTJ3)
        if isinstance(drawn, torch.Generator):
            B, T, J, _ = x_BTJ3.shape
            drawn = self.draw((B, T, J), drawn)

        mask = drawn["mask"]

        present = drawn.get("present")
        if present is not None:
            x_BTJ3 = self.student.without_padding(x_BTJ3, present)

        embedded = self.student.embed(x_BTJ3)
        clean = self.student.add_positions(embedded)
        target = self.teacher.targets(
            clean, self.cfg.target_layers, normalise=self.cfg.norm_targets, present_BT=present
        )

        x = self.hide(embedded, clean, mask, self.fill(mask, drawn))
        views = None if present is None else present.repeat_interleave(self.cfg.n_masks, dim=0)
        for block in self.student.layers:
            x = through(block, x, views)

        predicted = self.student.norm(x)

        loss = masked_mse(predicted, target.repeat_interleave(self.cfg.n_masks, dim=0), mask)
        loss = loss * (mask.sum().to(loss.dtype) / drawn["n_masked"])
        if self.cfg.loss_scale == "sqrt-dim":
            loss = loss / target.shape[-1] ** 0.5

        return loss, {"mask_ratio": drawn["mask_ratio"], "targets": target, "clean": clean.detach()}

    def fill(self, mask_BTJ: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """What stands in place of masked tokens (B M, T, J, D): the learned vector, or noise
        (audit E4).
        """
        if self.cfg.fill == "noise":
            return drawn["noise"]
        return self.mask_emb.expand(*mask_BTJ.shape, self.mask_emb.shape[-1])

    def hide(self, embedded_BTJD: Tensor, clean_BTJD: Tensor, mask: Tensor, fill: Tensor) -> Tensor:
        """M views (B M, T, J, D) with masked tokens filled; position embeddings go on after, or
        are lost (E4).
        """
        source = embedded_BTJD if self.cfg.keep_spatial_pos else clean_BTJD
        views = source.repeat_interleave(self.cfg.n_masks, dim=0)
        filled = torch.where(mask.unsqueeze(-1), fill, views)
        return self.student.add_positions(filled) if self.cfg.keep_spatial_pos else filled

    def scheduled_values(self, step: int, n_steps: int) -> dict[str, float]:
        return {"student_share": 1.0 - self.tau(step, n_steps)}

    def tau(self, step: int, n_steps: int) -> float:
        """The teacher's decay after optimiser step `step`; 1 where it stays as it is."""
        cfg = self.cfg
        return tau_at(step, n_steps, cfg.tau_start, cfg.tau_end) if cfg.teacher == "ema" else 1.0

    def after_step(self, values: ScheduledValues) -> None:
        if self.cfg.teacher == "ema":
            self.teacher.follow(self.student.layers, values["student_share"])

    def log_values(self, extras: Mapping[str, Tensor], step: int, n_steps: int) -> dict[str, float]:
        return {**self.collapse_diagnostics(extras), "tau": self.tau(step, n_steps)}

    @torch.no_grad()
    def collapse_diagnostics(self, seen: Mapping[str, Tensor]) -> dict[str, float]:
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
