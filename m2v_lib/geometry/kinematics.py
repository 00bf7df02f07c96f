"""Forward kinematics: joint rotations down a tree to joint positions, with bones that keep their
length exactly.
"""
# n frames, J joints

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def axis_rotation(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Right-handed rotations (n,3,3) by ``degrees`` (n,) about the fixed axis 0 (x), 1 (y) or 2
    (z).
    """
    angle = np.radians(np.asarray(degrees, np.float64))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    out = np.broadcast_to(np.eye(3), (*angle.shape, 3, 3)).copy()
    out[..., i, i] = out[..., j, j] = np.cos(angle)
    out[..., j, i] = np.sin(angle)
    out[..., i, j] = -np.sin(angle)
    return out


def forward(local: np.ndarray, offsets: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Positions (n,J,3), joint 0 at the origin, from rotations (n,J,3,3) and rest offsets (J,3)
    to the parent.

    A joint's rotation turns everything below it: ``G[j] = G[parent] local[j]``, ``x[j] =
    x[parent] + G[parent] o[j]``. Parents must come before their children.
    """
    turned = local.copy()
    positions = np.zeros(local.shape[:-1])
    for joint, parent in enumerate(parents):
        if parent >= 0:
            turned[:, joint] = turned[:, parent] @ local[:, joint]
            positions[:, joint] = positions[:, parent] + turned[:, parent] @ offsets[joint]
    return positions


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (...,3) at length 1, those of no length as they are."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
