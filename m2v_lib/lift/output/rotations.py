"""Rotations in the forms that files have them: the least that does it, angles, quaternions."""
# n frames

from __future__ import annotations

import numpy as np

from m2v_lib.geometry.kinematics import unit


def swing(rest: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The smallest rotations (n,3,3) that turn the direction `rest` (3,) to those of `wanted`
    (n,3); no twist.
    """
    a = rest / np.linalg.norm(rest)
    b = unit(wanted)
    axis, cosine = np.cross(a, b), np.clip(b @ a, -1, 1)
    cross = np.zeros((len(b), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]], cross[:, [1, 2, 0], [2, 0, 1]] = axis, -axis
    out = np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, 1e-9)[:, None, None]
    # half a turn goes about any axis across
    across = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
    out[cosine < -1 + 1e-9] = 2 * np.outer(across, across) / (across @ across) - np.eye(3)

    return out


def euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """Rotations (...,3,3) = Rz Rx Ry -> angles (...,3) in degrees in the order z, x, y."""
    x = np.arcsin(np.clip(rotations[..., 2, 1], -1, 1))
    z = np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1])
    y = np.arctan2(-rotations[..., 2, 0], rotations[..., 2, 2])
    return np.degrees(np.stack([z, x, y], axis=-1))


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Rotations (n,3,3) as unit quaternions x, y, z, w (n,4) float32, by the largest of the four,
    which alone is far from 0.
    """
    m = rotations
    trace = np.trace(m, axis1=1, axis2=2)
    squares = np.concatenate([1 - trace[:, None] + 2 * m[:, [0, 1, 2], [0, 1, 2]],
                              1 + trace[:, None]], axis=1)  # fmt: skip
    table = np.empty((len(m), 4, 4))  # products of the four, times four
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        table[:, i, j] = table[:, j, i] = m[:, i, j] + m[:, j, i]
        table[:, i, 3] = table[:, 3, i] = m[:, k, j] - m[:, j, k]
    table[:, range(4), range(4)] = squares

    found = table[np.arange(len(m)), squares.argmax(1)]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def unbroken_signs(turns: np.ndarray) -> np.ndarray:
    """Quaternions (n,4), of each of which q and -q are the same, as near as can be to the one
    before.
    """
    flips = np.where((turns[1:] * turns[:-1]).sum(1) < 0, -1.0, 1.0)
    return (turns * np.cumprod(np.append(1.0, flips))[:, None]).astype(np.float32)
