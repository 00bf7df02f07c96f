"""Tracks of keypoints to motion in space: gaps filled, to the model's frame rate and back, one
person at a time.
"""
# n frames of a piece, m frames at the model's rate, J joints

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import as_number
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.data.keypoints.timeline import dense, fill, n_at_rate, sample, unbroken
from m2v_lib.data.limits import (
    MAX_LIFTED_FRAMES,
    MAX_MODEL_FRAMES,
    MAX_STATURE_M,
    MIN_STATURE_M,
)
from m2v_lib.lift.camera import BLOCK, STATURE, Camera, assumed_camera, place
from m2v_lib.lift.input_check import input_doubts, without_unsure
from m2v_lib.lift.motion import SMOOTH_HZ
from m2v_lib.lift.motion.smooth import MAX_HZ, MIN_HZ
from m2v_lib.lift.motion.treatment import treat
from m2v_lib.lift.motion.world import World, level_world
from m2v_lib.lift.report import (
    RARELY_SEEN,
    certainty_lines,
    motion_lines,
    reading_lines,
    treatment_lines,
    warnings,
)
from m2v_lib.lift.self_check import self_check, worst
from m2v_lib.lift.windows import MODEL_FPS, Lifter
from m2v_lib.skeletons import H36M17, Skeleton

#: joints the detector trusted less than this are replaced by their neighbours in time
MIN_CONFIDENCE: Final = 0.1


@dataclass(frozen=True)
class Lifted:
    """One unbroken motion of one person, a row a frame of the recording from `start` on.

    pose_mm (n,J,3) relative to the root and root_mm (n,3) from the camera, mm, x right, y down,
    z away; seen_px (n,J,2) the keypoints used; confidence (n,J); filled (n,J) bool: not seen
    but filled in; spread_mm (n,J) how unsure each joint's place from the root is (one sigma).
    """

    name: str
    start: int
    pose_mm: np.ndarray
    root_mm: np.ndarray
    seen_px: np.ndarray
    confidence: np.ndarray
    filled: np.ndarray
    spread_mm: np.ndarray | None = None

    @property
    def n_frames(self) -> int:
        return len(self.pose_mm)

    @property
    def joints_mm(self) -> np.ndarray:
        """Joints from the camera (n,J,3)."""
        return self.pose_mm + self.root_mm[:, None]


@dataclass(frozen=True)
class Motion:
    """Everybody in a recording, most frames first; `about` says what was assumed and what lifted
    it.
    """

    source: str
    fps: float
    n_frames: int
    camera: Camera
    people: tuple[Lifted, ...]
    about: dict[str, Any]
    notes: tuple[str, ...] = ()
    #: what was read, missing, assumed, and how sure it is, a line each
    report: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    #: joints that the layout does not have: left out of every file
    absent: tuple[int, ...] = ()
    skeleton: Skeleton = H36M17
    #: the world that was found; None where the camera is assumed to be level
    found_world: World | None = None

    def __post_init__(self) -> None:
        """Raise DataError for a pose that is none, whoever made it, before it is written."""
        for person in self.people:
            check_finite(person.pose_mm, person.root_mm, f"{self.source}: person {person.name}")

    @cached_property
    def world(self) -> World:
        """Where up and the floor are."""
        if self.found_world is not None:
            return self.found_world
        kept = [joint for joint in range(len(self.skeleton)) if joint not in self.absent]
        return level_world(
            person.pose_mm[first : first + BLOCK, kept]
            + person.root_mm[first : first + BLOCK, None]
            for person in self.people
            for first in range(0, person.n_frames, BLOCK)
        )

    @property
    def n_bytes(self) -> int:
        """Memory of all arrays."""
        arrays = [
            (p.pose_mm, p.root_mm, p.seen_px, p.confidence, p.filled, p.spread_mm)
            for p in self.people
        ]
        return sum(a.nbytes for person in arrays for a in person if a is not None)


def check_finite(pose_mm: np.ndarray, root_mm: np.ndarray, where: str) -> None:
    """Raise DataError where poses (n,J,3) or places (n,3) are not finite."""
    with np.errstate(invalid="ignore"):  # sums, so that no memory is taken for each number
        odd = ~np.isfinite(pose_mm.sum((1, 2), np.float64) + root_mm.sum(1, np.float64))
    if odd.any():
        raise DataError(
            f"{where}: poses must be finite, got {odd.sum()} of {odd.size} that are not; are the "
            "model's weights whole (--model)?"
        )


def by_person(path: Path, motion: Motion) -> Iterator[tuple[Path, list[Lifted]]]:
    """Each person's pieces in time, and the file of a format that holds one person: `path`, or of
    several people `NAME-1.bvh`, `NAME-2.bvh` ...
    """
    names = list(dict.fromkeys(person.name for person in motion.people))
    for number, name in enumerate(names, start=1):
        pieces = [person for person in motion.people if person.name == name]
        own = path.with_name(f"{path.stem}-{number}{path.suffix}")
        yield own if len(names) > 1 else path, sorted(pieces, key=lambda piece: piece.start)


def lift_tracks(
    tracks: Tracks,
    lifter: Lifter,
    *,
    focal: float | None = None,
    stature: float = STATURE,
    smooth: float | None = SMOOTH_HZ,
    min_confidence: float = MIN_CONFIDENCE,
) -> Motion:
    """Lift everybody in `tracks`, whose image size must be known, and whose frame rate unless it
    is a single frame. `smooth`: Hz of which half is left; None leaves it out.

    Raises DataError where it is not known, or the lifter's joints are not those of the tracks.
    """
    skeleton = lifter.skeleton
    if tracks.skeleton.joints != skeleton.joints:
        raise DataError(
            f"{tracks.source}: holds joints of {tracks.skeleton.name}, the model those of "
            f"{skeleton.name}; they must be the same"
        )
    if not tracks.width or not tracks.height:
        raise DataError(
            f"{tracks.source}: does not say how large its image is; give it (--size 1280x720)"
        )
    if tracks.fps is None and tracks.n_frames > 1:
        raise DataError(f"{tracks.source}: does not say its frames a second; give them (--fps 25)")

    fps, camera = tracks.fps or MODEL_FPS, assumed_camera(tracks.width, tracks.height, focal)
    as_number(stature, f"{tracks.source}: stature (m)", MIN_STATURE_M, MAX_STATURE_M)
    if smooth is not None:
        as_number(smooth, f"{tracks.source}: smooth (Hz)", MIN_HZ, MAX_HZ)
    tracks = without_unsure(tracks, min_confidence)
    _check_length(tracks, fps)

    people = []
    for person in tracks.people:
        for rows in unbroken(person.frames, fps):
            piece = Person(
                person.name, person.frames[rows], person.xy[rows], person.confidence[rows]
            )
            people.append(
                lift_person(piece, lifter, fps, camera, stature, min_confidence, tracks.absent)
            )

    lifted = tuple(people)
    checks = [
        self_check(p.pose_mm, p.root_mm, p.seen_px, p.filled, camera, skeleton) for p in lifted
    ]
    check, doubts = worst(checks), input_doubts(tracks, fps)
    found = treat(lifted, skeleton, fps, tracks.absent, smooth)
    about = {
        "units": "mm",
        "axes": "x right, y down, z away from the camera",
        "focal_px": round(camera.focal, 1),
        "stature_m": stature,
        "skeleton": skeleton.name,
        "layout": tracks.layout,
        "format": tracks.format,
        "smooth_hz": smooth,
    }
    if tracks.absent:
        about["predicted" if lifter.hidden else "absent"] = [
            skeleton.joints[joint] for joint in tracks.absent
        ]

    return Motion(
        source=tracks.source,
        fps=fps,
        n_frames=tracks.n_frames,
        camera=camera,
        people=lifted,
        about=about,
        notes=tracks.notes,
        report={
            **reading_lines(tracks),
            **motion_lines(tracks, lifted, camera, stature, focal, predicted=bool(lifter.hidden)),
            **treatment_lines(found, smooth),
            **certainty_lines(
                tracks, lifted, check, fps, measured=lifter.measured, doubtful=bool(doubts)
            ),
        },
        warnings=warnings(tracks, lifted, check, fps, doubts),
        absent=() if lifter.hidden else tracks.absent,
        skeleton=skeleton,
        found_world=found.world,
    )


def _check_length(tracks: Tracks, fps: float) -> None:
    """Raise DataError before memory is taken for more frames than the limit."""
    total = 0
    for person in tracks.people:
        for rows in unbroken(person.frames, fps):
            frames = person.frames[rows]
            total += int(frames[-1] - frames[0]) + 1

    model_frames = total * MODEL_FPS / fps
    if total > MAX_LIFTED_FRAMES or model_frames > MAX_MODEL_FRAMES:
        raise DataError(
            f"{tracks.source}: must have at most {MAX_LIFTED_FRAMES} frames of all people together "
            f"({MAX_MODEL_FRAMES / MODEL_FPS / 3600:.0f} hours), got {total} at {fps:g} a second"
        )


def lift_person(
    person: Person,
    lifter: Lifter,
    fps: float,
    camera: Camera,
    stature: float = STATURE,
    min_confidence: float = MIN_CONFIDENCE,
    absent: Sequence[int] = (),
) -> Lifted:
    """Lift the frames from a person's first to last, filling what was not seen.

    In blocks of frames, which give what one piece would: beside the result, memory does not grow
    with the length.
    """
    xy, confidence = (
        dense(person.frames, v.astype(np.float32, copy=False))
        for v in (person.xy, person.confidence)
    )
    xy, confidence, filled = fill(xy, confidence, fps, min_confidence, absent, lifter.skeleton)
    known = filled.mean(0) <= 1 - RARELY_SEEN
    n, m = len(xy), n_at_rate(len(xy), fps, lifter.fps)
    if lifter.fps < MODEL_FPS:
        m += 1  # so that the last frames, too, lie between two that the model reads

    def seen(first: int, stop: int) -> np.ndarray:
        at = np.arange(first, stop) * fps / lifter.fps
        return np.concatenate(
            [sample(xy, at), np.clip(sample(confidence, at), 0, 1)[..., None]], axis=-1
        )

    pose = np.empty((*xy.shape[:2], 3), np.float32)
    spread = np.empty(xy.shape[:2], np.float32)

    for first in range(0, n, BLOCK):
        times = np.arange(first, min(first + BLOCK, n)) * lifter.fps / fps
        low, high = (
            max(0, int(times[0]) - 1),
            min(m, int(times[-1]) + 3),
        )  # what sampling at these times looks at
        found = lifter.part_and_spread(seen, m, low, high, (camera.width, camera.height))
        found = sample(found, times - low)
        pose[first : first + BLOCK], spread[first : first + BLOCK] = found[..., :3], found[..., 3]

    pose, root = place(
        pose,
        xy,
        confidence,
        camera,
        fps,
        stature,
        out=pose,
        known=known,
        skeleton=lifter.skeleton,
    )
    check_finite(pose, root, f"person {person.name}")
    np.maximum(spread, 0.0, out=spread)  # a cubic through them may reach below
    spread *= root[:, 2:] / camera.focal  # mm
    return Lifted(person.name, int(person.frames[0]), pose, root, xy, confidence, filled, spread)
