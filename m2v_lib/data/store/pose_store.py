"""The one on-disk format: a folder a data set, two memory-mapped splits and a ``meta.json``.

``<root>/<name>/{train,test}.safetensors`` hold the arrays of a ``Split``, frames of all videos
one after another; ``meta.json`` holds frame rate, unit, skeleton, protocol, videos and a sha256
fingerprint of both files. Motion capture may have a third file (``world``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from m2v_lib.data.checks import DataError, Video
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
from m2v_lib.data.store.split import (
    ARRAYS,
    LABELS,
    Split,
    check_cheaply,
    check_split,
    no_labels,
)
from m2v_lib.data.store.tensors import fingerprint, map_tensors, write_tensors
from m2v_lib.data.store.world import WORLD_FILE, World, check_world, read_world, write_world
from m2v_lib.runs.records import project_root
from m2v_lib.skeletons import H36M17, KNOWN, Skeleton, SkeletonError, skeleton_of

SplitName = Literal["train", "test"]
SPLITS: Final[tuple[SplitName, SplitName]] = ("train", "test")
GROUND_TRUTH: Final = "ground truth"  # Meta.detector["model"] where nothing was detected
CAMERA_SPACE: Final = (
    "camera space"  # Meta.detector["labels"] of detected 2D whose labels are no projection
)


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What a store says of itself; ``fingerprint`` is filled in by ``write_store``, ``recipe``
    by ``prepare``.
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


def skeleton_entries(skeleton: Skeleton) -> dict[str, Any]:
    """What a store's ``Meta`` says of its skeleton: ``Meta(..., **skeleton_entries(skeleton))``."""
    definition = None if skeleton.name in KNOWN else skeleton.to_dict()
    return {
        "skeleton": skeleton.name,
        "n_joints": len(skeleton),
        "skeleton_definition": definition,
    }


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
            check_split(split, f"{meta.name}: split {name}", meta.joints, labelled=meta.labelled)

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
