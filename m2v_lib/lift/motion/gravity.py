"""Where up and the floor are, from feet that stand and people who stand upright, of a camera that
does not move.

Three things speak: a level camera (unsure by 40 degrees of pitch and 15 of roll), the direction of
trunk and legs while somebody stands straight (15 and 5: how far a network tilts people), and the
plane through the places where feet stood (50 mm each). The up that fits all of them best, weighted
by how sure each is, is taken; far-off steps count less. The weights were chosen on validation
subjects; what is gained on test subjects says `docs/motion.md`.
"""
# n frames, S steps

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from m2v_lib.geometry.kinematics import unit
from m2v_lib.lift import camera
from m2v_lib.lift.motion import stance
from m2v_lib.lift.motion.anatomy import Leg, Trunk, legs, trunk
from m2v_lib.lift.motion.smooth import smooth
from m2v_lib.lift.motion.world import LEVEL_UP, World, upright_world
from m2v_lib.skeletons import Skeleton

if TYPE_CHECKING:
    from m2v_lib.lift.people import Lifted

#: how unsure each is: degrees of pitch and roll, mm of a step's height
LEVEL_DEGREES: Final = (40.0, 15.0)
POSTURE_DEGREES: Final = (15.0, 5.0)
STEP_MM: Final = 50.0
#: s of straight posture, and steps, of which it takes one
MIN_UPRIGHT: Final = 0.3
MIN_STEPS: Final = 3
#: degrees between legs and trunk, and between thigh and shank, of somebody who stands straight
BENT_HIP: Final = 25.0
BENT_KNEE: Final = 45.0
#: degrees off level from which nothing found is believed
MAX_TILT: Final = 70.0
ROUNDS: Final = 3
#: frames of a person that soles are looked at on
SAMPLE: Final = 500
#: people whose floors are asked, those with the most steps
MAX_PEOPLE: Final = 30


class Found(NamedTuple):
    """The world, or None and the reason; `sure` is one sigma of up in degrees (pitch, roll)."""

    world: World | None
    reason: str
    sure: tuple[float, float] = (float("nan"), float("nan"))


def find_world(
    people: Sequence[Lifted],
    skeleton: Skeleton,
    fps: float,
    absent: Collection[int] = (),
    *,
    smoothed: bool = True,
) -> Found:
    """The upright world of everybody's motion; `smoothed`: whether they have been already."""
    of_legs, of_trunk = legs(skeleton, absent), trunk(skeleton, absent)
    if not of_legs:
        return Found(None, "the layout has no ankles")

    paths = [stance.ankle_paths(person, of_legs) for person in people]
    if not smoothed:
        for path in paths:
            smooth(path, fps)

    posture, seconds = _posture(people, of_legs, of_trunk, fps)
    start = np.array(LEVEL_UP) if posture is None else posture
    up = start
    for _ in range(ROUNDS):
        steps = [_steps(path, up, fps) for path in paths]
        most = sorted(steps, key=len)[-MAX_PEOPLE:]
        up, sure = _best_up(up, posture, [places for places in most if len(places) > 1])

    places = np.concatenate(steps)
    if posture is None and len(places) < MIN_STEPS:
        return Found(
            None, f"nobody stands straight, and feet stand {len(places)} times (it takes 3)"
        )
    if np.degrees(np.arccos(np.clip(up @ LEVEL_UP, -1, 1))) > MAX_TILT:
        return Found(None, f"up came out more than {MAX_TILT:.0f} degrees off the image's")

    lowest = places if len(places) else np.concatenate([path.reshape(-1, 3) for path in paths])
    height = -float(np.median(lowest @ up)) if len(places) else -float((lowest @ up).min())
    height += _sole(people, of_legs, up)
    how = f"from {len(places)} stances of feet and {seconds:.1f} s of straight posture"
    return Found(upright_world(up, height, how), "", sure)


def _steps(path: np.ndarray, up: np.ndarray, fps: float) -> np.ndarray:
    """Mean place (S,3) of each stance of each ankle of a path (n,A,3)."""
    mask = stance.standing(path, up, fps)
    places = [
        path[first:stop, ankle].mean(0, dtype=np.float64)
        for ankle in range(path.shape[1])
        for first, stop in stance.runs(mask[:, ankle], fps)
    ]
    return np.array(places).reshape(-1, 3)


def _sole(people: Sequence[Lifted], of_legs: Sequence[Leg], up: np.ndarray) -> float:
    """mm that the lowest joint of a foot is below its ankle, in the median; 0 where the skeleton
    ends at the ankles.
    """
    drops = []
    for person in people:
        rows = slice(None, None, -(-person.n_frames // SAMPLE))
        for leg in of_legs:
            if leg.below:
                height = person.pose_mm[rows][:, [leg.ankle, *leg.below]] @ up
                drops.append(height[:, 0] - height.min(1))
    return float(np.median(np.concatenate(drops))) if drops else 0.0


def _posture(
    people: Sequence[Lifted], of_legs: Sequence[Leg], of_trunk: Trunk, fps: float
) -> tuple[np.ndarray | None, float]:
    """Mean direction (3,) of trunk and legs of people who stand straight, None where they hardly
    ever do; and how long (s) they do.
    """
    if not of_trunk.top or not of_trunk.bottom:
        return None, 0.0

    total, n = np.zeros(3), 0
    for person in people:
        for first in range(0, person.n_frames, camera.BLOCK):
            pose = person.pose_mm[first : first + camera.BLOCK].astype(np.float64)
            bottom = pose[:, of_trunk.bottom].mean(1)
            leg = unit(bottom - pose[:, [leg.ankle for leg in of_legs]].mean(1))
            back = unit(pose[:, of_trunk.top].mean(1) - bottom)
            straight = (leg * back).sum(-1) > np.cos(np.radians(BENT_HIP))

            for one in of_legs:
                if one.hip >= 0 and one.knee >= 0:
                    thigh = unit(pose[:, one.knee] - pose[:, one.hip])
                    shank = unit(pose[:, one.ankle] - pose[:, one.knee])
                    straight &= (thigh * shank).sum(-1) > np.cos(np.radians(BENT_KNEE))

            total += (leg + back)[straight].sum(0)
            n += int(straight.sum())

    seconds = n / fps
    return (unit(total), seconds) if seconds >= MIN_UPRIGHT and total.any() else (None, seconds)


def _best_up(
    up: np.ndarray, posture: np.ndarray | None, steps: Sequence[np.ndarray]
) -> tuple[np.ndarray, tuple[float, float]]:
    """One step of least squares from `up` (3,): the new one, and its sigmas of pitch and roll in
    degrees. Every person's floor has a height of its own: they may be taller than assumed.
    """
    ahead = unit(np.array([0.0, 0.0, 1.0]) - up[2] * up)
    side = np.cross(up, ahead)
    axes = np.stack([ahead, side])
    n_floors = len(steps)
    rows, wanted = list[np.ndarray](), list[float]()

    priors = [(np.array(LEVEL_UP), LEVEL_DEGREES)]
    if posture is not None:
        priors.append((posture, POSTURE_DEGREES))
    for direction, degrees in priors:
        flat = direction / max(float(direction @ up), 0.3)
        for i, sigma in enumerate(np.radians(degrees)):
            rows.append(np.eye(2 + n_floors)[i] / sigma)
            wanted.append(float(axes[i] @ flat) / sigma)

    for floor, places in enumerate(steps):
        height = places @ up
        off = (height - np.median(height)) / (3 * STEP_MM)
        weight = 1 / (STEP_MM * np.sqrt(1 + off**2))
        of_floor = np.zeros((len(places), n_floors))
        of_floor[:, floor] = 1.0
        rows += list(np.column_stack([places @ axes.T, of_floor]) * weight[:, None])
        wanted += (-height * weight).tolist()

    matrix = np.array(rows)
    found = np.linalg.lstsq(matrix, np.array(wanted), rcond=None)[0]
    sigma = np.degrees(np.sqrt(np.diag(np.linalg.pinv(matrix.T @ matrix))[:2]))
    return unit(up + found[:2] @ axes), (float(sigma[0]), float(sigma[1]))
