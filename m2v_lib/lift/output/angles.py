"""Joint angles of a motion by the conventions and names of OpenSim's full-body models (Rajagopal
2016), from positions alone.

Each segment has x to the front, y up along it and z to the person's right. Angles are those of
successive turns about z, x and y of the segment in its parent: flexion, adduction, inward rotation;
of the left side mirrored, so that flexed, drawn in and turned in are positive on both. The pelvis
stands in the world: tilt, list and rotation.

- pelvis: z through the hips, y as near as can be to the lower spine; its origin midway between them.
- torso: y from the spine (else the hips) to the middle of the shoulders, z towards the right
  shoulder. `lumbar_extension` needs a spine.
  Frames in which hips or shoulders lie along the spine (a fault of the lift) are bridged.
- thigh and upper arm: y against the bone. How far they are turned about it shows in the shank or
  forearm alone, and only where knee or elbow is bent by MIN_BEND; between such frames the angle is
  interpolated, and a limb that is never bent has none.
- knee and elbow: the angle between the bones, 0 when straight. Ankle: how much less than a right
  angle lies between shank and foot (heel, else ankle, to toe), bent up positive.

Not from positions: turns of forearm, hand, foot and head about themselves.
"""
# n frames, of one person

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from m2v_lib.geometry.kinematics import unit
from m2v_lib.lift.output.rotations import euler_zxy
from m2v_lib.skeletons import Skeleton

#: degrees of flexion from which a joint shows how the limb above it is turned
MIN_BEND: Final = 20.0
#: cosine of hips or shoulders with the spine from which they no longer lie across it
ASTRAY: Final = 0.8
METRES: Final = 1e-3
#: a side's letter in the names, its word, and what mirrors its angles
SIDES: Final = {"r": ("right", 1.0), "l": ("left", -1.0)}
#: what the pelvis' y points to, the best first
SPINES: Final = ("lower back", "spine", "upper back")
TOES: Final = ("ball", "toe")

Points = Callable[[str], np.ndarray | None]


def joint_angles(
    joints_mm: np.ndarray,
    skeleton: Skeleton,
    absent: tuple[int, ...] = (),
    times: np.ndarray | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Columns (n,) in degrees, the pelvis' place in m, of world joints (n,J,3) y up, by name, without
    what cannot be told; and the shares of frames in which each rotation, pelvis and torso were seen. Empty without hips
    and shoulders. `times` (n,) are where frames are missing.
    """
    words = skeleton.vocabulary
    times = np.arange(len(joints_mm), dtype=float) if times is None else times

    def points(word: str) -> np.ndarray | None:
        found = words.index(word) if word in words else -1
        return None if found < 0 or found in absent else joints_mm[:, found].astype(np.float64)

    seen: dict[str, float] = {}
    trunk = _trunk(points, times, seen)
    if trunk is None:
        return {}, {}

    columns, pelvis, torso = trunk
    for side in SIDES:
        columns |= _leg(points, pelvis, side, times, seen)
    for side in SIDES:
        columns |= _arm(points, torso, side, times, seen)

    return columns, seen


def _trunk(
    points: Points, times: np.ndarray, seen: dict[str, float]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray] | None:
    """Columns of pelvis and torso, and how they are turned (n,3,3)."""
    hips, shoulders = ([points(f"{s} {j}") for s in ("right", "left")] for j in ("hip", "shoulder"))
    if any(point is None for point in (*hips, *shoulders)):
        return None

    (right, left), (right_shoulder, left_shoulder) = np.array(hips), np.array(shoulders)
    middle, top = (right + left) / 2, (right_shoulder + left_shoulder) / 2
    spine = next((point for word in SPINES if (point := points(word)) is not None), None)

    up, across = unit((top if spine is None else spine) - middle), unit(right - left)
    ahead, sound = front(up, across, times)
    across = np.where(sound[:, None], across, np.cross(ahead, up))
    pelvis = np.stack([ahead, np.cross(across, ahead), across], axis=-1)

    up = unit(top - (middle if spine is None else spine))
    ahead, upright = front(up, unit(right_shoulder - left_shoulder), times)
    torso = np.stack([ahead, up, np.cross(ahead, up)], axis=-1)
    seen |= {"pelvis": float(sound.mean()), "torso": float(upright.mean())}

    tilt, list_, turn = turns(pelvis)
    extension, bending, rotation = turns(pelvis.transpose(0, 2, 1) @ torso)
    columns = {"pelvis_tilt": tilt, "pelvis_list": list_, "pelvis_rotation": turn}
    columns |= dict(zip(("pelvis_tx", "pelvis_ty", "pelvis_tz"), METRES * middle.T, strict=True))
    columns |= {} if spine is None else {"lumbar_extension": extension}
    columns |= {"lumbar_bending": bending, "lumbar_rotation": rotation}

    return columns, pelvis, torso


def _leg(
    points: Points, pelvis: np.ndarray, side: str, times: np.ndarray, seen: dict[str, float]
) -> dict[str, np.ndarray]:
    name, sign = SIDES[side]
    hip, knee, ankle = (points(f"{name} {joint}") for joint in ("hip", "knee", "ankle"))
    if hip is None or knee is None:
        return {}

    limb = _limb(pelvis, hip, knee, ankle, -1.0, times)
    keys = f"hip_flexion_{side}", f"hip_adduction_{side}", f"hip_rotation_{side}"
    columns = _named(limb, keys, sign, seen)
    if ankle is None:
        return columns

    columns[f"knee_angle_{side}"] = between(knee - hip, ankle - knee)
    heel = points(f"{name} heel")
    toe = next((p for word in TOES if (p := points(f"{name} {word}")) is not None), None)
    if toe is not None:
        foot = toe - (ankle if heel is None else heel)
        columns[f"ankle_angle_{side}"] = 90 - between(foot, knee - ankle)

    return columns


def _arm(
    points: Points, torso: np.ndarray, side: str, times: np.ndarray, seen: dict[str, float]
) -> dict[str, np.ndarray]:
    name, sign = SIDES[side]
    shoulder, elbow, wrist = (points(f"{name} {joint}") for joint in ("shoulder", "elbow", "wrist"))
    if shoulder is None or elbow is None:
        return {}

    limb = _limb(torso, shoulder, elbow, wrist, 1.0, times)
    columns = _named(limb, (f"arm_flex_{side}", f"arm_add_{side}", f"arm_rot_{side}"), sign, seen)
    if wrist is not None:
        columns[f"elbow_flex_{side}"] = between(elbow - shoulder, wrist - elbow)

    return columns


def _named(
    limb: tuple[np.ndarray, np.ndarray, np.ndarray | None, float],
    keys: tuple[str, str, str],
    sign: float,
    seen: dict[str, float],
) -> dict[str, np.ndarray]:
    """A limb's angles by name; `sign` mirrors those of the left."""
    flexion, adduction, rotation, share = limb
    columns = {keys[0]: flexion, keys[1]: sign * adduction}
    seen[keys[2]] = share
    return columns if rotation is None else columns | {keys[2]: sign * rotation}


def _limb(
    parent: np.ndarray,
    start: np.ndarray,
    middle: np.ndarray,
    end: np.ndarray | None,
    ahead: float,
    times: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, float]:
    """Flexion, adduction and rotation (n,) in degrees of the bone from start to middle, and the share
    of frames in which the rotation shows. `ahead`: the end bends to the front (1) or back (-1).
    """
    up = np.einsum("nji,nj->ni", parent, unit(start - middle))
    adduction = np.arcsin(np.clip(up[:, 2], -1, 1))
    flexion = np.unwrap(np.arctan2(-up[:, 0], up[:, 1]))

    rotation, share = None, 0.0
    if end is not None:
        bent = between(middle - start, end - middle) > MIN_BEND
        share = float(bent.mean())
        if bent.any():
            front = ahead * np.einsum("nji,nj->ni", parent, unit(end - middle))[bent]
            found = _about_itself(front, flexion[bent], adduction[bent])
            rotation = np.interp(times, times[bent], np.degrees(np.unwrap(found)))

    return np.degrees(flexion), np.degrees(adduction), rotation, share


def _about_itself(front: np.ndarray, flexion: np.ndarray, adduction: np.ndarray) -> np.ndarray:
    """How far a limb is turned about itself (n,), whose front side is `front` (n,3) in its parent."""
    x = np.stack([np.cos(flexion), np.sin(flexion), np.zeros(len(flexion))], axis=-1)
    z = np.stack(
        [
            np.sin(flexion) * np.sin(adduction),
            -np.cos(flexion) * np.sin(adduction),
            np.cos(adduction),
        ],
        axis=-1,
    )
    return np.arctan2(-(front * z).sum(-1), (front * x).sum(-1))


def front(up: np.ndarray, across: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the front of a segment is (n,3), of unit vectors along and across it (n,3); and in which
    frames the two are so far apart that it shows. In the others it goes from one side to the next.
    """
    sound = np.abs((up * across).sum(-1)) < ASTRAY
    ahead = unit(np.cross(up, across))
    if sound.any() and not sound.all():
        for axis in range(3):
            ahead[~sound, axis] = np.interp(times[~sound], times[sound], ahead[sound, axis])
        ahead = unit(ahead - (ahead * up).sum(-1, keepdims=True) * up)

    return ahead, sound


def turns(rotations: np.ndarray) -> np.ndarray:
    """Angles (3,n) in degrees about z, x and y, without jumps of a whole turn."""
    return np.unwrap(euler_zxy(rotations).T, period=360)


def between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Angles (n,) in degrees between vectors (n,3)."""
    across = np.linalg.norm(np.cross(one, other), axis=-1)
    return np.degrees(np.arctan2(across, (one * other).sum(-1)))
