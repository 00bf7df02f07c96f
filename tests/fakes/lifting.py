"""A body that walks in front of a pinhole camera, and a network that knows the answer: what goes
in comes out flat.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.lift.camera import BONES_MM, Camera
from m2v_lib.skeletons.h36m import BONES

CAMERA = Camera(1000.0, 1280, 720)


def body(n: int, fps: float = 50.0) -> np.ndarray:
    """Joints (n,17,3) mm in camera axes: bones of BONES_MM that swing, a root that goes 1 m/s to
    the right and away.
    """
    t = np.arange(n)[:, None] / fps
    rng = np.random.default_rng(0)
    down, up = np.array([0.1, 1.0, 0.1]), np.array([0.0, -1.0, 0.05])
    rest = {
        1: (-1, 0.1, 0),
        4: (1, 0.1, 0),
        7: up,
        8: up,
        9: (0, -0.9, -0.5),
        10: up,
        11: (1, 0, 0),
        14: (-1, 0, 0),
    }
    joints = np.zeros((n, 17, 3))
    joints[:, 0] = np.concatenate(
        [-500 + 1000 * t, 100 + 20 * np.sin(4 * t), 4000 + 500 * t], axis=1
    )
    for i, (parent, child) in enumerate(BONES):
        swing = 0.35 * np.sin(t * rng.uniform(2, 6, 3) + rng.uniform(0, 6, 3))
        direction = np.array(rest.get(child, down), float) + swing
        direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
        joints[:, child] = joints[:, parent] + BONES_MM[i] * direction
    return joints


def seen(joints: np.ndarray) -> np.ndarray:
    """Pixels (n,17,2) of joints in camera axes."""
    return joints[..., :2] / joints[..., 2:] * CAMERA.focal + CAMERA.middle


def tracks(n: int = 120, fps: float = 25.0, confidence: float = 0.9) -> Tracks:
    xy = seen(body(n, fps)).astype(np.float32)
    person = Person("1", np.arange(n), xy, np.full(xy.shape[:2], confidence, np.float32))
    return Tracks("made", "npz", "h36m17", (person,), n, CAMERA.width, CAMERA.height, fps)


class Flat(nn.Module):
    """Gives back its input relative to the root, depth 0, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.shown: list[Tensor] = []

    def forward(self, x_BTJ3: Tensor) -> Tensor:
        self.shown.append(x_BTJ3.clone())
        out = x_BTJ3 - x_BTJ3[:, :, :1]
        out[..., 2] = 0
        return out


class Counter(Flat):
    """As depth of every joint but the root, the frame's place in its window."""

    def forward(self, x_BTJ3: Tensor) -> Tensor:
        out = super().forward(x_BTJ3)
        out[:, :, 1:, 2] = torch.arange(x_BTJ3.shape[1], dtype=out.dtype)[:, None]
        return out
