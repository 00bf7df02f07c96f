"""The four cameras of Human3.6M: a point in the room (mm) to a pixel, lens distortion included.

The figures are calibrations in wide public use: subject S1's in ``h36m_cameras.json``, and where
the cameras stood for the other subjects in ``h36m_subjects.json`` (lenses stayed the same). The
lens model is the common one of three radial and two tangential coefficients (Brown 1966;
OpenCV's order).
"""
# n frames, J joints, last axis x y (z)

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final

import numpy as np

#: in the order in which Human3.6M numbers them, ca_01 to ca_04
CAMERA_NAMES: Final = ("54138969", "55011271", "58860488", "60457274")


@dataclass(frozen=True)
class Camera:
    """R (3,3) and T (3,) mm: ``x_cam = (x_world - T) @ R``; f, c (2,) px; k (3,) radial, p (2,)
    tangential; size px.
    """

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
    return {name: _camera(name, raw) for name, raw in _read("h36m_cameras.json")["cameras"].items()}


def subjects() -> tuple[str, ...]:
    """The subjects whose cameras are known: S1, S5, S6, S7, S8, S9, S11."""
    return tuple(_read("h36m_subjects.json")["subjects"])


def subject_cameras(subject: str) -> dict[str, Camera]:
    """The four cameras where they stood for a subject, such as "S9"; a ``KeyError`` for one that
    is not known.
    """
    lenses, stood = load_cameras(), _read("h36m_subjects.json")["subjects"][subject]
    return {
        name: replace(lenses[name], R=_rotation(stood[name]["q"]), T=np.array(stood[name]["T_mm"]))
        for name in CAMERA_NAMES
    }


@cache
def _read(file: str) -> dict[str, Any]:
    return json.loads(resources.files("m2v_lib.geometry").joinpath(file).read_text())


def _rotation(quaternion: list[float]) -> np.ndarray:
    """Rotation matrix (3,3) of a quaternion (w, x, y, z), made of unit length first."""
    w, *v = np.array(quaternion) / np.linalg.norm(quaternion)
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def _camera(name: str, raw: dict[str, list[float]]) -> Camera:
    R, T, f, c, k, p = (
        np.array(raw[key], np.float64) for key in ("R", "T_m", "f_px", "c_px", "k", "p")
    )
    return Camera(name, R, T * 1000.0, f, c, k, p, int(raw["width"]), int(raw["height"]))  # type: ignore[call-overload]


def world_to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
    """World mm (...,3), z up -> camera mm (...,3): x right, y down, z away from the camera."""
    return (points - camera.T) @ camera.R


def distort(xy: np.ndarray, camera: Camera, *, h36m: bool = False) -> np.ndarray:
    """Where the lens puts a ray: ideal image coordinates x/z, y/z (...,2) -> distorted ones,
    unitless.

    ``h36m``: as Human3.6M's own code and VideoPose3D compute it, with the products of the
    tangential part once where OpenCV has them twice; it moves a point by a tenth of a pixel.
    """
    times = 1 if h36m else 2
    x, y = xy[..., 0], xy[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (camera.k[0] + r2 * (camera.k[1] + r2 * camera.k[2]))
    p1, p2 = camera.p
    dx = times * p1 * x * y + p2 * (r2 + times * x * x)
    dy = times * p2 * x * y + p1 * (r2 + times * y * y)
    return np.stack([x * radial + dx, y * radial + dy], axis=-1)


def project(points: np.ndarray, camera: Camera, *, h36m: bool = False) -> np.ndarray:
    """Camera mm (...,3) -> pixels (...,2), distorted; a point not in front of the camera is a
    ``ValueError``.
    """
    depth = points[..., 2:]
    if depth.size and depth.min() <= 0:
        raise ValueError(
            f"camera {camera.name}: a point has depth {depth.min():.0f} mm, expected in front of "
            "the lens"
        )
    return distort(points[..., :2] / depth, camera, h36m=h36m) * camera.f + camera.c


def unproject(pixels: np.ndarray, depth: np.ndarray, camera: Camera) -> np.ndarray:
    """The inverse of ``project``: pixels (...,2) and depths (...) mm -> camera mm (...,3)."""
    seen = (pixels - camera.c) / camera.f
    xy = seen
    for _ in range(
        30
    ):  # the lens shifts a point by a few percent, so each step takes most of what is left
        xy = xy - (distort(xy, camera) - seen)
    return np.concatenate([xy * depth[..., None], depth[..., None]], axis=-1)


def camera_to_world(points: np.ndarray, camera: Camera) -> np.ndarray:
    """The inverse of ``world_to_camera``, mm (...,3)."""
    return points @ camera.R.T + camera.T


def to_image_and_depth(
    world: np.ndarray, camera: Camera, root: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Human3.6M's 2.5D target (spec 5.1): world mm (n,J,3) -> label px (n,J,3) and factor mm per
    px (n,).

    ``root`` is the joint that depth is relative to. ``factor`` is its depth over the mean focal
    length: what one pixel measures at the root. Label x, y are the true projection, z is depth
    behind the root in the same scale, so ``label * factor[:, None, None]`` is in mm.
    """
    seen = world_to_camera(world, camera)
    factor = seen[:, root, 2] / camera.mean_focal
    depth = (seen[..., 2] - seen[:, root : root + 1, 2]) / factor[:, None]
    return np.concatenate([project(seen, camera), depth[..., None]], axis=-1), factor
