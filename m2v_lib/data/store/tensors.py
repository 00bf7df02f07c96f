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

#: kinds of numbers a file holds, by their safetensors name; floats of other widths are written
#: as float32
TYPES: Final[dict[str, np.dtype[Any]]] = {
    "I64": np.dtype(np.int64),
    "F32": np.dtype(np.float32),
    "BOOL": np.dtype(bool),
}
BLOCK_BYTES: Final = 1 << 24


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
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            n_header = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(n_header)) if n_header < size else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as a safetensors file ({error})") from error
    if missing := set(expected) - header.keys():
        raise DataError(
            f"{file}: has no {', '.join(sorted(missing))}, expected {', '.join(expected)}"
        )
    wanted = [*expected, *(key for key in optional if key in header)]
    if size != (said := 8 + n_header + max(header[key]["data_offsets"][1] for key in wanted)):
        raise DataError(f"{file}: is {size} bytes long, its header says {said} (truncated?)")
    return {key: _map(file, header[key], 8 + n_header) for key in wanted}


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


def _map(file: Path, entry: dict[str, Any], first: int) -> np.ndarray:
    shape, dtype = tuple(entry["shape"]), TYPES[entry["dtype"]]
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, mode="c", offset=first + entry["data_offsets"][0], shape=shape)
