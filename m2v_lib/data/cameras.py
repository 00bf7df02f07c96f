"""The four cameras of Human3.6M: a point in the room (mm) to a pixel, lens distortion included.

The figures are those of subject S1's calibration in wide public use, shipped as ``h36m_cameras.json``.
The lens model is the common one of three radial and two tangential coefficients (Brown 1966; OpenCV's order).
"""
# n frames, J joints, last axis x y (z)

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np


@dataclass(frozen=True)
class Camera:
    """R (3,3) and T (3,) mm: ``x_cam = (x_world - T) @ R``; f, c (2,) px; k (3,) radial, p (2,) tangential; size px."""

    name: str
    R: np.ndarray
    T: np.ndarray
    f: np.ndarray
    c: np.ndarray
    k: np.ndarray
    p: np.ndarray
    width: int
    height: int

    @property
    def mean_focal(self) -> float:
        """Mean of the two focal lengths, px."""
        return float(self.f.mean())


def load_cameras() -> dict[str, Camera]:
    """The four cameras by their Human3.6M number, e.g. "54138969"; lengths in mm."""
    text = resources.files("m2v_lib.data").joinpath("h36m_cameras.json").read_text()
    return {name: _camera(name, raw) for name, raw in json.loads(text)["cameras"].items()}


def _camera(name: str, raw: dict[str, list[float]]) -> Camera:
    R, T, f, c, k, p = (np.array(raw[key], np.float64) for key in ("R", "T_m", "f_px", "c_px", "k", "p"))
    return Camera(name, R, T * 1000.0, f, c, k, p, int(raw["width"]), int(raw["height"]))  # type: ignore[call-overload]


def world_to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
    """World mm (...,3), z up -> camera mm (...,3): x right, y down, z away from the camera."""
    return (points - camera.T) @ camera.R


def distort(xy: np.ndarray, camera: Camera) -> np.ndarray:
    """Where the lens puts a ray: ideal image coordinates x/z, y/z (...,2) -> distorted ones, unitless."""
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (camera.k[0] + r2 * (camera.k[1] + r2 * camera.k[2]))
    p1, p2 = camera.p
    dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    dy = 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    return np.stack([x * radial + dx, y * radial + dy], axis=-1)


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Camera mm (...,3) -> pixels (...,2), with distortion; a point not in front of the camera is a ``ValueError``."""
    depth = points[..., 2:]
    if depth.size and depth.min() <= 0:
        raise ValueError(f"camera {camera.name}: a point has depth {depth.min():.0f} mm, expected in front of the lens")
    return distort(points[..., :2] / depth, camera) * camera.f + camera.c


def to_image_and_depth(world: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Human3.6M's 2.5D target (spec 5.1): world mm (n,J,3) -> label px (n,J,3) and factor mm per px (n,).

    ``factor`` is the root's depth over the mean focal length: what one pixel measures at the root. Label x, y are the
    true projection, z is depth behind the root in the same scale, so ``label * factor[:, None, None]`` is in mm.
    """
    seen = world_to_camera(world, camera)
    factor = seen[:, 0, 2] / camera.mean_focal
    depth = (seen[..., 2] - seen[:, :1, 2]) / factor[:, None]
    return np.concatenate([project(seen, camera), depth[..., None]], axis=-1), factor
