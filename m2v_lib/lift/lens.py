"""Keypoints as a lens without distortion would have shown them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import as_number
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.geometry import cameras
from m2v_lib.lift.camera import Camera

#: k1, k2, p1, p2 and k3 in OpenCV's order; k3 may be left out
N_COEFFICIENTS: Final = (4, 5)
MAX_COEFFICIENT: Final = 10.0
#: px that a point may be off once it is distorted again
MAX_OFF_PX: Final = 0.5


def parse_distortion(text: str) -> tuple[float, ...]:
    """The coefficients of "k1,k2,p1,p2" or "k1,k2,p1,p2,k3". Raises DataError."""
    parts = text.split(",")
    if len(parts) not in N_COEFFICIENTS:
        raise DataError(f"distortion must be k1,k2,p1,p2 or k1,k2,p1,p2,k3, got {text[:80]!r}")
    return tuple(_coefficient(part) for part in parts)


def _coefficient(part: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise DataError(f"distortion must be numbers, got {part[:40]!r}") from None
    return as_number(value, "distortion", -MAX_COEFFICIENT, MAX_COEFFICIENT)


def undistorted(tracks: Tracks, coefficients: tuple[float, ...], camera: Camera) -> Tracks:
    """The tracks with straight lines straight: same focal length, the optical axis in the image's
    middle. Raises DataError where the coefficients cannot be undone.
    """
    k1, k2, p1, p2, k3 = (*coefficients, 0.0)[:5]
    lens = cameras.Camera(
        "lens",
        np.eye(3),
        np.zeros(3),
        np.full(2, camera.focal),
        camera.middle,
        np.array([k1, k2, k3]),
        np.array([p1, p2]),
        camera.width,
        camera.height,
    )
    return replace(tracks, people=tuple(_straight(one, lens, tracks) for one in tracks.people))


def _straight(person: Person, lens: cameras.Camera, tracks: Tracks) -> Person:
    seen = person.confidence > 0
    pixels = person.xy[seen].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rays = cameras.unproject(pixels, np.ones(len(pixels)), lens)
        again = cameras.distort(rays[:, :2], lens) * lens.f + lens.c
        off = np.linalg.norm(again - pixels, axis=-1)

    if not (off <= MAX_OFF_PX).all():
        x, y = pixels[np.argmax(~(off <= MAX_OFF_PX))]
        raise DataError(
            f"{tracks.source}: the distortion given cannot be undone at ({x:.0f}, {y:.0f}); are the "
            "coefficients and the focal length those of this camera?"
        )

    xy = person.xy.copy()
    xy[seen] = rays[:, :2] * lens.f + lens.c
    return replace(person, xy=xy)
