"""A lifted motion as numbers: .npz, .json and .csv, which say their units, axes and what was
assumed.

Every file is written beside its target and moved into place. Where somebody is not seen there is
no row: frames are counted in the recording, and a gap is a number that is
left out. Joints that were filled in are marked.
"""
# n frames of a piece, J joints

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.lift.camera import BLOCK
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.runs.records import version_of, write_atomically, write_stream

#: separators that could end a cell, and how JSON may write them
SEPARATORS: Final = {ord(","): "\\u002c", ord(";"): "\\u003b", ord("\t"): "\\t"}
#: arrays that hold nothing of an absent joint
BLANKED: Final = ("pose_mm", "seen_px", "spread_mm")
#: what a cell of a spreadsheet begins with where it is computed
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
#: decimals of the arrays in a .json file
DIGITS: Final = {
    "pose_mm": 1,
    "root_mm": 1,
    "seen_px": 1,
    "confidence": 3,
    "filled": 0,
    "spread_mm": 1,
}
#: columns of a .csv file
COLUMNS: Final = (
    "person",
    "frame",
    "seconds",
    "joint",
    "x_mm",
    "y_mm",
    "z_mm",
    "confidence",
    "filled",
    "spread_mm",
)


def identity(motion: Motion) -> dict[str, Any]:
    """What every file says that has a place for it, whatever its units and axes."""
    return {
        "source": motion.source,
        "fps": motion.fps,
        "network": motion.about.get("network", "not said"),
        "package": f"m2v_lib {version_of('m2v_lib')}",
        "expected_error": motion.report.get("expected error", "not known"),
        "world": motion.world.how,
    }


def header(motion: Motion) -> dict[str, Any]:
    """What every file with tables says of a motion."""
    return {
        **identity(motion),
        "n_frames": motion.n_frames,
        "width": motion.camera.width,
        "height": motion.camera.height,
        **motion.about,
        "joints": list(motion.skeleton.joints),
        "report": motion.report,
        "notes": [*motion.notes, *motion.warnings],
    }


def known_arrays(motion: Motion) -> list[str]:
    """The arrays of `Lifted` that everybody has."""
    return [key for key in DIGITS if all(getattr(p, key) is not None for p in motion.people)]


def without_absent(values: np.ndarray, motion: Motion) -> np.ndarray:
    """Values (n,J,...) with NaN for the joints that the layout does not have."""
    if not motion.absent:
        return values
    values = values.copy()
    values[:, list(motion.absent)] = np.nan
    return values


def harmless_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in FORMULA else text


def write_npz(path: Path, motion: Motion) -> None:
    """Rows of all people one after another: `person` (n,), `frame` (n,), `pose_mm` (n,J,3)
    relative to the root, `root_mm` (n,3) from the camera, `seen_px` (n,J,2), `confidence`
    (n,J), `filled` (n,J), where it is known `spread_mm` (n,J) one sigma of each joint's place from
    the root, `absent` (J,) joints that the layout lacks, whose poses are NaN, `bones` (J-1,2),
    `about` (JSON text).
    """
    people = motion.people
    arrays: dict[str, np.ndarray] = {
        "person": np.concatenate([np.full(p.n_frames, p.name) for p in people]),
        "frame": np.concatenate([p.start + np.arange(p.n_frames) for p in people]),
    }
    for key in known_arrays(motion):
        values = np.concatenate([getattr(p, key) for p in people])
        arrays[key] = without_absent(values, motion) if key in BLANKED else values

    arrays["absent"] = np.isin(np.arange(len(motion.skeleton)), motion.absent)
    arrays["bones"] = np.array(motion.skeleton.bones)
    arrays["about"] = np.array(json.dumps(header(motion)))

    write_stream(path, lambda stream: np.savez_compressed(stream, allow_pickle=False, **arrays))


def write_json(path: Path, motion: Motion) -> None:
    """A table with the header's keys and `people`: name, start, and the arrays of `Lifted`
    rounded to 0.1 mm or px.
    """

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8") as stream:
            stream.write(
                _json({**header(motion), "bones": motion.skeleton.bones})[:-1] + ',"people":['
            )
            for i, person in enumerate(motion.people):
                stream.write(
                    ("," if i else "") + _json({"name": person.name, "start": person.start})[:-1]
                )
                for key in known_arrays(motion):
                    stream.write(f',"{key}":[')
                    values = getattr(person, key)
                    blanked = without_absent(values, motion) if key in BLANKED else values
                    stream.writelines(_rows(blanked, DIGITS[key]))
                    stream.write("]")
                stream.write("}")
            stream.write("]}\n")

    write_atomically(path, write)


def write_csv(path: Path, motion: Motion) -> None:
    """A line a person, frame and joint; x, y, z from the camera and spread in mm; the header is
    in `#` lines.
    """

    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as stream:
            for key, value in header(motion).items():
                stream.write(f"# {key}: {_one_cell(value)}\n")

            table = csv.writer(stream, lineterminator="\n")
            table.writerow(COLUMNS)
            for person in motion.people:
                table.writerows(_lines(person, motion))

    write_atomically(path, write)


def write_lines(target: Path, lines: Iterator[str]) -> None:
    """Write lines as they come, beside the target, and move the file into place."""

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)

    write_atomically(target, write)


def _one_cell(value: Any) -> str:
    """JSON whose texts hold no separator, so that nothing in them begins a cell."""
    if isinstance(value, str):
        return json.dumps(value).translate(SEPARATORS)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_one_cell, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_one_cell(k)}: {_one_cell(v)}' for k, v in value.items())}}}"
    return json.dumps(value)


def _lines(person: Lifted, motion: Motion) -> Iterator[list[Any]]:
    name_cell, spread = harmless_cell(person.name), person.spread_mm
    for t in range(person.n_frames):
        joints = person.pose_mm[t] + person.root_mm[t]
        for j, name in enumerate(motion.skeleton.joints):
            yield [
                name_cell,
                person.start + t,
                f"{(person.start + t) / motion.fps:.4f}",
                name,
                *("" if j in motion.absent else f"{v:.1f}" for v in joints[j]),
                f"{person.confidence[t, j]:.3f}",
                int(person.filled[t, j]),
                "" if spread is None or j in motion.absent else f"{spread[t, j]:.1f}",
            ]


def _rows(values: np.ndarray, digits: int) -> Iterator[str]:
    """The rows of an array as JSON, a block at a time."""
    for first in range(0, len(values), BLOCK):
        block = values[first : first + BLOCK]
        numbers = np.round(block.astype(float), digits) if digits else block.astype(int)
        text = _json(numbers.tolist())[1:-1]
        yield ("," if first else "") + text.replace("NaN", "null")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
