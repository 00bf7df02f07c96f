"""The teacher: a copy of the student's blocks that reads the clean sequence (paper III-B.2;
audit E1-E3).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from m2v_lib.models.dual_stream.padded import through

# B batch, T frames, J joints, D features, K target blocks


class Teacher(nn.Module):
    """Blocks without gradient, in evaluation mode; `update` moves them towards the student's."""

    def __init__(self, student_layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = copy.deepcopy(student_layers).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode: batch norm reads its buffers."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student_layers: nn.ModuleList, tau: float) -> None:
        """theta_teacher <- tau theta_teacher + (1 - tau) theta_student; batch-norm buffers are
        copied.
        """
        self.follow(student_layers, torch.tensor(1.0 - tau))

    @torch.no_grad()
    def follow(self, student_layers: nn.ModuleList, share: Tensor) -> None:
        """`update` by the student's share 1 - tau as a tensor, which a captured step can read
        anew at each replay.
        """
        mine: list[Tensor] = list(self.layers.parameters())
        theirs = [p.detach() for p in student_layers.parameters()]
        lerp_all_(mine, theirs, share)
        for own, other in zip(self.layers.buffers(), student_layers.buffers(), strict=True):
            own.copy_(other)

    @torch.no_grad()
    def targets(
        self,
        clean_BTJD: Tensor,
        n_layers: int,
        *,
        normalise: bool,
        present_BT: Tensor | None = None,
    ) -> Tensor:
        """Mean of the last `n_layers` block outputs (B, T, J, D); with both layer norms of eq.
        (14), or raw (E3). `present_BT` says which frames of padded clips are there.
        """
        x, outputs = clean_BTJD, []
        for block in self.layers:
            x = through(block, x, present_BT)
            outputs.append(x)

        chosen = torch.stack(outputs[-n_layers:])
        if not normalise:
            return chosen.mean(0)

        width = chosen.shape[-1:]
        return nn.functional.layer_norm(nn.functional.layer_norm(chosen, width).mean(0), width)

    @torch.no_grad()
    def distance(self, student_layers: nn.ModuleList) -> Tensor:
        """||theta_student - theta_teacher|| / ||theta_student||."""
        pairs = list(zip(self.layers.parameters(), student_layers.parameters(), strict=True))
        apart = torch.stack([(s - t).square().sum() for t, s in pairs]).sum().sqrt()
        return apart / torch.stack([s.square().sum() for _, s in pairs]).sum().sqrt()


def lerp_all_(tensors: list[Tensor], ends: list[Tensor], share: Tensor) -> None:
    """tensor <- tensor + share (end - tensor) for all of them, few launches for many."""
    share = share.to(tensors[0].dtype)
    if tensors[0].device.type == "cpu":
        for tensor, end in zip(tensors, ends, strict=True):
            tensor.lerp_(end, share)
        return

    steps = torch._foreach_sub(ends, tensors)
    torch._foreach_mul_(steps, share)
    torch._foreach_add_(tensors, steps)


def tau_at(step: int, n_steps: int, start: float, end: float) -> float:
    """Decay after optimiser step `step` of `n_steps` (1-based), rising linearly (paper III-B.2;
    end: audit E1).
    """
    return start + (end - start) * (step - 1) / max(n_steps - 1, 1)


def effective_rank(rows_ND: Tensor) -> Tensor:
    """exp(entropy) of the normalised variances along the principal axes: 1 when all rows lie on
    a line.
    """
    variance = torch.linalg.svdvals((rows_ND - rows_ND.mean(0)).float()).square()
    share = variance / variance.sum().clamp_min(1e-30)
    return torch.exp(-(share * share.clamp_min(1e-30).log()).sum())
