"""The upright world that a motion is played in: y up, the floor at y = 0, x to the right as the
camera sees it, z towards the camera, which stands above the world's origin; mm.
"""
# n frames, J joints

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

#: up of a camera that is held level, in camera axes (x right, y down, z away)
LEVEL_UP: Final = (0.0, -1.0, 0.0)
LEVEL: Final = "assumed: camera level, floor under the lowest point"


@dataclass(frozen=True, eq=False)
class World:
    """From camera space to the world: rotation (3,3), whose rows are the world's axes in camera
    axes, and origin (3,) mm, the point of the floor under the camera, in camera space. `how` says
    what both follow from.
    """

    rotation: np.ndarray
    origin: np.ndarray
    how: str = LEVEL

    def to_world(self, points_mm: np.ndarray) -> np.ndarray:
        """Points (...,3) of camera space in the world."""
        return (points_mm - self.origin) @ self.rotation.T

    def to_camera(self, points_mm: np.ndarray) -> np.ndarray:
        """The inverse of `to_world`."""
        return points_mm @ self.rotation + self.origin

    @property
    def up(self) -> np.ndarray:
        """Unit vector (3,) in camera axes."""
        return self.rotation[1]

    @property
    def camera_height(self) -> float:
        """mm above the floor."""
        return float(self.to_world(np.zeros(3))[1])

    @property
    def pitch(self) -> float:
        """Degrees that the camera looks down."""
        return float(np.degrees(np.arcsin(np.clip(-self.rotation[1, 2], -1, 1))))

    @property
    def roll(self) -> float:
        """Degrees that the camera is turned clockwise about its optical axis."""
        x, y = self.rotation[1, :2]
        return float(np.degrees(np.arctan2(-x, -y)))


def upright_world(up: np.ndarray, camera_height: float, how: str) -> World:
    """The world of an up direction (3,) in camera axes and the camera's height above the floor in
    mm. A camera that looks straight down has its image's top as the direction away.
    """
    y = np.asarray(up, float) / np.linalg.norm(up)
    towards = np.array([0.0, 0.0, -1.0]) if abs(y[2]) < 0.999 else np.array([0.0, 1.0, 0.0])
    z = towards - (towards @ y) * y
    z /= np.linalg.norm(z)

    rotation = np.stack([np.cross(y, z), y, z])
    return World(rotation, -camera_height * y, how)


def level_world(motions_mm: Iterable[np.ndarray]) -> World:
    """The world of a camera that is held level, whose floor is under the lowest of the joints
    (n,J,3) in camera space.
    """
    lowest = max((float(np.nanmax(joints[..., 1])) for joints in motions_mm), default=0.0)
    return upright_world(np.array(LEVEL_UP), lowest, LEVEL)
