"""What the keypoint files of detectors say, whatever they are called: content decides which
reader is used.

JSON is read in `json_files`, folders in `folders`, tables in `tables` (.npz) and `csv_files`; all
give `Detections`. Nothing is converted here.
"""
# m detections, K keypoints of a layout

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import (
    UTF16,
    as_decoded,
    as_number,
    as_text,
    as_whole,
    beginning_of,
    check_source,
    read_bytes,
    shown,
)
from m2v_lib.data.limits import (
    MAX_DETECTIONS,
    MAX_FPS,
    MAX_FRAME_NUMBER,
    MAX_IMAGE_SIDE,
    MAX_KEYPOINTS,
    MAX_PEOPLE_PER_FRAME,
    MAX_TEXT_BYTES,
    MIN_FPS,
)


class UnrecognisedFile(DataError):
    """A file that holds no keypoints of any known format."""


class NoPersonError(DataError):
    """A recording in which nobody was detected."""


GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True)
class Header:
    """What a file says of all its detections; None where it says nothing.

    layout is what the file itself says, names are those of its keypoints, usual_layout is only
    what the format mostly holds; units are "pixels" or "normalised" (0..1 of width and height).
    """

    layout: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    units: str | None = None
    n_frames: int | None = None
    names: tuple[str, ...] | None = None
    usual_layout: str | None = None
    notes: tuple[str, ...] = ()


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
class DetectionBuilder:
    """Collects detections one by one and makes arrays of them, naming the first that does not
    fit the others.
    """

    path: Path | str
    frame: list[int] = field(default_factory=list)
    person: list[str | None] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    per_frame: Counter[int] = field(default_factory=Counter)

    def add(self, frame: object, person: object, values: object) -> None:
        """`values` is flat (x, y, c, x, y, c ...), or a row [x, y, c] a keypoint."""
        if isinstance(values, list) and values and isinstance(values[0], int | float | str | None):
            if len(values) % 3:
                raise DataError(
                    f"{self.path}: {self._here()} has {len(values)} numbers, expected x, y, "
                    "confidence for each keypoint"
                )
            values = [values[i : i + 3] for i in range(0, len(values), 3)]

        if type(frame) is int and 0 <= frame <= MAX_FRAME_NUMBER:
            number = frame
        else:
            where = f"{self.path}: {self._here()}: frame"
            number = as_whole(frame, where, 0, MAX_FRAME_NUMBER, text=True)

        self.per_frame[number] += 1
        if self.per_frame[number] > MAX_PEOPLE_PER_FRAME or len(self.frame) >= MAX_DETECTIONS:
            raise DataError(
                f"{self.path}: must hold at most {MAX_PEOPLE_PER_FRAME} people a frame and "
                f"{MAX_DETECTIONS} detections"
            )

        self.frame.append(number)
        self.person.append(None if person is None else _name(person, self.path))
        self.values.append(values)

    def _here(self) -> str:
        return f"detection {len(self.values)}"

    def make(self, format: str, header: Header) -> Detections:
        """All rows as arrays. Raises DataError for ragged, empty or non-numeric ones."""
        if not self.values:
            frames = f" in {header.n_frames} frames" if header.n_frames else ""
            raise NoPersonError(
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
        if counts[0] > MAX_KEYPOINTS:
            raise DataError(
                f"{self.path}: must have at most {MAX_KEYPOINTS} keypoints a person, got {counts[0]}"
            )

        try:
            array = np.array(self.values, np.float64)
        except (TypeError, ValueError, OverflowError):
            array = np.empty(0)

        if array.ndim != 3 or array.shape[2] != 3:
            bad = next((i for i, v in enumerate(self.values) if not _is_triples(v)), 0)
            raise DataError(
                f"{self.path}: detection {bad} is not made of numbers x, y, confidence a keypoint"
            )

        return array


def size_of(values: Mapping[Any, Any], where: str) -> tuple[int | None, int | None]:
    """`width` and `height` of a table, None where absent or 0."""
    width, height = (
        None
        if values.get(key) is None
        else as_whole(values[key], f"{where}: {key}", 0, MAX_IMAGE_SIDE, text=True) or None
        for key in ("width", "height")
    )
    return width, height


def rate_of(values: Mapping[Any, Any], where: str) -> float | None:
    """`fps` of a table, None where absent."""
    if values.get("fps") is None:
        return None
    return as_number(values["fps"], f"{where}: fps", MIN_FPS, MAX_FPS, text=True)


def read_json(path: Path) -> Any:
    """Any JSON file, also packed by gzip; DataError where it is none, with the place."""
    try:
        return json.loads(text_of(path))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and error.lineno > 1:
            raise DataError(
                f"{path}: holds more than one JSON value (line {error.lineno}); a file of a line a "
                f"frame is lifted as a stream (m2v lift - < {path.name})"
            ) from error
        cut = ", truncated?" if error.pos >= len(error.doc.rstrip()) - 1 else ""
        raise DataError(
            f"{path}: not valid JSON at line {error.lineno}, column {error.colno}{cut}"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}: is nested too deeply for keypoints") from error
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: holds a number of thousands of digits") from error


def text_of(path: Path) -> str:
    """The text of a file, unpacked if it is packed by gzip. Raises DataError."""
    raw = read_bytes(path, MAX_TEXT_BYTES)
    if not raw.startswith(GZIP):
        return as_decoded(raw, path)

    try:
        with gzip.open(io.BytesIO(raw)) as stream:
            unpacked = stream.read(MAX_TEXT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is not a whole gzip file (truncated?)") from error

    if len(unpacked) > MAX_TEXT_BYTES:
        raise DataError(f"{path}: must unpack to at most {MAX_TEXT_BYTES >> 20} MiB")
    return as_decoded(unpacked, path)


def read_detections(path: Path | str, layout: str | None = None) -> Detections:
    """Whatever a detector wrote: a file of any known kind, or a folder with one file a frame;
    `layout` is what the caller asks for.
    """
    from m2v_lib.data.keypoints.formats import csv_files, folders, json_files, tables

    path = Path(path)
    check_source(path, "keypoints as JSON, .npz or .csv")
    if path.is_dir():
        return folders.read_folder(path)

    head = beginning_of(path)
    if head.startswith(b"PK"):
        return tables.read_npz(path)

    if head.startswith((GZIP, *UTF16)):
        head = text_of(path)[:64].encode()
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return json_files.read(path)
    if not head or b"\0" in head:
        raise DataError(f"{path}: is {kind_of(head)}, expected keypoints as JSON, .npz or .csv")
    if path.suffix.lower() == ".trc" or head.startswith(b"PathFileType"):
        raise DataError(f"{path}: is a .trc file, whose markers are in space already")

    return csv_files.read_csv(path, layout)


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
        (b"GIF8", "a video (GIF)"),
        (b"FLV\x01", "a video (FLV)"),
        (b"\x30\x26\xb2\x75", "a video (WMV)"),
        (b"\x00\x00\x01\xba", "a video (MPEG)"),
        (b"\x00\x00\x01\xb3", "a video (MPEG)"),
        (b"\x93NUMPY", "a bare .npy array"),
    )
    if any(head[at : at + 1] == head[at + step : at + step + 1] == head[at + 2 * step :][:1] == b"G"
           for at, step in ((0, 188), (4, 192))):  # fmt: skip
        return "a video (MPEG-TS)"
    if head[4:8] in (b"moov", b"mdat", b"wide"):
        return "a video (QuickTime)"

    return next(
        (name for mark, name in known if mark in head[:12]), "a binary file" if head else "empty"
    )


def _is_triples(values: object) -> bool:
    try:
        return np.array(values, np.float64).shape[1:] == (3,)
    except (TypeError, ValueError, OverflowError):
        return False


def _name(person: object, where: Path | str) -> str:
    """Ids come as 3, 3.0, [3.0] or "3"."""
    for _ in range(4):
        if isinstance(person, list | tuple) and len(person):
            person = person[0]

    if isinstance(person, int | float) and abs(person) < 10**15 and person == int(person):
        return str(int(person))
    if isinstance(person, str):
        return as_text(person, f"{where}: id")
    if isinstance(person, float) and not person.is_integer():
        return shown(person)

    return str(as_whole(person, f"{where}: id", -(10**15), 10**15, text=True))
