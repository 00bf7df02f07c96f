"""A torch file from anybody, read as plain data: nothing in it is run.

A torch file is a pickle, and a pickle is a program: torch reads it with `weights_only=True`, and
the few names of numpy that checkpoints need besides stand for inert classes of this module, not
for numpy's own.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from m2v_lib.errors import InputError

#: Numbers that all tensors of a file may claim together; a file of 60 million weights with its
#: optimiser's state has 180 million.
MAX_ELEMENTS: Final = 1_000_000_000
#: Containers within containers.
MAX_DEPTH: Final = 32
#: numpy's code of a number -> the letter by which `struct` reads it.
NUMBERS: Final = {
    "f4": "f",
    "f8": "d",
    "i4": "i",
    "i8": "q",
    "u4": "I",
    "u8": "Q",
    "i2": "h",
    "i1": "b",
    "u1": "B",
    "b1": "?",
}


def read_checkpoint(path: Path | str) -> Any:
    """The content of a torch file as dicts, lists, tuples, numbers, texts and dense tensors.

    The state of a random generator and arrays of numpy come as None. Raises InputError where the
    file is missing, truncated, holds anything else, or tensors that claim more than it stores.
    """
    path = Path(path)
    _check_archive(path)

    try:
        with torch.serialization.safe_globals(_inert_names()):
            content = torch.load(path, map_location="cpu", weights_only=True)
        return _Plain().of(content)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file, expected a checkpoint of the authors") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: refused, expected tensors and numbers alone") from error
    except _NotPlainError as error:
        raise InputError(f"{path}: refused, {error}") from error
    except Exception as error:  # torch names no type: OSError, RuntimeError, EOFError were seen
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: not readable as a torch file, truncated? ({reason})") from error


class _NotPlainError(Exception):
    """What a file holds and must not; the message ends a sentence that begins with `refused,`."""


class _Inert:
    """Stands for what a file names of numpy; keeps what comes along and does nothing with it."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type(_Inert):
    """Stands for `numpy.dtype`."""


def _inert(*arguments: Any) -> _Inert:
    return _Inert(*arguments)


def _number(dtype: Any, raw: Any = b"") -> bool | int | float:
    """The number that a pickled numpy scalar is."""
    match dtype, raw:
        case (_Type(arguments=(str(code), *_), state=(_, str(order), *_)), bytes()) if (
            code in NUMBERS and len(raw) == int(code[1])
        ):
            return struct.unpack((">" if order == ">" else "<") + NUMBERS[code], raw)[0]
    raise _NotPlainError("it holds a numpy scalar that is no plain number")


def _inert_names() -> list[Any]:
    """(stand-in, name in the file) for what numpy 1 and 2 write of a number or a random state."""
    cores = ("numpy.core.multiarray", "numpy._core.multiarray")
    functions = [
        *(f"{core}._reconstruct" for core in cores),
        "numpy.random.__RandomState_ctor",  # numpy < 1.17
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random._pickle.__bit_generator_ctor",
    ]
    classes = ["numpy.ndarray", "numpy.random._mt19937.MT19937"]
    return [
        *((_number, f"{core}.scalar") for core in cores),
        *((_inert, name) for name in functions),
        *((_Inert, name) for name in classes),
        (_Type, "numpy.dtype"),
    ]


def _check_archive(path: Path) -> None:
    """Raises InputError where a zip unpacks to more than it is; torch packs nothing."""
    if not zipfile.is_zipfile(path):
        return

    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as a torch file, truncated? ({error})") from error

    if packed or size > path.stat().st_size:
        raise InputError(f"{path}: refused, it unpacks to more than the file's size")


class _Plain:
    """Turns what torch read into plain data, once for each object, and refuses all else."""

    def __init__(self) -> None:
        self.n_elements = 0
        self.done: dict[int, Any] = {}
        self.kept: list[Any] = []  # so that no object's id is used again

    def of(self, value: Any, depth: int = 0) -> Any:
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if id(value) in self.done:
            return self.done[id(value)]
        if depth > MAX_DEPTH:
            raise _NotPlainError(f"it nests more than {MAX_DEPTH} containers")

        self.kept.append(value)
        self.done[id(value)] = result = self._converted(value, depth + 1)
        return result

    def _converted(self, value: Any, depth: int) -> Any:
        match value:
            case Tensor():
                return self._tensor(value)
            case dict():
                return {self.of(key, depth): self.of(item, depth) for key, item in value.items()}
            case list():
                return [self.of(item, depth) for item in value]
            case tuple():
                return tuple(self.of(item, depth) for item in value)
            case _Inert() | type():
                return None
            case torch.device() | torch.dtype():
                return str(value)

        raise _NotPlainError(f"it holds a {type(value).__name__}")

    def _tensor(self, tensor: Tensor) -> Tensor:
        """The tensor itself, if it is dense, real and no larger than what the file stores of it."""
        kinds = {
            "nested": tensor.is_nested,
            "sparse": tensor.layout != torch.strided,
            "quantised": tensor.is_quantized,
            "complex": tensor.is_complex(),
            "without numbers": tensor.device.type != "cpu",
            "of a class of its own": type(tensor) not in (Tensor, nn.Parameter),
        }
        for kind, found in kinds.items():
            if found:
                raise _NotPlainError(f"it holds a tensor that is {kind}")

        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise _NotPlainError("a tensor claims more numbers than the file stores of it")

        self.n_elements += tensor.numel()
        if self.n_elements > MAX_ELEMENTS:
            raise _NotPlainError(f"its tensors claim more than {MAX_ELEMENTS} numbers")

        return tensor.detach()
