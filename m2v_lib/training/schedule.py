"""How long a stage trains, at which learning rate, with which optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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


def make_optimiser(parameters: list[nn.Parameter], cfg: OptimConfig) -> torch.optim.Optimizer:
    """AdamW (audit D1), or Adam that never forgets a large gradient, as released on MPI-INF-3DHP
    (audit D8).
    """
    settings: dict[str, Any] = {"lr": cfg.lr, "weight_decay": cfg.weight_decay, "fused": True}
    if cfg.algorithm == "adamw":
        return torch.optim.AdamW(parameters, **settings)
    return torch.optim.Adam(parameters, amsgrad=True, **settings)
