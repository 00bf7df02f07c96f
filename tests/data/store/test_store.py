"""The store gives back what it was given, refuses what it should, and leaves nothing
half-written.
"""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m2v_lib import cli
from m2v_lib.data import verify_store
from m2v_lib.data.store import (
    DataError,
    Meta,
    Split,
    Video,
    check_split,
    list_stores,
    open_store,
    skeleton_entries,
    write_store,
)
from m2v_lib.data.store import pose_store as store_module
from m2v_lib.data.store.world import make_world
from m2v_lib.skeletons import H36M17, Skeleton


def make_split(n: int = 12, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    label = rng.normal(500, 40, (n, 17, 3)).astype(np.float32)
    factor = np.full(n, 4.0, np.float32)
    videos = tuple(
        Video(f"clip.{i}", "S1", "walk", "54138969", i * n // 2, n // 2, 1000, 1002)
        for i in range(2)
    )
    return Split(
        label[..., :2] + 1, np.full((n, 17), 0.5, np.float32), label, label * 4, factor, videos
    )


META = Meta(name="toy", fps=50.0, protocol="by subject", source="made here", val_subjects=("S1",))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    train, test = make_split(), make_split(8, seed=1)
    assert write_store(tmp_path, META, train, test) == tmp_path / "toy"
    store = open_store("toy", tmp_path)
    assert replace(store.meta, fingerprint="") == META
    for name, split in (("train", train), ("test", test)):
        back = store.split(name)  # type: ignore[arg-type]
        assert back.videos == split.videos
        for key in store_module.ARRAYS:
            np.testing.assert_array_equal(getattr(back, key), getattr(split, key))
            assert isinstance(getattr(back, key), np.memmap)
    assert [s.meta.name for s in list_stores(tmp_path)] == ["toy"]


def test_writing_to_a_mapped_array_alters_no_file(tmp_path: Path) -> None:
    write_store(tmp_path, META, make_split(), make_split())
    open_store("toy", tmp_path).split("train").joint_2d[:] = 0
    open_store("toy", tmp_path).verify()


def test_a_store_of_ones_own_joints_is_verified(tmp_path: Path) -> None:
    kept = ["root", "spine", "neck"]
    rows = [H36M17.joints.index(name) for name in kept]
    skeleton = Skeleton.from_dict(
        {
            "name": "trunk",
            "joints": [
                {"name": name, "parent": parent}
                for name, parent in zip(kept, [None, *kept], strict=False)
            ],
        },
        "trunk",
    )
    split, arrays = make_split(), [key for key in store_module.ARRAYS if key != "factor"]
    split = replace(split, **{key: getattr(split, key)[:, rows] for key in arrays})
    takes = {"train": [("clip", "S1", "walk", split.truth_mm)]}

    meta = replace(META, **skeleton_entries(skeleton))
    write_store(tmp_path, meta, split, split, world=make_world(takes))
    assert verify_store("toy", tmp_path).endswith(
        "as written, 12 frames in train, 12 frames in test"
    )


def test_fingerprint_follows_the_contents(tmp_path: Path) -> None:
    write_store(tmp_path, META, make_split(), make_split())
    first = open_store("toy", tmp_path).meta.fingerprint
    write_store(tmp_path, META, make_split(), make_split())
    assert open_store("toy", tmp_path).meta.fingerprint == first
    write_store(tmp_path, META, make_split(), make_split(seed=1))
    assert open_store("toy", tmp_path).meta.fingerprint != first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy"]


def _change(split: Split, **edit: float) -> Split:
    """A copy of the split with one value of frame 7 replaced, ``name=value``."""
    copies = {key: getattr(split, key).copy() for key in edit}
    for key, value in edit.items():
        copies[key][7] = value
    return replace(split, **copies)


BAD = {
    "joints": (
        lambda s: replace(s, joint_2d=s.joint_2d[:, :16]),
        r"joint_2d has shape \(12, 16, 2\).*17 joints",
    ),
    "nan": (
        lambda s: _change(s, label_px=np.nan),
        r"label_px at frame 7 \(clip.1, its frame 1\) is not a finite",
    ),
    "metres": (
        lambda s: replace(s, truth_mm=s.truth_mm / 1000),
        "truth_mm: the median bone .* looks like metres",
    ),
    "empty": (
        lambda s: replace(s, **{k: getattr(s, k)[:0] for k in store_module.ARRAYS}),
        "is empty",
    ),
    "no video": (lambda s: replace(s, videos=()), "is empty"),
    "gap": (
        lambda s: replace(s, videos=s.videos[1:]),
        "clip.1 covers 6 frames from 6, expected to begin at 0",
    ),
    "short": (
        lambda s: replace(s, videos=s.videos[:1]),
        "videos cover 6 frames, the arrays hold 12",
    ),
    "confidence": (
        lambda s: _change(s, confidence=2.2),
        r"confidence at frame 7 is outside \[0, 1\]",
    ),
    "text": (
        lambda s: replace(s, factor=s.factor.astype(str)),
        "factor holds <U32, expected numbers",
    ),
    "valid": (
        lambda s: replace(s, valid=np.ones(11, bool)),
        r"valid is bool \(11,\), expected bool \(12,\)",
    ),
    "valid as numbers": (
        lambda s: replace(s, valid=np.ones(12)),
        r"valid is float64 \(12,\), expected bool",
    ),
    "none valid": (lambda s: replace(s, valid=np.zeros(12, bool)), "no frame is valid"),
    "factor": (lambda s: _change(s, factor=0.0), "factor at frame 7 is not positive"),
}


def test_frames_that_do_not_count_are_kept_and_change_no_store_without_them(tmp_path: Path) -> None:
    plain = write_store(tmp_path / "a", META, make_split(), make_split())
    full = write_store(
        tmp_path / "b", META, replace(make_split(), valid=np.ones(12, bool)), make_split()
    )
    for name in ("train.safetensors", "meta.json"):
        assert (plain / name).read_bytes() == (full / name).read_bytes()
    assert open_store("toy", tmp_path / "b").split("train").valid is None
    valid = np.arange(12) % 3 > 0
    write_store(tmp_path / "c", META, make_split(), replace(make_split(), valid=valid))
    store = open_store("toy", tmp_path / "c")
    assert store.split("train").valid is None
    np.testing.assert_array_equal(store.split("test").valid, valid)
    assert store.meta.fingerprint != open_store("toy", tmp_path / "a").meta.fingerprint


def test_other_number_types_and_views_are_written_as_float32(tmp_path: Path) -> None:
    split = make_split()
    wide = replace(
        split,
        joint_2d=np.dstack([split.joint_2d] * 2).astype(np.float64)[..., :2],
        factor=np.full(12, 4, np.int32),
        confidence=np.broadcast_to(np.float16(0.5), (12, 17)),
    )
    write_store(tmp_path / "a", META, split, split)
    write_store(tmp_path / "b", META, wide, wide)
    prints = [open_store("toy", tmp_path / name).meta.fingerprint for name in "ab"]
    assert prints[0] == prints[1]


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_split_is_one_sentence_and_writes_nothing(fault: str, tmp_path: Path) -> None:
    spoil, sentence = BAD[fault]
    with pytest.raises(DataError, match=sentence) as caught:
        write_store(tmp_path, META, spoil(make_split()), make_split())
    assert "\n" not in str(caught.value) and str(caught.value).startswith("toy: split train")
    assert not list(tmp_path.iterdir())


def test_millimetres_pass() -> None:
    check_split(make_split(), "toy", H36M17)


def test_full_disk_keeps_the_older_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_store(tmp_path, META, make_split(), make_split())
    before = open_store("toy", tmp_path).meta.fingerprint

    def full(path: Path, arrays: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_module, "write_tensors", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_store(tmp_path, META, make_split(seed=3), make_split())
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]
    open_store("toy", tmp_path).verify()
    assert open_store("toy", tmp_path).meta.fingerprint == before


def test_missing_truncated_and_foreign_stores(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="m2v data prepare toy"):
        open_store("toy", tmp_path)
    path = write_store(tmp_path, META, make_split(), make_split())
    file = path / "train.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(
        DataError, match=r"train.safetensors: is \d+ bytes long, its header says \d+"
    ):
        open_store("toy", tmp_path).split("train")
    file.write_bytes(b"\x00")
    with pytest.raises(DataError, match=r"train.safetensors"):
        open_store("toy", tmp_path).split("train")
    with pytest.raises(DataError, match="no split 'val'"):
        open_store("toy", tmp_path).split("val")  # type: ignore[arg-type]
    meta = json.loads((path / "meta.json").read_text())
    meta["meta"]["units"] = "m"
    (path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="units must be mm or px, got 'm'"):
        open_store("toy", tmp_path)
    (path / "meta.json").write_text("{")
    with pytest.raises(DataError, match=r"meta.json: cannot be read"):
        open_store("toy", tmp_path)


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    path = write_store(tmp_path, META, make_split(), make_split())
    raw = bytearray((path / "test.safetensors").read_bytes())
    raw[-1] ^= 1
    (path / "test.safetensors").write_bytes(raw)
    with pytest.raises(DataError, match=r"contents have sha256"):
        open_store("toy", tmp_path).verify()


def test_a_damaged_store_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("broken", "toy"):
        write_store(tmp_path, replace(META, name=name), make_split(), make_split())
    (tmp_path / "broken" / "meta.json").write_text("{")
    with pytest.raises(DataError, match="broken"):
        list_stores(tmp_path)

    monkeypatch.setenv("M2V_STORE", str(tmp_path))
    assert cli.main(["data", "list"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("toy ") and said.err.count("\n") == 1 and "broken" in said.err
