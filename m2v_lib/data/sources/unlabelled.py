"""Keypoint files as a store of 2D alone, for pre-training: PoseTrack18's annotations, or a
folder of any detector's.

Every person of every recording becomes a video at 50 frames a second, cut where nobody was seen
for half a second; what was missing in between is filled in with low confidence
(`timeline.fill`). Recordings below a folder called val or test are the test split. Where an
image size is unknown (PoseTrack18 says none), a person's frame is a square of twice the larger
side of the box of the joints, around its middle: the crop of spec section 7's evaluation.
"""
# n frames of a piece, J = 17 joints

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Person, Tracks, read_keypoints, recordings
from m2v_lib.data.keypoints.formats.files import NoPersonError, UnrecognisedFile, read_detections
from m2v_lib.data.keypoints.timeline import at_rate, dense, fill, sample, unbroken
from m2v_lib.data.store import Meta, Split, Video, no_labels, write_store

FPS: Final = 50.0
MIN_SECONDS: Final = 0.5  # of a piece
MIN_SEEN: Final = 0.5  # share of its joints that were detected
CROP: Final = 2.0
N_TRIED: Final = 20  # files of a folder that are tried until one holds keypoints
TEST_FOLDERS: Final = ("val", "test")


@dataclass(frozen=True)
class Piece:
    """One person at 50 frames a second: xy (n,17,2) px of an image width x height, confidence
    (n,17).
    """

    xy: np.ndarray
    confidence: np.ndarray
    width: int
    height: int


def prepare_keypoints(
    root: Path,
    name: str,
    sources: Sequence[Path],
    *,
    recipe: str,
    size: Sequence[int] | str | None = None,
    fps: float | None = None,
    layout: str | None = None,
) -> Path:
    """Write the store `<root>/<name>` from keypoint files and folders of them; returns its
    folder.

    size ("1280x720" or two numbers), fps and layout are for files that do not say them; fps must
    be known. Raises DataError, also where no piece is long enough.
    """
    splits: dict[str, list[tuple[Video, Piece]]] = {"train": [], "test": []}
    formats: Counter[str] = Counter()
    found = [(source, path) for source in sources for path in _recordings(source)]

    left_out: list[str] = []
    for source, path in tqdm(found, desc="reading keypoints", unit="file", delay=2, leave=False):
        try:
            tracks = read_keypoints(path, size=parse_size(size), fps=fps, layout=layout)
        except (UnrecognisedFile, NoPersonError) as error:  # notes, or a clip without anybody
            if path == source:
                raise
            left_out.append(f"{path.name}: {str(error).removeprefix(f'{path}: ')}")
            continue

        formats[f"{tracks.format}, {tracks.layout}"] += 1
        split = splits[
            "test" if set(path.relative_to(source).parts[:-1]) & set(TEST_FOLDERS) else "train"
        ]

        for label, piece in pieces(tracks, str(path)):
            source_name = f"{path.relative_to(source.parent).as_posix()}#{label}"
            start = split[-1][0].start + split[-1][0].n_frames if split else 0
            video = Video(
                source_name,
                source_name,
                "unlabelled",
                "",
                start,
                len(piece.xy),
                piece.width,
                piece.height,
            )
            split.append((video, piece))

    meta = Meta(
        name=name,
        fps=FPS,
        protocol="detected 2D without labels",
        source=", ".join(s.name for s in sources),
        detector={"model": "unknown", "files": dict(formats)},
        units="px",
        recipe=recipe,
    )

    if not splits["train"]:
        where = ", ".join(map(str, sources))
        why = f"; left out: {left_out[0]}" if left_out else ""
        raise DataError(
            f"{where}: nobody is seen for {MIN_SECONDS:g} s in {len(found)} recordings outside "
            f"val and test{why}"
        )

    if left_out:
        count = "1 file" if len(left_out) == 1 else f"{len(left_out)} files"
        tqdm.write(f"m2v: {count} left out, {left_out[0]}", file=sys.stderr)

    return write_store(root, meta, *(_split(entries) for entries in splits.values()))


def looks_like(path: Path) -> bool:
    """Whether one of the first recordings here can be read as keypoints."""
    return any(_is_keypoints(recording) for recording in islice(_recordings(path), N_TRIED))


def _is_keypoints(path: Path) -> bool:
    try:
        return len(read_detections(path).frame) > 0
    except DataError:
        return False


def parse_size(size: Sequence[int] | str | None) -> tuple[int, int] | None:
    """(width, height) from "1280x720" or two numbers. Raises DataError."""
    if size is None:
        return None

    words: Sequence[Any] = size.lower().split("x") if isinstance(size, str) else size

    try:
        width, height = (int(word) for word in words)
        if width > 0 and height > 0:
            return width, height
    except (TypeError, ValueError):
        pass

    raise DataError(f"size {size!r} is not WIDTHxHEIGHT in pixels, such as 1280x720")


def pieces(tracks: Tracks, where: str) -> Iterator[tuple[str, Piece]]:
    """Each person's unbroken pieces with a label of their own, at 50 frames a second."""
    if tracks.fps is None:
        raise DataError(f"{where}: does not say its frames a second; give them (fps)")
    for person in tracks.people:
        for rows in unbroken(person.frames, tracks.fps):
            if (piece := _piece(person, rows, tracks.fps, tracks)) is not None:
                yield f"{person.name}@{person.frames[rows.start]}", piece


def _piece(person: Person, rows: slice, fps: float, tracks: Tracks) -> Piece | None:
    """None where too little was seen."""
    frames = person.frames[rows]
    xy, confidence = dense(frames, person.xy[rows]), dense(frames, person.confidence[rows])
    if len(xy) < MIN_SECONDS * fps or (confidence > 0).mean() < MIN_SEEN:
        return None

    seen = xy[confidence > 0]
    xy, confidence, _ = fill(xy, confidence, fps)
    at = at_rate(len(xy), fps, FPS)
    xy, confidence = sample(xy, at), np.clip(sample(confidence, at), 0.0, 1.0)
    if tracks.width and tracks.height:
        return Piece(xy, confidence, tracks.width, tracks.height)

    side = max(1, round(CROP * float(np.ptp(seen, axis=0).max())))
    return Piece(xy - (seen.min(0) + seen.max(0)) / 2 + side / 2, confidence, side, side)


def _recordings(source: Path) -> Iterator[Path]:
    return recordings(source) if source.is_dir() else iter([source])


def _split(entries: list[tuple[Video, Piece]]) -> Split:
    xy = [piece.xy for _, piece in entries] or [np.empty((0, 17, 2))]
    confidence = [piece.confidence for _, piece in entries] or [np.empty((0, 17))]
    n = sum(len(part) for part in xy)
    return Split(
        np.concatenate(xy),
        np.concatenate(confidence),
        videos=tuple(video for video, _ in entries),
        **no_labels(n),
    )
