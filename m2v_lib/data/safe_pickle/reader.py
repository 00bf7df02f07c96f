"""Pickles and object arrays from elsewhere: read as data, never run.

``read_pickle`` and ``read_object_npz`` build dicts, lists, tuples, sets, text, numbers and numpy
arrays. A file that asks for anything else is refused with the name it asked for; so are
truncated files and bombs. Arrays are read-only views of the file's bytes (of a large pickle: of
the mapped file); copy before writing to one.
"""

from __future__ import annotations

import mmap
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import check_file, shown
from m2v_lib.data.safe_pickle.archives import BROKEN, array_header, check_sizes, unpack
from m2v_lib.data.safe_pickle.plain_arrays import NotPlain, make_array
from m2v_lib.data.safe_pickle.steps import run_pickle

MAPPED: Final = 1 << 24  # pickles of more bytes are mapped, not read


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
    check_file(path, what="an .npz file")

    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            check_sizes(path, members)
            return {
                m.filename[:-4]: _array(f"{path}: array {shown(m.filename[:-4])}", archive, m)
                for m in members
            }
    except OSError as error:
        raise _unreadable(path, error) from error
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is") from error
    except BROKEN as error:
        raise DataError(
            f"{path}: is not a whole .npz file ({' '.join(str(error).split())[:120]})"
        ) from error


def _contents(path: Path) -> bytes | mmap.mmap:
    if (size := check_file(path, what="a pickle")) == 0:
        raise DataError(f"{path}: is empty, expected a pickle")

    try:
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


def _array(where: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    contents = unpack(where, archive, info)
    try:
        dtype, shape, fortran, start = array_header(contents)
        if not dtype.hasobject:
            return make_array(dtype, shape, "F" if fortran else "C", memoryview(contents)[start:])
    except NotPlain as refusal:
        raise DataError(f"{where} {refusal}") from None

    found = run_pickle(contents, where, start)
    if not isinstance(found, np.ndarray) or not found.dtype.hasobject:
        raise DataError(f"{where} says it holds objects, but its pickle is no array of objects")

    return found.item() if found.ndim == 0 else found
