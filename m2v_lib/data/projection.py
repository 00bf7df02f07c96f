"""From motion in the world to what a lifting model is trained on, on the device: pixels, the
2.5D label (spec 5.1) and both in units of half the image width (spec 5.2).

The same arithmetic as ``geometry.cameras.to_image_and_depth`` and ``clips.normalise_screen``, for
a batch with a camera each.
"""
# B windows, T frames, J joints

from __future__ import annotations

import torch
from torch import Tensor

from m2v_lib.data.random_cameras import Cameras


def seen_by(world_BTJ3: Tensor, cameras: Cameras) -> Tensor:
    """World mm -> camera mm (B,T,J,3): x right, y down, z away from the camera."""
    moved = world_BTJ3 - cameras.T[:, None, None]
    return (moved.flatten(1, 2) @ cameras.R).view_as(moved)


def distort(xy_BTJ2: Tensor, cameras: Cameras) -> Tensor:
    """Where the lenses put rays x/z, y/z, unitless."""
    x, y = xy_BTJ2.unbind(-1)
    k1, k2, k3 = (k[:, None, None] for k in cameras.k.unbind(-1))
    p1, p2 = (p[:, None, None] for p in cameras.p.unbind(-1))
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    dy = 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    return torch.stack([x * radial + dx, y * radial + dy], dim=-1)


def to_image_and_depth(
    world_BTJ3: Tensor, cameras: Cameras, root: int = 0
) -> tuple[Tensor, Tensor]:
    """Label px (B,T,J,3) and factor mm per px (B,T), as the function of this name in geometry."""
    seen = seen_by(world_BTJ3, cameras)
    depth = seen[..., 2]
    factor = depth[:, :, root] / cameras.f.mean(1)[:, None]
    rays = distort(seen[..., :2] / depth[..., None], cameras)
    pixels = rays * cameras.f[:, None, None] + cameras.c[:, None, None]
    behind = (depth - depth[:, :, root : root + 1]) / factor[..., None]
    return torch.cat([pixels, behind[..., None]], dim=-1), factor


def normalise(points_BTJC: Tensor, size_B2: Tensor) -> Tensor:
    """Pixels to units of half the image width, centred; a third channel, depth, in the same."""
    half = size_B2[:, :1] / 2
    centre = torch.cat([size_B2 / 2, torch.zeros_like(half)], dim=-1)[:, : points_BTJC.shape[-1]]
    return (points_BTJC - centre[:, None, None]) / half[:, None, None]
