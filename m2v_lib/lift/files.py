"""A lifted motion in files that other tools read: .npz, .json and .csv, which say their units,
axes and what was assumed, and .trc, the markers of OpenSim.

Every file is written beside its target and moved into place. Where somebody is not seen there is
no row (in a .trc an empty one): frames are counted in the recording, and a gap is a number that is
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

from m2v_lib.lift.camera import BLOCK, Y_UP
from m2v_lib.lift.people import Lifted, Motion, by_person
from m2v_lib.runs.records import write_atomically

#: decimals of the arrays in a .json file
#: arrays that hold nothing of an absent joint
SEPARATORS: Final = {ord(","): "\\u002c", ord(";"): "\\u003b", ord("\t"): "\\t"}
BLANKED: Final = ("pose_mm", "seen_px")
#: what a cell of a spreadsheet begins with where it is computed
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
DIGITS: Final = {"pose_mm": 1, "root_mm": 1, "seen_px": 1, "confidence": 3, "filled": 0}


def header(motion: Motion) -> dict[str, Any]:
    """What every file says of a motion."""
    return {
        "source": motion.source,
        "fps": motion.fps,
        "n_frames": motion.n_frames,
        "width": motion.camera.width,
        "height": motion.camera.height,
        **motion.about,
        "joints": list(motion.skeleton.joints),
        "report": motion.report,
        "notes": [*motion.notes, *motion.warnings],
    }


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
    (n,J), `filled` (n,J), `absent` (J,) joints that the layout lacks, whose poses are NaN,
    `bones` (J-1,2), `about` (JSON text).
    """
    people = motion.people
    arrays: dict[str, np.ndarray] = {
        "person": np.concatenate([np.full(p.n_frames, p.name) for p in people]),
        "frame": np.concatenate([p.start + np.arange(p.n_frames) for p in people]),
    }
    for key in ("pose_mm", "root_mm", "seen_px", "confidence", "filled"):
        arrays[key] = np.concatenate([getattr(p, key) for p in people])

    for key in BLANKED:
        arrays[key] = without_absent(arrays[key], motion)

    arrays["absent"] = np.isin(np.arange(len(motion.skeleton)), motion.absent)
    about = np.array(json.dumps(header(motion)))

    def write(beside: Path) -> None:
        with beside.open("wb") as stream:
            np.savez_compressed(
                stream,
                allow_pickle=False,
                bones=np.array(motion.skeleton.bones),
                about=about,
                **arrays,
            )

    write_atomically(path, write)


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
                for key, digits in DIGITS.items():
                    stream.write(f',"{key}":[')
                    values = getattr(person, key)
                    blanked = without_absent(values, motion) if key in BLANKED else values
                    stream.writelines(_rows(blanked, digits))
                    stream.write("]")
                stream.write("}")
            stream.write("]}\n")

    write_atomically(path, write)


def write_csv(path: Path, motion: Motion) -> None:
    """A line a person, frame and joint; x, y, z from the camera in mm; the header is in `#`
    lines.
    """

    def write(beside: Path) -> None:
        with beside.open("w", newline="", encoding="utf-8") as stream:
            for key, value in header(motion).items():
                stream.write(f"# {key}: {_one_cell(value)}\n")

            table = csv.writer(stream, lineterminator="\n")
            table.writerow(
                [
                    "person",
                    "frame",
                    "seconds",
                    "joint",
                    "x_mm",
                    "y_mm",
                    "z_mm",
                    "confidence",
                    "filled",
                ]
            )
            for person in motion.people:
                table.writerows(_lines(person, motion))

    write_atomically(path, write)


def write_trc(path: Path, motion: Motion) -> list[Path]:
    """Joints as markers, one file a person from the recording's first frame on: mm, y up, z
    towards the camera, the lowest point of the motion on the floor (y = 0).
    """
    targets = []
    for target, pieces in by_person(path, motion):
        write_lines(target, _trc_lines(target.name, pieces, motion))
        targets.append(target)
    return targets


def _trc_lines(name: str, pieces: list[Lifted], motion: Motion) -> Iterator[str]:
    """The lines of one person's file; frames in which they are not seen have empty cells."""
    kept = [j for j in range(len(motion.skeleton)) if j not in motion.absent]
    markers = ["_".join(motion.skeleton.joints[joint].split()) for joint in kept]
    n_frames, rate = pieces[-1].start + pieces[-1].n_frames, f"{motion.fps:g}"
    floor = min(float(-piece.joints_mm[:, kept, 1].max()) for piece in pieces)

    yield f"PathFileType\t4\t(X/Y/Z)\t{name}"
    yield (
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\t"
        "OrigNumFrames"
    )
    yield f"{rate}\t{rate}\t{n_frames}\t{len(kept)}\tmm\t{rate}\t1\t{n_frames}"
    yield "Frame#\tTime\t" + "\t\t\t".join(markers) + "\t\t"
    yield "\t\t" + "\t".join(f"X{k}\tY{k}\tZ{k}" for k in range(1, len(kept) + 1))
    yield ""

    nobody = [""] * (3 * len(kept))
    waiting = list(pieces)
    for frame in range(n_frames):
        while waiting[0].start + waiting[0].n_frames <= frame:
            waiting.pop(0)

        piece, t = waiting[0], frame - waiting[0].start
        cells = nobody
        if t >= 0:
            joints = (piece.pose_mm[t] + piece.root_mm[t])[kept] * Y_UP - (0, floor, 0)
            cells = [f"{value:.3f}" for value in joints.ravel()]
        yield "\t".join([str(frame + 1), f"{frame / motion.fps:.6f}", *cells])


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
    name_cell = harmless_cell(person.name)
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
