"""A pickle reader that cannot run anything: a small stack machine that builds containers, text,
numbers and numpy data.

A pickle is a program. Python's own unpickler calls what the program names; this one knows a
dozen names, builds what they stand for itself, and stops at any other. Arrays are views of the
file's bytes, so a mapped file costs no memory.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import kind_of
from m2v_lib.data.limits import (
    MAX_PICKLE_CONTAINERS,
    MAX_PICKLE_DEPTH,
    MAX_PICKLE_MADE_BYTES,
    MAX_PICKLE_OBJECTS,
    MAX_PICKLE_TUPLE_KEYS,
    PICKLE_OBJECTS_PER_BYTE,
)
from m2v_lib.data.safe_pickle.plain_arrays import (
    NotPlain,
    make_array,
    make_dtype,
    make_scalar,
    swap_to,
)
from m2v_lib.data.safe_pickle.structure import check_unfolded

#: what a pickle of numpy data names (numpy 1 and 2, Python 2 and 3) -> what the machine builds
#: for it
NAMES: Final = {
    **{f"numpy.{core}.multiarray._reconstruct": "array" for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": "scalar" for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": "frombuffer" for core in ("core", "_core")},
    **{
        f"{module}.{name}": name
        for module in ("builtins", "__builtin__")
        for name in ("set", "frozenset", "bytes")
    },
    "numpy.ndarray": "ndarray",
    "numpy.memmap": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
    "collections.OrderedDict": "dict",
}
LARGE: Final = 1 << 16  # bytes that stay a view of the file
STRETCH: Final = 1 << 16  # instructions between two looks at how much is held
KEYS: Final = (
    str,
    int,
    float,
    bool,
    bytes,
    type(None),
)  # what may be a key: hashing deep tuples can crash Python


#: from here on different whole numbers have the same hash, so that a dictionary can be made to
#: take hours
LARGEST_KEY: Final = sys.hash_info.modulus
_DAMAGED: Final = (
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
)


class _Name(str):
    """A name of ``NAMES`` on the stack, as the word for what it builds."""


class _Pending:
    """An array, or a dtype, whose contents come with a later instruction; ``keys`` is where the
    memo holds it.
    """

    def __init__(self, dtype: np.dtype[Any] | None = None) -> None:
        self.dtype, self.keys = dtype, list[int]()


class Machine:
    """Runs one pickle over ``data``; every fault is a ``DataError`` that begins with ``where``."""

    def __init__(self, data: bytes | bytearray | mmap.mmap, where: str, start: int = 0) -> None:
        self.data, self.view, self.where = data, memoryview(data), where
        self.at, self.begin, self.size = start, start, len(data)
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.texts: dict[bytes, str] = {}
        self.n_containers = self.n_pending = self.n_tuple_keys = 0
        self.max_objects = max(MAX_PICKLE_OBJECTS, PICKLE_OBJECTS_PER_BYTE * self.size)
        self.budget = MAX_PICKLE_MADE_BYTES + 4 * self.size
        #: object arrays with how deeply they are nested; held, so that no id comes again
        self.arrays: dict[int, tuple[np.ndarray, int]] = {}

    def run(self, steps: Mapping[int, Callable[[Machine], object]]) -> Any:
        """The object that the pickle describes; ``steps`` says what each instruction does."""
        try:
            if self.size <= self.at or self.view[self.at] != 0x80:
                raise NotPlain("does not begin as a pickle of protocol 2 or later does")

            while not self._stretch(steps):
                if len(self.stack) + len(self.memo) > self.max_objects:
                    raise NotPlain(f"holds more than {self.max_objects} objects at a time")

            result = self.stack.pop()
            if self.n_pending or type(result) is _Name:
                raise NotPlain("holds an array without contents, or a bare name")

            check_unfolded(result, self.max_objects)
        except NotPlain as refusal:
            place = f"(at byte {self.begin} of the pickle)"
            raise DataError(f"{self.where}: {refusal} {place}") from None
        except _DAMAGED as error:
            raise DataError(
                f"{self.where}: is no pickle of plain data, or is damaged (at byte {self.begin})"
            ) from error

        return result

    def _stretch(self, steps: Mapping[int, Callable[[Machine], object]]) -> bool:
        """Run the next instructions; True when the last of all was met."""
        data, size, begin = self.data, self.size, self.at
        try:
            for _ in range(STRETCH):
                begin = self.at
                if begin >= size:
                    raise NotPlain("ends before its last instruction (truncated?)")

                code, self.at = data[begin], begin + 1
                if code == 0x2E:  # STOP
                    return True

                step = steps.get(code)
                if step is None:
                    raise NotPlain(
                        f"holds the instruction {bytes([code])!r}, which plain data does not need"
                    )

                step(self)
        finally:
            self.begin = begin

        return False

    def take(self, n: int) -> memoryview:
        """The next n bytes."""
        end = self.at + n
        if n < 0 or end > self.size:
            raise NotPlain(
                f"says that {n} bytes follow where {self.size - self.at} are left (truncated?)"
            )
        part = self.view[self.at : end]
        self.at = end
        return part

    def uint(self, n: int) -> int:
        return int.from_bytes(self.take(n), "little")

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise NotPlain("has a line without an end (truncated?)")
        part = bytes(self.view[self.at : end])
        self.at = end + 1
        return part

    def text(self, n: int) -> str:
        """UTF-8 text of n bytes; short texts that come again are one object, as 1.5 million file
        names need.
        """
        raw = self.take(n)
        if n > 64:
            return str(raw, "utf-8")

        key = bytes(raw)

        found = self.texts.get(key)
        if found is None:
            found = key.decode("utf-8")
            if len(self.texts) < 100_000:
                self.texts[key] = found

        return found

    def raw(self, n: int) -> bytes | memoryview:
        part = self.take(n)
        return part if n > LARGE else bytes(part)

    def old_text(self, raw: bytes | memoryview) -> str | bytes | memoryview:
        """Python 2's ``str``: text where it is ASCII, else bytes."""
        return str(raw, "ascii") if len(raw) <= LARGE and bytes(raw).isascii() else raw

    def container(self, value: Any) -> None:
        self.n_containers += 1
        if self.n_containers > MAX_PICKLE_CONTAINERS:
            raise NotPlain(f"holds more than {MAX_PICKLE_CONTAINERS} containers")
        self.stack.append(value)

    def charge(self, n_bytes: int) -> None:
        """Count bytes that are made and not views of the file, before they are."""
        self.budget -= n_bytes
        if self.budget < 0:
            raise NotPlain("unfolds to far more bytes than it has")

    def nest(self, array: np.ndarray) -> None:
        """Note how deeply an object array is nested in others: freeing them recurses in C."""
        found = [self.arrays[id(v)][1] for v in array.reshape(-1) if id(v) in self.arrays]
        depth = 1 + max(found, default=0)
        if depth > MAX_PICKLE_DEPTH:
            raise NotPlain(f"holds arrays nested more than {MAX_PICKLE_DEPTH} deep")
        self.arrays[id(array)] = (array, depth)

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def put(self, key: int) -> None:
        value = self.stack[-1]
        if type(value) is _Pending:
            value.keys.append(key)
        self.memo[key] = value

    def get(self, key: int) -> None:
        value = self.memo[key]
        if type(value) is _Pending:
            raise NotPlain("uses an array before its contents")
        self.stack.append(value)

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise NotPlain(f"adds items to something that is no {kind.__name__}")
        return self.stack[-1]

    def set_items(self, flat: list[Any]) -> None:
        target = self.top(dict)
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            target[key if type(key) is str else self.key(key)] = value

    def key(self, key: Any) -> Any:
        """The key of a dictionary or member of a set, if it is one that hashes harmlessly."""
        self.n_tuple_keys += type(key) is tuple
        if self.n_tuple_keys > MAX_PICKLE_TUPLE_KEYS:
            raise NotPlain(f"has more than {MAX_PICKLE_TUPLE_KEYS} tuples as keys")
        return checked_key(key)

    def name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise NotPlain(f"asks for a name that is {kind_of(module)} and {kind_of(name)}")
        asked = f"{module[:80]}.{name[:80]}"
        if asked not in NAMES:
            raise NotPlain(
                f"asks for {asked[:80]!r}, which is not numpy data; nothing of it was run"
            )
        self.stack.append(_Name(NAMES[asked]))

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not _Name or type(arguments) is not tuple:
            raise NotPlain("calls something that has no name")
        result = self._made(str(function), arguments)
        self.n_pending += type(result) is _Pending
        self.container(result)

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if type(target) is not _Pending or type(state) is not tuple:
            raise NotPlain(f"sets the inside of a {type(target).__name__}")

        if target.dtype is not None:
            value: Any = swap_to(target.dtype, state)
        else:
            *_, shape, dtype, fortran, contents = state
            fortran = type(fortran) is bool and fortran
            value = self.array(dtype, shape, "F" if fortran else "C", contents)

        self.n_pending -= 1
        for key in target.keys:
            self.memo[key] = value

        self.stack.append(value)

    def array(self, dtype: Any, shape: Any, order: Any, contents: Any) -> np.ndarray:
        """An array, with what of it is no view of the file counted."""
        if isinstance(contents, list | str):
            self.charge(8 * len(contents))
        elif isinstance(dtype, np.dtype) and dtype.kind == "b":
            self.charge(len(contents))
        value = make_array(dtype, shape, order, contents)
        if value.dtype.hasobject:
            self.nest(value)
        return value

    def _made(self, what: str, arguments: tuple[Any, ...]) -> Any:
        """What a name of ``NAMES`` builds of its arguments."""
        match what, arguments:
            case "array", (_Name() as kind, *_) if kind == "ndarray":
                return _Pending()
            case "dtype", (code, *_):
                return _Pending(make_dtype(code))
            case "frombuffer", (contents, dtype, shape, order):
                return self.array(dtype, shape, order, contents)
            case "scalar", (dtype, contents):
                self.charge(dtype.itemsize if isinstance(dtype, np.dtype) else 0)
                return make_scalar(dtype, contents)
            case "encode", (str(text), "latin1" | "latin-1"):
                self.charge(len(text))
                return text.encode("latin-1")
            case "bytes", ():
                return b""
            case "dict", ():
                return {}
            case "set" | "frozenset", (list(members),):
                self.charge(32 * len(members))
                return {self.key(member) for member in members}

        raise NotPlain(f"calls {what} with other arguments than numpy does")


def checked_key(key: Any) -> Any:
    flat = key if type(key) is tuple else (key,)
    if not all(type(part) in KEYS or isinstance(part, np.generic) for part in flat):
        raise NotPlain(f"has {kind_of(key)} as the key of a dictionary or the member of a set")
    if any(type(part) is int and abs(part) >= LARGEST_KEY for part in flat):
        raise NotPlain("has a whole number of 18 or more digits as a key")
    return key
