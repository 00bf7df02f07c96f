"""What a pre-training must be: one contract for the objectives that stage 1 can train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.skeletons import Skeleton

# B batch, T frames, J joints


class Pretraining(nn.Module):
    """All that stage 1 trains, and its loss.

    A comparison system says its own in `NAME_pretraining.py` beside its file, as `PRETRAINING`: a
    subclass that is made of the system's settings. `draw` does everything random; `forward` is
    deterministic (dropout apart), of static shapes and without a branch on a tensor's value.
    """

    #: Whether the loss reads 3D: batches then hold "y", and "x" is the true projection.
    learns_from_labels: ClassVar[bool] = False

    def kept(self) -> nn.Module:
        """The module whose weights are saved. The lifter takes over those of its own names."""
        return self

    def use_skeleton(self, skeleton: Skeleton) -> None:
        """Take these joints from now on; of objectives for any skeleton."""
        raise NotImplementedError(f"{type(self).__name__}: its weights are bound to its joints")

    def draw(
        self,
        shape_BTJ: tuple[int, int, int],
        generator: torch.Generator,
        own: slice = slice(None),
        present_BT: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """All that is random in a step over a batch, of which this process has its `own` clips."""
        raise NotImplementedError

    def forward(self, x_BTJ3: Tensor, drawn: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a process's clips, and what the log shows. The sum of the losses over the
        processes is the loss of the batch.
        """
        raise NotImplementedError

    def scheduled_values(self, step: int, n_steps: int) -> dict[str, float]:
        """What `after_step` reads after optimiser step `step` of `n_steps` (1-based)."""
        return {}

    def after_step(self, values: Any) -> None:
        """Runs after the optimiser."""

    def log_values(self, extras: Mapping[str, Tensor], step: int, n_steps: int) -> dict[str, float]:
        """What a log line has beside loss and means, from what the last step showed."""
        return {}


def share_of(n_clips: int, own: slice, device: torch.device) -> Tensor:
    """A process's share of a batch, by which the mean over its clips counts."""
    first, last, _ = own.indices(n_clips)
    return torch.full((), (last - first) / n_clips, device=device)
