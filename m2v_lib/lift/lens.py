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
#: share of the joints that may lie where the distortion cannot be undone: they are taken as unseen
MAX_SHARE_LOST: Final = 0.05


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
    straight = [_straight(person, lens) for person in tracks.people]
    lost = sum(n for _, n in straight)
    n_seen = sum(int((person.confidence > 0).sum()) for person in tracks.people)
    if lost > MAX_SHARE_LOST * n_seen:
        raise DataError(
            f"{tracks.source}: the distortion given cannot be undone at {lost} of {n_seen} joints; "
            "are the coefficients and the focal length those of this camera?"
        )

    note = f"{lost} joints lie where the distortion cannot be undone, they were taken as unseen"
    people = tuple(person for person, _ in straight)
    return replace(tracks, people=people, notes=(*tracks.notes, *([note] if lost else [])))


def _straight(person: Person, lens: cameras.Camera) -> tuple[Person, int]:
    """The person without the distortion, and how many joints were lost to it."""
    seen = person.confidence > 0
    pixels = person.xy[seen].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rays = cameras.unproject(pixels, np.ones(len(pixels)), lens)
        again = cameras.distort(rays[:, :2], lens) * lens.f + lens.c
        kept = np.linalg.norm(again - pixels, axis=-1) <= MAX_OFF_PX

    xy, confidence = person.xy.copy(), person.confidence.copy()
    xy[seen] = np.where(kept[:, None], rays[:, :2] * lens.f + lens.c, 0.0)
    confidence[seen] = np.where(kept, person.confidence[seen], 0.0)
    return replace(person, xy=xy, confidence=confidence), int((~kept).sum())
