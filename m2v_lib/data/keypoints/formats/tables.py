"""Keypoints in .npz files: this package's own, and those of programs in the field.

`keypoints` (n,K,2) or (n,K,3) for one person, (n,P,K,2|3) for P, or people first (P,n,K,2|3); a
third number is the confidence. Optional: `confidence` or `scores` (n,[P,]K), `frames` (n,) numbers
in the video, `ids` (P,), `width`, `height`, `fps`, `layout` (a name of `layouts.LAYOUTS`) and
`units` ("pixels", "normalised"). NaN marks a missing keypoint. MediaPipe's (n,[P,]33,4) = x, y, z,
visibility may be called `landmarks`; the demos of MHFormer and its kin call theirs
`reconstruction`. VideoPose3D's `data_2d_custom_*.npz` (one video, `positions_2d` and `metadata`)
and what its detector writes (`boxes`, `keypoints`) are read too, by the allow-list reader.
"""
# n frames, P people, K keypoints

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import as_array, as_list, as_table, as_text, as_whole, listed
from m2v_lib.data.keypoints.formats.files import (
    DetectionBuilder,
    Detections,
    Header,
    rate_of,
    size_of,
)
from m2v_lib.data.limits import (
    MAX_DETECTIONS,
    MAX_FRAME_NUMBER,
    MAX_KEYPOINTS,
    MAX_PEOPLE_PER_FRAME,
)
from m2v_lib.data.safe_pickle.reader import read_object_npz

KEYS: Final = ("keypoints", "landmarks", "reconstruction")
SCORES: Final = ("confidence", "scores", "score", "keypoint_scores", "keypoint_score", "likelihood")


#: body sizes that nobody moves from one frame to the next, and that people stand apart
NEAR: Final = 0.25
APART: Final = 0.5


def read_npz(path: Path) -> Detections:
    """A .npz file; anything in it but numbers and text is refused by the allow-list reader."""
    arrays = read_object_npz(path)
    if "positions_2d" in arrays:
        return _videopose(path, arrays)

    key = next((key for key in KEYS if key in arrays), None)
    if key is None:
        raise DataError(f"{path}: has no key 'keypoints', its keys are {listed(list(arrays))}")
    if key == "keypoints" and "boxes" in arrays:
        return _detectron(path, arrays)

    points, scores, notes = _shaped(path, key, arrays)
    confidence = _confidence(points, scores)
    n, people = points.shape[:2]
    names = _ids(path, arrays, people)
    frames = _frames(path, arrays, n)
    rows = DetectionBuilder(path)
    triples = np.concatenate([points[..., :2], confidence[..., None]], axis=-1)
    for i, person in np.argwhere((confidence != 0).any(-1)):  # who is absent leaves a gap
        rows.add(frames[i], names[person] if names else None, triples[i, person])

    scalars = {
        key: value.item()
        for key, value in arrays.items()
        if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "fiuUb"
    }
    if key == "reconstruction":
        scalars.setdefault("layout", "h36m17")

    return rows.make("npz", _header(path, scalars, max(frames, default=-1) + 1, tuple(notes)))


def _shaped(
    path: Path, key: str, arrays: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Points (n,P,K,c), their scores as given, and what was said of the order of the axes."""
    points = _floats(arrays[key], f"{path}: {key}")
    if points.ndim not in (3, 4) or points.shape[-1] not in (2, 3, 4) or 0 in points.shape:
        raise DataError(
            f"{path}: {key} has shape {points.shape}, expected (frames, K, 2 or 3) "
            "or (frames, people, K, 2 or 3)"
        )

    scores = _scores_of(path, arrays, points[..., 0].size)
    if points.ndim == 3:
        points = points[:, None]
    scores = None if scores is None else scores.reshape(points.shape[:3])

    notes = []
    if "ids" not in arrays and "frames" not in arrays and is_people_first(points):
        points, scores = points.swapaxes(0, 1), None if scores is None else scores.swapaxes(0, 1)
        people = "1 person" if points.shape[1] == 1 else f"{points.shape[1]} people"
        notes.append(f"the array is people first, taken as {people} of {points.shape[0]} frames")

    _check_size(points, f"{path}: {key}")
    return points, scores, notes


def _scores_of(path: Path, arrays: dict[str, Any], n_keypoints: int) -> np.ndarray | None:
    """The scores that a file gives, one a keypoint, or None."""
    name = next((name for name in SCORES if name in arrays), None)
    if name is None:
        return None
    scores = _floats(arrays[name], f"{path}: {name}")
    if scores.size != n_keypoints:
        raise DataError(
            f"{path}: {name} has shape {scores.shape}, expected one number for each of the "
            f"{n_keypoints} keypoints"
        )
    return scores


def _check_size(points: np.ndarray, where: str) -> None:
    if points.shape[1] > MAX_PEOPLE_PER_FRAME or points.shape[2] > MAX_KEYPOINTS:
        raise DataError(
            f"{where} must have at most {MAX_PEOPLE_PER_FRAME} people and {MAX_KEYPOINTS} "
            f"keypoints, got shape {points.shape}"
        )
    if points.shape[0] * points.shape[1] > MAX_DETECTIONS:
        raise DataError(f"{where} must have at most {MAX_DETECTIONS} rows of keypoints")


def is_people_first(points: np.ndarray) -> bool:
    """Whether (a,b,K,c) is (people, frames) and not (frames, people): who moves, moves little from
    one frame to the next, while people stand apart. Of no more frames than people they have to stand
    well apart: a person twice in each frame is no two frames.
    """
    a, b = points.shape[:2]
    if b < 2:
        return False
    along_first = _step(points.swapaxes(0, 1)) if a > 1 else np.inf
    along_second = _step(points)
    apart = along_first > (APART if b <= a else along_second)
    return bool(along_second < NEAR and along_second < along_first and apart)


def _step(points: np.ndarray) -> float:
    """Median distance of keypoints from one entry of axis 1 to the next, in sizes of a body."""
    xy = np.where((points[..., :2] == 0).all(-1, keepdims=True), np.nan, points[..., :2])
    step = np.linalg.norm(np.diff(xy[:, :200], axis=1), axis=-1)
    known = np.isfinite(xy).all(-1)
    if not np.isfinite(step).any() or not known.any():
        return np.inf

    body = xy[np.isfinite(xy).all((-1, -2))]
    if not len(body):
        return np.inf

    size = float(np.median(np.linalg.norm(np.ptp(body, axis=1), axis=-1)))
    return float(np.nanmedian(step)) / max(size, 1e-9)


def _videopose(path: Path, arrays: dict[str, Any]) -> Detections:
    """VideoPose3D's file for videos of one's own: {video: {"custom": [(n,K,2)]}}, sizes in the
    metadata.
    """
    positions = as_table(arrays["positions_2d"], f"{path}: positions_2d")
    metadata = as_table(arrays.get("metadata", {}), f"{path}: metadata")
    if len(positions) != 1:
        raise DataError(
            f"{path}: positions_2d holds {len(positions)} videos, expected one (Human3.6M's own "
            "file is no video)"
        )

    ((video, actions),) = positions.items()
    where = f"{path}: positions_2d: {as_text(video, f'{path}: positions_2d: video')}"
    views = []
    for action in as_table(actions, where).values():
        views += as_list(action, where) if not isinstance(action, np.ndarray) else list(action)

    if len(views) != 1:
        raise DataError(f"{where} holds {len(views)} views, expected one")

    points = _floats(views[0], where)
    if points.ndim != 3 or points.shape[2] != 2:
        raise DataError(f"{path}: positions_2d has shape {points.shape}, expected (frames, K, 2)")

    rows = DetectionBuilder(path)

    for frame, values in enumerate(points):
        if not np.isnan(values).all():
            rows.add(frame, None, np.column_stack([values, np.ones(len(values))]))

    where = f"{path}: metadata"
    videos = as_table(metadata.get("video_metadata") or {}, f"{where}: video_metadata")
    size = as_table(videos.get(video) or {}, f"{where}: video_metadata: {video}")
    name = metadata.get("layout_name")
    layout = None if name is None else as_text(name, f"{where}: layout_name")

    head = {
        "width": size.get("w"),
        "height": size.get("h"),
        "fps": size.get("fps"),
        "layout": {"coco": "coco17", "h36m": "h36m17"}.get(str(layout)),
    }
    return rows.make("VideoPose3D", _header(path, head, len(points)))


def _detectron(path: Path, arrays: dict[str, Any]) -> Detections:
    """What VideoPose3D's detector writes of a video: for each frame lists of classes, the second
    of them people, whose keypoints (P,4,17) are x, y, logit, probability.
    """
    frames = arrays["keypoints"]
    if not isinstance(frames, np.ndarray) or frames.ndim < 1:
        raise DataError(f"{path}: keypoints must be a list of frames, as VideoPose3D writes it")

    rows = DetectionBuilder(path)

    for number, classes in enumerate(frames):
        where = f"{path}: keypoints of frame {number}"
        found = classes[1] if isinstance(classes, list | np.ndarray) and len(classes) > 1 else []
        people = as_array(found, where) if len(found) else np.zeros((0, 4, 17))
        if people.ndim != 3 or people.shape[1] not in (3, 4):
            raise DataError(f"{where} has shape {people.shape}, expected (people, 4, 17)")
        for person in people:
            rows.add(number, None, person[[0, 1, -1]].T.astype(np.float64))

    metadata = arrays.get("metadata", {})
    size = as_table(metadata, f"{path}: metadata") if metadata else {}
    head = {"width": size.get("w"), "height": size.get("h"), "fps": size.get("fps")}
    width, height = size_of(head, str(path))

    header = Header(
        None, width, height, rate_of(head, str(path)), None, len(frames), None, "coco17"
    )
    return rows.make("VideoPose3D's detector", header)


def _header(path: Path, head: dict[str, Any], n_frames: int, notes: tuple[str, ...] = ()) -> Header:
    width, height = size_of(head, str(path))
    layout, units = (
        as_text(head[key], f"{path}: {key}") if head.get(key) else None
        for key in ("layout", "units")
    )
    rate = rate_of(head, str(path))
    return Header(layout, width, height, rate, units, n_frames, notes=notes)


def _confidence(points: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """(n,P,K): the array of that name, else the last column, else 1; 0 where a keypoint is NaN
    and none is given.
    """
    if given is not None:
        return given
    last = points[..., -1] if points.shape[-1] > 2 else np.ones(points.shape[:3])
    return np.where(np.isnan(points[..., :2]).any(-1), 0.0, last)


def _floats(value: Any, where: str) -> np.ndarray:
    """Coordinates or scores; a single byte holds neither."""
    array = as_array(value, where)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 1:
        raise DataError(f"{where} must be floats or wider integers, got {array.dtype}")
    return array.astype(np.float64)


def _ids(path: Path, arrays: dict[str, Any], n: int) -> list[Any]:
    return _column(path, arrays, "ids", n)


def _frames(path: Path, arrays: dict[str, Any], n: int) -> list[int]:
    """Rising frame numbers, their order where the file has none."""
    values = _column(path, arrays, "frames", n) or list(range(n))
    numbers = [
        as_whole(value, f"{path}: frames", 0, MAX_FRAME_NUMBER, text=True) for value in values
    ]
    if any(b <= a for a, b in zip(numbers, numbers[1:], strict=False)):
        raise DataError(f"{path}: frames must rise from one to the next")
    return numbers


def _column(path: Path, arrays: dict[str, Any], key: str, n: int) -> list[Any]:
    """A list of n values, empty where the file has none."""
    if key not in arrays:
        return []
    value = arrays[key]
    shape = value.shape if isinstance(value, np.ndarray) else None
    if shape != (n,):
        raise DataError(f"{path}: {key} has shape {shape}, expected {(n,)}")
    return value.tolist()
