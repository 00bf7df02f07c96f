"""Action data on disk: people's 2D joints in labelled samples, one mapped file and one
description.

``<root>/<name>/{actions.safetensors, actions.json}``. A sample is a short recording of one
action by one or two people. All samples' frames stand one after another; within a sample first
all frames of its first person, then of its second.
"""
# S samples, n rows (a row is one person in one frame), J = 17 joints

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from m2v_lib.data.checks import DataError, check_finite
from m2v_lib.data.foreign_values import as_names, as_table, as_text
from m2v_lib.data.limits import MAX_LONG_TEXT
from m2v_lib.data.store import default_root
from m2v_lib.data.store.description import (
    check_fingerprint,
    check_keys,
    check_name,
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
from m2v_lib.skeletons.h36m import N_JOINTS

Part = Literal["train", "test"]
#: the two published ways to divide the samples: by person and by camera
PROTOCOLS: Final = ("xsub", "xview")
#: what the arrays ``xsub`` and ``xview`` say of a sample
TRAIN, TEST, NEITHER = 0, 1, -1
ROWS: Final = {"joint_2d": (N_JOINTS, 2), "confidence": (N_JOINTS,), "coco_score": (N_JOINTS,)}
SAMPLES: Final = ("label", "n_frames", "n_persons", "width", "height", *PROTOCOLS)
FILE, DESCRIPTION = "actions.safetensors", "actions.json"


@dataclass(frozen=True)
class ActionData:
    """Samples and the rows they are made of.

    joint_2d (n,17,2) px and confidence (n,17), both in Human3.6M order; coco_score (n,17): the
    scores as the source has them, in COCO order, which the released code takes for the
    confidence (audit F3). Of each sample (S,) int64: label (index into classes), n_frames,
    n_persons, width and height (px); xsub, xview: TRAIN, TEST or NEITHER.
    """

    joint_2d: np.ndarray
    confidence: np.ndarray
    coco_score: np.ndarray
    label: np.ndarray
    n_frames: np.ndarray
    n_persons: np.ndarray
    width: np.ndarray
    height: np.ndarray
    xsub: np.ndarray
    xview: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def starts(self) -> np.ndarray:
        """First row of each sample, and the number of rows at the end (S+1,)."""
        return np.concatenate([[0], np.cumsum(self.n_frames * self.n_persons)])

    def sample(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Joints (M,T,17,2) px and confidence (M,T,17) of one sample."""
        rows, people = (
            slice(self.starts[i], self.starts[i + 1]),
            (self.n_persons[i], self.n_frames[i]),
        )
        return self.joint_2d[rows].reshape(*people, N_JOINTS, 2), self.confidence[rows].reshape(
            *people, N_JOINTS
        )

    def part(self, protocol: str, part: Part) -> np.ndarray:
        """Numbers of the samples that train or test under a protocol. Raises DataError when
        there are none.
        """
        chosen = np.flatnonzero(getattr(self, protocol) == (TRAIN if part == "train" else TEST))
        if not len(chosen):
            raise DataError(
                f"protocol {protocol} has no {part} sample among {len(self)}, expected at least one"
            )
        return chosen


@dataclass(frozen=True, kw_only=True)
class ActionMeta:
    """What action data says of itself; ``fingerprint`` is filled in by ``write_actions``,
    ``recipe`` by ``prepare``.
    """

    name: str
    protocol: str
    source: str
    recipe: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class ActionStore:
    """Opened action data: ``meta`` at once, ``data()`` memory-mapped."""

    path: Path
    meta: ActionMeta

    def data(self) -> ActionData:
        raw = _read_description(self.path)
        arrays = map_tensors(self.path / FILE, [*ROWS, *SAMPLES])
        data = ActionData(**arrays, names=tuple(raw["names"]), classes=tuple(raw["classes"]))
        check_shapes(data, str(self.path))
        return data

    def verify(self) -> None:
        """Read the file whole and compare it with the fingerprint."""
        if (found := fingerprint([self.path / FILE])) != self.meta.fingerprint:
            raise DataError(
                f"{self.path}: contents have sha256 {found[:12]}, {DESCRIPTION} says "
                f"{self.meta.fingerprint[:12]}"
            )


def is_action_store(name: str, root: Path | None = None) -> bool:
    """Whether ``<root>/<name>`` holds action data."""
    return ((Path(root) if root else default_root()) / name / DESCRIPTION).is_file()


def open_action_store(name: str, root: Path | None = None) -> ActionStore:
    """Open ``<root>/<name>``; a missing or foreign one is a ``DataError``."""
    path = (Path(root) if root else default_root()) / check_store_name(name)
    if not (path / DESCRIPTION).is_file():
        raise DataError(
            f"{path}: no action data {name!r} here, make it with `m2v data prepare {name} "
            "--source FILE`"
        )
    return ActionStore(path, ActionMeta(**_read_description(path)["meta"]))


def list_action_stores(
    root: Path | None = None, on_damaged: Callable[[DataError], object] | None = None
) -> list[ActionStore]:
    """All action data under ``root``, by name; damaged ones as in `list_stores`."""
    root = Path(root) if root else default_root()
    return open_each(open_action_store, root, DESCRIPTION, on_damaged)


def write_actions(root: Path, meta: ActionMeta, data: ActionData) -> Path:
    """Check the data, write them beside ``<root>/<name>`` and move them into place; returns that
    folder.

    Whatever goes wrong (bad data, full disk) raises ``DataError`` and leaves older data of the
    name as they were.
    """
    check_actions(data, meta.name)
    root, target = Path(root), store_folder(Path(root), meta.name)
    if (target / "meta.json").exists():
        raise DataError(
            f"{target}: is a store of another kind, choose another name for the action data"
        )

    try:
        with building_folder(root, meta.name) as building:
            write_tensors(building / FILE, {key: getattr(data, key) for key in (*ROWS, *SAMPLES)})
            meta = replace(meta, fingerprint=fingerprint([building / FILE]))
            said = {"meta": asdict(meta), "classes": data.classes, "names": data.names}
            (building / DESCRIPTION).write_text(json.dumps(said) + "\n")
            building.chmod(0o755)
            swap_in(building, target)
    except OSError as error:
        raise DataError(
            f"{target}: could not be written ({error.strerror or error}), nothing was changed"
        ) from error

    return target


def check_actions(data: ActionData, where: str) -> None:
    """Raise ``DataError`` (one sentence that begins with ``where``) unless the data keep every
    promise above.
    """
    check_shapes(data, where)
    for key in ROWS:
        check_finite(getattr(data, key), f"{where}: {key}")


def check_shapes(data: ActionData, where: str) -> None:
    """Raise ``DataError`` unless the arrays have the rows that samples and people need."""
    n_samples = len(data)
    if n_samples == 0:
        raise DataError(f"{where}: holds no sample, expected at least one")

    for key in SAMPLES:
        if getattr(data, key).shape != (n_samples,):
            raise DataError(
                f"{where}: {key} has shape {getattr(data, key).shape}, expected one of "
                f"{n_samples} samples"
            )

    for key in ("n_frames", "n_persons", "width", "height"):
        _require(getattr(data, key) > 0, data.names, f"{where}: {key} is not positive")

    _require(
        (data.label >= 0) & (data.label < len(data.classes)),
        data.names,
        f"{where}: label is not one of {len(data.classes)} classes",
    )

    for key, shape in ROWS.items():
        if getattr(data, key).shape != (data.starts[-1], *shape):
            found = getattr(data, key).shape
            raise DataError(
                f"{where}: {key} has shape {found}, expected {(data.starts[-1], *shape)}"
            )


def _require(good_S: np.ndarray, names: Sequence[str], what: str) -> None:
    if not good_S.all():
        raise DataError(f"{what} in sample {names[int(good_S.argmin())]}")


def _read_description(path: Path) -> dict[str, Any]:
    file = path / DESCRIPTION
    raw = read_object(file, "action data")
    check_keys(raw, {"meta", "classes", "names"}, str(file))
    meta = dict(as_table(raw["meta"], f"{file}: meta"))
    check_keys(meta, {f.name for f in fields(ActionMeta)}, f"{file}: meta")
    check_name(meta["name"], file)
    for key in ("protocol", "source", "recipe"):
        meta[key] = as_text(meta[key], f"{file}: {key}", MAX_LONG_TEXT)

    check_fingerprint(meta["fingerprint"], f"{file}: fingerprint")
    raw["classes"], raw["names"] = (
        as_names(raw[key], f"{file}: {key}") for key in ("classes", "names")
    )

    return {**raw, "meta": meta}
