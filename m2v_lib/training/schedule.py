"""How long a stage trains, at which learning rate, and what else changes from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from m2v_lib.config import OptimConfig


@dataclass
class Schedule:
    """How many steps and epochs a stage runs; `max_steps` shortens (or stretches) the full
    schedule.
    """

    n_clips: int
    batch_size: int
    epochs_full: int
    max_steps: int

    @property
    def per_epoch(self) -> int:
        return math.ceil(self.n_clips / self.batch_size)

    @property
    def n_steps(self) -> int:
        return self.max_steps or self.epochs_full * self.per_epoch

    @property
    def smallest_batch(self) -> int:
        """Clips in the last batch of an epoch."""
        return self.n_clips - (self.per_epoch - 1) * self.batch_size

    def summary(self) -> dict[str, Any]:
        done = self.n_steps / self.per_epoch
        return {
            "steps": self.n_steps,
            "epochs_done": round(done, 3),
            "epochs_full": self.epochs_full,
            "partial": done < self.epochs_full,
            "n_clips": self.n_clips,
        }


def learning_rate(cfg: OptimConfig, step: int, epoch: int, n_steps: int) -> float:
    """Rate of a step (0-based): lr * lr_decay ** epoch (audit D1), or a cosine to zero; after a
    linear warm-up.
    """
    warm = min(1.0, (step + 1) / cfg.warmup_steps) if cfg.warmup_steps else 1.0
    if cfg.schedule == "decay":
        return warm * cfg.lr * cfg.lr_decay**epoch
    done = max(0, step - cfg.warmup_steps) / max(1, n_steps - cfg.warmup_steps)
    return warm * cfg.lr * 0.5 * (1.0 + math.cos(math.pi * done))


def matrix_rate_ratio(cfg: OptimConfig) -> float:
    """How much faster the blocks' matrices are moved than the rest, under
    `optim.algorithm=muon`.
    """
    return cfg.matrix_lr / cfg.lr if cfg.matrix_lr else 1.0


class ScheduledValues:
    """Numbers that change at every step (rates, a teacher's share), as tensors on the device.

    All steps' values are put there once; `at` copies those of one step to where a captured step
    reads them, in one launch and without waiting.
    """

    def __init__(self, by_step: list[dict[str, float]], device: torch.device) -> None:
        dtype = (
            torch.float64 if device.type == "cpu" else torch.float32
        )  # the fused CPU optimisers take doubles
        self.names = list(by_step[0])
        self.table_SV = torch.tensor(
            [list(values.values()) for values in by_step], dtype=dtype, device=device
        )
        self.current_V = self.table_SV[0].clone()

    def __getitem__(self, name: str) -> Tensor:
        """The value in force, a tensor without dimensions that keeps its place in memory."""
        return self.current_V[self.names.index(name)]

    def at(self, step: int) -> None:
        """Put the values of a step (0-based) in force."""
        self.current_V.copy_(self.table_SV[step])
