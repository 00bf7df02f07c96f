"""What each instruction of a pickle does to the machine: reading numbers and text, filling
containers.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from typing import Any, Final

from m2v_lib.data.safe_pickle.machine import Machine
from m2v_lib.data.safe_pickle.plain_arrays import NotPlain


def run_pickle(data: bytes | bytearray | mmap.mmap, where: str, start: int = 0) -> Any:
    """What the pickle that begins at byte ``start`` describes; a ``DataError`` that begins with
    ``where`` otherwise.
    """
    return Machine(data, where, start).run(STEPS)


def _global(m: Machine) -> None:
    module = m.line().decode()
    m.name(module, m.line().decode())


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.name(module, name)


def _whole_number(m: Machine, n: int) -> None:
    if n > 16:
        raise NotPlain(f"holds a whole number of {n} bytes")
    m.stack.append(int.from_bytes(m.take(n), "little", signed=True))


def _tuple(m: Machine, n: int) -> None:
    items = tuple(m.stack[len(m.stack) - n :]) if n else ()
    if len(items) < n:
        raise IndexError
    del m.stack[len(m.stack) - n :]
    m.container(items)


def _append(m: Machine) -> None:
    item = m.stack.pop()
    m.top(list).append(item)


def _appends(m: Machine) -> None:
    items = m.since_mark()
    m.top(list).extend(items)


def _set_item(m: Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, value])


def _add_items(m: Machine) -> None:
    items = m.since_mark()
    m.top(set).update(map(m.key, items))


def _proto(m: Machine) -> None:
    if (version := m.uint(1)) > 5:
        raise NotPlain(f"is of pickle protocol {version}, this reader knows 0 to 5")


def _push(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(make(m))


#: instruction -> what it does; the letters are those of the pickle format (Lib/pickletools.py
#: lists them)
STEPS: Final[dict[int, Callable[[Machine], object]]] = {
    ord(code): step
    for code, step in {
        "\x80": _proto,
        "\x95": lambda m: m.take(8),  # FRAME
        "(": lambda m: m.marks.append(len(m.stack)),
        "N": _push(lambda m: None),
        "\x88": _push(lambda m: True),
        "\x89": _push(lambda m: False),
        "J": lambda m: _whole_number(m, 4),
        "K": _push(lambda m: m.uint(1)),
        "M": _push(lambda m: m.uint(2)),
        "\x8a": lambda m: _whole_number(m, m.uint(1)),
        "\x8b": lambda m: _whole_number(m, m.uint(4)),
        "G": _push(lambda m: struct.unpack(">d", m.take(8))[0]),
        "T": _push(lambda m: m.old_text(m.raw(m.uint(4)))),
        "U": _push(lambda m: m.old_text(m.raw(m.uint(1)))),
        "X": _push(lambda m: m.text(m.uint(4))),
        "\x8c": _push(lambda m: m.text(m.uint(1))),
        "\x8d": _push(lambda m: m.text(m.uint(8))),
        "B": _push(lambda m: m.raw(m.uint(4))),
        "C": _push(lambda m: m.raw(m.uint(1))),
        "\x8e": _push(lambda m: m.raw(m.uint(8))),
        "\x96": _push(lambda m: m.raw(m.uint(8))),
        "]": lambda m: m.container([]),
        "a": _append,
        "e": _appends,
        ")": lambda m: _tuple(m, 0),
        "\x85": lambda m: _tuple(m, 1),
        "\x86": lambda m: _tuple(m, 2),
        "\x87": lambda m: _tuple(m, 3),
        "t": lambda m: m.container(tuple(m.since_mark())),
        "}": lambda m: m.container({}),
        "s": _set_item,
        "u": lambda m: m.set_items(m.since_mark()),
        "\x8f": lambda m: m.container(set()),
        "\x90": _add_items,
        "\x91": lambda m: m.container({m.key(member) for member in m.since_mark()}),
        "h": lambda m: m.get(m.uint(1)),
        "j": lambda m: m.get(m.uint(4)),
        "q": lambda m: m.put(m.uint(1)),
        "r": lambda m: m.put(m.uint(4)),
        "\x94": lambda m: m.put(len(m.memo)),
        "c": _global,
        "\x93": _stack_global,
        "R": lambda m: m.reduce(),
        "b": lambda m: m.build(),
    }.items()
}
