"""Somebody who walks in a circle, upright and with feet that stand, before a tilted camera."""

from __future__ import annotations

import numpy as np

from m2v_lib.lift.motion.world import World, upright_world
from m2v_lib.lift.people import Lifted

#: s of a step, mm of an ankle above the floor, of the hips, of thigh and shank
STEP, ANKLE, HIPS, THIGH, SHANK = 0.6, 80.0, 880.0, 430.0, 420.0
SPEED, RADIUS = 900.0, 1200.0


def walk(n: int, fps: float = 50.0) -> np.ndarray:
    """Joints (n,17,3) mm of the world: y up, the floor at 0."""
    t = np.arange(n) / fps
    joints = np.zeros((n, 17, 3))
    root, right = _path(t)
    joints[:, 0] = root + (0, HIPS, 0)

    for side, (hip, knee, ankle) in ((1, (1, 2, 3)), (-1, (4, 5, 6))):
        joints[:, hip] = joints[:, 0] + 90 * side * right
        joints[:, ankle] = _foot(t, side)
        joints[:, knee] = _knee(joints[:, hip], joints[:, ankle], np.cross((0, 1, 0), right))

    for joint, (aside, up) in {
        7: (0, 220),
        8: (0, 450),
        9: (0, 600),
        10: (0, 700),
        11: (-180, 440),
        12: (-190, 160),
        13: (-190, -100),
        14: (180, 440),
        15: (190, 160),
        16: (190, -100),
    }.items():
        joints[:, joint] = joints[:, 0] + aside * right + np.array((0, up, 0))
    return joints


def _path(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the body is on the floor, and its right (n,3)."""
    angle = t * SPEED / RADIUS
    out = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=-1)
    return RADIUS * out, out


def _foot(t: np.ndarray, side: int) -> np.ndarray:
    """An ankle (n,3) that stands for a step and swings for the next."""
    phase = t / STEP + (side > 0)
    number, within = np.floor(phase / 2), phase % 2
    at = [(2 * (number + k) + 0.5 - (side > 0)) * STEP for k in (0, 1)]  # the middles of stances
    places = [path + 90 * side * right for path, right in map(_path, at)]
    swing = np.clip(within - 1, 0, 1)[:, None]
    soft = swing**2 * (3 - 2 * swing)
    height = ANKLE + 120 * np.sin(np.pi * swing) ** 2
    return places[0] + soft * (places[1] - places[0]) + height * np.array((0, 1, 0))


def _knee(hip: np.ndarray, ankle: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    line = ankle - hip
    reach = np.minimum(np.linalg.norm(line, axis=-1, keepdims=True), THIGH + SHANK - 1)
    along = (THIGH**2 - SHANK**2 + reach**2) / (2 * reach)
    return hip + along / reach * line + np.sqrt(np.maximum(THIGH**2 - along**2, 0)) * ahead


def camera_world(pitch: float, roll: float, height: float = 1500.0) -> World:
    """The world of a camera that looks `pitch` degrees down and is rolled."""
    p, r = np.radians([pitch, roll])
    up = np.array([-np.cos(p) * np.sin(r), -np.cos(p) * np.cos(r), -np.sin(p)])
    return upright_world(up, height, "true")


def seen_from(world: World, joints: np.ndarray, away: float = 5000.0) -> np.ndarray:
    """Joints of the world, `away` mm before the camera, in camera space."""
    return world.to_camera(joints - (0, 0, away))


def person(joints: np.ndarray, name: str = "1", start: int = 0) -> Lifted:
    """Joints (n,17,3) in camera space as a lifted person, all of them surely seen."""
    n, n_joints = joints.shape[:2]
    joints = joints.astype(np.float32)
    return Lifted(
        name,
        start,
        joints - joints[:, :1],
        joints[:, 0].copy(),
        np.zeros((n, n_joints, 2), np.float32),
        np.ones((n, n_joints), np.float32),
        np.zeros((n, n_joints), bool),
        np.full((n, n_joints), 4.0, np.float32),
    )
