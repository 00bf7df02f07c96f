"""Cameras for a batch of motion, drawn on the device from the step's generator alone.

Each window of frames gets a camera of its own: it stands around the middle of the window's
motion, looks at it or a little past it, and is rolled; it is moved back until everyone's joints
are in its image in all frames, so that nothing has to be thrown away (which would make the device
wait). A share of the windows gets one of the store's own cameras, lens and all, where it stood.
"""
# B windows, T frames, J joints; world mm with z up, angles in degrees

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from m2v_lib.geometry.cameras import Camera

#: Image sizes (px), one as likely as the other: a film, a square, a telephone held upright.
IMAGE_SIZES: Final = ((1280.0, 720.0), (1000.0, 1000.0), (720.0, 1280.0))
#: No joint comes nearer to the plane of the lens than this (mm).
NEAREST: Final = 300.0
#: The person's surroundings that must be in the image, over the joints' own (flesh, errors).
MARGIN: Final = 1.05


@dataclass(frozen=True)
class CameraRanges:
    """From where to where random cameras reach: m, degrees, and times the person's size."""

    height: tuple[float, float] = (0.3, 4.0)
    distance: tuple[float, float] = (2.0, 10.0)
    view: tuple[float, float] = (35.0, 90.0)
    roll: float = 30.0
    aim: float = 10.0
    size: tuple[float, float] = (0.85, 1.15)
    own: float = 0.25


@dataclass(frozen=True)
class Cameras:
    """One camera a window: R (B,3,3), T (B,3) mm, f and c (B,2) px, k (B,3) radial and p (B,2)
    tangential lens coefficients, size (B,2) px; ``x_cam = (x_world - T) @ R``.
    """

    R: Tensor
    T: Tensor
    f: Tensor
    c: Tensor
    k: Tensor
    p: Tensor
    size: Tensor

    def where(self, mask_B: Tensor, other: Cameras) -> Cameras:
        """These cameras where the mask is set, the others elsewhere."""

        def chosen(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(mask_B.view(-1, *[1] * (mine.ndim - 1)), mine, theirs)

        return Cameras(*(chosen(getattr(self, n), getattr(other, n)) for n in _NAMES))

    def at(self, index_B: Tensor) -> Cameras:
        return Cameras(*(getattr(self, name)[index_B] for name in _NAMES))

    def to(self, device: torch.device | str) -> Cameras:
        return Cameras(*(getattr(self, name).to(device) for name in _NAMES))


_NAMES: Final = ("R", "T", "f", "c", "k", "p", "size")


def stack(cameras: Sequence[Camera], dtype: torch.dtype = torch.float32) -> Cameras:
    """The given cameras as one batch."""
    arrays = [[getattr(camera, name) for camera in cameras] for name in _NAMES[:-1]]
    sizes = [(camera.width, camera.height) for camera in cameras]
    return Cameras(*(torch.tensor(_listed(a), dtype=dtype) for a in (*arrays, sizes)))


def _listed(rows: Sequence[Any]) -> list[Any]:
    return [row.tolist() if hasattr(row, "tolist") else row for row in rows]


def uniform(low_high: tuple[float, float], n: int, generator: torch.Generator) -> Tensor:
    """Numbers (n,) between two bounds."""
    low, high = low_high
    draw = torch.rand(n, generator=generator, device=generator.device)
    return low + (high - low) * draw


def draw_cameras(
    world_BTJ3: Tensor, floor_B: Tensor, ranges: CameraRanges, generator: torch.Generator
) -> Cameras:
    """A random camera for each window, whose floor is at `floor_B` mm."""
    B, device = len(world_BTJ3), world_BTJ3.device
    height, distance = (
        1000.0 * uniform(bounds, B, generator) for bounds in (ranges.height, ranges.distance)
    )
    azimuth = uniform((0.0, 2 * math.pi), B, generator)
    view = torch.deg2rad(uniform(ranges.view, B, generator))
    roll = torch.deg2rad(uniform((-ranges.roll, ranges.roll), B, generator))
    past = torch.deg2rad(uniform((0.0, ranges.aim), B, generator))
    past_where = uniform((0.0, 2 * math.pi), B, generator)

    which = torch.randint(len(IMAGE_SIZES), (B,), generator=generator, device=device)
    return place_cameras(
        world_BTJ3,
        floor_B,
        height=height,
        distance=distance,
        azimuth=azimuth,
        view=view,
        roll=roll,
        aim=(past, past_where),
        size=_image_sizes(device)[which],
    )


def place_cameras(
    world_BTJ3: Tensor,
    floor_B: Tensor,
    *,
    height: Tensor,
    distance: Tensor,
    azimuth: Tensor,
    view: Tensor,
    roll: Tensor,
    aim: tuple[Tensor, Tensor],
    size: Tensor,
) -> Cameras:
    """Cameras so high (B,) mm above the floor, so far (B,) mm along it from the middle of the
    motion, there at an azimuth (B,), with a horizontal angle of view (B,), rolled (B,); they look
    past the middle by the angle aim[0] (B,) in the direction aim[1] (B,); radians. Images are of
    `size` (B,2) px.

    Where the ball around all joints of all frames is not in view, the camera stands further back
    at its height, or looks past it by less.
    """
    low, high = world_BTJ3.amin((1, 2)), world_BTJ3.amax((1, 2))
    centre = (low + high) / 2
    radius = MARGIN * (world_BTJ3 - centre[:, None, None]).norm(dim=-1).amax((1, 2))

    f = size[:, 0] / 2 / torch.tan(view / 2)
    half = torch.atan(size.amin(1) / 2 / f)  # the largest cone that the image holds
    rise = height + floor_B - centre[:, 2]
    needed = torch.maximum(radius / torch.sin(half), radius + NEAREST)
    along = torch.maximum(distance, (needed**2 - rise**2).clamp(min=0.0).sqrt())
    offset = torch.stack([along * torch.cos(azimuth), along * torch.sin(azimuth), rise], dim=-1)

    slack = half - torch.asin((radius / offset.norm(dim=-1)).clamp(max=1.0))
    past, which = aim
    R = _look_at(-offset, roll, torch.minimum(past, slack.clamp(min=0.0)), which)

    zeros = torch.zeros_like(size)
    return Cameras(
        R,
        centre + offset,
        f[:, None].expand(-1, 2),
        size / 2,
        torch.zeros_like(centre),
        zeros,
        size,
    )


def _look_at(ahead: Tensor, roll: Tensor, past: Tensor, which: Tensor) -> Tensor:
    """Rotations (B,3,3) of cameras that look along `ahead` (B,3), not straight up or down:
    columns are right, down and forward in the world; turned past it and rolled about the new axis.
    """
    forward = normalize(ahead, dim=-1)
    right = torch.stack([forward[:, 1], -forward[:, 0], torch.zeros_like(past)], dim=-1)
    right = normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)

    sideways = _turned(right, down, which)
    across = _turned(down, -right, which)
    forward, sideways = _turned(forward, sideways, past), _turned(sideways, -forward, past)

    # back to right and down by undoing the direction of the turn, and on by the roll
    right, down = (
        _turned(sideways, across, roll - which),
        _turned(across, -sideways, roll - which),
    )
    return torch.stack([right, down, forward], dim=-1)


def _turned(a: Tensor, b: Tensor, angle: Tensor) -> Tensor:
    """`a` (B,3) turned towards `b` by an angle (B,)."""
    return torch.cos(angle)[:, None] * a + torch.sin(angle)[:, None] * b


@cache
def _image_sizes(device: torch.device) -> Tensor:
    """Kept on the device: copying it there at every step would make the GPU wait."""
    return torch.tensor(IMAGE_SIZES, device=device)
