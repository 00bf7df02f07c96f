"""``.npz`` files that lie about their contents or are broken: one sentence that names file and
array.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.data.checks import DataError
from m2v_lib.data.safe_pickle.reader import read_object_npz


def saved(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


def npz(path: Path, compression: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, contents in members.items():
            archive.writestr(f"{name}.npy", contents)
    return path


def npy(array: np.ndarray, pickled: bytes | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=pickled is not None)
    raw = stream.getvalue()
    return raw if pickled is None else raw[: raw.index(b"\n") + 1] + pickled


def header(text: str, version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + b"\n"


OBJECT = npy(np.array(None, object), b"")
MEMBERS: dict[str, tuple[bytes, str]] = {
    "no header": (b"hello", "array 'data' has no .npy header"),
    "nothing": (b"", "array 'data' has no .npy header"),
    "cut": (npy(np.arange(9.0))[:-8], r"says that an array is \(9,\) of float64, but has 64 bytes"),
    "too long": (npy(np.arange(9.0)) + b"x", "but has 73 bytes"),
    "2 GB header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{'descr'", "must have at most 4096"),
    "version 9": (b"\x93NUMPY\x09\x00\x00\x00", "header of version|has no .npy header"),
    "code in the header": (header("__import__('os').getcwd()"), "has no .npy header"),
    "petabyte": (
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}"),
        "but has 0 bytes",
    ),
    "records": (npy(np.zeros(2, [("a", "f4")])), "expected numbers, booleans or text"),
    "dates": (npy(np.zeros(2, "M8[s]")), "expected numbers, booleans or text"),
    "complex": (npy(np.zeros(2, complex)), "expected numbers, booleans or text"),
    "object without pickle": (OBJECT, "array 'data': does not begin as a pickle"),
    "object that is a list": (
        OBJECT + pickle.dumps([1]),
        "says it holds objects, but its pickle is no array",
    ),
    "cut pickle": (OBJECT + pickle.dumps(np.array({"a": 1}, object))[:-9], "array 'data': "),
}


@pytest.mark.parametrize("fault", MEMBERS)
def test_a_crafted_array_in_an_npz_is_one_sentence(fault: str, tmp_path: Path) -> None:
    contents, sentence = MEMBERS[fault]
    path = npz(tmp_path / "a.npz", good=npy(np.arange(2)), data=contents)
    with pytest.raises(DataError, match=sentence) as caught:
        read_object_npz(path)
    assert str(caught.value).startswith(f"{path}: array 'data'") and "\n" not in str(caught.value)


def test_zip_bombs(tmp_path: Path) -> None:
    zeros = npy(np.zeros(100_000_000, np.uint8))
    path = npz(tmp_path / "bomb.npz", a=zeros, b=zeros, c=zeros)
    del zeros
    tracemalloc.start()
    with pytest.raises(
        DataError,
        match=r"bomb.npz: would unpack \d+ bytes to 300000384, which no file of poses does",
    ):
        read_object_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(DataError, match="packed in a way that numpy does not read"):
        read_object_npz(npz(tmp_path / "a.npz", zipfile.ZIP_BZIP2, data=npy(np.arange(2))))


def test_a_small_array_of_ones_is_no_bomb(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", valid=np.ones(5_000_000))
    assert read_object_npz(tmp_path / "a.npz")["valid"].all()


@pytest.mark.parametrize(
    ("compression", "size", "sentence"),
    [
        (zipfile.ZIP_STORED, 0x70000000, "a.npz: "),
        (zipfile.ZIP_STORED, 9, "a.npz: "),
        (zipfile.ZIP_DEFLATED, 8_000_168, "array 'data' is 168 bytes long, expected 8000168"),
    ],
)
def test_a_zip_that_lies_about_its_size(
    compression: int, size: int, sentence: str, tmp_path: Path
) -> None:
    whole = npz(tmp_path / "a.npz", compression, data=npy(np.arange(5))).read_bytes()
    at = whole.rindex(b"PK\x01\x02") + 24
    raw = whole[:at] + struct.pack("<I", size) + whole[at + 4 :]
    with pytest.raises(DataError, match=sentence):
        read_object_npz(saved(tmp_path / "a.npz", raw))


def test_damaged_npz_files_never_end_in_another_error(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "whole.npz", a=np.arange(300.0), b=np.array({"x": np.arange(3)}, object)
    )
    whole = (tmp_path / "whole.npz").read_bytes()
    draw = random.Random(1)
    for n in [0, 1, 30, *range(60, len(whole), 7)]:
        with pytest.raises(DataError, match="a.npz: "):
            read_object_npz(saved(tmp_path / "a.npz", whole[:n]))
    refused = 0
    for _ in range(1500):
        raw = bytearray(whole)
        raw[draw.randrange(len(raw))] = draw.randrange(256)
        try:
            read_object_npz(saved(tmp_path / "a.npz", bytes(raw)))
        except DataError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 700


def test_an_npz_without_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="holds no array, expected an .npz written by numpy"):
        read_object_npz(tmp_path / "a.npz")
