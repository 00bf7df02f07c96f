"""From bytes to numpy arrays of plain numbers, booleans and text, with every length checked
before memory is taken.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

import numpy as np

from m2v_lib.data.foreign_values import kind_of, shown

#: bool, integers, floats, bytes, text, objects; no records, dates, complex or raw memory
DTYPE: Final = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248]|[SU]\d{1,6}|O8?)")
MAX_DIMENSIONS: Final = 8


class NotPlain(Exception):
    """What a file holds is not plain data; the text is the end of a sentence that begins with
    the file.
    """


def make_dtype(code: Any) -> np.dtype[Any]:
    """The dtype of a code such as "<f4"."""
    code = bytes(code).decode("ascii") if isinstance(code, (bytes, memoryview)) else code
    if not isinstance(code, str) or not DTYPE.fullmatch(code):
        raise NotPlain(f"holds an array of {shown(code)}, expected numbers, booleans or text")
    return np.dtype(code)


def swap_to(dtype: np.dtype[Any], state: tuple[Any, ...]) -> np.dtype[Any]:
    """The dtype with the byte order its pickled state names; a state that says more (fields,
    sizes) is refused.
    """
    order, *inside = state[1:7]
    if (
        not isinstance(order, str)
        or order not in ("<", ">", "|", "=")
        or any(part is not None for part in inside[:3])
    ):
        raise NotPlain("holds an array of records, expected numbers, booleans or text")
    if len(inside) < 5 or type(inside[3]) is not int or inside[3] not in (-1, dtype.itemsize):
        raise NotPlain(f"holds a {dtype} of a false size")

    return dtype.newbyteorder("<" if order == "<" else ">") if order in "<>" else dtype


def make_array(dtype: Any, shape: Any, order: Any, contents: Any) -> np.ndarray:
    """The array of a shape over ``contents``: bytes, which it does not copy, or for objects a
    list of all items.
    """
    if not isinstance(dtype, np.dtype) or not DTYPE.fullmatch(dtype.str):
        what = str(dtype)[:40] if isinstance(dtype, np.dtype) else kind_of(dtype)
        raise NotPlain(f"holds an array of {what}, expected numbers, booleans or text")

    n = check_shape(shape)
    if not isinstance(order, str) or order not in ("C", "F"):
        raise NotPlain("holds an array in neither C nor Fortran order")
    if dtype.hasobject:
        return _objects(contents, n).reshape(
            shape
        )  # listed row by row, whatever the array's order was

    contents = contents.encode("latin-1") if isinstance(contents, str) else contents
    if not isinstance(contents, (bytes, memoryview)):
        raise NotPlain(f"holds an array of {dtype} without bytes")
    if dtype.itemsize == 0 or len(contents) != n * dtype.itemsize:
        raise NotPlain(
            f"says that an array is {shape} of {dtype}, but has {len(contents)} bytes for it"
        )

    return _sound(np.frombuffer(contents, dtype) if n else np.empty(0, dtype)).reshape(
        shape, order="F" if order == "F" else "C"
    )


def make_scalar(dtype: Any, contents: Any) -> Any:
    """One number or text of a dtype, from its bytes."""
    array = make_array(dtype, (), "C", contents)
    if array.dtype.hasobject:
        raise NotPlain("holds an object where a number belongs")
    return array[()]


def check_shape(shape: Any) -> int:
    """How many items an array of the shape has."""
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise NotPlain("holds an array without a shape, or of more than eight dimensions")
    if not all(type(length) is int and length >= 0 for length in shape):
        raise NotPlain("holds an array whose shape is not whole numbers")
    return math.prod(shape)


def _objects(contents: Any, n: int) -> np.ndarray:
    if not isinstance(contents, list) or len(contents) != n:
        raise NotPlain(f"says that {n} objects are in an array, but does not list them")
    flat = np.empty(n, object)
    for i, item in enumerate(contents):  # one by one: numpy would take lists apart
        flat[i] = item
    return flat


def _sound(flat: np.ndarray) -> np.ndarray:
    """The array if its bytes are values of its dtype: text of real characters, booleans of 0 and
    1.
    """
    if flat.dtype.kind == "U" and (flat.view(f"{flat.dtype.byteorder}u4") > 0x10FFFF).any():
        raise NotPlain("holds text with characters that do not exist")
    return flat.view(np.uint8) != 0 if flat.dtype.kind == "b" else flat
