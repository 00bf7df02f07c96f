"""Keypoints in text tables: a line a keypoint, or a line a frame as DeepLabCut and SLEAP write.

- a line a keypoint: columns `frame, joint, x, y` and perhaps `person`, `confidence` (or another of
  SCORES), any order; `joint` is a number or a name. `#` lines at the
  top may hold `width=1280 height=720 fps=25 layout=coco17`
- SLEAP: `track, frame_idx, instance.score, nose.x, nose.y, nose.score, ...`; other programs write
  `nose_x`, `x_nose`, and `nose_` with any of SCORES
- DeepLabCut: three or four lines `scorer`, (`individuals`,) `bodyparts`, `coords`, then a line a
  frame

Separated by commas, semicolons (with decimal commas) or tabs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import as_text, as_whole, listed, shown
from m2v_lib.data.keypoints.formats.files import (
    DetectionBuilder,
    Detections,
    Header,
    UnrecognisedFile,
    rate_of,
    size_of,
)
from m2v_lib.data.keypoints.formats.text_tables import Table, cell, read_table
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.data.limits import MAX_FRAME_NUMBER, MAX_KEYPOINTS

SCORES: Final = (
    *("confidence", "visibility", "score", "likelihood", "conf", "probability", "prob", "vis"),
    *("visible", "presence", "c", "v", "p"),
)
FRAMES: Final = ("frame", "frame_idx", "frame_id", "frame_number", "image_id")
PEOPLE: Final = ("person", "track", "individual", "id", "person_id", "track_id")
JOINTS: Final = ("joint", "keypoint", "bodypart", "landmark", "joint_id", "keypoint_id")
#: columns of one keypoint in a line a frame
_AXIS: Final = rf"(?P<axis>x|y|{'|'.join(SCORES)})"
WIDE: Final = re.compile(rf"(?P<name>.+?)[._ -]{_AXIS}")
WIDE_BEFORE: Final = re.compile(rf"{_AXIS}[._ -](?P<name>.+)")


def read_csv(path: Path, layout: str | None = None) -> Detections:
    """A table of any of these kinds. Joints by number may lack some of the `layout` asked for, which
    are then never seen. Raises DataError.
    """
    table = read_table(path, layout)
    columns = table.columns
    if columns[:1] == ["scorer"] or columns[:1] == ["bodyparts"]:
        return _deeplabcut(table)

    frame = next((name for name in FRAMES if name in columns), None)
    joint = next((name for name in JOINTS if name in columns), None)
    if frame and joint and {"x", "y"} <= set(columns):
        return _long(table, frame, joint)

    wide = _wide_columns(columns)
    if frame and wide:
        return _wide(table, frame, wide)

    raise UnrecognisedFile(
        f"{path}: its first line has no columns frame, joint, x, y; found {listed(columns, 6)}"
    )


def _row(table: Table, line: int, cells: Sequence[str]) -> dict[str, str]:
    if len(cells) != len(table.columns):
        raise DataError(
            f"{table.where(line)} has {len(cells)} values, expected {len(table.columns)}"
        )
    return dict(zip(table.columns, cells, strict=True))


def _long(table: Table, frame_column: str, joint_column: str) -> Detections:
    """A line a keypoint."""
    score = next((name for name in SCORES if name in table.columns), None)
    person_column, unlike_people = _person_column(table, several_frames=True)
    used = {frame_column, joint_column, "x", "y", score, person_column}

    cells: dict[tuple[int, str], dict[str, list[float]]] = {}
    for line, values in table.lines:
        row = _row(table, line, values)
        where = table.where(line)
        frame = _frame(row[frame_column], where)
        person = row[person_column] if person_column else ""
        one = cells.setdefault((frame, person), {})
        joint = row[joint_column]
        if joint in one:
            raise DataError(f"{where} gives joint {listed([joint])} of frame {frame} a second time")

        one[joint] = cell(table, where, row["x"], row["y"], row[score] if score else "1")

    joints = list(dict.fromkeys(joint for one in cells.values() for joint in one))
    order, names, notes = _order(table, joints)
    rows = DetectionBuilder(table.path)
    for (frame, person), one in sorted(cells.items()):
        rows.add(frame, person or None, [one.get(joint, [0.0, 0.0, 0.0]) for joint in order])

    notes += [*unlike_people, *_unused(table, used)]
    return rows.make("CSV", _header(table, max(rows.frame, default=-1) + 1, names, notes))


def _person_column(table: Table, *, several_frames: bool) -> tuple[str | None, list[str]]:
    """The column that says who somebody is, and a note of one that does not: it numbers the rows."""
    notes = list[str]()
    for name in (name for name in PEOPLE if name in table.columns):
        at = table.columns.index(name)
        values = [cells[at] for _, cells in table.lines if at < len(cells)]
        if not several_frames or len(values) < 2 or len(set(values)) < len(values):
            return name, notes
        notes.append(f"column {shown(name)} differs in every row, it was not taken for people")
    return None, notes


def _unused(table: Table, used: Collection[str | None]) -> list[str]:
    """A note of the columns that were not read."""
    known = {*used, "instance.score"}  # SLEAP's, of the person as a whole
    unused = [name or "(without a name)" for name in table.columns if name not in known]
    return [f"columns not read: {listed(unused, 6)}"] if unused else []


def _frame(text: str, where: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 7:
        return int(text)
    return as_whole(text, f"{where}: frame", 0, MAX_FRAME_NUMBER, text=True)


def _order(table: Table, joints: list[str]) -> tuple[list[str], tuple[str, ...] | None, list[str]]:
    """The joints in their order ("" for one that is never given), their names where they have some,
    and what was assumed.
    """
    path = table.path
    if len(joints) > MAX_KEYPOINTS:
        raise DataError(f"{path}: must have at most {MAX_KEYPOINTS} joints, got {len(joints)}")
    if not all(joint.isascii() and joint.isdigit() for joint in joints):
        return joints, tuple(as_text(joint, f"{path}: joint") for joint in joints), []

    by_number = {
        as_whole(joint, f"{path}: joint", 0, MAX_KEYPOINTS, text=True): joint for joint in joints
    }
    first, last = min(by_number, default=0), max(by_number, default=-1)
    layout = LAYOUTS.get(str(table.layout or table.head.get("layout")))
    if layout is not None and last < layout.n_keypoints:
        return [by_number.get(i, "") for i in range(layout.n_keypoints)], None, []
    if first == 1 and len(by_number) == last:
        return [by_number[i] for i in range(1, last + 1)], None, ["joints are counted from 1"]

    return [by_number.get(i, "") for i in range(last + 1)], None, []


def _wide_columns(columns: Sequence[str]) -> dict[str, dict[str, int]]:
    """The columns of each keypoint in a line a frame: {name: {"x": 3, "y": 4, "score": 5}}."""
    found: dict[str, dict[str, int]] = {}
    for i, column in enumerate(columns):
        match = WIDE.fullmatch(column) or WIDE_BEFORE.fullmatch(column)
        if match:
            axis = match["axis"] if match["axis"] in "xy" else "score"
            found.setdefault(match["name"], {})[axis] = i
    return {name: axes for name, axes in found.items() if {"x", "y"} <= axes.keys()}


def _wide(table: Table, frame_column: str, wide: Mapping[str, Mapping[str, int]]) -> Detections:
    """A line a frame and person."""
    rows, frame_at = DetectionBuilder(table.path), table.columns.index(frame_column)
    frames = {cells[frame_at] for _, cells in table.lines if frame_at < len(cells)}
    person_column, unlike_people = _person_column(table, several_frames=len(frames) > 1)
    used = {frame_column, person_column}
    used |= {table.columns[at] for axes in wide.values() for at in axes.values()}

    for line, values in table.lines:
        row = _row(table, line, values)
        frame = _frame(row[frame_column], table.where(line))
        person = (row[person_column] if person_column else "") or None
        rows.add(frame, person, _triples(table, line, values, wide.values()))

    order, names, notes = _order(table, list(wide))
    notes += [*unlike_people, *_unused(table, used)]
    if names is None:
        notes = [*notes, "keypoints by the number in their columns"]
        wanted = [list(wide).index(name) if name else None for name in order]
        rows.values = [
            [one[i] if i is not None else [0.0, 0.0, 0.0] for i in wanted] for one in rows.values
        ]

    return rows.make("CSV", _header(table, max(rows.frame, default=-1) + 1, names, notes))


def _triples(table: Table, line: int, values: Sequence[str], axes: Any) -> list[list[float]]:
    where = table.where(line)
    return [
        cell(table, where, values[at["x"]], values[at["y"]], values[at["score"]])
        if "score" in at
        else cell(table, where, values[at["x"]], values[at["y"]], "1")
        for at in axes
    ]


def _deeplabcut(table: Table) -> Detections:
    """Header lines `scorer`, (`individuals`,) `bodyparts`, `coords`, then a line a frame."""
    titles: dict[str, list[str]] = {}
    for _, cells in table.lines[:3]:
        if cells[0].lower() in ("individuals", "bodyparts", "coords"):
            titles[cells[0].lower()] = cells

    if table.columns[:1] == ["bodyparts"]:
        titles["bodyparts"] = table.columns
    n = len(table.columns)
    if not {"bodyparts", "coords"} <= titles.keys() or any(len(t) != n for t in titles.values()):
        raise DataError(f"{table.path}: has no lines bodyparts and coords, expected DeepLabCut's")

    people = titles.get("individuals", [""] * n)

    found: dict[str, dict[str, dict[str, int]]] = {}
    for i in range(1, n):
        axis = titles["coords"][i].lower()
        axis = axis if axis in ("x", "y") else "score"
        found.setdefault(people[i], {}).setdefault(titles["bodyparts"][i], {})[axis] = i

    names = list(dict.fromkeys(titles["bodyparts"][1:]))

    rows, begin = DetectionBuilder(table.path), len(titles) - (table.columns[0] == "bodyparts")
    for line, cells in table.lines[begin:]:
        if len(cells) != n:
            raise DataError(f"{table.where(line)} has {len(cells)} values, expected {n}")
        frame = _deeplabcut_frame(table, line, cells[0])
        for person, parts in found.items():
            axes = [parts[name] for name in names if {"x", "y"} <= parts.get(name, {}).keys()]
            if len(axes) != len(names):
                raise DataError(f"{table.path}: {shown(person)} lacks x and y of a body part")
            rows.add(frame, person or None, _triples(table, line, cells, axes))

    order = tuple(as_text(name, f"{table.path}: body part") for name in names)
    return rows.make("DeepLabCut", _header(table, max(rows.frame, default=-1) + 1, order, []))


def _deeplabcut_frame(table: Table, line: int, text: str) -> int:
    digits = re.findall(r"\d+", text)
    where = f"{table.where(line)}: frame"
    return as_whole(digits[-1] if digits else text, where, 0, MAX_FRAME_NUMBER, text=True)


def _header(
    table: Table, n_frames: int, names: tuple[str, ...] | None, notes: Sequence[str]
) -> Header:
    where = str(table.path)
    width, height = size_of(table.head, where)
    layout, units = (
        as_text(table.head[key], f"{where}: {key}") if table.head.get(key) else None
        for key in ("layout", "units")
    )
    rate = rate_of(table.head, where)
    return Header(layout, width, height, rate, units, n_frames, names, notes=tuple(notes))
