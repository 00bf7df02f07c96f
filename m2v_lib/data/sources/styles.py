"""What the synthetic people do: each style turns time into joint angles (degrees), smooth in
time.

Angles are (flex, away, twist) of a joint's child bones: flex lifts a hanging limb forward, away
lifts it sideways from the body, twist turns it outward about itself. A style varies its tempo
and size with the generator it is given.
"""
# n frames

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

#: joint name -> (flex, away, twist), each a number or (n,)
Angles = dict[str, tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float]]
Wave = np.ndarray


@dataclass
class Act:
    """Angles of a whole take; ``lift`` (n,) mm off the floor, ``turn`` (n,) heading in degrees."""

    angles: Angles
    lift: np.ndarray | float = 0.0
    turn: np.ndarray | float = field(default=0.0)


def swing(time: Wave, hertz: float, phase: float = 0.0) -> Wave:
    """A sine between -1 and 1 of ``time`` (n,) seconds; phase in turns."""
    return np.sin(2 * np.pi * (hertz * time + phase))


def pulse(time: Wave, hertz: float, phase: float = 0.0, sharp: float = 1.0) -> Wave:
    """A smooth 0..1..0 once a period; a larger ``sharp`` makes it shorter."""
    return (0.5 + 0.5 * swing(time, hertz, phase - 0.25)) ** sharp


def _gait(
    time: Wave, hertz: float, stride: float, knee: float, lean: float, elbow: float
) -> Angles:
    """Legs half a period apart, arms against the legs; the knee bends most as its thigh swings
    forward.
    """
    angles: Angles = {
        "root": (-lean, 0, 4 * swing(time, hertz)),
        "spine": (0, 0, -8 * swing(time, hertz)),
    }
    for side, phase in (("right", 0.0), ("left", 0.5)):
        thigh = swing(time, hertz, phase)
        angles[f"{side} hip"] = (0.25 * stride + stride * thigh, 1, 0)
        angles[f"{side} knee"] = (-6 - knee * pulse(time, hertz, phase + 0.18, sharp=2), 0, 0)
        angles[f"{side} shoulder"] = (-0.8 * stride * thigh, 8, 0)
        angles[f"{side} elbow"] = (elbow - 0.3 * stride * thigh, 0, 0)

    return angles


def walk(time: Wave, rng: np.random.Generator) -> Act:
    """A circle of about a metre at an easy pace."""
    hertz = rng.uniform(0.8, 1.05)
    way = rng.choice([-1, 1]) * rng.uniform(50, 75)
    return Act(_gait(time, hertz, rng.uniform(20, 27), 55, 3, 20), turn=way * time)


def run(time: Wave, rng: np.random.Generator) -> Act:
    """A wider circle, trunk forward, elbows bent, both feet off the floor between steps."""
    hertz = rng.uniform(1.25, 1.5)
    way = rng.choice([-1, 1]) * rng.uniform(95, 125)
    lift = rng.uniform(50, 90) * pulse(time, 2 * hertz, rng.uniform(0.0, 0.1))
    return Act(_gait(time, hertz, rng.uniform(30, 38), 85, 10, 80), lift=lift, turn=way * time)


def _crouch(depth: Wave, lean: float) -> Angles:
    """Knees and hips bent by ``depth`` degrees together, so that the shins tilt less than the
    thighs.
    """
    angles: Angles = {"root": (-lean * depth / 100, 0, 0), "spine": (-0.2 * depth, 0, 0)}
    for side in ("right", "left"):
        angles[f"{side} hip"] = (0.72 * depth + lean * depth / 100, 6, 0)
        angles[f"{side} knee"] = (-depth - 3, 0, 0)
    return angles


def squat(time: Wave, rng: np.random.Generator) -> Act:
    """Down and up, arms forward for balance."""
    depth = rng.uniform(85, 115) * pulse(time, rng.uniform(0.3, 0.42), rng.uniform(0, 1))
    angles = _crouch(depth, lean=30)
    for side in ("right", "left"):
        angles[f"{side} shoulder"] = (0.8 * depth + 5, 8, 0)
        angles[f"{side} elbow"] = (12, 0, 0)
    return Act(angles)


def sit_down(time: Wave, rng: np.random.Generator) -> Act:
    """Onto a chair that is not there, a rest with the hands on the knees, and up again."""
    phase = pulse(time, rng.uniform(0.15, 0.2), rng.uniform(0, 1))
    seated = 0.5 + 0.5 * np.tanh(4 * (phase - 0.5)) / np.tanh(2)
    angles = _crouch(rng.uniform(88, 98) * seated, lean=12)
    for side in ("right", "left"):
        angles[f"{side} shoulder"] = (35 * seated, 8, 0)
        angles[f"{side} elbow"] = (15 + 45 * seated, 0, 0)
    return Act(angles, turn=rng.uniform(-20, 20) * swing(time, 0.06))


def wave(time: Wave, rng: np.random.Generator) -> Act:
    """One arm up and waving, the weight shifting from leg to leg."""
    up = 0.5 + 0.5 * np.tanh(3 * swing(time, rng.uniform(0.16, 0.22), rng.uniform(0, 1)))
    hand = swing(time, rng.uniform(1.2, 1.8))
    side, other = rng.permutation(["right", "left"])
    lean = 3 * swing(time, 0.3)
    angles: Angles = {"root": (0, 0, 3 * lean), "spine": (-2, lean, 0)}
    angles[f"{side} shoulder"] = (15 * up, 8 + 80 * up, 90 * up)
    angles[f"{side} elbow"] = (15 + up * (70 + 28 * hand), 0, 0)
    angles[f"{other} shoulder"] = (4 * swing(time, 0.25), 8, 0)
    angles[f"{other} elbow"] = (18, 0, 0)

    return Act(angles, turn=rng.uniform(15, 40) * swing(time, 0.1))


def jump(time: Wave, rng: np.random.Generator) -> Act:
    """Crouch, swing the arms, leave the floor, land in a crouch."""
    hertz = rng.uniform(0.55, 0.75)
    depth = rng.uniform(60, 80) * (
        pulse(time, hertz, 0.0, sharp=2) + 0.7 * pulse(time, hertz, 0.35, sharp=3)
    )
    lift = rng.uniform(220, 380) * pulse(time, hertz, 0.68, sharp=3)
    angles = _crouch(depth, lean=25)

    for side in ("right", "left"):
        angles[f"{side} shoulder"] = (
            60 * pulse(time, hertz, 0.68) - 30,
            8 + 35 * pulse(time, hertz, 0.68, 2),
            0,
        )
        angles[f"{side} elbow"] = (25 + 20 * swing(time, hertz), 0, 0)

    return Act(angles, lift=lift, turn=rng.uniform(20, 60) * swing(time, 0.08))


def turn_and_reach(time: Wave, rng: np.random.Generator) -> Act:
    """The body turns on the spot and a hand reaches out, high and low in turn."""
    hertz = rng.uniform(0.22, 0.3)
    out = pulse(time, 2 * hertz, rng.uniform(0, 1), sharp=2)
    high = 60 + 35 * swing(time, hertz / 2, rng.uniform(0, 1))
    side, other = rng.permutation(["right", "left"])
    angles = _crouch(25 * out, lean=60)
    angles["spine"] = (-12 * out, 0, 22 * swing(time, hertz))
    angles[f"{side} shoulder"] = (high * out, 10, 0)
    angles[f"{side} elbow"] = (60 - 50 * out, 0, 0)
    angles[f"{other} shoulder"] = (-12 * out, 10, 0)
    angles[f"{other} elbow"] = (20, 0, 0)

    return Act(angles, turn=rng.uniform(60, 100) * swing(time, hertz / 2))


STYLES: Final[dict[str, Callable[[Wave, np.random.Generator], Act]]] = {
    "walk": walk,
    "run": run,
    "squat": squat,
    "sit-down": sit_down,
    "wave": wave,
    "jump": jump,
    "turn-and-reach": turn_and_reach,
}
