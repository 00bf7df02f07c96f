"""From one frame rate to another by a cubic spline, after cutting out the frames where a capture
went wrong.
"""
# n frames at the source rate, m frames at the new one, J joints

from __future__ import annotations

from typing import Final

import numpy as np

#: a joint faster (m/s) or more accelerated (m/s^2) than this, relative to the root, is a swapped
#: marker, not a person
MAX_SPEED: Final = 12.0
MAX_ACCELERATION: Final = 1000.0
MARGIN_FRAMES: Final = 6
MIN_SECONDS: Final = 1.0


def steady_segments(joints: np.ndarray, fps: float) -> list[tuple[int, int]]:
    """Stretches ``begin .. end`` of (n,J,3) mm, a second or longer, free of marker faults and 6
    frames either side.
    """
    relative = (joints - joints[:, :1]) / 1000.0
    speed = np.linalg.norm(np.diff(relative, axis=0), axis=-1).max(1) * fps
    acceleration = np.linalg.norm(np.diff(relative, 2, axis=0), axis=-1).max(1) * fps**2
    bad = np.zeros(len(joints) + 2, bool)  # one sentinel at either end
    bad[[0, -1]] = True
    faults = [(int(i), int(i) + 1) for i in np.flatnonzero(speed > MAX_SPEED)]
    faults += [(int(i), int(i) + 2) for i in np.flatnonzero(acceleration > MAX_ACCELERATION)]
    for first, last in faults:
        bad[1 + max(0, first - MARGIN_FRAMES) : 1 + last + MARGIN_FRAMES + 1] = True

    edges = np.flatnonzero(bad)
    return [
        (int(a), int(b) - 1)
        for a, b in zip(edges[:-1], edges[1:], strict=True)
        if b - 1 - a >= MIN_SECONDS * fps
    ]


def resample(values: np.ndarray, source_fps: float, fps: float) -> np.ndarray:
    """Values (n,...) at ``source_fps`` -> (m,...) at ``fps``: same first instant, no
    extrapolation past the last.
    """
    n_new = int(np.floor((len(values) - 1) * fps / source_fps + 1e-9)) + 1
    return cubic_spline(values, np.arange(n_new) * source_fps / fps)


def resample_marks(marks: np.ndarray, source_fps: float, fps: float) -> np.ndarray:
    """Marks (n,...) bool -> (m,...): a new instant is marked when a frame beside it was."""
    n_new = int(np.floor((len(marks) - 1) * fps / source_fps + 1e-9)) + 1
    at = np.arange(n_new) * source_fps / fps
    return marks[np.floor(at).astype(int)] | marks[np.ceil(at - 1e-9).astype(int)]


def cubic_spline(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The cubic spline through values (n,...) at 0, 1 .. n-1, evaluated at ``at`` (m,); n >= 4.

    With second derivatives s: ``s[i-1] + 4 s[i] + s[i+1] = 6 (y[i-1] - 2 y[i] + y[i+1])``.
    Not-a-knot ends (the third derivative does not jump at the second and the last but one point)
    turn the first and last of these equations into
    ``6 s = 6 (second difference)``; what is left is a tridiagonal system.
    """
    if len(values) < 4:
        raise ValueError(f"a cubic spline needs 4 points, got {len(values)}")

    bend = values[:-2] - 2 * values[1:-1] + values[2:]
    second = np.empty_like(values, dtype=np.float64)
    second[1], second[-2] = bend[0], bend[-1]
    _solve_interior(second, 6 * bend)
    second[0], second[-1] = 2 * second[1] - second[2], 2 * second[-2] - second[-3]
    i = np.clip(np.floor(at).astype(int), 0, len(values) - 2)
    u = (at - i).reshape(-1, *[1] * (values.ndim - 1))

    line = (1 - u) * values[i] + u * values[i + 1]
    return line + ((1 - u) ** 3 - (1 - u)) * second[i] / 6 + (u**3 - u) * second[i + 1] / 6


def _solve_interior(second: np.ndarray, right: np.ndarray) -> None:
    """Fill second[2:-2] given second[1] and second[-2]; ``right[i-1]`` belongs to row i.
    Gaussian elimination.
    """
    n = len(second)
    diagonal = np.full(n, 4.0)
    row = np.concatenate([right[:1], right, right[-1:]]).astype(np.float64)
    row[2] = row[2] - second[1]

    for i in range(3, n - 2):
        diagonal[i] -= 1 / diagonal[i - 1]
        row[i] -= row[i - 1] / diagonal[i - 1]

    for i in range(n - 3, 1, -1):
        second[i] = (row[i] - second[i + 1]) / diagonal[i]
