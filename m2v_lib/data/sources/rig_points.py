"""The 38 points of CMU's rig from the poses of its bones, and which of them cannot be trusted.

Thirty are ends of bones. Eight have no bone: heels, small toes, crown, nose and ears are fixed to
a bone by average proportions of the body.
"""
# n frames, R = 38 points

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from m2v_lib.data.sources.rig_layouts import RIG_H36M17, RIG_JOINTS
from m2v_lib.geometry.kinematics import axis_rotation
from m2v_lib.geometry.resampling import MARGIN_FRAMES, MAX_ACCELERATION, MAX_SPEED
from m2v_lib.skeletons.known import RIG38

#: Which bone ends where a point of one side lies, without the side's letter.
SIDE_BONES: Final = {
    "hip": "hipjoint",
    "knee": "femur",
    "ankle": "tibia",
    "toe_base": "foot",
    "toe_tip": "toes",
    "shoulder": "clavicle",
    "elbow": "humerus",
    "wrist": "wrist",
    "hand": "hand",
    "fingers": "fingers",
    "thumb": "thumb",
}
MIDDLE_BONES: Final = ("lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head")
#: All bones that the points need.
RIG_BONES: Final = (*MIDDLE_BONES, *(s + b for s in "lr" for b in SIDE_BONES.values()))

#: Points of the head, mm to the left, up and forward of the end of bone head, in axes that are
#: the bone's tilted by so many degrees, the face upward.
HEAD_TILT: Final = 20.0
HEAD_POINTS: Final = {
    "crown": (0, 100, 35),
    "nose": (0, -45, 160),
    "ltragus": (72, -30, 35),
    "rtragus": (-72, -30, 35),
}
#: In lengths of the foot from ankle to toe tip: heel behind the ankle, small toe beside and
#: before the base of the toes.
HEEL_BEHIND: Final = 0.27
SMALL_TOE: Final = (0.26, 0.16)

#: A foot that makes another angle with the shank (degrees) is no foot.
ANKLE_RANGE: Final = (45.0, 165.0)
#: Whose published ankle angles do not give the feet.
BAD_FEET: Final = ("CMU_05",)


def rig_points(
    ends: Mapping[str, np.ndarray],
    turned: Mapping[str, np.ndarray],
    vectors: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The points (n,R,3) in a world with z up, from the bones' ends (n,3) mm and rotations
    (n,3,3) in the files' frame with y up: (x, y, z) -> (x, -z, y). `vectors` (3,) mm are the
    bones at rest.
    """
    points = {name: ends[name] for name in MIDDLE_BONES}
    points["pelvis"] = ends["root"]

    for side in "lr":
        points |= {f"{side}{name}": ends[side + bone] for name, bone in SIDE_BONES.items()}
        points |= _foot_points(side, ends, turned, vectors)

    points["hip"] = (points["rhip"] + points["lhip"]) / 2

    tilt = axis_rotation(0, np.array(-HEAD_TILT))
    for name, offset in HEAD_POINTS.items():
        points[name] = ends["head"] + turned["head"] @ (tilt @ np.array(offset, np.float64))

    every = np.stack([points[name] for name in RIG_JOINTS], axis=1)
    return every[..., [0, 2, 1]] * (1, -1, 1)


def _foot_points(
    side: str,
    ends: Mapping[str, np.ndarray],
    turned: Mapping[str, np.ndarray],
    vectors: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Heel and small toe of one foot; at rest z is forward and x to the left."""
    foot, toes = vectors[f"{side}foot"], vectors[f"{side}toes"]
    length = foot[2] + toes[2]
    outward = 1 if side == "l" else -1
    heel = np.array([0.0, foot[1], -HEEL_BEHIND * length])

    small_toe = np.array([outward * SMALL_TOE[0] * length, 0.0, SMALL_TOE[1] * length])
    return {
        f"{side}heel": ends[f"{side}tibia"] + turned[f"{side}foot"] @ heel,
        f"{side}small_toe": ends[f"{side}foot"] + turned[f"{side}toes"] @ small_toe,
    }


def suspect_points(points: np.ndarray, fps: float, subject: str) -> np.ndarray:
    """Which points (n,R) bool of (n,R,3) mm cannot be trusted: outside the 17 joints, whose
    faults are cut out of clips altogether.

    A point is suspect when it moves faster than a person's or accelerates more, relative to the
    hip (six frames either side), when it belongs to a foot that no ankle allows, or hangs on a
    suspect one.
    """
    relative = (points - points[:, :1]) / 1000.0
    speed = np.linalg.norm(np.diff(relative, axis=0), axis=-1) * fps
    acceleration = np.linalg.norm(np.diff(relative, 2, axis=0), axis=-1) * fps**2
    bad = np.zeros(points.shape[:2], bool)

    for fault, lasts in ((speed > MAX_SPEED, 1), (acceleration > MAX_ACCELERATION, 2)):
        for frame, point in np.argwhere(fault):
            first, last = frame - MARGIN_FRAMES, frame + lasts + MARGIN_FRAMES
            bad[max(0, first) : last + 1, point] = True

    for side in "lr":
        foot = [
            RIG_JOINTS.index(f"{side}{n}") for n in ("heel", "toe_base", "toe_tip", "small_toe")
        ]
        wrong = _impossible_ankle(points, side) | (subject in BAD_FEET)
        bad[:, foot] |= wrong[:, None]

    bad[:, list(RIG_H36M17)] = False
    for child, parent in enumerate(RIG38.parents):
        if child not in RIG_H36M17 and parent >= 0:
            bad[:, child] |= bad[:, parent]

    return bad


def _impossible_ankle(points: np.ndarray, side: str) -> np.ndarray:
    """Frames (n,) bool in which the foot makes an angle with the shank that no ankle allows."""
    names = ("knee", "ankle", "toe_base")
    knee, ankle, base = (points[:, RIG_JOINTS.index(side + name)] for name in names)
    shank, foot = knee - ankle, base - ankle
    norms = np.linalg.norm(shank, axis=-1) * np.linalg.norm(foot, axis=-1)
    cosine = np.clip((shank * foot).sum(-1) / np.maximum(norms, 1e-9), -1, 1)
    angle = np.degrees(np.arccos(cosine))
    return (angle < ANKLE_RANGE[0]) | (angle > ANKLE_RANGE[1])
