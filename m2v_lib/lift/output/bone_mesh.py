"""Bodies around bones, to be seen: a slim octahedron each, thickest near the joint it turns about."""
# V vertices, N joints

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

#: where on the bone it is thickest, half its width over its length, and the most (m)
WAIST: Final = 0.15
THICKNESS: Final = 0.12
MAX_RADIUS: Final = 0.035


def bone_bodies(
    places: np.ndarray, bones: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Corners (V,3) and normals (V,3) float32 of triangles, three corners each, and the joint (V,)
    that moves each, of bones (parent, child) between places (N,3) in m.
    """
    corners = [octahedron(places[parent], places[child]) for parent, child in bones]
    points = np.concatenate(corners).astype(np.float32)
    edges = points.reshape(-1, 3, 3)[:, 1:] - points.reshape(-1, 3, 3)[:, :1]
    normals = np.cross(edges[:, 0], edges[:, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    owners = np.repeat([parent for parent, _ in bones], len(corners[0]))

    return points, np.repeat(normals, 3, axis=0).astype(np.float32), owners.astype(np.uint16)


def octahedron(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The corners (24,3) of its eight triangles, each seen anticlockwise from outside."""
    along = end - start
    length = float(np.linalg.norm(along))
    across = np.cross(along, np.eye(3)[np.argmin(np.abs(along))])
    across /= np.linalg.norm(across)
    other = np.cross(along / length, across)

    radius = min(THICKNESS * length, MAX_RADIUS)
    ring = [start + WAIST * along + radius * side for side in (across, other, -across, -other)]
    triangles = [
        corner
        for one, two in zip(ring, [*ring[1:], ring[0]], strict=True)
        for corner in (start, two, one, end, one, two)
    ]
    return np.stack(triangles)
