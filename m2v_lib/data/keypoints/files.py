"""What the keypoint files of detectors say, whatever they are called: content decides which
reader is used.

JSON of COCO (results and annotations, PoseTrack's too), AlphaPose, OpenPose, MMPose and
MediaPipe is in `keypoint_json`, plain tables (.npz, .csv) are in `keypoint_tables`; both give
`Detections`. Nothing is converted here.
"""
# m detections, K keypoints of a layout

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError

#: no detector writes more frames than a day of video at 60 fps; a larger number is not a frame
#: number
MAX_FRAMES: Final = 24 * 3600 * 60


@dataclass(frozen=True)
class Header:
    """What a file says of all its detections; None where it says nothing."""

    layout: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    units: str | None = None  # "pixels" or "normalised" (0..1 of width and height)
    n_frames: int | None = None


@dataclass(frozen=True)
class Detections:
    """One row a person and frame: frame (m,), person (m,) names or None, points (m,K,2),
    confidence (m,K).
    """

    format: str
    frame: np.ndarray
    person: tuple[str | None, ...]
    points: np.ndarray
    confidence: np.ndarray
    header: Header


@dataclass
class Rows:
    """Collects detections one by one and makes arrays of them, naming the first that does not
    fit the others.
    """

    path: Path | str
    frame: list[int] = field(default_factory=list)
    person: list[str | None] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, frame: object, person: object, values: object) -> None:
        """`values` is flat (x, y, c, x, y, c ...), or a row [x, y, c] a keypoint."""
        if isinstance(values, list) and values and isinstance(values[0], (int, float)):
            if len(values) % 3:
                raise DataError(
                    f"{self.path}: {self._here()} has {len(values)} numbers, expected x, y, "
                    "confidence "
                    "for each keypoint"
                )
            values = [values[i : i + 3] for i in range(0, len(values), 3)]
        self.frame.append(whole(frame, f"{self.path}: {self._here()}: frame"))
        self.person.append(None if person is None else _name(person))
        self.values.append(values)

    def _here(self) -> str:
        return f"detection {len(self.values)}"

    def make(self, format: str, header: Header) -> Detections:
        """All rows as arrays. Raises DataError for ragged, empty or non-numeric ones."""
        if not self.values:
            frames = f" in {header.n_frames} frames" if header.n_frames else ""
            raise DataError(
                f"{self.path}: no person{frames}, expected at least one detection ({format})"
            )
        points = self._array()
        return Detections(
            format,
            np.array(self.frame, np.int64),
            tuple(self.person),
            points[..., :2],
            points[..., 2],
            header,
        )

    def _array(self) -> np.ndarray:
        counts = [len(v) if isinstance(v, (list, np.ndarray)) else -1 for v in self.values]
        odd = next((i for i, count in enumerate(counts) if count != counts[0] or count < 1), None)
        if odd is not None:
            raise DataError(
                f"{self.path}: detection {odd} has {max(counts[odd], 0)} keypoints, "
                f"expected {counts[0] if counts[0] > 0 else 'at least one'} as in the first"
            )
        try:
            array = np.array(self.values, np.float64)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.ndim != 3 or array.shape[2] != 3:
            bad = next((i for i, v in enumerate(self.values) if not _is_triples(v)), 0)
            raise DataError(
                f"{self.path}: detection {bad} is not made of numbers x, y, confidence a keypoint"
            )
        return array


def whole(value: object, where: str) -> int:
    """An integer from 0 to MAX_FRAMES, or DataError."""
    try:
        number = float(value)  # type: ignore[arg-type]
        if number == int(number) and number >= 0:
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise DataError(f"{where} is {str(value)[:40]!r}, expected a whole number from 0")


def from_first(rows: Rows) -> None:
    """Count frames from the first one: for formats that list every frame, beginning at 0, 1 or
    anywhere.
    """
    first = min(rows.frame, default=0)
    rows.frame = [frame - first for frame in rows.frame]


def size_of(values: dict[str, Any], where: str) -> tuple[int | None, int | None]:
    """`width` and `height` of a table, None where absent."""
    given = [values.get(key) for key in ("width", "height")]
    return tuple(
        None if v is None else whole(v, f"{where}: {k}") or None  # type: ignore[return-value]
        for k, v in zip(("width", "height"), given, strict=True)
    )


def rate_of(values: dict[str, Any], where: str) -> float | None:
    """`fps` of a table, None where absent."""
    if values.get("fps") is None:
        return None
    try:
        fps = float(values["fps"])
    except (TypeError, ValueError):
        fps = -1.0
    if not 0 < fps <= 1000:
        raise DataError(f"{where}: fps is {values['fps']!r}, expected frames a second")
    return fps


def number_in(name: str) -> int | None:
    """The last number in a file's name: 12 of `walk_000000000012_keypoints.json`, 7 of `7.jpg`."""
    found = re.findall(r"\d+", Path(name).stem)
    return int(found[-1]) if found and len(found[-1]) < 16 else None


def frame_numbers(names: Sequence[str]) -> list[int]:
    """Frame numbers of files by the number in their names, else by their order."""
    numbers = [number_in(name) for name in names]
    known = [n for n in numbers if n is not None]
    return known if len(set(known)) == len(names) else list(range(len(names)))


def read_json(path: Path) -> Any:
    """Any JSON file; DataError where it is none, with the place."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        cut = ", truncated?" if error.pos >= len(error.doc.rstrip()) - 1 else ""
        raise DataError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno}{cut}"
        ) from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON text ({error})") from error


def read_detections(path: Path | str) -> Detections:
    """Whatever a detector wrote: a file of any known kind, or a folder with one JSON file a
    frame.
    """
    from m2v_lib.data.keypoints import json_files as keypoint_json
    from m2v_lib.data.keypoints import tables as keypoint_tables

    path = Path(path)
    if path.is_dir():
        return keypoint_json.read_frames(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    if head.startswith(b"PK"):
        return keypoint_tables.read_npz(path)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return keypoint_json.read(path)
    if not head or b"\0" in head:
        raise DataError(f"{path}: is {kind_of(head)}, expected keypoints as JSON, .npz or .csv")
    return keypoint_tables.read_csv(path)


def kind_of(head: bytes) -> str:
    """What a file that is no keypoints begins like, in words."""
    known: Iterable[tuple[bytes, str]] = (
        (b"ftyp", "a video (MP4)"),
        (b"\x1aE\xdf\xa3", "a video (Matroska)"),
        (b"AVI ", "a video (AVI)"),
        (b"WAVE", "a sound file"),
        (b"ID3", "a sound file"),
        (b"OggS", "a sound file"),
        (b"fLaC", "a sound file"),
        (b"\x89PNG", "a picture"),
        (b"\xff\xd8\xff", "a picture"),
        (b"\x93NUMPY", "a bare .npy array"),
    )
    return next(
        (name for mark, name in known if mark in head[:12]), "a binary file" if head else "empty"
    )


def _is_triples(values: object) -> bool:
    try:
        return np.array(values, np.float64).shape[1:] == (3,)
    except (TypeError, ValueError):
        return False


def _name(person: object) -> str:
    """Ids come as 3, 3.0, [3.0] or "3"."""
    while isinstance(person, (list, tuple)) and len(person):
        person = person[0]
    return str(int(person)) if isinstance(person, float) and person.is_integer() else str(person)
