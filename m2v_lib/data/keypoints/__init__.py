"""Keypoints from anywhere: any detector's file to tracks of a skeleton's joints in pixels.

    tracks = read_keypoints("walk.json", size=(1280, 720), fps=25)
    tracks.people[0].xy          # (n, 17, 2) px in the frames tracks.people[0].frames

The joints are Human3.6M's 17 unless another skeleton is asked for. The format is found by content
(`formats`), the joints are mapped by name (`layouts`, `skeleton_map`),
people are told apart by the file's ids or else by where they are (`tracking`). Where a file does
not say what has to be known (image size, which joints), or says what cannot be, a `DataError`
asks for it; what was converted is said in `Tracks.notes`.
"""
# m detections, n frames of a person, K keypoints of a layout, J joints

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError, counted, printable
from m2v_lib.data.foreign_values import as_number, as_whole
from m2v_lib.data.keypoints.formats.files import Detections, Header, NoPersonError, read_detections
from m2v_lib.data.keypoints.formats.folders import recordings as recordings
from m2v_lib.data.keypoints.identity import first_of_duplicates, person_names
from m2v_lib.data.keypoints.layout_choice import choose_layout
from m2v_lib.data.keypoints.missing import mark_missing
from m2v_lib.data.keypoints.pixels import check_size, in_pixels
from m2v_lib.data.keypoints.scores import unit_scores
from m2v_lib.data.keypoints.skeleton_map import joints_of, mapped, skeleton_of_layout
from m2v_lib.data.limits import MAX_FPS, MAX_IMAGE_SIDE, MAX_NAME_LENGTH, MAX_PEOPLE, MIN_FPS
from m2v_lib.skeletons import H36M17, Skeleton

#: share of all detections that may be of a person already there: some detectors give each thrice
MAX_SHARE_DOUBLE: Final = 0.7


@dataclass(frozen=True)
class Person:
    """One person: rising frame numbers (n,) in which they were seen, xy (n,J,2) px, confidence
    (n,J) in [0,1].

    A frame number that is left out is a gap; a joint of confidence 0 is missing and lies at 0,
    0.
    """

    name: str
    frames: np.ndarray
    xy: np.ndarray
    confidence: np.ndarray

    @property
    def n_missing_frames(self) -> int:
        return int(self.frames[-1] - self.frames[0] + 1 - len(self.frames))


@dataclass(frozen=True)
class Footage:
    """The video that keypoints were found in: its file's name, the second of its frame 0, its frames
    a second, and the lens's focal length (mm) on 35 mm film where the file says it.
    """

    name: str
    start: float
    fps: float
    focal_on_film: float | None = None


@dataclass(frozen=True)
class Tracks:
    """A recording's people, most frames first; image size and frame rate are None where nobody
    said them. `absent` are joints of the skeleton that the layout does not have.
    """

    source: str
    format: str
    layout: str
    people: tuple[Person, ...]
    n_frames: int
    width: int | None
    height: int | None
    fps: float | None
    notes: tuple[str, ...] = ()
    layout_reason: str = ""
    absent: tuple[int, ...] = ()
    skeleton: Skeleton = H36M17
    footage: Footage | None = None


def read_keypoints(
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    skeleton: Skeleton | None = H36M17,
) -> Tracks:
    """Read a file, or a folder with a file a frame, as joints of a skeleton; of None, as those that
    its layout has (`skeleton_of_layout`). `size` is (width, height) px.

    `size`, `fps` and `layout` (a name of `LAYOUTS`) fill in what the file does not say; one that
    contradicts the file is a DataError, as is everything else that is not as it should be: one
    sentence with file, place, expectation.
    """
    found = read_detections(path, layout)
    where, notes = str(path), [*found.header.notes]
    head = _completed(found.header, size, fps, where)
    scores, said = unit_scores(found.confidence, where)
    confidence, n_marked = mark_missing(found.points, scores, where)
    notes += said
    if n_marked:
        marked = counted(n_marked, "keypoint")
        notes.append(f"ignored {marked} at a place that marks them missing")
    found = replace(found, confidence=confidence)
    chosen, why = choose_layout(found, layout, where, skeleton or H36M17)
    if skeleton is None:
        skeleton = skeleton_of_layout(chosen, where)
        chosen = mapped(chosen, skeleton, where)
    points, confidence = found.points[:, : chosen.n_keypoints], confidence[:, : chosen.n_keypoints]
    points = in_pixels(points, confidence, head, where, notes)
    check_size(points[confidence > 0], head.width, head.height, where)
    xy, confidence = joints_of(chosen, points, confidence)
    seen = np.asarray((confidence > 0).any(1))
    if not seen.any():
        raise NoPersonError(f"{where}: no person with a visible joint in {head.n_frames} frames")

    people, said = _people(found, seen, xy, confidence, head.fps, where)
    return Tracks(
        source=printable(Path(path).name, MAX_NAME_LENGTH),
        format=found.format,
        layout=chosen.name,
        people=people,
        n_frames=head.n_frames or int(found.frame.max()) + 1,
        width=head.width,
        height=head.height,
        fps=head.fps,
        notes=(*notes, *said),
        layout_reason=why,
        absent=chosen.absent,
        skeleton=skeleton,
    )


def _completed(said: Header, size: tuple[int, int] | None, fps: float | None, where: str) -> Header:
    """The file's header with what the caller knows; a contradiction is an error."""
    for side in size or ():
        as_whole(side, f"{where}: image size", 1, MAX_IMAGE_SIDE, text=True)

    if fps is not None:
        as_number(fps, f"{where}: frames a second", MIN_FPS, MAX_FPS, text=True)
    width, height = size or (said.width, said.height)
    if size and said.width and said.height and size != (said.width, said.height):
        raise DataError(
            f"{where}: says its image is {said.width} x {said.height}, not {width} x {height} "
            "(width and height swapped?)"
        )
    if fps and said.fps and abs(fps - said.fps) > 0.01 * fps:
        raise DataError(f"{where}: says it has {said.fps:g} frames a second, not {fps:g}")

    return replace(said, width=width, height=height, fps=fps or said.fps)


def _people(
    found: Detections,
    seen: np.ndarray,
    xy: np.ndarray,
    confidence: np.ndarray,
    fps: float | None,
    where: str,
) -> tuple[tuple[Person, ...], list[str]]:
    """Persons by the file's ids, else by motion, most frames first; and what was done."""
    notes = list[str]()
    frame, xy, confidence = found.frame[seen], xy[seen], confidence[seen]
    ids = [name for name, kept in zip(found.person, seen, strict=True) if kept]

    keep = first_of_duplicates(frame, xy, confidence)
    if not keep.all():
        if (~keep).mean() > MAX_SHARE_DOUBLE:
            raise DataError(
                f"{where}: {(~keep).sum()} of {len(keep)} detections lie on another of their frame; "
                "are frames people, or people frames? Expected (frames, people, keypoints, 3)"
            )
        n_doubles = int((~keep).sum())
        notes.append(f"left out {counted(n_doubles, 'detection')} of a person already there")
        ids = [name for name, kept in zip(ids, keep, strict=True) if kept]

    frame = frame[keep]
    xy, confidence = xy[keep].astype(np.float32), confidence[keep].astype(np.float32)
    given, by_motion = person_names(ids, frame, xy, confidence, fps)
    names, people = np.array(given), []
    distinct = list(dict.fromkeys(given))
    if len(distinct) > MAX_PEOPLE:
        raise DataError(f"{where}: must hold at most {MAX_PEOPLE} people, got {len(distinct)}")

    for name in distinct:
        rows = np.flatnonzero(names == name)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        if len(twice := np.flatnonzero(np.diff(frame[rows]) == 0)):
            raise DataError(f"{where}: frame {frame[rows[twice[0]]]} has person {name} twice")
        people.append(Person(str(name), frame[rows], xy[rows], confidence[rows]))

    if by_motion and len(people) > 1:
        notes.append("people are told apart by their motion, the file has no ids of theirs")
    return tuple(sorted(people, key=lambda person: -len(person.frames))), notes
