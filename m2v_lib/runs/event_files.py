"""TensorBoard's event files from the lines of `metrics.jsonl`, written by hand, so that training
needs no further package: records of length, checksum, message, checksum; the messages are Protocol
Buffers with four fields.

Format: TFRecord (masked CRC-32C, Castagnoli polynomial) of `tensorflow.Event` messages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from m2v_lib.runs.records import MetricsLog, read_metrics, write_atomically

#: TensorBoard takes files with this in their name.
FILE: Final = "events.out.tfevents.0.m2v"
_POLYNOMIAL: Final = 0x82F63B78
_MASK_DELTA: Final = 0xA282EAD8
#: Keys of a line that are no quantity.
_NOT_SHOWN: Final = ("kind", "step")


def write_events(folder: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    """Write all lines of a log as `folder/FILE`, whose path is returned; an older one is replaced."""
    path = Path(folder) / FILE
    content = b"".join([_first_record(), *map(event_record, lines)])
    write_atomically(path, lambda beside: beside.write_bytes(content))
    return path


def append_event(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line of the log to the events of a run, which may begin with it."""
    path = Path(folder) / FILE
    with path.open("ab") as stream:
        if not stream.tell():
            stream.write(_first_record())
        stream.write(event_record(line))


def event_record(line: Mapping[str, Any]) -> bytes:
    """A line of the log as one record: each quantity under `kind/name`, at the line's step; the
    clock is the seconds trained.
    """
    values = b""
    for key, value in line.items():
        if key not in _NOT_SHOWN and isinstance(value, int | float):
            tag = f"{line['kind']}/{key}".encode()
            scalar = _field(1, tag) + _key(2, 5) + struct.pack("<f", value)
            values += _field(1, scalar)

    event = _key(1, 1) + struct.pack("<d", float(line.get("seconds", 0.0)))
    event += _key(2, 0) + _varint(int(line["step"])) + _field(5, values)
    return _record(event)


def _first_record() -> bytes:
    return _record(_key(1, 1) + struct.pack("<d", 0.0) + _field(3, b"brain.Event:2"))


def _record(message: bytes) -> bytes:
    length = struct.pack("<Q", len(message))
    return length + _checksum(length) + message + _checksum(message)


def _checksum(data: bytes) -> bytes:
    crc = crc32c(data)
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """The CRC-32C checksum.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    table, crc = _table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    return tuple(_steps(value) for value in range(256))


def _steps(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _field(number: int, content: bytes) -> bytes:
    return _key(number, 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    return bytes(_groups(value))


def _groups(value: int) -> Iterator[int]:
    """Seven bits at a time, the lowest first; the highest bit says that more follow."""
    while value > 0x7F:
        yield value & 0x7F | 0x80
        value >>= 7
    yield value


class LogWithEvents(MetricsLog):
    """`metrics.jsonl` with event files beside it that say the same."""

    def append(self, line: dict[str, Any]) -> None:
        super().append(line)
        append_event(self.path.parent, line)

    def cut_after(self, step: int) -> None:
        super().cut_after(step)
        write_events(self.path.parent, read_metrics(self.path))
