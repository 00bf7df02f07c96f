"""The third file of a store: beside the splits, never in their fingerprint, and checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data.sources.mocap import prepare_mocap
from m2v_lib.data.sources.packs import Pack
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, Store, open_store, write_store
from m2v_lib.data.store.world import WORLD_FILE, check_world, floor_of
from m2v_lib.skeletons import H36M17

PACK: Pack = make_pack(Plan(n_train=2, n_test=1, n_frames=20, styles=("walk",)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    prepare_mocap(tmp_path, "people", PACK, source="tests", test_subjects=["SYN_3"])
    return open_store("people", tmp_path)


def test_the_motion_comes_back_clip_by_clip(store: Store) -> None:
    world = store.world()
    assert [c.split for c in world.clips] == ["train", "train", "test"]
    for clip, taken in zip(world.clips, PACK.clips, strict=True):
        assert (clip.name, clip.subject, clip.action) == (
            taken.name,
            taken.subject,
            taken.action_class,
        )
        rows = slice(clip.start, clip.start + clip.n_frames)
        np.testing.assert_array_equal(world.positions[rows], taken.positions.astype(np.float32))
        assert clip.floor == pytest.approx(taken.positions[..., 2].min(), abs=20)
    store.verify()


def test_the_fingerprint_is_that_of_the_splits_alone(store: Store, tmp_path: Path) -> None:
    without = replace(store.meta, name="without")
    write_store(tmp_path, without, store.split("train"), store.split("test"))
    other = open_store("without", tmp_path)
    assert other.meta.fingerprint == store.meta.fingerprint
    assert store.has_world and not other.has_world
    assert store.world().fingerprint not in ("", store.meta.fingerprint)
    with pytest.raises(DataError, match="holds no motion in world space"):
        other.world()
    other.verify()


def test_a_changed_file_is_found(store: Store) -> None:
    file = store.path / WORLD_FILE
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(DataError, match="world.safetensors: is not what meta.json says of it"):
        store.verify()
    file.write_bytes(bytes(data[:-8]))
    with pytest.raises(DataError, match="world.safetensors: is .* bytes long"):
        store.world()


def _drop_name(clips: list[dict[str, Any]]) -> None:
    del clips[0]["name"]


def _one_frame_more(clips: list[dict[str, Any]]) -> None:
    clips[0]["n_frames"] += 1


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [(_drop_name, "table of world-space clips"), (_one_frame_more, "holds 60 frames, .* says 61")],
)
def test_a_foreign_table_is_one_sentence(
    edit: Callable[[list[dict[str, Any]]], None], sentence: str, store: Store
) -> None:
    raw = json.loads((store.path / "meta.json").read_text())
    edit(raw["world"]["clips"])
    (store.path / "meta.json").write_text(json.dumps(raw))
    with pytest.raises(DataError, match=sentence):
        open_store("people", store.path.parent).world()


def test_what_is_no_motion_is_not_written(store: Store) -> None:
    world = store.world()
    bad = np.array(world.positions)
    bad[3, 2, 1] = np.nan
    faults = (
        (replace(world, positions=bad), "x at frame 3 is not a finite number"),
        (replace(world, positions=world.positions / 1000), "looks like metres"),
        (replace(world, clips=world.clips[1:]), "covers 20 frames from 20, expected to begin at 0"),
        (replace(world, positions=world.positions[:, :16]), r"shape \(60, 16, 3\), expected"),
        (replace(world, clips=world.clips[:-1]), "clips cover 40 frames, it holds 60"),
    )
    for wrong, sentence in faults:
        with pytest.raises(DataError, match=sentence):
            check_world(wrong, "x", H36M17)


def test_the_floor_is_where_the_lowest_joint_mostly_is() -> None:
    joints = np.full((100, 2, 3), 500.0)
    joints[:, 1, 2] = 80.0
    joints[50:53, 1, 2] = -300.0  # three frames that sink
    assert floor_of(joints) == pytest.approx(80.0, abs=1)
