"""The fine-tuning losses (paper section III-A.3) on tensors (B, T, J, 3) in normalised units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from m2v_lib.config import FinetuneConfig
from m2v_lib.errors import InputError


def mpjpe_loss(pred_BTJ3: Tensor, target_BTJ3: Tensor) -> Tensor:
    """Mean joint distance (eq. 9)."""
    return (pred_BTJ3 - target_BTJ3).norm(dim=-1).mean()


def n_mpjpe_loss(pred_BTJ3: Tensor, target_BTJ3: Tensor) -> Tensor:
    """Mean joint distance after the best scale of each frame; gradients flow through the scale.

    Eq. (10) prints the scale outside the norm, which is not free of scale; the released code has
    it inside, as here (audit B15).
    """
    dot = (pred_BTJ3 * target_BTJ3).sum((-1, -2), keepdim=True)
    square = pred_BTJ3.square().sum((-1, -2), keepdim=True)
    return mpjpe_loss(dot / square * pred_BTJ3, target_BTJ3)


def velocity_loss(pred_BTJ3: Tensor, target_BTJ3: Tensor) -> Tensor:
    """Mean distance of the frame-to-frame displacements (eq. 11-12); 0 for a single frame."""
    if pred_BTJ3.shape[1] < 2:
        return pred_BTJ3.new_zeros(())
    return mpjpe_loss(torch.diff(pred_BTJ3, dim=1), torch.diff(target_BTJ3, dim=1))


def pose_loss(
    pred_BTJ3: Tensor,
    target_BTJ3: Tensor,
    w_scale: float | Tensor,
    w_velocity: float | Tensor,
    present_BT: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """MPJPE + w_scale N-MPJPE + w_velocity velocity (eq. 13) and its three parts.

    `present_BT` says which frames of padded clips count.
    """
    if present_BT is not None:
        return _pose_loss_of_padded(pred_BTJ3, target_BTJ3, w_scale, w_velocity, present_BT)
    parts = {
        "mpjpe": mpjpe_loss(pred_BTJ3, target_BTJ3),
        "n_mpjpe": n_mpjpe_loss(pred_BTJ3, target_BTJ3),
        "velocity": velocity_loss(pred_BTJ3, target_BTJ3),
    }
    return _weighted(parts, w_scale, w_velocity)


def _pose_loss_of_padded(
    pred_BTJ3: Tensor,
    target_BTJ3: Tensor,
    w_scale: float | Tensor,
    w_velocity: float | Tensor,
    present_BT: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    pred_nJ3, target_nJ3 = pred_BTJ3[present_BT], target_BTJ3[present_BT]
    moves = present_BT[:, 1:] & present_BT[:, :-1]
    steps = (torch.diff(pred_BTJ3, dim=1)[moves], torch.diff(target_BTJ3, dim=1)[moves])

    parts = {
        "mpjpe": mpjpe_loss(pred_nJ3, target_nJ3),
        "n_mpjpe": n_mpjpe_loss(pred_nJ3, target_nJ3),
        "velocity": mpjpe_loss(*steps) if len(steps[0]) else pred_BTJ3.new_zeros(()),
    }
    return _weighted(parts, w_scale, w_velocity)


def _weighted(
    parts: dict[str, Tensor], w_scale: float | Tensor, w_velocity: float | Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    total = parts["mpjpe"] + w_scale * parts["n_mpjpe"] + w_velocity * parts["velocity"]
    return total, {name: value.detach() for name, value in parts.items()}


def lifting_loss(
    model: nn.Module,
    network: nn.Module,
    x_BTJ3: Tensor,
    y_BTJ3: Tensor,
    cfg: FinetuneConfig,
    weights: tuple[Tensor, Tensor] | None = None,
    present_BT: Tensor | None = None,
    of_pose: Callable[..., tuple[Tensor, dict[str, Tensor]]] = pose_loss,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The fine-tuning loss of a window and its 3D, on the frames that the model predicts, and
    its named parts.

    `network` is the model, with several processes wrapped. `finetune.loss=own` is the model's
    own loss. `weights` stand in place of the configured lambda 1 and 2 where they are tensors;
    `present_BT` says which frames of padded clips are there. `of_pose` is `pose_loss`, or what a
    compiler made of it.
    """
    contract: Any = model
    if cfg.loss == "own":
        return contract.loss(x_BTJ3, y_BTJ3)
    target = contract.output_frames(y_BTJ3) if hasattr(model, "output_frames") else y_BTJ3
    w_scale, w_velocity = weights or (cfg.w_scale, cfg.w_velocity)
    there = () if present_BT is None else (present_BT,)
    pred = network(x_BTJ3, *there)
    if pred.shape != target.shape:
        raise InputError(
            f"the model's output must be poses of shape {tuple(target.shape)}, got "
            f"{tuple(pred.shape)}"
        )

    if present_BT is None:
        return of_pose(pred, target, w_scale, w_velocity)
    return pose_loss(pred, target, w_scale, w_velocity, present_BT)
