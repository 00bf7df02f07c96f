"""Lifting while it happens: keypoints in, a line a frame; poses out, a fixed number of frames
later.

In: a JSON line a frame, as `stream_input` reads it. Out: a JSON line a person and frame, with
`frame`, `person`, `pose_mm` (J x 3, from the root), `root_mm` (from the camera, x right, y down,
z away) and `filled` (numbers of the joints that were not seen).

With every new frame the window that ends with it is lifted; a pose is the mean over all windows
it was in until it was `latency` frames old. Memory is constant. What needs the whole recording is
for files alone: bones of constant length, smoothing, standing feet, floor and spread.
"""
# n frames held, J joints

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from m2v_lib.config import ConfigError
from m2v_lib.data.foreign_values import as_number, as_whole
from m2v_lib.data.keypoints.timeline import MAX_GAP, fill, sample
from m2v_lib.data.limits import MAX_FPS, MAX_LATENCY, MIN_FPS
from m2v_lib.lift.camera import STATURE, Camera, place
from m2v_lib.lift.people import MIN_CONFIDENCE, check_finite
from m2v_lib.lift.stream_input import LineReader
from m2v_lib.lift.windows import Lifter, SingleFrameLifter

#: seconds of a person's past that are kept beside the latency: for a window, and for the size's
#: running mean
PAST: Final = 1.0
#: default latency (s): half a window of 27 frames at 50 a second
LATENCY: Final = 0.26


@dataclass
class Pose:
    """One person in one frame: pose_mm (J,3) from the root, root_mm (3,) from the camera,
    filled (J,) bool; absent joints are null in its line.
    """

    frame: int
    person: str
    pose_mm: np.ndarray
    root_mm: np.ndarray
    filled: np.ndarray
    absent: list[int] = field(default_factory=list)

    def line(self) -> str:
        pose = np.round(self.pose_mm.astype(float), 1).tolist()
        for joint in self.absent:
            pose[joint] = None

        return json.dumps(
            {
                "frame": self.frame,
                "person": self.person,
                "pose_mm": pose,
                "root_mm": np.round(self.root_mm.astype(float), 1).tolist(),
                "filled": np.flatnonzero(self.filled).tolist(),
            }
        )


@dataclass
class Body:
    """The last frames of one person, without gaps: xy (n,J,2) px, confidence (n,J), and the
    sum and weight of the poses in pixels that the windows so far gave each frame.
    """

    start: int
    last_seen: int
    n_joints: int
    xy: np.ndarray = field(init=False)
    confidence: np.ndarray = field(init=False)
    total: np.ndarray = field(init=False)
    weight: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.xy, self.total = (np.empty((0, self.n_joints, axes)) for axes in (2, 3))
        self.confidence, self.weight = np.empty((0, self.n_joints)), np.empty(0)

    def add(self, xy: np.ndarray, confidence: np.ndarray) -> None:
        """One frame more."""
        self.xy, self.confidence = (
            np.concatenate([self.xy, xy[None]]),
            np.concatenate([self.confidence, confidence[None]]),
        )
        self.total = np.concatenate([self.total, np.zeros((1, self.n_joints, 3))])
        self.weight = np.append(self.weight, 0.0)

    def forget(self, n: int) -> None:
        """Drop all but the last n frames."""
        if (gone := max(0, len(self.xy) - n)) > 0:
            self.start += gone
            self.xy, self.confidence = self.xy[gone:], self.confidence[gone:]
            self.total, self.weight = self.total[gone:], self.weight[gone:]


@dataclass
class Stream:
    """Takes the people of one frame after another and gives the poses of the frame `latency`
    before.
    """

    lifter: Lifter
    camera: Camera
    fps: float
    latency: int
    stature: float = STATURE
    bodies: dict[str, Body] = field(default_factory=dict)
    now: int = -1
    #: joints that the layout does not have
    absent: tuple[int, ...] = ()

    def push(self, people: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[Pose]:
        """People of the next frame by name: xy (J,2) px and confidence (J,); who has no joint that
        is trusted is not seen.
        """
        self.now += 1
        people = {name: seen for name, seen in people.items() if (seen[1] > MIN_CONFIDENCE).any()}
        n_joints = len(self.lifter.skeleton)
        for name in people.keys() - self.bodies.keys():
            self.bodies[name] = Body(self.now, self.now, n_joints)

        unseen = np.zeros((n_joints, 2)), np.zeros(n_joints)

        for name, body in self.bodies.items():
            body.add(*people.get(name, unseen))
            if name in people:
                body.last_seen = self.now
                self._lift(body)

        due = self.now - self.latency
        poses = [pose for name in self.bodies for pose in self._poses(name, range(due, due + 1))]
        self._forget()

        return poses

    def flush(self) -> list[Pose]:
        """The poses of the last `latency` frames, once no frame follows."""
        last = range(max(0, self.now - self.latency + 1), self.now + 1)
        poses = [pose for name in self.bodies for pose in self._poses(name, last)]
        self.bodies.clear()
        return sorted(poses, key=lambda pose: pose.frame)

    def _lift(self, body: Body) -> None:
        """Lift the window that ends with the newest frame, and add it to what its frames have."""
        step = self.lifter.fps / self.fps
        n = min(len(body.xy), int((self.lifter.n_frames - 1) / step) + 1)
        xy, confidence, _ = self._filled(body, len(body.xy))
        times = np.arange(n) * step
        at = (
            len(body.xy) - 1 - np.arange(int(times[-1]), -1, -1) / step
        )  # at the model's rate, ending with now
        seen = np.concatenate(
            [sample(xy, at), np.clip(sample(confidence, at), 0, 1)[..., None]], axis=-1
        )
        lifted = self.lifter(seen, (self.camera.width, self.camera.height))
        pose = sample(lifted, times - (times[-1] - int(times[-1])))
        weight = np.minimum(np.arange(n), np.arange(n)[::-1]) + 1.0
        body.total[-n:] += weight[:, None, None] * pose
        body.weight[-n:] += weight

    def _poses(self, name: str, frames: range) -> list[Pose]:
        """A person's poses in those of the frames that lie between the first and the last
        sighting.
        """
        body = self.bodies[name]
        wanted = [frame - body.start for frame in frames if body.start <= frame <= body.last_seen]
        if not wanted:
            return []

        n = body.last_seen + 1 - body.start
        xy, confidence, filled = self._filled(body, n)
        lifted = np.flatnonzero(body.weight[:n] > 0)  # a gap may be longer than a window
        nearest = lifted[np.searchsorted(lifted, np.arange(n)).clip(max=len(lifted) - 1)]
        pose_px = body.total[nearest] / body.weight[nearest, None, None]
        wanted = [i for i in wanted if nearest[i] == i]
        known = np.asarray(~filled.all(0))
        pose, root = place(
            pose_px,
            xy,
            confidence,
            self.camera,
            self.fps,
            self.stature,
            known=known,
            skeleton=self.lifter.skeleton,
        )

        check_finite(pose[wanted], root[wanted], f"person {name}")
        absent = list(self.absent)
        return [Pose(body.start + i, name, pose[i], root[i], filled[i], absent) for i in wanted]

    def _filled(self, body: Body, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`fill` of a person's first n frames that are held."""
        seen = body.xy[:n], body.confidence[:n]
        return fill(*seen, self.fps, MIN_CONFIDENCE, self.absent, self.lifter.skeleton)

    def _forget(self) -> None:
        """Drop what lies too far back, and people unseen for so long that they are a gap."""
        for name, body in list(self.bodies.items()):
            if self.now - body.last_seen > max(self.latency, MAX_GAP * self.fps):
                del self.bodies[name]
            else:
                body.forget(self.latency + round(PAST * self.fps))


def stream_lines(
    lines: Iterable[str],
    lifter: Lifter,
    camera: Camera,
    fps: float,
    *,
    layout: str | None = None,
    latency: int | None = None,
    stature: float = STATURE,
    note: Callable[[str], object] = lambda text: None,
) -> Iterator[str]:
    """Lines of keypoints to lines of poses. A DataError names the line and what is wrong with
    it.
    """
    as_number(fps, "frames a second", MIN_FPS, MAX_FPS)
    if isinstance(lifter, SingleFrameLifter):
        raise ConfigError("a stream needs a model that gives all frames of its window, not one")

    delay = round(LATENCY * fps) if latency is None else latency
    as_whole(delay, "latency", 0, MAX_LATENCY)
    stream = Stream(lifter, camera, fps, delay, stature)
    reader = LineReader(camera.width, camera.height, fps, layout, note, lifter.skeleton)

    for number, line in enumerate(lines):
        people = reader.read(line, number)
        if reader.layout:
            stream.absent = reader.layout.absent
        yield from (pose.line() for pose in stream.push(people))

    yield from (pose.line() for pose in stream.flush())
    reader.finish()
