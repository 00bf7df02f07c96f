"""Pickles and object arrays from elsewhere: read as data, never run.

``read_pickle`` and ``read_object_npz`` build dicts, lists, tuples, sets, text, numbers and numpy
arrays. A file that asks for anything else is refused with the name it asked for; so are
truncated files and bombs. Arrays are read-only views of the file's bytes (of a large pickle: of
the mapped file); copy before writing to one.
"""

from __future__ import annotations

import io
import mmap
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.safe_pickle.plain_arrays import NotPlain, make_array
from m2v_lib.data.safe_pickle.steps import run_pickle

MAPPED: Final = 1 << 24  # pickles of more bytes are mapped, not read
MAX_BYTES: Final = 8 << 30  # of an .npz, unpacked
MAX_RATIO: Final = 200  # unpacked to packed; joint positions come to less than ten
SMALL: Final = 1 << 26  # unpacked, may have any ratio
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
)


def read_pickle(path: Path | str) -> Any:
    """What a pickle (protocol 2 to 5) holds. Every fault is a ``DataError`` of one sentence that
    names the file.
    """
    path = Path(path)
    return run_pickle(_contents(path), str(path))


def read_object_npz(path: Path | str) -> dict[str, Any]:
    """The arrays of an ``.npz``, object arrays included; one object in no dimension (a dict,
    say) is given as itself.

    Every fault is a ``DataError`` of one sentence that names the file and, where it can, the
    array.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            _check_sizes(path, members)
            return {
                m.filename[:-4]: _array(f"{path}: array {m.filename[:-4]!r}", archive, m)
                for m in members
            }
    except OSError as error:
        raise _unreadable(path, error) from error
    except _BROKEN as error:
        raise DataError(
            f"{path}: is not a whole .npz file ({' '.join(str(error).split())[:120]})"
        ) from error


def _contents(path: Path) -> bytes | mmap.mmap:
    try:
        if (size := path.stat().st_size) == 0:
            raise DataError(f"{path}: is empty, expected a pickle")
        with path.open("rb") as stream:
            mapped = (
                mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size > MAPPED else None
            )
            contents = stream.read() if mapped is None else mapped
    except OSError as error:
        raise _unreadable(path, error) from error
    if contents[:2] == b"PK":
        raise DataError(f"{path}: is a zip archive (an .npz, a torch file?), expected a pickle")
    return contents


def _unreadable(path: Path, error: OSError) -> DataError:
    missing = isinstance(error, FileNotFoundError)
    return DataError(
        f"{path}: no such file"
        if missing
        else f"{path}: cannot be read ({error.strerror or error})"
    )


def _check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse what would unpack to far more than it is; the sizes hold, as reading stops where
    they end.
    """
    if not members:
        raise DataError(f"{path}: holds no array, expected an .npz written by numpy")
    total = sum(info.file_size for info in members)
    packed = min(sum(info.compress_size for info in members), os.path.getsize(path))
    if total > MAX_BYTES or total > max(SMALL, MAX_RATIO * packed):
        raise DataError(
            f"{path}: would unpack {packed} bytes to {total}, which no file of poses does"
        )
    for info in members:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{path}: {info.filename} is packed in a way that numpy does not use")


def _array(where: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    contents = _unpack(where, archive, info)
    try:
        dtype, shape, fortran, start = _header(contents)
        if not dtype.hasobject:
            return make_array(dtype, shape, "F" if fortran else "C", memoryview(contents)[start:])
    except NotPlain as refusal:
        raise DataError(f"{where} {refusal}") from None
    except (ValueError, TypeError, SyntaxError) as error:
        raise DataError(
            f"{where} has no .npy header ({' '.join(str(error).split())[:120]})"
        ) from error
    found = run_pickle(contents, where, start)
    if not isinstance(found, np.ndarray) or not found.dtype.hasobject:
        raise DataError(f"{where} says it holds objects, but its pickle is no array of objects")
    return found.item() if found.ndim == 0 else found


def _unpack(where: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytearray:
    contents = bytearray(info.file_size)
    at, view = 0, memoryview(contents)
    with archive.open(info) as stream:
        while n := stream.readinto(view[at : at + (1 << 20)]):  # type: ignore[attr-defined]
            at += n
        if at != info.file_size or stream.read(1):
            raise DataError(f"{where} is {at} bytes long, expected {info.file_size} (truncated?)")
    return contents


def _header(contents: bytearray) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """dtype, shape, Fortran order and the offset of the data of a .npy file."""
    stream = io.BytesIO(bytes(contents[: 1 << 16]))
    version = np.lib.format.read_magic(stream)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"format version {version}")
    shape, fortran, dtype = read(stream)
    return dtype, shape, fortran, stream.tell()
