"""What a file from elsewhere holds, taken as what it should be or refused in a sentence.

A foreign value can be anything: a list where a table belongs, text where a number does, a
structure that refers to itself and never ends when printed. Each reader asks here for what it
expects; `where` begins the sentence and names file and place. No message prints a foreign
container: `kind_of` says what it is, `shown` quotes numbers and short text only.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.limits import MAX_NAME_LENGTH, MAX_SHOWN

_KINDS: Final = {
    dict: "an object",
    list: "a list",
    tuple: "a tuple",
    set: "a set",
    str: "text",
    bytes: "bytes",
    bool: "true or false",
    int: "a number",
    float: "a number",
    complex: "a complex number",
    type(None): "nothing",
}
#: how a text in UTF-16 begins
UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: what an array may consist of where numbers are expected
REAL: Final = "fiu"


def kind_of(value: object) -> str:
    """A value's kind in two words, whatever it holds."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype.name[:20]} {value.shape}"
    return _KINDS.get(type(value), type(value).__name__[:MAX_SHOWN])


def shown(value: object) -> str:
    """A value as a message quotes it: a number, short text in quotes, else its kind."""
    if isinstance(value, str | np.str_):
        return f"'{printable(str(value[: MAX_SHOWN + 1]), MAX_SHOWN)}'"
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return str(value) if abs(int(value)) < 10**20 else "a whole number of over 20 digits"
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"

    return kind_of(value)


def listed(values: Sequence[object], limit: int = 4) -> str:
    """The first of several values, for a message."""
    names = ", ".join(shown(value).strip("'") for value in list(values)[:limit])
    return f"{names} ..." if len(values) > limit else names or "none"


def as_table(value: object, where: str) -> Mapping[Any, Any]:
    """A mapping: a JSON object, a pickled dict."""
    if isinstance(value, Mapping):
        return value
    raise DataError(f"{where} must be an object of named values, got {kind_of(value)}")


def as_list(value: object, where: str) -> list[Any]:
    """A list; a tuple, or an array of one dimension, becomes one."""
    if isinstance(value, list):
        return value
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return value.tolist()
    raise DataError(f"{where} must be a list, got {kind_of(value)}")


def as_tables(value: object, where: str) -> list[Mapping[Any, Any]]:
    """A list of mappings."""
    values = as_list(value, where)
    for i, entry in enumerate(values):
        if not isinstance(entry, Mapping):
            raise DataError(f"{where} must be a list of objects, entry {i} is {kind_of(entry)}")
    return values


def as_text(value: object, where: str, limit: int = MAX_NAME_LENGTH) -> str:
    """Text of at most so many characters, what cannot be printed in it escaped."""
    if not isinstance(value, str | np.str_):
        raise DataError(f"{where} must be text, got {shown(value)}")
    if len(value) > limit:
        raise DataError(f"{where} must have at most {limit} characters, got {len(value)}")
    return printable(str(value), 10 * limit)


def as_names(value: object, where: str) -> list[str]:
    """A list of names."""
    return [as_text(name, f"{where}, entry {i},") for i, name in enumerate(as_list(value, where))]


def as_number(value: object, where: str, low: float, high: float, *, text: bool = False) -> float:
    """A real number in [low, high]; an array of one item counts, and where `text` is given as in a
    table, a number written out.
    """
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in REAL:
        value = value.reshape(-1)[0]
    number = float("nan")

    if isinstance(value, str) and not text:
        pass
    elif isinstance(value, int | float | np.integer | np.floating | str):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value[:MAX_SHOWN] if isinstance(value, str) else value)

    if isinstance(value, bool) or not low <= number <= high:
        raise DataError(f"{where} must be a number from {low:g} to {high:g}, got {shown(value)}")

    return number


def as_whole(value: object, where: str, low: int, high: int, *, text: bool = False) -> int:
    """A whole number in [low, high]; 3.0 counts, and "3" where `text` is."""
    if type(value) is int and low <= value <= high:
        return value
    with contextlib.suppress(DataError):
        number = as_number(value, where, low, high, text=text)
        if number == int(number):
            return int(number)
    raise DataError(f"{where} must be a whole number from {low} to {high}, got {shown(value)}")


def as_array(value: object, where: str, kinds: str = REAL) -> np.ndarray:
    """An array of real numbers; lists of lists become one. Complex numbers, text, objects and
    ragged lists are refused.
    """
    try:
        array = np.asarray(value) if isinstance(value, list | tuple | np.ndarray) else None
    except (ValueError, TypeError, OverflowError):  # ragged, or a number beyond int64
        array = None

    if array is None or array.dtype.kind not in kinds:
        raise DataError(
            f"{where} must be an array of {'floats' if kinds == 'f' else 'real numbers'}, "
            f"got {kind_of(value)}"
            + (" of uneven lengths or other things" if isinstance(value, list | tuple) else "")
        )

    return array


def check_source(path: Path, what: str = "a file") -> os.stat_result:
    """What a file or folder is. Raises DataError where nothing is, or a device, pipe or socket:
    reading one might never end.
    """
    try:
        found = path.stat()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: is a device, pipe or socket, expected {what}")
    return found


def check_file(path: Path, limit: int | None = None, what: str = "a file") -> int:
    """The size in bytes of a regular file; DataError where it is none, or larger than `limit`."""
    found = check_source(path, what)
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: is a folder, expected {what}")
    if limit is not None and found.st_size > limit:
        raise DataError(f"{path}: must have at most {limit >> 20} MiB, got {found.st_size >> 20}")
    return found.st_size


def beginning_of(path: Path, n_bytes: int = 4096) -> bytes:
    """The first bytes of a regular file; none of anything else, or of what cannot be read."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as stream:
            return stream.read(n_bytes)
    except OSError:
        return b""


def read_text(path: Path, limit: int, encoding: str = "utf-8-sig") -> str:
    """A text file of at most `limit` bytes. Raises DataError."""
    return as_decoded(read_bytes(path, limit), path, encoding)


def read_bytes(path: Path, limit: int) -> bytes:
    """A file of at most `limit` bytes, which are to be text. Raises DataError."""
    check_file(path, limit, "a text file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read as text ({error.strerror})") from error
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is") from error


def as_decoded(raw: bytes, path: Path, encoding: str = "utf-8-sig") -> str:
    """Text with \\n between its lines, whatever stands there; UTF-16 where it begins so (Excel,
    PowerShell). Raises DataError.
    """
    try:
        text = raw.decode("utf-16" if raw.startswith(UTF16) else encoding)
    except UnicodeError as error:
        raise DataError(f"{path}: cannot be read as text (not UTF-8)") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
