"""Safetensors files of any size: written block by block, read by mapping, and their common
fingerprint.

The bytes are those ``safetensors.numpy.save_file`` writes; that function holds a second copy of
everything in memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import as_list, as_table, as_whole, check_file, shown
from m2v_lib.data.limits import MAX_HEADER_BYTES

#: kinds of numbers a file holds, by their safetensors name; floats of other widths are written
#: as float32
TYPES: Final[dict[str, np.dtype[Any]]] = {
    "I64": np.dtype(np.int64),
    "F32": np.dtype(np.float32),
    "BOOL": np.dtype(bool),
}
BLOCK_BYTES: Final = 1 << 24
MAX_DIMENSIONS: Final = 8


def write_tensors(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays (bool, int64, else as float32), each read in blocks along its first axis;
    long writes show a bar.

    An array may be a view of a mapped file: no more than a block of it is held at a time. Raises
    OSError.
    """
    header: dict[str, dict[str, Any]] = {}
    size = 0

    order = sorted(
        arrays, key=lambda key: (-TYPES[_type(arrays[key])].itemsize, key)
    )  # as safetensors sorts
    for key in order:
        kind, shape = _type(arrays[key]), list(arrays[key].shape)
        end = size + math.prod(shape) * TYPES[kind].itemsize
        header[key] = {"dtype": kind, "shape": shape, "data_offsets": [size, end]}
        size = end

    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    with (
        file.open("wb") as stream,
        tqdm(
            total=size, desc=f"writing {file.name}", unit="B", unit_scale=True, delay=2, leave=False
        ) as bar,
    ):
        stream.write(len(text).to_bytes(8, "little") + text)
        for key in order:
            for block in _blocks(arrays[key], TYPES[header[key]["dtype"]]):
                bar.update(stream.write(block.data.cast("B")) if block.size else 0)
        stream.flush()
        os.fsync(stream.fileno())


def map_tensors(
    file: Path, expected: Collection[str], optional: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The ``expected`` tensors, and the ``optional`` ones that are there, mapped copy-on-write.

    A missing tensor, a foreign or a truncated file is a ``DataError``.
    """
    size = check_file(file, what="a safetensors file")
    header, first = _header(file, size)
    if missing := set(expected) - header.keys():
        raise DataError(
            f"{file}: has no {', '.join(sorted(missing))}, expected {', '.join(expected)}"
        )

    wanted = [*expected, *(key for key in optional if key in header)]
    header.pop("__metadata__", None)
    entries = {key: _entry(header[key], f"{file}: {shown(key)}", size) for key in header}
    if size != (stated := first + max(end for *_, end in entries.values())):
        raise DataError(f"{file}: is {size} bytes long, its header says {stated} (truncated?)")

    _check_order(file, entries)
    return {key: _map(file, entries[key], first) for key in wanted}


def _header(file: Path, size: int) -> tuple[dict[str, Any], int]:
    """The header, and the offset of the first tensor."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(size - 8, MAX_HEADER_BYTES):
            raise DataError(
                f"{file}: cannot be read as a safetensors file (header of {length} bytes in a file "
                f"of {size})"
            )
        text = stream.read(length)

    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{file}: cannot be read as a safetensors file (its header is no JSON)"
        ) from error

    return dict(as_table(header, f"{file}: header")), 8 + length


def _entry(entry: Any, where: str, size: int) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    """Type, shape, begin and end of a tensor, all of which agree."""
    entry = as_table(entry, where)
    kind = entry.get("dtype")
    if not isinstance(kind, str) or kind not in TYPES:
        raise DataError(f"{where}: dtype must be one of {', '.join(TYPES)}, got {shown(kind)}")

    lengths = as_list(entry.get("shape"), f"{where}: shape")
    shape = tuple(as_whole(length, f"{where}: shape", 0, size) for length in lengths)
    offsets = as_list(entry.get("data_offsets"), f"{where}: data_offsets")
    if len(offsets) != 2 or len(shape) > MAX_DIMENSIONS:
        raise DataError(f"{where}: must have two data_offsets and at most {MAX_DIMENSIONS} axes")

    begin, end = (as_whole(offset, f"{where}: data_offsets", 0, 1 << 62) for offset in offsets)
    if end - begin != math.prod(shape) * TYPES[kind].itemsize:
        raise DataError(f"{where}: data_offsets span {end - begin} bytes, its shape needs others")

    return TYPES[kind], shape, begin, end


def _check_order(file: Path, entries: Mapping[str, tuple[Any, Any, int, int]]) -> None:
    """Tensors lie one after another in the order in which they are written: swapped offsets would
    exchange them unseen.
    """
    order = sorted(entries, key=lambda key: (-entries[key][0].itemsize, key))
    at = 0
    for key in order:
        if entries[key][2] != at:
            raise DataError(f"{file}: {key} begins at byte {entries[key][2]}, expected {at}")
        at = entries[key][3]


def fingerprint(files: Iterable[Path]) -> str:
    """sha256 over the contents of all files, one after another."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _type(array: np.ndarray) -> str:
    return next((name for name, dtype in TYPES.items() if array.dtype == dtype), "F32")


def _blocks(array: np.ndarray, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    row = math.prod(array.shape[1:]) * dtype.itemsize
    n = max(1, BLOCK_BYTES // max(1, row))
    return (np.ascontiguousarray(array[i : i + n], dtype) for i in range(0, len(array), n))


def _map(
    file: Path, entry: tuple[np.dtype[Any], tuple[int, ...], int, int], first: int
) -> np.ndarray:
    dtype, shape, begin, _ = entry
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, mode="c", offset=first + begin, shape=shape)
