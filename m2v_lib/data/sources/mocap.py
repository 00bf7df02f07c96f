"""Motion capture packs: reading and writing the one ``.npz`` layout, and turning a pack into a
store.

A pack holds 17 Human3.6M joints in world millimetres, z up, frames of all clips one after
another. Every clip is seen by the four Human3.6M cameras and by the noisy detector; subjects are
split into train and test (design section 6).
"""
# n frames of all clips, J = 17 joints

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import check_finite, check_millimetres
from m2v_lib.data.detector_noise import DetectorModel, detect
from m2v_lib.data.foreign_values import as_names, as_number, as_text, kind_of, listed, shown
from m2v_lib.data.limits import MAX_FPS, MIN_FPS
from m2v_lib.data.safe_pickle.archives import array_names
from m2v_lib.data.safe_pickle.reader import read_object_npz
from m2v_lib.data.store import DataError, Meta, Split, Video, write_store
from m2v_lib.geometry.cameras import Camera, load_cameras, to_image_and_depth, world_to_camera
from m2v_lib.skeletons.h36m import N_JOINTS, PARENTS

PACK_FILE: Final = "cmu_mocap_h36m17_50hz_train.npz"
TEST_SUBJECTS: Final = ("CMU_06", "CMU_16", "CMU_135")
VAL_SUBJECTS: Final = ("CMU_49", "CMU_35")
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


@dataclass(frozen=True)
class Clip:
    """One take of a pack; ``positions`` (n,17,3) world mm."""

    name: str
    subject: str
    action: str
    action_class: str
    positions: np.ndarray


@dataclass(frozen=True)
class Pack:
    """Clips at one frame rate; ``extra`` keeps whatever else the file says (source files and
    frames, licence ...).
    """

    clips: tuple[Clip, ...]
    fps: float
    extra: dict[str, np.ndarray] = field(default_factory=dict)

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
    return Pack(
        clips, float(raw["fps"]), {key: value for key, value in raw.items() if key not in REQUIRED}
    )


def write_pack(path: Path | str, pack: Pack) -> Path:
    """Write a pack in the layout ``read_pack`` reads: beside the target first, then moved into
    place.
    """
    path = Path(path)
    starts = np.cumsum([0, *(len(clip.positions) for clip in pack.clips)]).astype(np.int64)
    columns: dict[str, Any] = {
        "clip_name": [clip.name for clip in pack.clips],
        "subject": [clip.subject for clip in pack.clips],
        "action": [clip.action for clip in pack.clips],
        "action_class": [clip.action_class for clip in pack.clips],
    }
    positions = np.concatenate([clip.positions for clip in pack.clips]).astype(np.float32)
    fixed = {
        "units": "mm",
        "up_axis": "z",
        "joint_names": PACK_JOINTS,
        "parents": np.array(PARENTS, np.int8),
    }
    arrays = {
        "positions": positions,
        "clip_start": starts,
        "fps": np.float32(pack.fps),
        **columns,
        **fixed,
    }
    arrays = {key: np.asarray(value) for key, value in {**arrays, **pack.extra}.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)
        os.replace(partial, path)
    except OSError as error:
        raise DataError(
            f"{path}: could not be written ({error.strerror or error}), nothing was changed"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


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
    if positions.ndim != 3 or positions.shape[1:] != (N_JOINTS, 3):
        raise DataError(
            f"{path}: positions has shape {positions.shape}, expected (frames, {N_JOINTS} joints, "
            "3)"
        )
    units, up = (_word(raw.get(key, np.array("z")), f"{path}: {key}") for key in UNITS)
    if (units, up) != ("mm", "z"):
        raise DataError(f"{path}: units and up_axis say {units}, {up} up, expected mm, z up")
    as_number(raw["fps"], f"{path}: fps", MIN_FPS, MAX_FPS)
    if starts.ndim != 1 or starts.dtype.kind not in "iu":
        raise DataError(f"{path}: clip_start must be a row of whole numbers, got {kind_of(starts)}")
    if len(starts) < 2:
        raise DataError(
            f"{path}: clip_start holds {len(starts)} numbers, expected at least one clip"
        )
    if starts[0] != 0 or starts[-1] != len(positions) or (np.diff(starts) < 1).any():
        raise DataError(
            f"{path}: clip_start must rise from 0 to {len(positions)}, the number of frames"
        )
    for key in CLIP_KEYS:
        if raw[key].shape != (len(starts) - 1,):
            raise DataError(
                f"{path}: {key} has shape {raw[key].shape}, expected one entry for "
                f"{len(starts) - 1} clips"
            )
        as_names(raw[key], f"{path}: {key}")
    if len(set(raw["clip_name"].tolist())) != len(starts) - 1:
        raise DataError(f"{path}: clip_name holds a name twice, expected each clip once")
    if "joint_names" in raw and tuple(raw["joint_names"].reshape(-1).tolist()) != PACK_JOINTS:
        raise DataError(
            f"{path}: joint_names are {listed(raw['joint_names'].reshape(-1).tolist())}, expected "
            f"{', '.join(PACK_JOINTS[:4])} ..."
        )
    check_finite(positions, f"{path}: positions")
    check_millimetres(positions, f"{path}: positions")


def _word(value: np.ndarray, where: str) -> str:
    return as_text(value.item() if value.size == 1 else value, where)


def looks_like(path: Path | str) -> bool:
    """Whether a file is a pack, told by the names of its arrays."""
    return {"positions", "clip_start"} <= array_names(Path(path))


def prepare_pack(
    root: Path,
    store_name: str,
    sources: Sequence[Path],
    *,
    recipe: str,
    test_subjects: Sequence[str] = TEST_SUBJECTS,
    val_subjects: Sequence[str] = VAL_SUBJECTS,
    input_noise_seed: int = 0,
) -> Path:
    """Read a pack and film it (``prepare_mocap``); ``input_noise_seed`` fixes the 2D detector's
    noise.
    """
    if len(sources) != 1:
        raise DataError(
            f"{store_name}: got {len(sources)} sources, expected one motion capture pack (.npz)"
        )
    pack = read_pack(sources[0])
    sha256 = hashlib.sha256(sources[0].read_bytes()).hexdigest()
    return prepare_mocap(
        root,
        store_name,
        pack,
        source=f"{sources[0].name} (sha256 {sha256[:12]})",
        test_subjects=tuple(test_subjects),
        val_subjects=tuple(val_subjects),
        detector=DetectorModel(seed=input_noise_seed),
        recipe=recipe,
    )


def prepare_mocap(
    root: Path,
    name: str,
    pack: Pack,
    *,
    source: str,
    test_subjects: Sequence[str] = TEST_SUBJECTS,
    val_subjects: Sequence[str] = VAL_SUBJECTS,
    detector: DetectorModel | None = None,
    recipe: str = "",
) -> Path:
    """Project every clip by the four cameras, detect, split by subject and write the store
    ``<root>/<name>``.

    Videos are called ``<clip>.<camera>`` and labelled with the clip's action class. Validation
    subjects stay in the train split (the loader holds them out). Positions are used as captured:
    no floor is subtracted.
    """
    detector = detector or DetectorModel()
    groups: dict[str, list[Clip]] = {"train": [], "test": []}
    for clip in pack.clips:
        groups["test" if clip.subject in test_subjects else "train"].append(clip)
    for split, clips in groups.items():
        if not clips:
            found = ", ".join(pack.subjects())
            raise DataError(
                f"{source}: split {split} is empty: test subjects are {', '.join(test_subjects)}, "
                f"the pack has {found}"
            )
    train_subjects = {clip.subject for clip in groups["train"]}
    meta = Meta(
        name=name,
        fps=pack.fps,
        protocol=f"split by subject, test {' '.join(test_subjects)}; 2.5D frames of four Human3.6M cameras",
        source=source,
        detector=detector.describe(),
        val_subjects=tuple(s for s in val_subjects if s in train_subjects),
        recipe=recipe,
    )
    return write_store(root, meta, *(film(clips, detector) for clips in groups.values()))


def film(
    clips: Sequence[Clip], detector: DetectorModel, cameras: Sequence[Camera] | None = None
) -> Split:
    """Each clip seen by each camera (all four by default), as one split."""
    cameras = tuple(cameras or load_cameras().values())
    n = sum(len(clip.positions) for clip in clips) * len(cameras)
    joint_2d, confidence = (
        np.empty((n, N_JOINTS, 2), np.float32),
        np.empty((n, N_JOINTS), np.float32),
    )
    label, truth = np.empty((n, N_JOINTS, 3), np.float32), np.empty((n, N_JOINTS, 3), np.float32)
    factor, videos, start = np.empty(n, np.float32), [], 0
    for clip, camera in _takes(clips, cameras):
        end = start + len(clip.positions)
        video = Video(
            f"{clip.name}.{camera.name}",
            clip.subject,
            clip.action_class,
            camera.name,
            start,
            end - start,
            camera.width,
            camera.height,
        )
        label_px, mm_per_px = to_image_and_depth(_in_front(clip, camera), camera)
        joint_2d[start:end], confidence[start:end] = detect(
            label_px[..., :2], mm_per_px, video.source, detector
        )
        label[start:end], factor[start:end] = label_px, mm_per_px
        truth[start:end] = label_px * mm_per_px[:, None, None]
        videos.append(video)
        start = end
    return Split(joint_2d, confidence, label, truth, factor, tuple(videos))


def _takes(clips: Sequence[Clip], cameras: Sequence[Camera]) -> Iterator[tuple[Clip, Camera]]:
    return ((clip, camera) for clip in clips for camera in cameras)


def _in_front(clip: Clip, camera: Camera) -> np.ndarray:
    """The clip's positions as float64; a joint nearer than 30 cm to the lens plane is an error
    naming the frame.
    """
    positions = clip.positions.astype(np.float64)
    nearest = world_to_camera(positions, camera)[..., 2].min(1)
    if nearest.min() < 300:
        raise DataError(
            f"{clip.name}: frame {int(nearest.argmin())} is {nearest.min():.0f} mm from camera "
            f"{camera.name}, expected at least 300 mm in front of it"
        )
    return positions
