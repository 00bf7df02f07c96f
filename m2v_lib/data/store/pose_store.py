"""The one on-disk format: a folder a data set, two memory-mapped splits and a ``meta.json``.

``<root>/<name>/{train,test}.safetensors`` hold the arrays of a ``Split``, frames of all videos
one after another; ``meta.json`` holds frame rate, unit, skeleton, protocol, videos and a sha256
fingerprint of both files. Motion capture may have a third file (``world``).
"""
# n frames of all videos of a split, J joints of the store's skeleton

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from m2v_lib.data.checks import LARGEST, check_finite, check_millimetres
from m2v_lib.data.checks import DataError as DataError
from m2v_lib.data.checks import Video as Video
from m2v_lib.data.foreign_values import as_table
from m2v_lib.data.store.description import (
    check_keys,
    checked_meta,
    checked_videos,
    read_object,
)
from m2v_lib.data.store.folders import (
    building_folder,
    check_store_name,
    open_each,
    store_folder,
    swap_in,
)
from m2v_lib.data.store.tensors import fingerprint, map_tensors, write_tensors
from m2v_lib.data.store.world import WORLD_FILE, World, check_world, read_world, write_world
from m2v_lib.runs.records import project_root
from m2v_lib.skeletons import H36M17, Skeleton, SkeletonError, skeleton_of

SplitName = Literal["train", "test"]
SPLITS: Final[tuple[SplitName, SplitName]] = ("train", "test")
GROUND_TRUTH: Final = "ground truth"  # Meta.detector["model"] where nothing was detected
CAMERA_SPACE: Final = (
    "camera space"  # Meta.detector["labels"] of detected 2D whose labels are no projection
)
MAX_CONFIDENCE: Final = 2.0  # heat maps peak a little above 1; more is another unit
#: array name -> shape after the frame axis
ARRAYS: Final = ("joint_2d", "confidence", "label_px", "truth_mm", "factor")
#: frames whose values are looked at when a split is opened
N_SAMPLED: Final = 256
LABELS: Final = ("label_px", "truth_mm", "factor")


@dataclass(frozen=True)
class Split:
    """Frames of all videos one after another, float32.

    joint_2d (n,J,2) px: the detector's output; confidence (n,J) in [0,1], a heat map's peak to
    MAX_CONFIDENCE. label_px (n,J,3) px: the true projection and, as z, depth relative to the
    root in the same scale (spec 5.1). truth_mm (n,J,3) mm: ``label_px * factor``, what
    evaluation compares with; factor (n,) mm per px. valid (n,) bool: the frames that count in
    the metric (MPI-INF-3DHP); None: all do. A store holds it only where some do not. An array
    given to ``write_store`` may have any number type and be a view of a mapped file. Where only
    2D is known (see ``Meta.labelled``) label_px, truth_mm and factor are NaN, and no file holds
    them.
    """

    joint_2d: np.ndarray
    confidence: np.ndarray
    label_px: np.ndarray
    truth_mm: np.ndarray
    factor: np.ndarray
    videos: tuple[Video, ...]
    valid: np.ndarray | None = None

    @property
    def n_frames(self) -> int:
        return len(self.joint_2d)


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a store says of itself; ``fingerprint`` is filled in by ``write_store``, ``recipe``
    by
    ``prepare``.
    """

    name: str
    fps: float
    protocol: str
    source: str
    detector: dict[str, Any] = field(default_factory=dict)
    val_subjects: tuple[str, ...] = ()
    blocked_sources: tuple[str, ...] = ()
    units: str = "mm"
    skeleton: str = "h36m17"
    n_joints: int = len(H36M17)
    #: The skeleton itself where it is none of the known ones (`Skeleton.to_dict`).
    skeleton_definition: dict[str, Any] | None = None
    recipe: str = ""
    fingerprint: str = ""

    @property
    def labelled(self) -> bool:
        """Whether there is 3D: a store of keypoints alone has units "px" and serves pre-training
        only.
        """
        return self.units == "mm"

    @property
    def joints(self) -> Skeleton:
        """The store's skeleton. Raises SkeletonError where its definition is none."""
        if self.skeleton_definition is None:
            return skeleton_of(self.skeleton)
        return Skeleton.from_dict(self.skeleton_definition, f"store {self.name}")

    @property
    def input_is_truth(self) -> bool:
        """Whether ``joint_2d`` is the true projection itself; ``label_px`` then need not be one."""
        return self.detector.get("model") == GROUND_TRUTH

    @property
    def label_is_projection(self) -> bool:
        """Whether x, y of ``label_px`` are the true projection, and not camera space in another
        unit.
        """
        return not self.input_is_truth and self.detector.get("labels") != CAMERA_SPACE


@dataclass(frozen=True)
class Store:
    """An opened store: ``meta`` at once, ``split(name)`` memory-mapped on demand."""

    path: Path
    meta: Meta

    @cached_property
    def _videos(self) -> dict[str, tuple[Video, ...]]:
        raw, file = _read_meta(self.path)["videos"], self.path / "meta.json"
        return {name: checked_videos(raw[name], f"{file}: videos, {name}") for name in SPLITS}

    def split(self, name: SplitName) -> Split:
        """The arrays of "train" or "test", mapped copy-on-write: reading costs no memory,
        writing alters no file.
        """
        if name not in SPLITS:
            raise DataError(f"{self.path}: no split {name!r}, expected one of {', '.join(SPLITS)}")

        expected = [key for key in ARRAYS if self.meta.labelled or key not in LABELS]
        arrays = map_tensors(self.path / f"{name}.safetensors", expected, ("valid",))
        if not self.meta.labelled:
            arrays |= no_labels(len(arrays["joint_2d"]), self.meta.n_joints)
        split = Split(**arrays, videos=self._videos[name])
        check_cheaply(
            split, f"{self.path}: split {name}", self.meta.n_joints, labelled=self.meta.labelled
        )

        return split

    @cached_property
    def _world(self) -> dict[str, Any] | None:
        return _read_meta(self.path).get("world")

    @property
    def has_world(self) -> bool:
        """Whether there is motion in world space, which `data.cameras=random` needs."""
        return self._world is not None

    def world(self) -> World:
        """Motion in world space, mapped. Raises DataError where the store has none."""
        return read_world(self.path, self._world)

    def verify(self) -> None:
        """Read both files whole and compare them with the fingerprint."""
        if (found := _fingerprint(self.path)) != self.meta.fingerprint:
            said = self.meta.fingerprint
            raise DataError(
                f"{self.path}: contents have sha256 {found[:12]}, meta.json says {said[:12]}"
            )
        if self.has_world and fingerprint([self.path / WORLD_FILE]) != self.world().fingerprint:
            raise DataError(f"{self.path}/{WORLD_FILE}: is not what meta.json says of it")


def default_root() -> Path:
    """Where stores live: ``$M2V_STORE``, else ``reports/stores`` of the checkout."""
    return Path(os.environ.get("M2V_STORE") or project_root() / "reports" / "stores")


def list_stores(
    root: Path | None = None, on_damaged: Callable[[DataError], object] | None = None
) -> list[Store]:
    """Every complete store under ``root``, by name; a damaged one is left out where `on_damaged`
    takes the error.
    """
    root = Path(root) if root else default_root()
    return open_each(open_store, root, "meta.json", on_damaged)


def open_store(name: str, root: Path | None = None) -> Store:
    """Open ``<root>/<name>``; a missing or foreign one is a ``DataError``."""
    path = (Path(root) if root else default_root()) / check_store_name(name)
    if (path / "actions.json").is_file():
        raise DataError(
            f"{path}: holds action data, which `m2v action` uses, expected a store for lifting"
        )
    if not (path / "meta.json").is_file():
        raise DataError(f"{path}: no store {name!r} here, make it with `m2v data prepare {name}`")

    meta = Meta(**_read_meta(path)["meta"])
    if meta.units not in ("mm", "px"):
        raise DataError(f"{path}/meta.json: units must be mm or px, got {meta.units!r}")

    try:
        n_joints = len(meta.joints)
    except SkeletonError as error:
        raise DataError(f"{path}/meta.json: {error}") from error

    if n_joints != meta.n_joints:
        raise DataError(
            f"{path}/meta.json: n_joints must be {n_joints}, that of {meta.skeleton}, "
            f"got {meta.n_joints}"
        )

    return Store(path, meta)


def array_shapes(n_joints: int) -> dict[str, tuple[int, ...]]:
    """Array name -> shape after the frame axis."""
    return {
        "joint_2d": (n_joints, 2),
        "confidence": (n_joints,),
        "label_px": (n_joints, 3),
        "truth_mm": (n_joints, 3),
        "factor": (),
    }


def no_labels(n_frames: int, n_joints: int = len(H36M17)) -> dict[str, np.ndarray]:
    """The label arrays of a split of which only 2D is known: NaN, taking no memory."""
    shapes = array_shapes(n_joints)
    return {key: np.broadcast_to(np.float32(np.nan), (n_frames, *shapes[key])) for key in LABELS}


def write_store(
    root: Path, meta: Meta, train: Split, test: Split, *, world: World | None = None
) -> Path:
    """Check both splits, write them beside ``<root>/<name>`` and move them into place; returns
    that folder.

    Whatever goes wrong (bad data, full disk) raises ``DataError`` and leaves an older store of
    the name as it was.
    """
    root, target = Path(root), store_folder(Path(root), meta.name)
    if (target / "actions.json").exists():
        raise DataError(f"{target}: holds action data, choose another name for the store (--name)")

    splits = {"train": train, "test": test}
    for name, split in splits.items():
        # keypoints alone need no test split
        if meta.labelled or name == "train" or split.n_frames:
            check_split(
                split, f"{meta.name}: split {name}", labelled=meta.labelled, skeleton=meta.joints
            )

    if world is not None:
        check_world(world, f"{meta.name}: world", meta.joints)
    try:
        with building_folder(root, meta.name) as building:
            _write_files(building, meta, splits, world)
            swap_in(building, target)
    except OSError as error:
        raise DataError(
            f"{target}: could not be written ({error.strerror or error}), nothing was changed"
        ) from error

    return target


def check_split(
    split: Split, where: str, *, labelled: bool = True, skeleton: Skeleton = H36M17
) -> None:
    """Raise ``DataError`` (one sentence that begins with ``where``) unless the split keeps every
    promise above.
    """
    n = split.n_frames
    if n == 0 or not split.videos:
        raise DataError(f"{where} is empty, expected at least one video")

    for name, shape in array_shapes(len(skeleton)).items():
        array = getattr(split, name)
        if array.shape != (n, *shape):
            raise DataError(
                f"{where}: {name} has shape {array.shape}, expected {(n, *shape)} "
                f"({len(skeleton)} joints)"
            )
        if array.dtype.kind not in "fiu":
            raise DataError(f"{where}: {name} holds {array.dtype}, expected numbers")

    _check_valid(split.valid, n, where)
    _check_videos(split.videos, n, where)

    for name in ARRAYS:
        if labelled or name not in LABELS:
            check_finite(getattr(split, name), f"{where}: {name}", split.videos)

    if split.confidence.min() < 0 or split.confidence.max() > MAX_CONFIDENCE:
        bad = int(np.argmax(((split.confidence < 0) | (split.confidence > MAX_CONFIDENCE)).any(1)))
        raise DataError(f"{where}: confidence at frame {bad} is outside [0, 1]")

    if not labelled:
        return
    if split.factor.min() <= 0:
        raise DataError(
            f"{where}: factor at frame {int(split.factor.argmin())} is not positive (mm per px)"
        )

    check_millimetres(split.truth_mm, f"{where}: truth_mm", skeleton)


def check_cheaply(split: Split, where: str, n_joints: int, *, labelled: bool) -> None:
    """Raise ``DataError`` where shapes, videos or a sample of the values are not what was written:
    what can be known at opening without reading it all (``verify`` does).
    """
    n = split.n_frames
    for name, shape in array_shapes(n_joints).items():
        if getattr(split, name).shape != (n, *shape):
            raise DataError(
                f"{where}: {name} has shape {getattr(split, name).shape}, expected {(n, *shape)}"
            )

    if n or split.videos:
        _check_videos(split.videos, n, where)
    step = max(1, n // N_SAMPLED)
    sample = replace(
        split, videos=(), valid=None, **{key: getattr(split, key)[::step] for key in ARRAYS}
    )

    for name in ARRAYS if labelled else ("joint_2d", "confidence"):
        values = getattr(sample, name)
        if not np.isfinite(values).all() or (len(values) and np.abs(values).max() > LARGEST):
            raise DataError(
                f"{where}: {name} holds numbers that no store has; run `m2v data verify`"
            )


def _check_valid(valid: np.ndarray | None, n: int, where: str) -> None:
    if valid is None:
        return
    if valid.shape != (n,) or valid.dtype != bool:
        raise DataError(f"{where}: valid is {valid.dtype} {valid.shape}, expected bool {(n,)}")
    if not valid.any():
        raise DataError(
            f"{where}: no frame is valid, expected at least one that counts in the metric"
        )


def _check_videos(videos: tuple[Video, ...], n: int, where: str) -> None:
    expected = 0
    for video in videos:
        if video.start != expected or video.n_frames < 1:
            raise DataError(
                f"{where}: video {video.source} covers {video.n_frames} frames from {video.start}, "
                f"expected to begin at {expected}"
            )
        if video.width < 1 or video.height < 1:
            raise DataError(
                f"{where}: video {video.source} has image size {video.width} x {video.height}"
            )
        expected += video.n_frames

    if expected != n:
        raise DataError(f"{where}: the videos cover {expected} frames, the arrays hold {n}")


def _write_files(
    folder: Path, meta: Meta, splits: dict[str, Split], world: World | None = None
) -> None:
    for name, split in splits.items():
        arrays = {key: getattr(split, key) for key in ARRAYS if meta.labelled or key not in LABELS}
        if split.valid is not None and not split.valid.all():
            arrays["valid"] = split.valid
        write_tensors(folder / f"{name}.safetensors", arrays)
        (folder / f"{name}.safetensors").chmod(0o644)

    meta = replace(meta, fingerprint=_fingerprint(folder))
    videos = {name: [asdict(v) for v in split.videos] for name, split in splits.items()}
    said: dict[str, Any] = {"meta": asdict(meta), "videos": videos}
    if world is not None:
        said["world"] = write_world(folder, world)
    (folder / "meta.json").write_text(json.dumps(said, indent=1) + "\n")
    folder.chmod(0o755)


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / "meta.json"
    raw = read_object(file, "a store")
    check_keys(raw, {"meta", "videos", *({"world"} & raw.keys())}, str(file))
    check_keys(as_table(raw["meta"], f"{file}: meta"), {f.name for f in fields(Meta)}, str(file))
    check_keys(as_table(raw["videos"], f"{file}: videos"), set(SPLITS), f"{file}: videos")
    raw["meta"] = checked_meta(raw["meta"], file)
    return raw


def _fingerprint(folder: Path) -> str:
    return fingerprint(folder / f"{name}.safetensors" for name in SPLITS)
