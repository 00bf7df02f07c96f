"""Packs: what is written is read, every fault is one sentence that names the place, and nothing
is half-written.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data import prepare
from m2v_lib.data.sources import mocap, readers
from m2v_lib.data.sources.mocap import Clip, Pack, read_pack, write_pack
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, open_store
from m2v_lib.data.store import pose_store as store_module
from m2v_lib.geometry.cameras import load_cameras

SMALL = make_pack(Plan(n_train=2, n_test=1, n_frames=12, styles=("walk", "wave")))
TEST = ("SYN_3",)


@pytest.fixture
def pack_file(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "pack.npz", SMALL)


def spoiled(file: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of the pack with its arrays edited."""
    with np.load(file, allow_pickle=False) as raw:
        arrays = dict(raw)
    edit(arrays)
    bad = file.with_name("bad.npz")
    np.savez(bad, **arrays)
    return bad


def test_a_pack_comes_back(pack_file: Path) -> None:
    back = read_pack(pack_file)
    assert back.fps == 50 and back.subjects() == ("SYN_1", "SYN_2", "SYN_3")
    for clip, same in zip(SMALL.clips, back.clips, strict=True):
        assert (clip.name, clip.subject, clip.action_class) == (
            same.name,
            same.subject,
            same.action_class,
        )
        np.testing.assert_allclose(clip.positions, same.positions, atol=1e-3)
    assert back.extra["joint_names"].tolist() == list(mocap.PACK_JOINTS)


def _nan(arrays: dict[str, Any]) -> None:
    arrays["positions"][17, 3, 1] = np.nan


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "16 joints": (
        lambda a: a.update(positions=a["positions"][:, :16]),
        r"positions has shape \(72, 16, 3\).* 17 j",
    ),
    "metres": (
        lambda a: a.update(positions=a["positions"] / 1000),
        "positions: the median bone .* looks like metres",
    ),
    "nan": (_nan, "positions at frame 17 is not a finite number"),
    "key": (
        lambda a: a.pop("action_class"),
        "has no key 'action_class', expected positions, clip_start",
    ),
    "units": (lambda a: a.update(units="m"), "units and up_axis say m, z up, expected mm, z up"),
    "y up": (lambda a: a.update(up_axis="y"), "say mm, y up"),
    "fps": (lambda a: a.update(fps=0.0), "fps must be a number from 1 to 2000, got 0"),
    "starts": (
        lambda a: a.update(clip_start=a["clip_start"] + 1),
        "clip_start must rise from 0 to 72",
    ),
    "no clips": (lambda a: a.update(clip_start=a["clip_start"][:1]), "expected at least one clip"),
    "names": (
        lambda a: a.update(clip_name=a["clip_name"][:-1]),
        r"clip_name has shape \(5,\), expected .* 6 clips",
    ),
    "twice": (lambda a: a.update(clip_name=np.full(6, "x")), "clip_name holds a name twice"),
    "order": (lambda a: a.update(joint_names=a["joint_names"][::-1]), "joint_names are"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_pack_is_one_sentence_and_makes_no_store(
    fault: str, pack_file: Path, tmp_path: Path
) -> None:
    edit, sentence = FAULTS[fault]
    bad = spoiled(pack_file, edit)
    with pytest.raises(DataError, match=sentence) as caught:
        prepare("bad", root=tmp_path / "stores", source=bad, test_subjects=TEST)
    assert str(caught.value).startswith(str(bad)) and "\n" not in str(caught.value)
    assert not (tmp_path / "stores").exists()


def test_truncated_missing_foreign_and_pickled_files(pack_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.npz"
    cut.write_bytes(pack_file.read_bytes()[:-200])
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, positions=np.array([{"a": 1}], dtype=object))
    (tmp_path / "text.npz").write_text("no pack")
    (tmp_path / "empty.npz").write_bytes(b"")
    for name in ("cut", "pickled", "text", "empty"):
        with pytest.raises(DataError, match=rf"{name}.npz: ") as caught:
            read_pack(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"none.npz: no such file"):
        read_pack(tmp_path / "none.npz")


def test_an_empty_split_names_the_subjects(pack_file: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="split test is empty: test subjects are CMU_06.*the pack has SYN_1, SYN_2"
    ):
        prepare("mine", root=tmp_path, source=pack_file)
    with pytest.raises(DataError, match="split train is empty"):
        prepare("mine", root=tmp_path, source=pack_file, test_subjects=["SYN_1", "SYN_2", "SYN_3"])


def test_a_person_behind_the_camera_is_named(tmp_path: Path) -> None:
    camera = load_cameras()["54138969"]
    first, *rest = SMALL.clips
    away = first.positions.copy()
    away[5] += 1.5 * camera.T - away[5, 0]
    clips = (Clip(first.name, first.subject, "", "walk", away), *rest)
    with pytest.raises(DataError, match=r"SYN_1_walk#0: frame 5 is -?\d+ mm from camera 54138969"):
        mocap.prepare_mocap(tmp_path, "x", Pack(clips, 50.0), source="x", test_subjects=TEST)


def test_full_disk_while_saving_leaves_nothing(
    pack_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "write_tensors", full)
    with pytest.raises(DataError, match=r"could not be written \(No space left on device\)"):
        prepare("mine", root=tmp_path / "stores", source=pack_file, test_subjects=TEST)
    assert not list((tmp_path / "stores").iterdir())
    before = pack_file.read_bytes()
    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"pack.npz: could not be saved \(No space left on device\)"):
        write_pack(pack_file, SMALL)
    assert pack_file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [pack_file.name, "stores"]


def test_the_store_keeps_the_conventions(pack_file: Path, tmp_path: Path) -> None:
    prepare(
        "mine",
        root=tmp_path,
        source=pack_file,
        test_subjects=TEST,
        val_subjects=["SYN_2", "elsewhere"],
    )
    store = open_store("mine", tmp_path)
    assert (store.meta.fps, store.meta.val_subjects) == (50.0, ("SYN_2",))
    train, test = store.split("train"), store.split("test")
    assert {v.subject for v in train.videos} == {"SYN_1", "SYN_2"} and {
        v.subject for v in test.videos
    } == {"SYN_3"}
    assert len(train.videos) == 4 * 4 and train.videos[0].source == "SYN_1_walk#0.54138969"
    assert train.videos[0].action == "walk" and train.videos[0].height == 1002
    np.testing.assert_allclose(
        train.truth_mm, train.label_px * train.factor[:, None, None], rtol=1e-5
    )
    np.testing.assert_array_equal(train.label_px[:, 0, 2], 0)
    assert 0 < np.linalg.norm(train.joint_2d - train.label_px[..., :2], axis=-1).mean() < 12


def test_prepare_is_idempotent_until_something_changes(pack_file: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"root": tmp_path, "source": pack_file, "test_subjects": TEST}
    path = prepare("mine", **arguments)
    stamp, print_ = (
        (path / "meta.json").stat().st_mtime_ns,
        open_store("mine", tmp_path).meta.fingerprint,
    )
    prepare("mine", **arguments)
    assert (path / "meta.json").stat().st_mtime_ns == stamp
    prepare("mine", **arguments, input_noise_seed=1)
    assert open_store("mine", tmp_path).meta.fingerprint != print_
    (path / "test.safetensors").write_bytes(b"")  # a damaged store is made anew
    prepare("mine", **arguments)
    assert open_store("mine", tmp_path).meta.fingerprint == print_


def test_without_data_the_sentence_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("M2V_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"run `python data_scripts/fetch_cmu.py`"):
        prepare("mocap", root=tmp_path)
    with pytest.raises(
        DataError, match="no such data set, expected one of synthetic, mocap.* with --source FILE"
    ):
        prepare("walks", root=tmp_path)
    with pytest.raises(DataError, match="synthetic: takes no source"):
        prepare("synthetic", root=tmp_path, source="x.npz")


def test_a_store_made_by_other_code_is_remade(
    pack_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"root": tmp_path, "source": pack_file, "test_subjects": TEST}
    stamp = (prepare("mine", **arguments) / "meta.json").stat().st_mtime_ns
    other = replace(readers.READERS["mocap"], version=99)
    monkeypatch.setitem(readers.READERS, "mocap", other)
    assert (prepare("mine", **arguments) / "meta.json").stat().st_mtime_ns != stamp
