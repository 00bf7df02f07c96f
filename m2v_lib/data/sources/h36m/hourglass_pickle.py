"""Human3.6M as one pickle of frames with 2.5D labels: ``h36m_sh_conf_cam_source_final.pkl``

(spec 5.1).

Frames of all videos and cameras stand one after another. Both splits have ``joint_2d`` and
``joint3d_image`` (px), ``camera_name``, ``source`` and mostly ``confidence``; only the test
split says what a pixel measures (``2.5d_factor``, mm per px), has its truth in mm
(``joints_2.5d_image``) and names its actions. Training needs none of these three. For its
validation subjects the factor is estimated here: the one at which a frame's bones add up to the
test split's mean.
"""
# n frames of a split, J = 17 joints

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError, Video, check_finite, check_millimetres
from m2v_lib.data.foreign_values import as_array, as_list, as_text, kind_of, shown
from m2v_lib.data.safe_pickle.reader import read_pickle
from m2v_lib.data.sources.pose_checks import check_inside, check_limbs, check_projection
from m2v_lib.data.store import MAX_CONFIDENCE, Split
from m2v_lib.geometry.cameras import CAMERA_NAMES, load_cameras
from m2v_lib.skeletons.h36m import BONES, N_JOINTS

SHAPES: Final = {"joint_2d": 2, "joint3d_image": 3, "joints_2.5d_image": 3}
NEEDED: Final = {
    "train": ("joint_2d", "joint3d_image", "camera_name", "source"),
    "test": (
        "joint_2d",
        "joint3d_image",
        "joints_2.5d_image",
        "2.5d_factor",
        "camera_name",
        "action",
        "source",
    ),
}
SOURCE: Final = re.compile(r"s_(\d+)_act_(\d+)(?:_subact_\d+)?_cam?_0?([1-4])")
#: frames looked at for faults that would show in any of them
SAMPLE: Final = 4000
ORDER: Final = "the order root, right hip, right knee ... of Human3.6M's 17"


@dataclass(frozen=True)
class Names:
    """What ``source`` says of every video of a split: where it begins, and its parts."""

    starts: np.ndarray
    sources: tuple[str, ...]
    subjects: tuple[str, ...]
    acts: tuple[int, ...]
    camera_numbers: tuple[int, ...]


def read_h36m_pickle(path: Path | str) -> tuple[Split, Split]:
    """The training and the test split; arrays are views of the mapped file where nothing had to
    be computed.

    Every fault is a ``DataError`` of one sentence that names the file, the split, the key and
    what was expected.
    """
    path = Path(path)
    content = read_pickle(path)
    parts = {name: _part(content, name, path) for name in ("train", "test")}
    names = {name: _names(part, f"{path}: {name}") for name, part in parts.items()}
    action_of_act = _actions(parts["test"], names["test"], f"{path}: test")
    test = _split(parts["test"], names["test"], action_of_act, f"{path}: test", None)
    return _split(parts["train"], names["train"], action_of_act, f"{path}: train", test), test


def _part(content: Any, name: str, path: Path) -> dict[str, Any]:
    part = content.get(name) if isinstance(content, Mapping) else None
    if not isinstance(part, Mapping):
        raise DataError(
            f"{path}: has no dict under the key {name!r}, expected a train and a test split"
        )
    if missing := [key for key in NEEDED[name] if key not in part]:
        raise DataError(
            f"{path}: {name} has no key {missing[0]!r}, expected {', '.join(NEEDED[name])}"
        )

    n = len(_column(part["source"], f"{path}: {name}: source"))
    if n == 0:
        raise DataError(f"{path}: {name} holds no frame")

    return {
        key: _checked(part[key], key, n, f"{path}: {name}: {key}")
        for key in part
        if isinstance(key, str)
    }


def _checked(value: Any, key: str, n: int, where: str) -> Any:
    """The value of a key with the shape that the layout says; columns beyond x, y (z) are left
    out.
    """
    if key in ("source", "camera_name", "action"):
        column = _column(value, where)
        if len(column) != n:
            raise DataError(
                f"{where} has {len(column)} entries, expected one for each of {n} frames"
            )
        return column

    if key not in (*SHAPES, "confidence", "2.5d_factor"):
        return None

    array = _numbers(value, where)
    if key == "confidence" and array.shape == (n, N_JOINTS, 1):
        array = array[..., 0]
    if key in SHAPES and array.ndim == 3:
        array = array[..., : SHAPES[key]]
    shape = {"confidence": (n, N_JOINTS), "2.5d_factor": (n,)}.get(
        key, (n, N_JOINTS, SHAPES.get(key, 0))
    )
    if array.shape != shape:
        raise DataError(
            f"{where} has shape {array.shape}, expected {shape} (frames, {N_JOINTS} joints)"
        )

    return array


def _numbers(value: Any, where: str) -> np.ndarray:
    """An array of floats or wide integers, also from a list of them."""
    array = as_array(value, where)
    if array.dtype.itemsize == 1:
        raise DataError(f"{where} must be floats or wider integers, got {array.dtype}")
    return array


def _column(value: Any, where: str) -> list[str] | np.ndarray:
    """One text a frame: a list, or an array of one dimension."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.ndim == 1:
        return value
    column = as_list(value, where)
    kinds = set(map(type, column))
    if not kinds <= {str, np.str_}:
        odd = next(i for i, entry in enumerate(column) if type(entry) not in (str, np.str_))
        raise DataError(f"{where} at frame {odd} must be text, got {kind_of(column[odd])}")
    return column


def _names(part: dict[str, Any], where: str) -> Names:
    """Videos are runs of one source; what a source cannot be is named with its frame."""
    starts = _changes(part["source"])
    if len(starts) * 3 > len(part["source"]):
        raise DataError(
            f"{where}: source changes {len(starts)} times in {len(part['source'])} frames, "
            "expected the frames of a video one after another"
        )

    sources = [str(part["source"][i]) for i in starts]

    found = [SOURCE.fullmatch(source) for source in sources]
    for start, source, match in zip(starts, sources, found, strict=True):
        if match is None:
            raise DataError(
                f"{where}: source at frame {start} is {shown(source)}, "
                "expected names such as s_09_act_05_subact_02_ca_01"
            )

    groups = [match.groups() for match in found if match]
    return Names(
        starts,
        tuple(sources),
        tuple(f"S{int(s)}" for s, _, _ in groups),
        tuple(int(a) for _, a, _ in groups),
        tuple(int(c) for _, _, c in groups),
    )


def _changes(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Where runs of equal values begin."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "US":
        new = np.flatnonzero(values[1:] != values[:-1]) + 1
    else:
        new = np.array([i for i in range(1, len(values)) if values[i] != values[i - 1]], np.int64)
    return np.concatenate([[0], new])


def _actions(part: dict[str, Any], names: Names, where: str) -> dict[int, str]:
    """Name of each act number, from the test split: the training split names none."""
    found: dict[int, str] = {}
    for start in sorted({*_changes(part["action"]), *names.starts}):
        act = names.acts[int(np.searchsorted(names.starts, start, side="right")) - 1]
        action = as_text(str(part["action"][start]), f"{where}: action at frame {start}")
        if found.setdefault(act, action) != action:
            raise DataError(
                f"{where}: action at frame {start} is {action!r}, but source says act {act:02d}, "
                f"which was {found[act]!r} before"
            )

    return found


def _split(
    part: dict[str, Any], names: Names, actions: dict[int, str], where: str, test: Split | None
) -> Split:
    n = len(part["source"])
    counts = np.diff([*names.starts, n])
    named, height = _cameras(part["camera_name"], names, where)
    lenses = load_cameras()
    videos = tuple(
        Video(
            source,
            subject,
            actions.get(act, f"act {act:02d}"),
            camera,
            int(start),
            int(count),
            lenses[camera].width,
            lenses[camera].height,
        )
        for start, count, source, subject, act, camera in zip(
            names.starts, counts, names.sources, names.subjects, names.acts, named, strict=True
        )
    )

    for key in SHAPES:
        if part.get(key) is not None:
            check_finite(part[key], f"{where}: {key}", videos)

    label, factor, truth = (
        part["joint3d_image"],
        part.get("2.5d_factor"),
        part.get("joints_2.5d_image"),
    )
    if factor is None:
        assert test is not None
        factor = estimate_factor(label, test.truth_mm)

    if truth is None:
        truth = label * factor.astype(np.float32)[:, None, None]
    confidence = part.get("confidence")
    if confidence is None:
        confidence = np.broadcast_to(np.float32(1), (n, N_JOINTS))
    split = Split(
        _as_seen(part["joint_2d"], videos, height), confidence, label, truth, factor, videos
    )
    _check_values(split, where)

    return split


def _cameras(column: Sequence[Any], names: Names, where: str) -> tuple[list[str], np.ndarray]:
    """Camera of each video, and the height (n,) px of the image that ``camera_name`` gives each
    frame.

    Where that name changes inside a video, as in the published test split, the number in the
    source says which it was.
    """
    starts = np.array(sorted({*_changes(column), *names.starts}))
    named = [str(column[i]) for i in starts]
    if unknown := [i for i, name in enumerate(named) if name not in CAMERA_NAMES]:
        raise DataError(
            f"{where}: camera_name at frame {starts[unknown[0]]} is {shown(named[unknown[0]])}, "
            f"expected one of {', '.join(CAMERA_NAMES)}"
        )

    video_of = np.searchsorted(names.starts, starts, side="right") - 1
    seen: list[set[str]] = [set() for _ in names.starts]
    for video, name in zip(video_of, named, strict=True):
        seen[video].add(name)

    numbered = [CAMERA_NAMES[number - 1] for number in names.camera_numbers]
    cameras = [
        min(found) if len(found) == 1 else number
        for found, number in zip(seen, numbered, strict=True)
    ]

    lenses = load_cameras()
    return cameras, np.repeat(
        [lenses[name].height for name in named], np.diff([*starts, len(column)])
    )


def _as_seen(joint_2d: np.ndarray, videos: Sequence[Video], height: np.ndarray) -> np.ndarray:
    """``joint_2d`` (n,J,2), moved where a frame names an image of another height than its
    video's camera has.

    The authors' code takes each frame's height (1000 or 1002 px) from ``camera_name``; half the
    difference keeps what the network sees the same to the digit.
    """
    moved = np.repeat([v.height for v in videos], [v.n_frames for v in videos]) - height
    if not moved.any():
        return joint_2d
    seen = np.array(joint_2d, np.float32)
    seen[..., 1] += (moved / 2).astype(np.float32)[:, None]
    return seen


def estimate_factor(label_px: np.ndarray, truth_mm: np.ndarray) -> np.ndarray:
    """mm per px (n,) at which the bones of each frame of labels (n,J,3) have the mean total
    length of a truth (m,J,3).

    People differ in size and perspective shortens bones: on motion capture it is off by 2.4 % on
    average, in 95 % of the frames by less than 6 %. Enough to choose a model by.
    """
    total_mm = _bones(np.asarray(truth_mm[:: max(1, len(truth_mm) // 20_000)])).mean()
    blocks = [_bones(np.asarray(label_px[i : i + 65_536])) for i in range(0, len(label_px), 65_536)]
    return (total_mm / np.maximum(np.concatenate(blocks), 1e-6)).astype(np.float32)


def _bones(joints: np.ndarray) -> np.ndarray:
    """Total length of the bones of each frame (n,)."""
    parents, children = np.array(BONES).T
    return np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1).sum(-1)


def _check_values(split: Split, where: str) -> None:
    """Ranges, units, joint order, and whether 2D, label, factor and truth belong together."""
    check_finite(split.factor, f"{where}: 2.5d_factor", split.videos)
    check_finite(split.confidence, f"{where}: confidence", split.videos)

    wrong = (split.confidence < 0) | (split.confidence > MAX_CONFIDENCE)
    if wrong.any():
        frame, joint = np.argwhere(wrong)[0]
        raise DataError(
            f"{where}: confidence at frame {frame} is {split.confidence[frame, joint]:.4g}, "
            "expected 0 to 1"
        )

    if split.factor.min() <= 0:
        raise DataError(
            f"{where}: 2.5d_factor at frame {int(split.factor.argmin())} is not positive (mm per "
            "px)"
        )

    step = max(1, split.n_frames // SAMPLE)
    seen, label, truth = (
        np.asarray(a[::step], np.float64) for a in (split.joint_2d, split.label_px, split.truth_mm)
    )
    check_millimetres(truth, f"{where}: joints_2.5d_image")
    check_limbs(truth, f"{where}: joints_2.5d_image", ORDER)
    apart = (
        (label - label[:, :1]) * np.asarray(split.factor[::step], np.float64)[:, None, None]
        - truth
        + truth[:, :1]
    )
    if (off := float(np.median(np.linalg.norm(apart, axis=-1)))) > 5:
        raise DataError(
            f"{where}: joints_2.5d_image is {off:.0f} mm from joint3d_image times 2.5d_factor, "
            "expected the same pose"
        )

    check_projection(seen, truth, f"{where}: joint_2d")
    check_inside([seen], (1000, 1002), f"{where}: joint_2d")
