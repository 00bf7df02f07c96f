"""Keypoints in plain tables.

.npz: `keypoints` (n,K,2) or (n,K,3) for one person, (n,P,K,2|3) for P; a third number is the
confidence. Optional: `confidence` (n,[P,]K), `frames` (n,) numbers in the video, `ids` (P,),
`width`, `height`, `fps`, `layout` (a name of `keypoint_layouts.LAYOUTS`; needed for 17 keypoints
where content does not tell) and `units` ("pixels", "normalised"). NaN marks a missing keypoint.
MediaPipe's (n,[P,]33,4) = x, y, z, visibility may be called `landmarks`. VideoPose3D's
`data_2d_custom_*.npz` (one video, `positions_2d` and `metadata`) is read too, by the allow-list
reader.

.csv: a line a keypoint, columns `frame, joint, x, y` and perhaps `person, confidence` (or
`visibility`, `score`), any order; `joint` is a number or a name. `#` lines at the top may hold
`width=1280 height=720 fps=25 layout=coco17`.
"""
# n frames, P people, K keypoints

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints.files import Detections, Header, Rows, rate_of, size_of, whole
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.data.safe_pickle.reader import read_object_npz

_SCORES = ("confidence", "visibility", "score")


def read_npz(path: Path) -> Detections:
    """A .npz file; anything in it but numbers and text is refused by the allow-list reader."""
    arrays = {key: _boxed(value) for key, value in read_object_npz(path).items()}
    if "positions_2d" in arrays:
        return _videopose(path, arrays)
    key = next((key for key in ("keypoints", "landmarks") if key in arrays), None)
    if key is None:
        raise DataError(
            f"{path}: has no key 'keypoints', its keys are {', '.join(arrays) or 'none'}"
        )
    points = _numbers(path, key, arrays[key])
    if points.ndim not in (3, 4) or points.shape[-1] not in (2, 3, 4):
        raise DataError(
            f"{path}: {key} has shape {points.shape}, expected (frames, K, 2 or 3) "
            "or (frames, people, K, 2 or 3)"
        )
    points = points if points.ndim == 4 else points[:, None]
    confidence = _confidence(path, points, arrays.get("confidence"))
    n, people = points.shape[:2]
    names = _column(path, arrays, "ids", people)
    frames = _column(path, arrays, "frames", n) or list(range(n))
    rows = Rows(path)
    triples = np.concatenate([points[..., :2], confidence[..., None]], axis=-1)
    for i, person in np.argwhere((confidence != 0).any(-1)):  # who is absent leaves a gap
        name = names[person] if names else int(person) if people > 1 else None
        rows.add(frames[i], name, triples[i, person])
    scalars = {
        key: value.item()
        for key, value in arrays.items()
        if value.size == 1 and value.dtype != object
    }
    return rows.make("npz", _header(path, scalars, max(frames, default=-1) + 1))


def read_csv(path: Path) -> Detections:
    """A table with a line a keypoint."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error
    words = " ".join(line.lstrip("# ") for line in lines if line.startswith("#")).split()
    head: dict[str, Any] = dict(word.split("=", 1) for word in words if "=" in word)
    numbered = [
        (i, line) for i, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")
    ]
    table = list(csv.reader(line for _, line in numbered))
    columns = [name.strip().lower() for name in table[0]] if table else []
    if not {"frame", "joint", "x", "y"} <= set(columns):
        raise DataError(
            f"{path}: its first line has no columns frame, joint, x, y; found "
            f"{', '.join(columns)[:80]}"
        )
    score = next((name for name in _SCORES if name in columns), None)
    cells: dict[tuple[int, str], dict[str, list[float]]] = {}
    for (number, _), values in zip(numbered[1:], table[1:], strict=True):
        where = f"{path}: line {number}"
        if len(values) != len(columns):
            raise DataError(f"{where} has {len(values)} values, expected {len(columns)}")
        row = dict(zip(columns, (value.strip() for value in values), strict=True))
        one = cells.setdefault((whole(row["frame"], f"{where}: frame"), row.get("person", "")), {})
        if row["joint"] in one:
            raise DataError(
                f"{where} gives joint {row['joint']} of frame {row['frame']} a second time"
            )
        one[row["joint"]] = _cell(where, row, score)
    names = list(dict.fromkeys(joint for one in cells.values() for joint in one))
    rows, order = Rows(path), _order(path, names, head)
    for (frame, person), one in sorted(cells.items()):
        rows.add(frame, person or None, [one.get(joint, [0.0, 0.0, 0.0]) for joint in order])
    return rows.make("CSV", _header(path, head, max(rows.frame, default=-1) + 1))


def _order(path: Path, names: list[str], head: dict[str, Any]) -> list[str]:
    """The joints of a CSV in the order of their layout, which names or the number of joints
    tell.
    """
    if all(name.isdigit() for name in names):
        return sorted(names, key=int)
    for layout in LAYOUTS.values():
        if {name.lower().replace(" ", "_") for name in names} <= set(layout.keypoints):
            known = {name.lower().replace(" ", "_"): name for name in names}
            head.setdefault("layout", layout.name)
            return [known.get(keypoint, keypoint) for keypoint in layout.keypoints]
    raise DataError(f"{path}: its joints ({', '.join(names[:3])} ...) are those of no known layout")


def _cell(where: str, row: dict[str, str], score: str | None) -> list[float]:
    """x, y and confidence of one line; both coordinates left blank or nan are a missing
    keypoint.
    """
    if {row["x"].lower(), row["y"].lower()} <= {"", "nan"}:
        return [0.0, 0.0, 0.0]
    try:
        return [float(row["x"]), float(row["y"]), float(row[score]) if score else 1.0]
    except ValueError as error:
        raise DataError(
            f"{where} holds something that is no number ({str(error).split(': ')[-1]})"
        ) from error


def _videopose(path: Path, arrays: dict[str, np.ndarray]) -> Detections:
    """VideoPose3D's file for videos of one's own: {video: {"custom": [(n,K,2)]}}, sizes in the
    metadata.
    """
    positions, metadata = (
        arrays["positions_2d"].item(),
        arrays["metadata"].item() if "metadata" in arrays else {},
    )
    if not isinstance(positions, dict) or len(positions) != 1 or not isinstance(metadata, dict):
        n = len(positions) if isinstance(positions, dict) else 0
        raise DataError(
            f"{path}: positions_2d holds {n} videos, expected one (Human3.6M's own file is no "
            "video)"
        )
    ((video, actions),) = positions.items()
    cameras = (
        [camera for action in actions.values() for camera in action]
        if isinstance(actions, dict)
        else []
    )
    if len(cameras) != 1:
        raise DataError(f"{path}: video {video!r} holds {len(cameras)} views, expected one")
    points = _numbers(path, "positions_2d", cameras[0])
    if points.ndim != 3 or points.shape[2] != 2:
        raise DataError(f"{path}: positions_2d has shape {points.shape}, expected (frames, K, 2)")
    rows = Rows(path)
    for frame, values in enumerate(points):
        if not np.isnan(values).all():
            rows.add(frame, None, np.column_stack([values, np.ones(len(values))]))
    size = (metadata.get("video_metadata") or {}).get(video) or {}
    layout = {"coco": "coco17", "h36m": "h36m17"}.get(str(metadata.get("layout_name")))
    head = {
        "width": size.get("w"),
        "height": size.get("h"),
        "fps": size.get("fps"),
        "layout": layout,
    }
    return rows.make("VideoPose3D", _header(path, head, len(points)))


def _header(path: Path, head: dict[str, Any], n_frames: int) -> Header:
    width, height = size_of(head, str(path))
    layout, units = head.get("layout"), head.get("units")
    return Header(
        layout and str(layout),
        width,
        height,
        rate_of(head, str(path)),
        units and str(units),
        n_frames,
    )


def _confidence(path: Path, points: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """(n,P,K): the array of that name, else the last column, else 1; 0 where a keypoint is NaN
    and none is given.
    """
    if given is not None:
        if given.size != points[..., 0].size:
            raise DataError(
                f"{path}: confidence has shape {given.shape}, expected one number for each of the "
                f"{points[..., 0].size} keypoints"
            )
        return _numbers(path, "confidence", given).reshape(points.shape[:3])
    last = points[..., -1] if points.shape[-1] > 2 else np.ones(points.shape[:3])
    return np.where(np.isnan(points[..., :2]).any(-1), 0.0, last)


def _boxed(value: Any) -> np.ndarray:
    """An array as it is, any other object in an array of no dimension, as numpy keeps it in a
    file.
    """
    if isinstance(value, np.ndarray):
        return value
    box = np.empty((), object)
    box[()] = value
    return box


def _numbers(path: Path, key: str, array: Any) -> np.ndarray:
    try:
        return np.asarray(array, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {key} is not an array of numbers (ragged?)") from error


def _column(path: Path, arrays: dict[str, np.ndarray], key: str, n: int) -> list[Any]:
    """A list of n values, empty where the file has none; frame numbers are checked to be whole."""
    if key not in arrays:
        return []
    if arrays[key].shape != (n,):
        raise DataError(f"{path}: {key} has shape {arrays[key].shape}, expected {(n,)}")
    values = arrays[key].tolist()
    return [whole(value, f"{path}: {key}") for value in values] if key == "frames" else values
