"""Zip archives of arrays: which are in one, what each says of itself, and its bytes, with every
size checked before memory is taken.
"""

from __future__ import annotations

import lzma
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.limits import (
    MAX_ARRAYS,
    MAX_PACKING_RATIO,
    MAX_UNPACKED_BYTES,
    SMALL_UNPACKED_BYTES,
)
from m2v_lib.data.safe_pickle.plain_arrays import NotPlain, check_shape, make_dtype

#: numpy packs nothing or deflates; the rig pack of motion capture is packed with LZMA.
PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
#: what zipfile and its unpackers raise on archives that are damaged, encrypted or made with malice
BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    ValueError,
    IndexError,
    AttributeError,
)
#: numpy writes such a header; nothing else is parsed, as Python's own parser can be brought to
#: its knees
_HEADER: Final = {
    "descr": re.compile(r"'descr'\s*:\s*'([<>|=]?[A-Za-z]\d{0,7})'\s*,?"),
    "fortran_order": re.compile(r"'fortran_order'\s*:\s*(True|False)\s*,?"),
    "shape": re.compile(r"'shape'\s*:\s*\(((?:\s*\d{1,18}L?\s*,?){0,8})\)\s*,?"),
}
MAX_HEADER: Final = 4096


def array_names(path: Path) -> frozenset[str]:
    """Names of the arrays in a zip archive, empty for any other file."""
    if not path.is_file():
        return frozenset()
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, *BROKEN):
        return frozenset()


def check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse what would unpack to far more than it is; the sizes hold, as reading stops where
    they end.
    """
    if not members:
        raise DataError(f"{path}: holds no array, expected an .npz written by numpy")
    if len(members) > MAX_ARRAYS:
        raise DataError(f"{path}: must hold at most {MAX_ARRAYS} arrays, got {len(members)}")

    total = sum(info.file_size for info in members)
    packed = min(sum(info.compress_size for info in members), os.path.getsize(path))
    if total > MAX_UNPACKED_BYTES or total > max(SMALL_UNPACKED_BYTES, MAX_PACKING_RATIO * packed):
        raise DataError(
            f"{path}: would unpack {packed} bytes to {total}, which no file of poses does"
        )

    for info in members:
        if info.flag_bits & 0x1:
            raise DataError(f"{path}: {info.filename} is encrypted, expected an open archive")
        if info.compress_type not in PACKINGS:
            raise DataError(f"{path}: {info.filename} is packed in a way that numpy does not read")


def unpack(where: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytearray:
    """The bytes of one member, as many as it says."""
    contents = bytearray(info.file_size)
    at, view = 0, memoryview(contents)
    with archive.open(info) as stream:
        while n := stream.readinto(view[at : at + (1 << 20)]):  # type: ignore[attr-defined]
            at += n
        if at != info.file_size or stream.read(1):
            raise DataError(f"{where} is {at} bytes long, expected {info.file_size} (truncated?)")
    return contents


def array_header(contents: bytearray) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """dtype, shape, Fortran order and the offset of the data of a .npy file. Raises NotPlain."""
    if contents[:6] != b"\x93NUMPY" or len(contents) < 12:
        raise NotPlain("has no .npy header")

    length_bytes = {1: 2, 2: 4, 3: 4}.get(contents[6])
    if length_bytes is None:
        raise NotPlain(f"has a .npy header of version {contents[6]}, expected 1 to 3")

    start = 8 + length_bytes
    length = int.from_bytes(contents[8:start], "little")
    if length > MAX_HEADER or start + length > len(contents):
        raise NotPlain(f"has a .npy header of {length} bytes, must have at most {MAX_HEADER}")

    rest = contents[start : start + length].decode("latin-1").strip()
    found: dict[str, str] = {}
    for key, pattern in _HEADER.items():
        if not (match := pattern.search(rest)):
            raise NotPlain(
                f"has no .npy header of a plain array ({key}), expected numbers, booleans or text"
            )
        found[key], rest = match[1], rest[: match.start()] + rest[match.end() :]

    if re.sub(r"\s", "", rest) != "{}":
        raise NotPlain("has a .npy header that says more than descr, fortran_order and shape")

    shape = tuple(int(word.strip("L")) for word in re.split(r"[\s,]+", found["shape"]) if word)
    check_shape(shape)

    return make_dtype(found["descr"]), shape, found["fortran_order"] == "True", start + length
