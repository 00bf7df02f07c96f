"""Feet that do not slide. First the whole body is moved in depth, which a single frame hardly
tells, so that standing feet stay where they are; aside and up the image says where it is. What is
left, at most some centimetres, each leg does by itself: the ankle goes to the mean place of its
stance, and the knee bends as it has to, in its own plane.
"""
# n frames, A ankles

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from m2v_lib.geometry.kinematics import unit
from m2v_lib.lift.motion import stance
from m2v_lib.lift.motion.anatomy import Leg
from m2v_lib.lift.motion.smooth import smooth

if TYPE_CHECKING:
    from m2v_lib.lift.people import Lifted

#: s over which the body's correction forgets: as strongly it is held where it was lifted
MEMORY: Final = 1.2
#: how strongly a frame in which nothing stands moves as its neighbours do
LINK: Final = 0.02
#: Hz above which the body's correction is smoothed away
CORRECTION_HZ: Final = 2.9
#: mm that a leg reaches at most to bring its foot to the place where it stands
REACH: Final = 40.0
#: s in which it does
FADE: Final = 0.1


def plant_feet(person: Lifted, legs: Sequence[Leg], up: np.ndarray, fps: float) -> None:
    """Keep standing feet in their places, in place; `up` (3,) in camera axes."""
    if person.n_frames < 3 or not legs:
        return

    correction = _depth_correction(stance.ankle_paths(person, legs), up, fps)
    smooth(correction[:, None, None], fps, CORRECTION_HZ)
    person.root_mm[:, 2] += correction

    paths = stance.ankle_paths(person, legs)
    mask = stance.standing(paths, up, fps)
    for i, leg in enumerate(legs):
        if leg.hip >= 0 and leg.knee >= 0:
            for first, stop in stance.runs(mask[:, i], fps):
                away = paths[first:stop, i].mean(0, dtype=np.float64) - paths[first:stop, i]
                _bend(person.pose_mm[first:stop], leg, _faded(away, fps))


def _depth_correction(paths: np.ndarray, up: np.ndarray, fps: float) -> np.ndarray:
    """The body's shift in depth (n,) mm that takes the steps of standing ankles (n,A,3) from it:
    least squares of ``sum s (r[t+1] - r[t] + step)^2 + hold sum r^2``, s how surely they stand.
    """
    sure = stance.stance_weight(paths, up, fps)
    sure = np.minimum(sure[1:], sure[:-1])
    step = (sure * np.diff(paths[..., 2], axis=0)).sum(1)

    link = sure.sum(1).astype(np.float64) + LINK
    diagonal = np.full(len(paths), 1 / (MEMORY * fps) ** 2)
    diagonal[:-1] += link
    diagonal[1:] += link
    wanted = np.zeros(len(paths))
    wanted[:-1] += step
    wanted[1:] -= step
    return _tridiagonal(diagonal, -link, wanted)


def _tridiagonal(diagonal: np.ndarray, beside: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """x (n,) of a symmetric tridiagonal system (Thomas), which overwrites its arguments."""
    for i in range(1, len(diagonal)):
        share = beside[i - 1] / diagonal[i - 1]
        diagonal[i] -= share * beside[i - 1]
        wanted[i] -= share * wanted[i - 1]

    wanted[-1] /= diagonal[-1]
    for i in range(len(diagonal) - 2, -1, -1):
        wanted[i] = (wanted[i] - beside[i] * wanted[i + 1]) / diagonal[i]
    return wanted


def _faded(away: np.ndarray, fps: float) -> np.ndarray:
    """Shifts (n,3) no longer than REACH, which begin and end softly."""
    n = len(away)
    ramp = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)) / max(1.0, FADE * fps)
    ramp = np.minimum(ramp, 1.0)
    soft = ramp**2 * (3 - 2 * ramp)
    length = np.linalg.norm(away, axis=-1)
    return away * (soft * np.minimum(1.0, REACH / np.maximum(length, 1e-9)))[:, None]


def _bend(pose: np.ndarray, leg: Leg, shift: np.ndarray) -> None:
    """Move the ankle of poses (n,J,3) by shifts (n,3), in place: hip and bone lengths stay, the
    knee stays in the plane of the leg; where the leg is too short the ankle goes as far as it can.
    """
    joints = leg.hip, leg.knee, leg.ankle
    hip, knee, ankle = (pose[:, joint].astype(np.float64) for joint in joints)
    thigh = np.linalg.norm(knee - hip, axis=-1)
    shank = np.linalg.norm(ankle - knee, axis=-1)
    line = ankle + shift - hip
    reach = np.linalg.norm(line, axis=-1)
    ahead = line / np.maximum(reach, 1e-9)[:, None]
    reach = np.clip(reach, np.abs(thigh - shank) + 1e-3, thigh + shank - 1e-3)

    along = (thigh**2 - shank**2 + reach**2) / (2 * reach)
    across = np.sqrt(np.maximum(thigh**2 - along**2, 0.0))
    bend = knee - hip
    bend -= (bend * ahead).sum(-1, keepdims=True) * ahead
    size = np.linalg.norm(bend, axis=-1, keepdims=True)
    anywhere = np.cross(ahead, np.eye(3)[np.argmin(np.abs(ahead).sum(0))])  # of a straight leg
    bend = np.where(size > 1e-6, bend / np.maximum(size, 1e-6), unit(anywhere))

    pose[:, leg.knee] = hip + along[:, None] * ahead + across[:, None] * bend
    new_ankle = hip + reach[:, None] * ahead
    for joint in leg.below:
        pose[:, joint] += new_ankle - ankle
    pose[:, leg.ankle] = new_ankle
