"""What the ``meta.json`` of a store says, taken only where it is what a store writes.

A store can be copied from elsewhere or damaged; its text reaches terminals, records and pages, its
numbers say which frames of a mapped file are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from m2v_lib.data.checks import DataError, Video
from m2v_lib.data.foreign_values import (
    as_list,
    as_names,
    as_number,
    as_table,
    as_text,
    as_whole,
    listed,
    read_text,
    shown,
)
from m2v_lib.data.limits import (
    MAX_DESCRIPTION_BYTES,
    MAX_FPS,
    MAX_IMAGE_SIDE,
    MAX_LONG_TEXT,
    MIN_FPS,
)

SHA256: Final = re.compile(r"[0-9a-f]{64}")
#: frames of a split: a hundred times Human3.6M
MAX_STORE_FRAMES: Final = 200_000_000
VIDEO_KEYS: Final = frozenset(Video.__dataclass_fields__)


def read_object(path: Path, what: str) -> dict[str, Any]:
    """A JSON file that holds one object. Raises DataError."""
    text = read_text(path, MAX_DESCRIPTION_BYTES, "utf-8")
    try:
        return dict(as_table(json.loads(text), str(path)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as the description of {what}") from error


def check_keys(table: Mapping[str, Any], expected: frozenset[str] | set[str], where: str) -> None:
    """Raise DataError unless a table has exactly these keys."""
    if missing := sorted(expected - table.keys()):
        raise DataError(
            f"{where}: has no key {missing[0]!r}, expected {', '.join(sorted(expected))}"
        )
    if unknown := [key for key in table if key not in expected]:
        raise DataError(
            f"{where}: has an unknown key {shown(unknown[0])}, expected {listed(sorted(expected))}"
        )


def check_fingerprint(value: Any, where: str) -> str:
    """A sha256 in hexadecimal digits."""
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise DataError(f"{where} must be a sha256 of 64 digits, got {shown(value)}")
    return value


def check_name(value: Any, path: Path) -> str:
    """A store's own name, which is that of its folder."""
    name = as_text(value, f"{path}: name")
    if name != path.parent.name:
        raise DataError(f"{path}: is of the store {name!r}, expected {path.parent.name!r}")
    return name


def checked_meta(raw: Any, path: Path) -> dict[str, Any]:
    """The fields of ``Meta``, each of its kind and within its limits."""
    raw = dict(as_table(raw, f"{path}: meta"))
    check_name(raw["name"], path)
    raw["fps"] = as_number(raw["fps"], f"{path}: fps", MIN_FPS, MAX_FPS)
    for key in ("protocol", "source", "units", "skeleton", "recipe"):
        raw[key] = as_text(raw[key], f"{path}: {key}", MAX_LONG_TEXT)

    for key in ("val_subjects", "blocked_sources"):
        raw[key] = tuple(as_names(raw[key], f"{path}: {key}"))

    raw["n_joints"] = as_whole(raw["n_joints"], f"{path}: n_joints", 1, 1000)

    if raw["skeleton_definition"] is not None:
        raw["skeleton_definition"] = dict(
            as_table(raw["skeleton_definition"], f"{path}: skeleton_definition")
        )

    raw["detector"] = dict(as_table(raw["detector"], f"{path}: detector"))
    check_fingerprint(raw["fingerprint"], f"{path}: fingerprint")

    return raw


def checked_videos(rows: Any, where: str) -> tuple[Video, ...]:
    """A split's videos, which follow one another without a gap."""
    videos, start = [], 0
    for i, entry in enumerate(as_list(rows, where)):
        row = as_table(entry, f"{where}, entry {i},")
        check_keys(row, VIDEO_KEYS, f"{where}, entry {i}")
        place = f"{where}, entry {i}:"
        fields: dict[str, Any] = {}
        for key in TEXTS:
            fields[key] = as_text(row[key], f"{place} {key}", MAX_LONG_TEXT)

        for key, (low, high) in LIMITS.items():
            fields[key] = as_whole(row[key], f"{place} {key}", low, high)

        video = Video(**fields)
        if video.start != start:
            raise DataError(f"{place} starts at frame {video.start}, expected {start}")

        start += video.n_frames
        videos.append(video)

    return tuple(videos)


TEXTS: Final = ("source", "subject", "action", "camera")
LIMITS: Final = {
    "start": (0, MAX_STORE_FRAMES),
    "n_frames": (1, MAX_STORE_FRAMES),
    "width": (1, MAX_IMAGE_SIDE),
    "height": (1, MAX_IMAGE_SIDE),
}
