"""People made of numbers: 17 joints, exact bone lengths, a floor; no download, no licence,
seconds to make.

Angles of a style (``styles``) go down the skeleton (``kinematics.forward``); the feet then carry
the body: it moves so that whichever foot is on the floor stays where it is. World mm, z up,
floor at z = 0. All numbers are our choice.
"""
# n frames, J = 17 joints

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.detector_noise import DetectorModel, video_generator
from m2v_lib.data.sources.mocap import Clip, Pack, prepare_mocap
from m2v_lib.data.sources.styles import STYLES, Act
from m2v_lib.geometry.kinematics import axis_rotation, forward
from m2v_lib.skeletons.h36m import BONES, JOINTS, N_JOINTS, PARENTS

FEET: Final = (3, 6)
#: two feet closer in height than this (mm) share the body's weight, which keeps the hand-over
#: from foot to foot smooth
SHARE_MM: Final = 40.0
#: rest offset of a joint from its parent as a share of the stature; x to the right, y forward, z
#: up, arms hanging
REST: Final = {
    "hip": (0.055, 0, 0),
    "knee": (0, 0, -0.245),
    "ankle": (0, 0, -0.245),
    "spine": (0, -0.012, 0.135),
    "neck": (0, -0.008, 0.150),
    "nose": (0, 0.035, 0.062),
    "head": (0, -0.012, 0.066),
    "shoulder": (0.090, 0, -0.012),
    "elbow": (0, 0, -0.168),
    "wrist": (0, 0, -0.148),
}
ANKLE_HEIGHT: Final = 0.045


@dataclass(frozen=True)
class Plan:
    """What to make: the first ``n_train`` people train (the last of them validates), the others
    test.
    """

    n_train: int = 6
    n_test: int = 2
    n_frames: int = 300
    takes: int = 1
    fps: float = 50.0
    seed: int = 0
    styles: tuple[str, ...] = tuple(STYLES)

    def subjects(self) -> tuple[str, ...]:
        return tuple(f"SYN_{i + 1}" for i in range(self.n_train + self.n_test))

    def describe(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Body:
    """One person: ``offsets`` (J,3) mm from parent to joint at rest, and the ankle's height
    above the floor in mm.
    """

    offsets: np.ndarray
    ankle_height: float

    @property
    def bones(self) -> np.ndarray:
        """Bone lengths (16,) mm in the order of ``skeleton.BONES``."""
        return np.linalg.norm(self.offsets[[child for _, child in BONES]], axis=-1)


def make_body(rng: np.random.Generator) -> Body:
    """A person of 1.5 to 1.9 m whose segments differ from the average by some percent; left and
    right are alike.
    """
    stature = rng.uniform(1500, 1900)
    sizes = {
        segment: stature * np.exp(0.05 * rng.standard_normal()) * np.array(rest)
        for segment, rest in REST.items()
    }
    offsets = np.zeros((N_JOINTS, 3))

    for joint, name in enumerate(JOINTS[1:], start=1):
        mirror = (-1, 1, 1) if name.startswith("left") else (1, 1, 1)
        offsets[joint] = sizes[name.split()[-1]] * mirror

    return Body(offsets, ANKLE_HEIGHT * stature)


def joint_rotations(act: Act, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Local rotations (n,J,3,3): twist about the limb, then flex, then away; the root turns with
    the heading.

    Slow wandering of a degree or two is added to every joint: nobody stands still.
    """
    out = np.empty((len(time), N_JOINTS, 3, 3))
    for joint, name in enumerate(JOINTS):
        angles = act.angles.get(name, (0, 0, 0))
        flex, away, twist = (
            np.broadcast_to(angle, time.shape) + wander(time, rng) for angle in angles
        )
        side = 1 if name.startswith("left") else -1
        out[:, joint] = (
            axis_rotation(1, side * away) @ axis_rotation(0, flex) @ axis_rotation(2, side * twist)
        )

    out[:, 0] = axis_rotation(2, np.broadcast_to(act.turn, time.shape)) @ out[:, 0]
    return out


def wander(time: np.ndarray, rng: np.random.Generator, degrees: float = 1.2) -> np.ndarray:
    """Three slow sines (n,) of random rate, 0.05 to 0.6 Hz, and phase."""
    hertz, phase = rng.uniform(0.05, 0.6, (3, 1)), rng.uniform(0, 2 * np.pi, (3, 1))
    return degrees * np.sin(2 * np.pi * hertz * time + phase).mean(0)


def stand_on_floor(
    joints: np.ndarray,
    ankle_height: float,
    lift: np.ndarray | float = 0.0,
    *,
    share: float = SHARE_MM,
) -> np.ndarray:
    """Move a body (n,J,3) whose root is at the origin so that its feet carry it; ``lift`` (n,)
    mm off the floor.

    The weight on a foot falls from 1 to 0 as it rises ``share`` mm above the other. The root
    moves against the weighted velocity of the feet; vertically this is a smooth minimum of both
    heights, at most ``share / 4`` below the true one, so no ankle ever sinks under its height on
    the floor. The path is centred on the room's origin.
    """
    right, left = (joints[:, foot] for foot in FEET)
    gap = left[:, 2] - right[:, 2]
    on_right = np.clip(0.5 + gap / (2 * share), 0, 1)[:, None]
    mid = (on_right[1:] + on_right[:-1]) / 2
    steps = -(mid * np.diff(right, axis=0) + (1 - mid) * np.diff(left, axis=0))
    root = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])
    root[:, :2] -= (root[:, :2].max(0) + root[:, :2].min(0)) / 2
    smooth_lowest = np.minimum(right[:, 2], left[:, 2]) - np.maximum(share - abs(gap), 0) ** 2 / (
        4 * share
    )
    root[:, 2] = lift - smooth_lowest
    placed = joints + root[:, None]
    placed[..., 2] += ankle_height - placed[:, FEET, 2].min()

    return placed


def make_take(
    body: Body, style: str, n_frames: int, fps: float, rng: np.random.Generator
) -> np.ndarray:
    """World positions (n,J,3) mm of one person doing one thing."""
    time = np.arange(n_frames) / fps
    act = STYLES[style](time, rng)
    joints = forward(joint_rotations(act, time, rng), body.offsets, PARENTS)
    return stand_on_floor(joints, body.ankle_height, act.lift)


def make_pack(plan: Plan) -> Pack:
    """Every person in every style; each take is fixed by the seed and its own name alone."""
    clips = []
    for subject in plan.subjects():
        body = make_body(video_generator(plan.seed, subject))
        for style in plan.styles:
            for take in range(plan.takes):
                name = f"{subject}_{style}#{take}"
                positions = make_take(
                    body, style, plan.n_frames, plan.fps, video_generator(plan.seed, name)
                )
                clips.append(Clip(name, subject, style, style, positions))

    return Pack(tuple(clips), plan.fps)


def prepare_people(
    root: Path, store_name: str, sources: Sequence[Path], *, recipe: str, input_noise_seed: int = 0
) -> Path:
    """The default plan's people as a store, from no file; ``input_noise_seed`` fixes the 2D
    detector's noise.
    """
    return prepare_synthetic(
        root, store_name, detector=DetectorModel(seed=input_noise_seed), recipe=recipe
    )


def prepare_synthetic(
    root: Path,
    name: str,
    plan: Plan | None = None,
    *,
    detector: DetectorModel | None = None,
    recipe: str = "",
) -> Path:
    """Make the people of ``plan`` and send them down the same road as real motion: cameras,
    detector, store.
    """
    plan = plan or Plan()
    subjects = plan.subjects()
    return prepare_mocap(
        root,
        name,
        make_pack(plan),
        source=f"synthetic motion, seed {plan.seed}",
        test_subjects=subjects[plan.n_train :],
        val_subjects=subjects[plan.n_train - 1 : plan.n_train],
        detector=detector,
        recipe=recipe,
    )
