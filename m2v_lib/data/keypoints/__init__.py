"""Keypoints from anywhere: any detector's file to tracks of the 17 Human3.6M joints in pixels.

    tracks = read_keypoints("walk.json", size=(1280, 720), fps=25)
    tracks.people[0].xy          # (n, 17, 2) px in the frames tracks.people[0].frames

The format is found by content (`keypoint_files`), the joints are mapped (`keypoint_layouts`),
people are told apart by the file's ids or else by where they are (`tracking`). Where a file does
not say what has to be known (image size, which 17 joints), or says what cannot be, a `DataError`
asks for it; what was converted is said in `Tracks.notes`.
"""
# m detections, n frames of a person, K keypoints of a layout, J = 17 joints

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints.files import Detections, Header, number_in, read_detections
from m2v_lib.data.keypoints.json_files import is_one_frame
from m2v_lib.data.keypoints.layouts import LAYOUTS, Layout, by_count, guess_17
from m2v_lib.data.keypoints.tracking import link

#: scores above 1 by no more than this are a heat map's peaks, cut to 1
MAX_SCORE: Final = 2.0


@dataclass(frozen=True)
class Person:
    """One person: rising frame numbers (n,) in which they were seen, xy (n,17,2) px, confidence
    (n,17) in [0,1].

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
class Tracks:
    """A recording's people, most frames first; image size and frame rate are None where nobody
    said them.
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


def read_keypoints(
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
) -> Tracks:
    """Read a file, or a folder with a file a frame. `size` is (width, height) px.

    `size`, `fps` and `layout` (a name of `LAYOUTS`) fill in what the file does not say; one that
    contradicts the file is a DataError, as is everything else that is not as it should be: one
    sentence with file, place, expectation.
    """
    found = read_detections(path)
    where, notes = str(path), list[str]()
    head = _completed(found.header, size, fps, where)
    form = _layout_of(found, layout, where)
    points, confidence = (
        found.points[:, : form.n_keypoints],
        found.confidence[:, : form.n_keypoints],
    )
    check_confidence(confidence, form, where)
    confidence = _in_unit_range(confidence, notes)
    check_points(points, confidence, found.frame, where)
    points = _in_pixels(points, confidence, head, form, where, notes)
    _check_size(points[confidence > 0], head, where)
    xy, confidence = form.to_h36m(points, confidence)
    seen = np.asarray((confidence > 0).any(1))
    if not seen.any():
        raise DataError(f"{where}: no person with a visible joint in {head.n_frames} frames")
    people = _people(found, seen, xy, confidence, head.fps, where)
    n_frames = head.n_frames or int(found.frame.max()) + 1
    return Tracks(
        Path(path).name,
        found.format,
        form.name,
        people,
        n_frames,
        head.width,
        head.height,
        head.fps,
        tuple(notes),
    )


def recordings(folder: Path | str) -> Iterator[Path]:
    """Every recording below a folder: a keypoint file, or a folder that holds a file a frame."""
    folder = Path(folder)
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".json", ".npz", ".csv"))
    numbered = bool(files) and all(
        p.suffix.lower() == ".json" and number_in(p.name) is not None for p in files
    )
    if numbered and is_one_frame(files[0]):
        yield folder
    else:
        yield from files
    for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
        yield from recordings(inner)


def _completed(said: Header, size: tuple[int, int] | None, fps: float | None, where: str) -> Header:
    """The file's header with what the caller knows; a contradiction is an error."""
    width, height = size or (said.width, said.height)
    if size and min(size) < 1:
        raise DataError(
            f"{where}: the size {width} x {height} is no image's, expected width and height in "
            "pixels"
        )
    if size and said.width and said.height and size != (said.width, said.height):
        raise DataError(
            f"{where}: says its image is {said.width} x {said.height}, not {width} x {height} "
            "(width and height swapped?)"
        )
    if fps and said.fps and abs(fps - said.fps) > 0.01 * fps:
        raise DataError(f"{where}: says it has {said.fps:g} frames a second, not {fps:g}")
    return Header(said.layout, width, height, fps or said.fps, said.units, said.n_frames)


def _layout_of(found: Detections, asked: str | None, where: str) -> Layout:
    """The layout by the caller's word, the file's, the number of keypoints, or which of COCO and
    H36M 17 points are.
    """
    n = found.points.shape[1]
    said = asked or found.header.layout
    if said and said not in LAYOUTS:
        raise DataError(
            f"{where}: layout {said!r} is not known, expected one of {', '.join(LAYOUTS)}"
        )
    if asked and found.header.layout and asked != found.header.layout:
        raise DataError(f"{where}: says its layout is {found.header.layout}, not {asked}")
    form = LAYOUTS[said] if said else by_count(n)
    if form and n != form.n_keypoints and by_count(n) is not form:
        raise DataError(
            f"{where}: has {n} keypoints a person, expected {form.n_keypoints} of {form.name}"
        )
    looks = guess_17(found.points, found.confidence) if n == 17 else None
    if form and looks and form.name in ("coco17", "h36m17") and looks != form.name:
        raise DataError(f"{where}: should be {form.name}, but its points lie as those of {looks}")
    if form is None and looks is None:
        counts = ", ".join(f"{layout.n_keypoints} ({layout.name})" for layout in LAYOUTS.values())
        told = (
            "may be coco17 or h36m17: name the layout"
            if n == 17
            else f"are no known layout; expected {counts}"
        )
        raise DataError(f"{where}: {n} keypoints a person {told}")
    return form or LAYOUTS[str(looks)]


def check_confidence(confidence: np.ndarray, form: Layout, where: str) -> None:
    """Raise DataError for a score (m,K) that is none."""
    bad = ~np.isfinite(confidence) | (confidence < 0) | (confidence > MAX_SCORE)
    if bad.any():
        row, joint = np.argwhere(bad)[0]
        raise DataError(
            f"{where}: confidence of {form.keypoints[joint]} in detection {row} is "
            f"{confidence[row, joint]:g}, expected 0 to 1"
        )


def _in_unit_range(confidence: np.ndarray, notes: list[str]) -> np.ndarray:
    """Scores in [0,1]. COCO's marks 0, 1, 2 (absent, hidden, visible) become 0, 1/2, 1."""
    if (confidence == 2).any() and np.isin(confidence, (0, 1, 2)).all():
        return confidence / 2
    if (high := confidence > 1).any():
        notes.append(
            f"{high.mean():.1%} of the confidences were above 1 (up to {confidence.max():.2f}) "
            "and cut to 1"
        )
    return np.minimum(confidence, 1.0)


def check_points(points: np.ndarray, confidence: np.ndarray, frame: np.ndarray, where: str) -> None:
    """Raise DataError for a place (m,K,2) that is no number where its confidence is above 0."""
    bad = ~np.isfinite(points).all(-1) & (confidence > 0)
    if bad.any():
        row, joint = np.argwhere(bad)[0]
        raise DataError(
            f"{where}: keypoint {joint} of detection {row} (frame {frame[row]}) is not a finite "
            "number, "
            "expected a place or confidence 0"
        )


def _in_pixels(
    points: np.ndarray,
    confidence: np.ndarray,
    head: Header,
    form: Layout,
    where: str,
    notes: list[str],
) -> np.ndarray:
    """Pixels, converted from shares of width and height where the file has these."""
    seen = points[confidence > 0]
    if head.units not in (None, "pixels", "normalised"):
        raise DataError(f"{where}: units are {head.units!r}, expected pixels or normalised")
    if not len(seen):
        return points
    looks = float(np.quantile(np.abs(seen), 0.9)) <= 2.0  # nobody stands in two pixels
    if looks != (head.units == "normalised") and head.units:
        raise DataError(
            f"{where}: says its coordinates are {head.units}, but they reach "
            f"{np.abs(seen).max():.4g}"
        )
    if not looks:
        return points
    if (seen < 0).any(1).mean() > 0.2:
        raise DataError(
            f"{where}: coordinates lie in {seen.min():.2f} .. {seen.max():.2f}, scaled in a way "
            "that the "
            "file does not say; expected pixels, or 0 to 1 over the image"
        )
    if not head.width or not head.height:
        raise DataError(
            f"{where}: coordinates are shares of the image (up to {seen.max():.2f}), not pixels; "
            "give its width and height"
        )
    notes.append(f"coordinates were shares of the image, taken times {head.width} x {head.height}")
    return points * (head.width, head.height)


def _check_size(seen: np.ndarray, head: Header, where: str) -> None:
    """Refuse pixels that are not of an image of this size: many joints may lie a little outside,
    few far.
    """
    if not head.width or not head.height or not len(seen):
        return
    outside, swapped = (
        _share_outside(seen, *wh) for wh in ((head.width, head.height), (head.height, head.width))
    )
    reach = (
        f"joints reach x = {seen[:, 0].max():.0f}, y = {seen[:, 1].max():.0f}, outside "
        f"{head.width} x {head.height}"
    )
    if outside > 0.02 and swapped < 0.2 * outside:
        raise DataError(
            f"{where}: {reach} but inside {head.height} x {head.width}: width and height swapped?"
        )
    if outside > 0.5:
        raise DataError(f"{where}: {reach} pixels; expected the size of the image the detector saw")


def _share_outside(seen: np.ndarray, width: int, height: int) -> float:
    margin = 0.02 * max(width, height)
    return float(((seen < -margin) | (seen > (width + margin, height + margin))).any(1).mean())


def _people(
    found: Detections,
    seen: np.ndarray,
    xy: np.ndarray,
    confidence: np.ndarray,
    fps: float | None,
    where: str,
) -> tuple[Person, ...]:
    """Persons by the file's ids, else by tracking; most frames first."""
    frame, xy, confidence = (
        found.frame[seen],
        xy[seen].astype(np.float32),
        confidence[seen].astype(np.float32),
    )
    said = [name for name, kept in zip(found.person, seen, strict=True) if kept]
    if _ids_mean_nothing(said, frame):
        said = [str(number) for number in link(frame, xy, confidence, fps)]
    names = np.array(said)
    people = []
    for name in dict.fromkeys(said):
        rows = np.flatnonzero(names == name)
        rows = rows[np.argsort(frame[rows], kind="stable")]
        if len(twice := np.flatnonzero(np.diff(frame[rows]) == 0)):
            raise DataError(f"{where}: frame {frame[rows[twice[0]]]} has person {name} twice")
        people.append(Person(str(name), frame[rows], xy[rows], confidence[rows]))
    return tuple(sorted(people, key=lambda person: -len(person.frames)))


def _ids_mean_nothing(names: list[str | None], frame: np.ndarray) -> bool:
    """No ids, some missing, or (AlphaPose without tracking) one id for all people of a frame."""
    if None in names:
        return True
    crowded = max(Counter(frame.tolist()).values()) > 1
    return crowded and len(set(names)) == 1
