"""Mirroring, the only augmentation of the lifting task (spec 4; audit D3)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from m2v_lib.skeletons import H36M17, Skeleton

# B batch, T frames, J joints, C channels (x first)


def flip(pose_BTJC: Tensor, skeleton: Skeleton = H36M17) -> Tensor:
    """Mirror left and right: swap the sides' joints and negate x. Twice gives the input back."""
    mirrored = pose_BTJC[..., _flip_order(skeleton, pose_BTJC.device), :]
    mirrored[..., 0].neg_()
    return mirrored


@cache
def _flip_order(skeleton: Skeleton, device: torch.device) -> Tensor:
    """Kept on the device: copying it there at every step would make the GPU wait."""
    return torch.as_tensor(skeleton.flip_order, device=device)


def draw_flips(n_clips: int, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Which clips (B,) are mirrored."""
    return torch.rand(n_clips, generator=generator, device=generator.device) < probability


def flip_where(mask_B: Tensor, pose_BTJC: Tensor, skeleton: Skeleton = H36M17) -> Tensor:
    """Mirror the clips that the mask marks."""
    return torch.where(mask_B[:, None, None, None], flip(pose_BTJC, skeleton), pose_BTJC)


def random_move(
    x_BMTJC: Tensor,
    generator: torch.Generator,
    *,
    degrees: float = 10.0,
    scale: tuple[float, float] = (0.9, 1.1),
    shift: float = 0.1,
) -> Tensor:
    """Turn, scale and shift each sample by amounts that run evenly from one random value to
    another (spec section 7).

    As if the camera moved a little: all people of a sample move alike. Coordinates are in units
    in which the image is 2 wide; channels past x and y stay as they are.
    """
    n_samples, n_frames = x_BMTJC.shape[0], x_BMTJC.shape[2]
    ends = torch.rand(4, n_samples, 2, generator=generator, device=generator.device).to(
        x_BMTJC.device
    )
    low = x_BMTJC.new_tensor([-degrees, scale[0], -shift, -shift])[:, None, None]
    high = x_BMTJC.new_tensor([degrees, scale[1], shift, shift])[:, None, None]
    first, last = (low + (high - low) * ends)[..., None].unbind(2)
    ramp = torch.linspace(0, 1, n_frames, device=x_BMTJC.device)
    # each (B, 1, T, 1)
    angle, size, dx, dy = (first + (last - first) * ramp)[:, :, None, :, None]
    cos, sin = size * torch.cos(torch.deg2rad(angle)), size * torch.sin(torch.deg2rad(angle))
    x, y = x_BMTJC[..., 0], x_BMTJC[..., 1]

    moved = torch.stack([cos * x - sin * y + dx, sin * x + cos * y + dy], dim=-1)
    return torch.cat([moved, x_BMTJC[..., 2:]], dim=-1)


def crop_scale(x_BMTJ3: Tensor, ratio_B: Tensor) -> Tensor:
    """Put each sample into a square `ratio` times as large as its people, which becomes -1 to 1;
    clip what sticks out.

    The square's centre is that of the box around all joints, frames and people with a confidence
    other than 0; its side is the box's longer side times the ratio. A sample without such a box
    becomes all zeros (spec section 7).
    """
    xy, seen = x_BMTJ3[..., :2], (x_BMTJ3[..., 2:] != 0)
    low = torch.where(seen, xy, torch.inf).amin((1, 2, 3))
    high = torch.where(seen, xy, -torch.inf).amax((1, 2, 3))
    side = (high - low).amax(1) * ratio_B
    good = (side > 0) & torch.isfinite(side)
    centre_B2 = torch.where(good[:, None], (low + high) / 2, 0.0)[:, None, None, None]
    half_B = torch.where(good, side / 2, 1.0)[:, None, None, None, None]

    cropped = torch.cat([(xy - centre_B2) / half_B, x_BMTJ3[..., 2:]], dim=-1).clamp(-1, 1)
    return torch.where(good[:, None, None, None, None], cropped, 0.0)
