"""Lifting while it happens: keypoints in, a line a frame; poses out, a fixed number of frames
later.

In: a JSON line a frame, `{"people": [{"id": "1", "keypoints": [x, y, c, ...]}]}` in pixels; `id`
may be left out, OpenPose's `pose_keypoints_2d` serves as well, and `{}` or an empty line is a
frame without anybody. Out: a JSON line a person and frame, with `frame`, `person`, `pose_mm` (17
x 3, from the root), `root_mm` (from the camera, x right, y down, z away) and `filled` (numbers
of the joints that were not seen).

With every new frame the window that ends with it is lifted; a pose is the mean over all windows
it was in until it was `latency` frames old. Memory is constant.
"""
# n frames held, J = 17 joints

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import check_confidence, check_points
from m2v_lib.data.keypoints.files import Header, Rows
from m2v_lib.data.keypoints.layouts import LAYOUTS, Layout, by_count
from m2v_lib.data.keypoints.timeline import MAX_GAP, fill, sample
from m2v_lib.data.keypoints.tracking import Tracker
from m2v_lib.lift.camera import STATURE, Camera, place
from m2v_lib.lift.people import MIN_CONFIDENCE, MODEL_FPS
from m2v_lib.lift.windows import Lifter
from m2v_lib.skeletons.h36m import N_JOINTS

#: seconds of a person's past that are kept beside the latency: for a window, and for the size's
#: running mean
PAST: Final = 1.0
#: default latency (s): half a window of 27 frames at 50 a second
LATENCY: Final = 0.26


@dataclass
class Pose:
    """One person in one frame: pose_mm (17,3) from the root, root_mm (3,) from the camera,
    filled (17,) bool.
    """

    frame: int
    person: str
    pose_mm: np.ndarray
    root_mm: np.ndarray
    filled: np.ndarray

    def line(self) -> str:
        return json.dumps(
            {
                "frame": self.frame,
                "person": self.person,
                "pose_mm": np.round(self.pose_mm.astype(float), 1).tolist(),
                "root_mm": np.round(self.root_mm.astype(float), 1).tolist(),
                "filled": np.flatnonzero(self.filled).tolist(),
            }
        )


@dataclass
class Body:
    """The last frames of one person, without gaps: xy (n,17,2) px, confidence (n,17), and the
    sum and weight of the poses in pixels that the windows so far gave each frame.
    """

    start: int
    last_seen: int
    xy: np.ndarray = field(default_factory=lambda: np.empty((0, N_JOINTS, 2)))
    confidence: np.ndarray = field(default_factory=lambda: np.empty((0, N_JOINTS)))
    total: np.ndarray = field(default_factory=lambda: np.empty((0, N_JOINTS, 3)))
    weight: np.ndarray = field(default_factory=lambda: np.empty(0))

    def add(self, xy: np.ndarray, confidence: np.ndarray) -> None:
        """One frame more."""
        self.xy, self.confidence = (
            np.concatenate([self.xy, xy[None]]),
            np.concatenate([self.confidence, confidence[None]]),
        )
        self.total = np.concatenate([self.total, np.zeros((1, N_JOINTS, 3))])
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

    def push(self, people: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[Pose]:
        """People of the next frame by name: xy (17,2) px and confidence (17,)."""
        self.now += 1
        for name in people.keys() - self.bodies.keys():
            self.bodies[name] = Body(self.now, self.now)
        unseen = np.zeros((N_JOINTS, 2)), np.zeros(N_JOINTS)
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
        step = MODEL_FPS / self.fps
        n = min(len(body.xy), int((self.lifter.n_frames - 1) / step) + 1)
        xy, confidence, _ = fill(body.xy, body.confidence, self.fps, MIN_CONFIDENCE)
        times = np.arange(n) * step
        at = (
            len(body.xy) - 1 - np.arange(int(times[-1]), -1, -1) / step
        )  # at the model's rate, ending with now
        seen = np.concatenate(
            [sample(xy, at), np.clip(sample(confidence, at), 0, 1)[..., None]], axis=-1
        )
        pose = sample(self.lifter(seen), times - (times[-1] - int(times[-1])))
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
        xy, confidence, filled = fill(body.xy[:n], body.confidence[:n], self.fps, MIN_CONFIDENCE)
        pose_px = body.total[:n] / body.weight[:n, None, None]
        pose, root = place(pose_px, xy, confidence, self.camera, self.fps, self.stature)
        return [Pose(body.start + i, name, pose[i], root[i], filled[i]) for i in wanted]

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
) -> Iterator[str]:
    """Lines of keypoints to lines of poses. A DataError names the line and what is wrong with
    it.
    """
    stream = Stream(
        lifter, camera, fps, round(LATENCY * fps) if latency is None else latency, stature
    )
    if layout and layout not in LAYOUTS:
        raise DataError(f"layout {layout!r} is not known, expected one of {', '.join(LAYOUTS)}")
    if stream.latency < 0 or not fps > 0:
        raise DataError(f"latency {stream.latency} and {fps:g} frames a second are no stream's")
    form, tracker = LAYOUTS[layout] if layout else None, Tracker(fps)
    for number, line in enumerate(lines):
        people, form = _people_of(line, f"line {number + 1}", form, tracker, number)
        yield from (pose.line() for pose in stream.push(people))
    yield from (pose.line() for pose in stream.flush())


def _people_of(
    line: str, where: str, form: Layout | None, tracker: Tracker, frame: int
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], Layout | None]:
    """The people of a line by name, and the layout, which the first of them tells where nobody
    has said it.
    """
    try:
        content = json.loads(line) if line.strip() else {}
        people = content.get("people") or []
        entries = [
            (person.get("id"), person.get("keypoints", person.get("pose_keypoints_2d")))
            for person in people
        ]
    except (ValueError, AttributeError) as error:
        raise DataError(
            f"{where}: is not a JSON table with `people`, a list of tables with `keypoints`"
        ) from error
    if not entries:
        return {}, form
    rows = Rows(where)
    for name, values in entries:
        rows.add(frame, name, values)
    found = rows.make("stream", Header())
    form = form or by_count(found.points.shape[1])
    if form is None or found.points.shape[1] != form.n_keypoints:
        expected = f"{form.n_keypoints} of {form.name}" if form else "a layout (--layout coco17)"
        raise DataError(
            f"{where}: has {found.points.shape[1]} keypoints a person, expected {expected}"
        )
    check_confidence(found.confidence, form, where)
    check_points(found.points, found.confidence, found.frame, where)
    xy, confidence = form.to_h36m(found.points, found.confidence)
    names = found.person
    if None in names:
        names = tuple(str(n) for n in tracker.step(frame, xy, confidence))
    if len(set(names)) < len(names):
        raise DataError(f"{where}: has two people of the same id")
    return {
        str(name): (xy[i], confidence[i]) for i, name in enumerate(names) if confidence[i].any()
    }, form
