"""Motion in the room it was captured in, once and not once a camera: a store's optional third
file, from which training takes views by cameras of its own (`data.cameras=random`).

``world.safetensors`` holds the positions of all clips one after another; ``meta.json`` their
table and the file's own sha256 under ``world``, so that a store's fingerprint is that of its
splits, with or without it.
"""
# n frames of all clips, J joints of the store's skeleton

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError, check_finite, check_millimetres
from m2v_lib.data.store.tensors import fingerprint, map_tensors, write_tensors
from m2v_lib.skeletons import Skeleton

WORLD_FILE: Final = "world.safetensors"


@dataclass(frozen=True)
class WorldClip:
    """Frames ``start .. start + n_frames`` of one take; ``split`` is train or test, ``floor``
    (mm) the height of its floor.
    """

    name: str
    subject: str
    action: str
    split: str
    start: int
    n_frames: int
    floor: float


@dataclass(frozen=True)
class World:
    """All takes of a store: positions (n,J,3) float32, world mm, z up."""

    positions: np.ndarray
    clips: tuple[WorldClip, ...]
    fingerprint: str = ""

    @property
    def n_frames(self) -> int:
        return len(self.positions)


def make_world(
    takes: Mapping[str, Sequence[tuple[str, str, str, np.ndarray]]],
) -> World:
    """The takes of each split, given as (name, subject, action, positions (n,J,3) mm)."""
    clips: list[WorldClip] = []
    start = 0
    for split, entries in takes.items():
        for name, subject, action, positions in entries:
            clips.append(
                WorldClip(name, subject, action, split, start, len(positions), floor_of(positions))
            )
            start += len(positions)

    every = [positions for entries in takes.values() for *_, positions in entries]
    return World(np.concatenate(every).astype(np.float32), tuple(clips))


def floor_of(positions: np.ndarray) -> float:
    """Height of the floor (mm): of each frame's lowest joint the 5th percentile over (n,J,3).

    Where ankles are the lowest joints that is some 8 cm above the true floor.
    """
    return float(np.percentile(positions[..., 2].min(1), 5))


def check_world(world: World, where: str, skeleton: Skeleton) -> None:
    """Raise ``DataError`` unless the clips cover the positions, which are millimetres."""
    shape = (world.n_frames, len(skeleton), 3)
    if world.n_frames == 0 or world.positions.shape != shape:
        raise DataError(f"{where} has shape {world.positions.shape}, expected {shape}")

    expected = 0
    for clip in world.clips:
        if clip.start != expected or clip.n_frames < 1:
            raise DataError(
                f"{where}: clip {clip.name} covers {clip.n_frames} frames from {clip.start}, "
                f"expected to begin at {expected}"
            )
        expected += clip.n_frames

    if expected != world.n_frames:
        raise DataError(f"{where}: the clips cover {expected} frames, it holds {world.n_frames}")

    check_finite(world.positions, where)
    check_millimetres(world.positions, where, skeleton)


def write_world(folder: Path, world: World) -> dict[str, Any]:
    """Write the file into a store's folder; returns what ``meta.json`` says of it. Raises
    OSError.
    """
    file = folder / WORLD_FILE
    write_tensors(file, {"positions": world.positions})
    file.chmod(0o644)
    return {"fingerprint": fingerprint([file]), "clips": [asdict(clip) for clip in world.clips]}


def read_world(folder: Path, said: Mapping[str, Any] | None) -> World:
    """The world-space motion of a store, mapped; `said` is what its ``meta.json`` holds.

    Raises DataError where the store has none, or the file is not what was said.
    """
    if said is None:
        raise DataError(
            f"{folder}: holds no motion in world space, which data.cameras=random needs; only "
            "motion capture has it: make the store anew with `m2v data prepare`"
        )

    positions = map_tensors(folder / WORLD_FILE, ("positions",))["positions"]

    try:
        world = World(positions, tuple(WorldClip(**c) for c in said["clips"]), said["fingerprint"])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{folder}/meta.json: cannot be read as a table of world-space clips ({error})"
        ) from error

    if (n := sum(clip.n_frames for clip in world.clips)) != world.n_frames:
        raise DataError(f"{folder}/{WORLD_FILE}: holds {world.n_frames} frames, meta.json says {n}")

    return world
