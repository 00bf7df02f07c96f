"""The encoder with a classifier on top: which action do one or two people do? (paper section
IV-D, spec section 7)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from m2v_lib.config import ActionConfig
from m2v_lib.config.fields import ModelSettings
from m2v_lib.models.registry import build_model, require_encoder

# B batch, M people, T frames, J joints, R features of the representation


class ActionModel(nn.Module):
    """People's 2D sequences (B, M, T, J, 3) -> one score a class (B, n_classes), before the
    softmax.

    The representation of every person is thinned out by dropout and averaged over frames;
    ``flatten`` keeps the joints apart (as released), ``gap`` averages over them too (the paper's
    "global average pooling", audit F1). The people's vectors are averaged, so their order does
    not matter, and classified by Linear - BatchNorm - ReLU - Linear.
    """

    def __init__(self, cfg: ModelSettings, action: ActionConfig, n_classes: int) -> None:
        super().__init__()
        require_encoder(cfg, "action recognition")
        self.backbone = build_model(cfg)
        delattr(self.backbone, self.backbone.pose_head)  # the 3D joints' own layer
        self.by_joint, self.dropout, self.width = (
            action.head == "flatten",
            action.dropout,
            self.backbone.dim_rep,
        )
        width = self.width * (cfg.n_joints if self.by_joint else 1)
        self.fc1 = nn.Linear(width, action.hidden)
        self.bn = nn.BatchNorm1d(action.hidden)
        self.fc2 = nn.Linear(action.hidden, n_classes)

    def forward(self, x_BMTJ3: Tensor, kept_BMTJR: Tensor | None = None) -> Tensor:
        """`kept_BMTJR` is the dropout mask of a training step (`draw_kept`); in evaluation mode
        there is no dropout.
        """
        n_people = x_BMTJ3.shape[1]
        rep = self.backbone.encode(x_BMTJ3.flatten(0, 1)).unflatten(0, (-1, n_people))
        pooled = self.pool(self.drop(rep, kept_BMTJR) if self.training else rep)
        return self.fc2(F.relu(self.bn(self.fc1(pooled))))

    def draw_kept(self, x_BMTJ3: Tensor, generator: torch.Generator) -> Tensor:
        """Which numbers of the representation dropout keeps, as booleans (B, M, T, J, R)."""
        return draw_kept((*x_BMTJ3.shape[:-1], self.width), self.dropout, generator)

    def drop(self, rep_BMTJR: Tensor, kept_BMTJR: Tensor | None) -> Tensor:
        if kept_BMTJR is None:
            return F.dropout(rep_BMTJR, self.dropout)

        return rep_BMTJR * kept_BMTJR / (1 - self.dropout)

    def pool(self, rep_BMTJR: Tensor) -> Tensor:
        """Representations of all people -> one vector a sample (B, J * R) or, with `gap`, (B,
        R).
        """
        over_frames = rep_BMTJR.mean(2)
        vector = over_frames.flatten(2) if self.by_joint else over_frames.mean(2)
        return vector.mean(1)


def draw_kept(shape: tuple[int, ...], probability: float, generator: torch.Generator) -> Tensor:
    """A dropout mask, True where a number is kept, that comes from a generator: a resumed run
    drops what an uninterrupted one drops.
    """
    return torch.rand(shape, generator=generator, device=generator.device) >= probability


def seeded_dropout(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Dropout whose zeros come from a generator."""
    return x * draw_kept(tuple(x.shape), probability, generator).to(x.device) / (1 - probability)


def build_action_model(
    cfg: ModelSettings, action: ActionConfig, n_classes: int, *, seed: int | None = None
) -> ActionModel:
    """The network with fresh weights; `seed` makes them reproducible without touching torch's
    global state.
    """
    if seed is None:
        return ActionModel(cfg, action, n_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ActionModel(cfg, action, n_classes)
