"""The lines of a stream of keypoints, read with the checks that files go through.

A line a frame, `{"people": [{"id": "1", "keypoints": [x, y, c, ...]}]}` in pixels or in shares of
the image; `id` may be left out, OpenPose's `pose_keypoints_2d` serves as well, and `{}` or an empty
line is a frame without anybody. Or plain numbers, x,y,c of one keypoint after another, people apart
by a semicolon: `412,230,0.9,415,221,0.8,... ; 88,240,0.7,...`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.foreign_values import as_table, as_tables, listed
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.data.keypoints.formats.files import DetectionBuilder, Detections, Header
from m2v_lib.data.keypoints.formats.frames_json import OPENPOSE
from m2v_lib.data.keypoints.identity import first_of_duplicates
from m2v_lib.data.keypoints.layout_choice import choose_layout, known_layout
from m2v_lib.data.keypoints.layouts import Layout, begins_with
from m2v_lib.data.keypoints.missing import mark_missing, repeated_places
from m2v_lib.data.keypoints.pixels import check_size
from m2v_lib.data.keypoints.scores import DEPTH_NOTE, unit_scores
from m2v_lib.data.keypoints.skeleton_map import joints_of
from m2v_lib.data.keypoints.tracking import Tracker
from m2v_lib.data.limits import MAX_COORDINATE, MAX_SHOWN
from m2v_lib.lift.input_check import input_doubts
from m2v_lib.skeletons import H36M17, Skeleton

#: characters of a line: a thousand people of a hundred keypoints
MAX_LINE: Final = 4 << 20
#: what a line of plain numbers begins with
PLAIN: Final = tuple("0123456789+-.;")
#: nobody stands in so many pixels: coordinates are shares of the image
NORMALISED: Final = 2.0
#: detections that are looked at together
N_CHECKED: Final = 25

#: ids of whom a detector does not follow
NOBODY: Final[tuple[Any, ...]] = (None, -1, "-1", [], [-1])

#: a person's xy (J,2) px and confidence (J,)
Seen = tuple[np.ndarray, np.ndarray]


@dataclass
class LineReader:
    """Reads one line after another; the layout and the unit are those of the first person."""

    width: int
    height: int
    fps: float
    requested_layout: str | None = None
    note: Callable[[str], object] = lambda text: None
    skeleton: Skeleton = H36M17
    layout: Layout | None = None
    normalised: bool | None = None
    tracker: Tracker = field(init=False)
    #: the first detections, whose proportions and place are looked at once more, together
    checked: list[Detections] = field(default_factory=list)
    #: the last detections, and the places that mark a keypoint as missing so far
    recent: deque[Detections] = field(default_factory=lambda: deque(maxlen=N_CHECKED))
    marks: set[tuple[float, float]] = field(default_factory=set)
    #: the first people as joints of the skeleton
    first: list[Seen] = field(default_factory=list)
    has_depth: bool = False

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.fps)
        if self.requested_layout is not None:
            known_layout(self.requested_layout, skeleton=self.skeleton)

    def read(self, line: str, number: int) -> dict[str, Seen]:
        """The people of line `number`, counted from 0, by name. Raises DataError naming the line."""
        where = f"line {number + 1}"
        entries = _entries(line.removeprefix("\ufeff") if number == 0 else line, where)
        rows = DetectionBuilder(where)

        for entry in entries:
            values = entry.get("keypoints", entry.get("pose_keypoints_2d"))
            person = entry.get("id", entry.get("person_id"))
            rows.add(0, None if person in NOBODY else person, values)

        if not entries:
            return {}

        found = rows.make("stream", Header())
        scores = self._scores(found.confidence, where)
        confidence = self._without_marked(replace(found, confidence=scores), where)
        found = replace(found, confidence=confidence)
        layout = self._layout(found, where)
        points = self._pixels(found.points[:, : layout.n_keypoints], confidence, where)
        xy, confidence = joints_of(layout, points, confidence[:, : layout.n_keypoints])
        keep = np.flatnonzero(
            first_of_duplicates(found.frame, xy, confidence) & (confidence > 0).any(1)
        )
        xy, confidence = xy[keep], confidence[keep]
        names: tuple[str | None, ...] = tuple(found.person[i] for i in keep)
        if None in names:
            names = tuple(str(n) for n in self.tracker.step(number, xy, confidence))
        if len(set(names)) < len(names):
            raise DataError(f"{where}: has two people of the same id")

        if len(self.first) < N_CHECKED:
            self.first += zip(xy, confidence, strict=True)
            if len(self.first) >= N_CHECKED:
                self._say_doubts()

        return {str(name): (xy[i], confidence[i]) for i, name in enumerate(names)}

    def finish(self) -> None:
        """What the first lines together have to fit, where the stream ended before so many came."""
        if 0 < len(self.checked) < N_CHECKED:
            self._check_place("the stream")
        if 0 < len(self.first) < N_CHECKED:
            self._say_doubts()

    def _say_doubts(self) -> None:
        """What speaks against the first people, as of files."""
        xy, confidence = (np.stack(values) for values in zip(*self.first, strict=True))
        person = Person("", np.arange(len(xy)), xy, confidence)
        size, name = (self.width, self.height), self.layout.name if self.layout else ""
        tracks = Tracks(
            *("stream", "stream", name, (person,), len(xy)),
            *(*size, self.fps),
            skeleton=self.skeleton,
        )
        for doubt in input_doubts(tracks, self.fps):
            self.note(f"warning: {doubt}")

    def _scores(self, raw: np.ndarray, where: str) -> np.ndarray:
        """In [0, 1]; a stream whose third numbers are depths once has depths to its end."""
        if self.has_depth:
            return np.isfinite(raw).astype(float)
        scores, notes = unit_scores(raw, where)
        self.has_depth = DEPTH_NOTE in notes
        if self.has_depth:
            self.note(DEPTH_NOTE)
        return scores

    def _without_marked(self, found: Detections, where: str) -> np.ndarray:
        """Confidence, 0 for what the points mark as missing: here, or in the lines before."""
        if not self.recent or self.recent[-1].points.shape[1:] == found.points.shape[1:]:
            self.recent.append(found)
            together = _joined(list(self.recent))
            self.marks |= set(repeated_places(together.points, together.confidence))
        return mark_missing(found.points, found.confidence, where, tuple(self.marks))[0]

    def _check_place(self, where: str) -> None:
        """Refuse an image size that the first people do not lie in, as of files."""
        first = _joined(self.checked)
        seen = first.points[first.confidence > 0]
        if not self.normalised:
            check_size(seen, self.width, self.height, where)

    def _layout(self, found: Detections, where: str) -> Layout:
        """The layout by the first person; the first few together have to fit it."""
        n = found.points.shape[1]
        if self.layout is None:
            usual = replace(found, header=Header(usual_layout=OPENPOSE.get(n)))
            self.layout, _ = choose_layout(usual, self.requested_layout, where, self.skeleton)

        if not begins_with(self.layout, n):
            raise DataError(
                f"{where}: has {n} keypoints a person, expected {self.layout.n_keypoints} of "
                f"{self.layout.name}"
            )

        if len(self.checked) < N_CHECKED:
            self.checked.append(found)
            if len(self.checked) == N_CHECKED:
                choose_layout(_joined(self.checked), self.layout.name, where, self.skeleton)
                self._check_place(where)

        return self.layout

    def _pixels(self, points: np.ndarray, confidence: np.ndarray, where: str) -> np.ndarray:
        """Pixels; shares of the image are taken times its size."""
        seen = points[confidence[:, : points.shape[1]] > 0]
        if not len(seen):
            return points

        normalised = bool(np.quantile(np.abs(seen), 0.9) <= NORMALISED)

        if self.normalised is None:
            self.normalised = normalised
            if normalised:
                self.note(
                    f"coordinates are shares of the image, taken x {self.width} x {self.height}"
                )

        if normalised != self.normalised:
            unit = "shares of the image" if self.normalised else "pixels"
            raise DataError(f"{where}: coordinates must be {unit} as in the lines before")

        if self.normalised:
            return points * (self.width, self.height)

        reach = float(np.abs(seen).max())
        if reach > min(MAX_COORDINATE, 100.0 * max(self.width, self.height)):
            raise DataError(f"{where}: a keypoint lies {reach:.3g} px off, far outside the image")

        return points


def _joined(parts: list[Detections]) -> Detections:
    n = min(part.points.shape[1] for part in parts)
    return Detections(
        "stream",
        np.concatenate([part.frame for part in parts]),
        tuple(name for part in parts for name in part.person),
        np.concatenate([part.points[:, :n] for part in parts]),
        np.concatenate([part.confidence[:, :n] for part in parts]),
        Header(),
    )


def _entries(line: str, where: str) -> list[Mapping[Any, Any]]:
    if len(line) > MAX_LINE:
        raise DataError(f"{where}: must have at most {MAX_LINE} characters, got {len(line)}")
    if line.strip()[:1] in PLAIN:
        return [
            {"keypoints": values} for part in line.split(";") if (values := _plain(part, where))
        ]
    try:
        content = json.loads(line) if line.strip() else {}
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: is not JSON, expected an object with a list `people`, or numbers x,y,c"
        ) from error
    table = as_table(content, where)
    if table and "people" not in table:
        raise DataError(
            f"{where}: has no list `people`, it has {listed(sorted(map(str, table)))}; expected "
            '{"people": [{"keypoints": [x, y, c, ...]}]}, or {} for nobody'
        )
    return as_tables(table.get("people") or [], f"{where}: people")


def _plain(part: str, where: str) -> list[float]:
    """One person's numbers, apart by commas or blanks."""
    values = []
    for word in part.replace(",", " ").split():
        try:
            values.append(float(word))
        except ValueError as error:
            raise DataError(
                f"{where}: must be numbers x,y,c a keypoint, got {printable(word, MAX_SHOWN)!r}"
            ) from error

    if len(values) % 3:
        raise DataError(
            f"{where}: must have three numbers x,y,c a keypoint, got {len(values)} of a person"
        )
    return values
