"""Motion capture packs: reading and writing the one ``.npz`` layout.

A pack holds joints in world millimetres, z up, frames of all clips one after another: Human3.6M's
17, or the 38 points of CMU's rig, from which other layouts are formed (``rig``).
"""
# n frames of all clips, J = 17 or 38 joints

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError, check_finite, check_millimetres
from m2v_lib.data.foreign_values import as_names, as_number, as_text, kind_of, listed, shown
from m2v_lib.data.limits import MAX_FPS, MIN_FPS
from m2v_lib.data.safe_pickle.archives import array_names
from m2v_lib.data.safe_pickle.reader import read_object_npz
from m2v_lib.data.sources.rig_layouts import RIG_JOINTS
from m2v_lib.runs.records import write_stream
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons.known import RIG38

PACK_FILE: Final = "cmu_mocap_h36m17_50hz_train.npz"
RIG_FILE: Final = "cmu_mocap_rig_50hz_train.npz"
CLIP_KEYS: Final = ("clip_name", "subject", "action", "action_class")
REQUIRED: Final = ("positions", "clip_start", *CLIP_KEYS, "fps", "units")
UNITS: Final = ("units", "up_axis")
PACK_JOINTS: Final = (
    "hip",
    "rhip",
    "rknee",
    "rankle",
    "lhip",
    "lknee",
    "lankle",
    "spine",
    "thorax",
    "neck_nose",
    "head",
    "lshoulder",
    "lelbow",
    "lwrist",
    "rshoulder",
    "relbow",
    "rwrist",
)
#: The joint lists that a pack may have, by the number of joints.
SKELETONS: Final = {17: H36M17, 38: RIG38}
NAMES: Final = {17: PACK_JOINTS, 38: RIG_JOINTS}


@dataclass(frozen=True)
class Clip:
    """One take of a pack; ``positions`` (n,J,3) world mm."""

    name: str
    subject: str
    action: str
    action_class: str
    positions: np.ndarray


@dataclass(frozen=True)
class Pack:
    """Clips at one frame rate; ``extra`` keeps whatever else the file says (source files and
    frames, licence ...). ``skeleton`` is that of the positions.
    """

    clips: tuple[Clip, ...]
    fps: float
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    skeleton: Skeleton = H36M17

    def subjects(self) -> tuple[str, ...]:
        return tuple(sorted({clip.subject for clip in self.clips}))


def read_pack(path: Path | str) -> Pack:
    """Read a pack; every fault is a ``DataError`` that names the file, the key or frame and what
    was expected.
    """
    path = Path(path)
    raw = _load_arrays(path)
    if missing := [key for key in REQUIRED if key not in raw]:
        raise DataError(f"{path}: has no key {missing[0]!r}, expected {', '.join(REQUIRED)}")

    positions, starts = raw["positions"], raw["clip_start"]
    _check_pack(path, raw, positions, starts)

    columns = [raw[key].tolist() for key in CLIP_KEYS]
    clips = tuple(
        Clip(name, subject, action, group, positions[begin:end])
        for name, subject, action, group, begin, end in zip(
            *columns, starts[:-1], starts[1:], strict=True
        )
    )

    extra = {key: value for key, value in raw.items() if key not in REQUIRED}
    return Pack(clips, float(raw["fps"]), extra, SKELETONS[positions.shape[1]])


def write_pack(path: Path | str, pack: Pack) -> Path:
    """Write a pack in the layout ``read_pack`` reads. Raises DataError or OSError."""
    path = Path(path)
    n_joints = len(pack.skeleton)
    if SKELETONS.get(n_joints) != pack.skeleton:
        raise DataError(f"{path}: a pack must hold h36m17 or rig38, got {pack.skeleton.name}")

    starts = np.cumsum([0, *(len(clip.positions) for clip in pack.clips)]).astype(np.int64)
    columns: dict[str, Any] = {
        "clip_name": [clip.name for clip in pack.clips],
        "subject": [clip.subject for clip in pack.clips],
        "action": [clip.action for clip in pack.clips],
        "action_class": [clip.action_class for clip in pack.clips],
    }
    fixed = {
        "units": "mm",
        "up_axis": "z",
        "joint_names": NAMES[n_joints],
        "parents": np.array(pack.skeleton.parents, np.int8),
    }
    arrays = {
        "positions": np.concatenate([clip.positions for clip in pack.clips]).astype(np.float32),
        "clip_start": starts,
        "fps": np.float32(pack.fps),
        **columns,
        **fixed,
    }
    arrays = {key: np.asarray(value) for key, value in {**arrays, **pack.extra}.items()}
    write_stream(path, lambda stream: np.savez_compressed(stream, allow_pickle=False, **arrays))
    return path


def looks_like(path: Path | str) -> bool:
    """Whether a file is a pack, told by the names of its arrays."""
    return {"positions", "clip_start"} <= array_names(Path(path))


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for key, value in read_object_npz(path).items():
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise DataError(f"{path}: {shown(key)} must be a plain array, got objects")
        arrays[key] = value
    return arrays


def _check_pack(
    path: Path, raw: dict[str, np.ndarray], positions: np.ndarray, starts: np.ndarray
) -> None:
    if positions.dtype.kind != "f":
        raise DataError(f"{path}: positions must be floats (mm), got {positions.dtype}")
    if positions.ndim != 3 or positions.shape[1] not in NAMES or positions.shape[2] != 3:
        raise DataError(
            f"{path}: positions has shape {positions.shape}, expected (frames, 17 joints or the "
            "rig's 38, 3)"
        )

    units, up = (_word(raw.get(key, np.array("z")), f"{path}: {key}") for key in UNITS)
    if (units, up) != ("mm", "z"):
        raise DataError(f"{path}: units and up_axis say {units}, {up} up, expected mm, z up")

    as_number(raw["fps"], f"{path}: fps", MIN_FPS, MAX_FPS)

    _check_clips(path, raw, starts, len(positions))
    names = NAMES[positions.shape[1]]
    if "joint_names" in raw and tuple(raw["joint_names"].reshape(-1).tolist()) != names:
        raise DataError(
            f"{path}: joint_names are {listed(raw['joint_names'].reshape(-1).tolist())}, expected "
            f"{', '.join(names[:4])} ..."
        )
    if "suspect" in raw and raw["suspect"].shape != positions.shape[:2]:
        raise DataError(
            f"{path}: suspect has shape {raw['suspect'].shape}, expected {positions.shape[:2]}"
        )

    check_finite(positions, f"{path}: positions")
    check_millimetres(positions, f"{path}: positions", SKELETONS[positions.shape[1]])


def _word(value: np.ndarray, where: str) -> str:
    return as_text(value.item() if value.size == 1 else value, where)


def _check_clips(path: Path, raw: dict[str, np.ndarray], starts: np.ndarray, n_frames: int) -> None:
    if starts.ndim != 1 or starts.dtype.kind not in "iu":
        raise DataError(f"{path}: clip_start must be a row of whole numbers, got {kind_of(starts)}")
    if len(starts) < 2:
        raise DataError(
            f"{path}: clip_start holds {len(starts)} numbers, expected at least one clip"
        )
    if starts[0] != 0 or starts[-1] != n_frames or (np.diff(starts) < 1).any():
        raise DataError(f"{path}: clip_start must rise from 0 to {n_frames}, the number of frames")

    for key in CLIP_KEYS:
        if raw[key].shape != (len(starts) - 1,):
            raise DataError(
                f"{path}: {key} has shape {raw[key].shape}, expected one entry for "
                f"{len(starts) - 1} clips"
            )
        as_names(raw[key], f"{path}: {key}")

    if len(set(raw["clip_name"].tolist())) != len(starts) - 1:
        raise DataError(f"{path}: clip_name holds a name twice, expected each clip once")
