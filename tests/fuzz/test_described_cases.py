"""Hostile inputs that are too large or too odd to be kept as files, made here."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.lifting import tracks

from m2v_lib.data.checks import DataError
from m2v_lib.data.export.keypoints import write_keypoints
from m2v_lib.data.keypoints import read_keypoints
from m2v_lib.data.keypoints.formats.folders import recordings
from m2v_lib.data.safe_pickle.reader import read_object_npz, read_pickle


def refused(sentence: str, read: Callable[[], object]) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match=sentence) as caught:
        read()
    assert time.monotonic() - began < 5
    assert len(str(caught.value)) <= 400 and str(caught.value).isprintable()


def pickled(path: Path, body: bytes) -> Path:
    path.write_bytes(b"\x80\x04" + body + b".")
    return path


def test_whole_numbers_of_one_hash_are_refused_as_keys(tmp_path: Path) -> None:
    modulus = sys.hash_info.modulus
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({i * modulus: None for i in range(1, 60_000)}, 4))
    refused("digits as a key", lambda: read_pickle(path))


def test_tuples_as_keys_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({(i, i): None for i in range(60_000)}, 4))
    refused("tuples as keys", lambda: read_pickle(path))


def test_object_arrays_of_object_arrays_are_bounded(tmp_path: Path) -> None:
    value: Any = np.array([1, 2], object)
    for _ in range(200):
        box = np.empty(2, object)
        box[0] = box[1] = value
        value = box
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, 4))
    refused("nested more than 64 deep|unfolds to more", lambda: read_pickle(path))


def test_one_list_in_many_object_arrays_is_bounded(tmp_path: Path) -> None:
    """Each of the arrays would copy the list; its bytes are in the file once."""
    begin = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85C\x01b\x87q\x02"
    )
    n = 100_000
    items = b"](" + b"N" * n + b"eq\x03"
    dtype = b"cnumpy\ndtype\nX\x01\x00\x00\x00OK\x00K\x01\x87R"
    dtype += b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tbq\x04"
    one = b"h\x00h\x02R(K\x01J" + n.to_bytes(4, "little") + b"\x85h\x04\x89h\x03tb"
    body = b"](" + begin + items + dtype + one * 500 + b"e"
    refused("unfolds to|holds more than", lambda: read_pickle(pickled(tmp_path / "a.pkl", body)))


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    body = b"]q\x00h\x00a"
    refused("contains itself", lambda: read_pickle(pickled(tmp_path / "a.pkl", body)))


@pytest.mark.parametrize("method", [99, 12, 14])
def test_other_compressions_are_refused(method: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, keypoints=np.zeros((3, 17, 3)))
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = raw.find(mark)
        raw[at + offset : at + offset + 2] = method.to_bytes(2, "little")
    path.write_bytes(raw)
    refused("a.npz", lambda: read_object_npz(path))


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, keypoints=np.zeros((3, 17, 3)))
    raw = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.find(mark) + offset] |= 1
    path.write_bytes(raw)
    refused("is encrypted", lambda: read_object_npz(path))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("keypoints.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(200):
            member.write(bytes(1 << 20))
    refused("which no file of poses does", lambda: read_object_npz(path))


def test_a_packed_json_is_not_unpacked_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m2v_lib.data.keypoints.formats.files.MAX_TEXT_BYTES", 1 << 20)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * (4 << 20) + b"]"))
    refused("must unpack to at most 1 MiB", lambda: read_keypoints(path))


def test_a_name_of_ten_megabytes_is_refused(tmp_path: Path) -> None:
    path = write_keypoints(tracks(12), tmp_path / "k.json", "alphapose")
    content = json.loads(path.read_text())
    for item in content:
        item["idx"] = "x" * 10_000_000
    path.write_text(json.dumps(content[:1]))
    refused("must have at most 100 characters", lambda: read_keypoints(path))


def test_a_cell_of_a_megabyte_is_refused(tmp_path: Path) -> None:
    (tmp_path / "k.csv").write_text(f"frame,joint,x,y\n0,{'x' * 1_000_000},1,2\n")
    refused("k.csv", lambda: read_keypoints(tmp_path / "k.csv"))


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder of a pipe"])
def test_pipes_and_devices_are_not_read(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero")
    if kind != "/dev/zero":
        os.mkfifo(tmp_path / "a.json")
        path = tmp_path / "a.json" if kind == "pipe" else tmp_path
    refused("is a device, pipe or socket", lambda: read_keypoints(path))


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for other in ("up", "again"):
            (tmp_path / name / other).symlink_to(tmp_path)
    write_keypoints(tracks(3), tmp_path / "a" / "k.csv", "csv")
    began = time.monotonic()
    assert [path.name for path in recordings(tmp_path)] == ["k.csv"]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "values",
    [
        {"keypoints": np.zeros((4, 17, 2), complex)},
        {"keypoints": np.ones((4, 17, 2), np.int8)},
        {"keypoints": np.full((4, 17, 2), 1e308)},
        {"keypoints": np.ones((4, 17, 2)), "frames": np.array([0, 2, 1, 3])},
        {"keypoints": np.ones((4, 17, 2)), "frames": np.zeros(4, int)},
        {"keypoints": np.ones((4, 17, 2)), "fps": np.nan},
        {"keypoints": np.ones((4, 17, 2)), "width": 10**15, "height": 10},
        {"keypoints": np.ones((4, 17, 2)), "width": -5, "height": 10},
        {"keypoints": np.ones((1, 2000, 17, 2)) * np.arange(2000)[:, None, None] * 99},
    ],
    ids=lambda values: " ".join(
        f"{k}:{v.dtype if hasattr(v, 'dtype') else v}" for k, v in values.items()
    ),
)
def test_numbers_that_cannot_be(values: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "k.npz", **values)
    refused("k.npz", lambda: read_keypoints(tmp_path / "k.npz", layout="h36m17"))


@pytest.mark.parametrize("more", [["tail", "tail end"], []])
def test_names_have_to_be_as_many_as_the_keypoints(more: list[str], tmp_path: Path) -> None:
    """A find of the mutation loop: two names more than keypoints."""
    path = write_keypoints(tracks(), tmp_path / "k.json", "posetrack18")
    content = json.loads(path.read_text())
    names = content["categories"][0]["keypoints"]
    content["categories"][0]["keypoints"] = names + more if more else names[:-1]
    path.write_text(json.dumps(content))
    refused(f"17 keypoints a person and {19 if more else 16} names", lambda: read_keypoints(path))
