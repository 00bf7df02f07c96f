"""Event files, read back by a reader of their own: checksums, tags, steps; after a resume too."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.config import Experiment
from m2v_lib.runs.event_files import FILE, LogWithEvents, crc32c, write_events

LINES: list[dict[str, Any]] = [
    {"kind": "train", "step": 50, "loss": 0.5, "seconds": 1.5},
    {"kind": "val", "step": 300, "mpjpe": 91.25, "note": "text", "seconds": 9.0},
]


def crc_by_bits(data: bytes) -> int:
    """CRC-32C bit by bit, by long division of the reflected polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        for bit in range(8):
            low = (crc ^ (byte >> bit)) & 1
            crc = (crc >> 1) ^ (0x82F63B78 if low else 0)
    return crc ^ 0xFFFFFFFF


def unmasked(data: bytes) -> int:
    value = (struct.unpack("<I", data)[0] - 0xA282EAD8) & 0xFFFFFFFF
    return (value >> 17 | value << 15) & 0xFFFFFFFF


def records_of(path: Path) -> list[bytes]:
    content, messages = path.read_bytes(), []
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        message, rest = content[12 : 12 + length], content[12 + length :]
        assert unmasked(content[8:12]) == crc_by_bits(content[:8])
        assert unmasked(rest[:4]) == crc_by_bits(message)
        messages.append(message)
        content = rest[4:]
    return messages


def fields(message: bytes) -> list[tuple[int, Any]]:
    """Numbers and values of a Protocol Buffers message."""
    found: list[tuple[int, Any]] = []
    while message:
        key, message = varint(message)
        if key & 7 == 0:
            value: Any
            value, message = varint(message)
        elif key & 7 == 1:
            value, message = struct.unpack("<d", message[:8])[0], message[8:]
        elif key & 7 == 5:
            value, message = struct.unpack("<f", message[:4])[0], message[4:]
        else:
            length, message = varint(message)
            value, message = message[:length], message[length:]
        found.append((key >> 3, value))
    return found


def varint(data: bytes) -> tuple[int, bytes]:
    value = 0
    for at, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return value, data[at + 1 :]
    raise AssertionError("a number without an end")


def scalars(path: Path) -> dict[tuple[str, int], float]:
    first, *events = map(fields, records_of(path))
    assert (3, b"brain.Event:2") in first
    found = {}
    for event in map(dict, events):
        for _, value in fields(event[5]):
            named = dict(fields(value))
            found[named[1].decode(), event[2]] = named[2]
    return found


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == crc_by_bits(b"123456789") == 0xE3069283


def test_every_number_of_the_log_is_an_event(tmp_path: Path) -> None:
    path = write_events(tmp_path / "new", LINES)
    assert path.name == FILE and "tfevents" in FILE
    assert scalars(path) == {
        ("train/loss", 50): 0.5,
        ("train/seconds", 50): 1.5,
        ("val/mpjpe", 300): 91.25,
        ("val/seconds", 300): 9.0,
    }


def test_events_follow_the_log_through_a_resume(tmp_path: Path) -> None:
    log = LogWithEvents(tmp_path / "metrics.jsonl")
    log.cut_after(0)
    for line in LINES:
        log.append(line)
    assert len(scalars(tmp_path / FILE)) == 4

    with (tmp_path / FILE).open("ab") as stream:
        stream.write(b"torn by a kill")
    log.cut_after(50)
    log.append({"kind": "train", "step": 60, "loss": 0.25})
    assert {step for _, step in scalars(tmp_path / FILE)} == {50, 60}
    logged = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["step"] for line in logged] == [50, 60]


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "action"])
def test_the_setting_changes_no_digest(stage: str) -> None:
    exp = Experiment.preset("smoke")
    assert exp.override({"run.tensorboard": True}).digest(stage) == exp.digest(stage)
