"""Whatever a value from elsewhere is, it is taken as expected or refused in one short sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data import foreign_values as foreign
from m2v_lib.data.checks import DataError

DEEP: list[Any] = []
for _ in range(20_000):
    DEEP = [DEEP]
CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
WRONG = {
    "none": None,
    "text": "x" * 1000,
    "control": "\x1b[2J\n",
    "int": 3,
    "huge": 10**400,
    "nan": float("nan"),
    "list": [1, [2]],
    "table": {"a": 1},
    "deep": DEEP,
    "circle": CIRCLE,
    "bytes": b"\xff" * 1000,
    "complex": 1j,
    "array": np.zeros((3, 0)),
    "objects": np.array([{}], object),
    "true": True,
}
TAKERS = {
    "table": (lambda v: foreign.as_table(v, "f"), {"table"}),
    "list": (lambda v: foreign.as_list(v, "f"), {"list", "deep", "circle", "objects"}),
    "text": (lambda v: foreign.as_text(v, "f"), {"control"}),
    "number": (lambda v: foreign.as_number(v, "f", 0, 10), {"int"}),
    "whole": (lambda v: foreign.as_whole(v, "f", 0, 10), {"int"}),
    "array": (lambda v: foreign.as_array(v, "f"), {"array"}),
    "tables": (lambda v: foreign.as_tables(v, "f"), {"objects"}),
    "names": (lambda v: foreign.as_names(v, "f"), set()),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("kind", WRONG)
def test_a_value_is_taken_or_refused_in_a_sentence(taker: str, kind: str) -> None:
    take, fits = TAKERS[taker]
    if kind in fits:
        take(WRONG[kind])
        return
    with pytest.raises(DataError) as caught:
        take(WRONG[kind])
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()


def test_a_message_is_one_printable_line_of_bounded_length() -> None:
    message = str(DataError("file\x1b[31m\n" + "x" * 10_000 + "the end"))
    assert message.isprintable() and len(message) <= 400 and message.endswith("the end")


def test_numbers_keep_their_value_and_text_what_it_shows() -> None:
    assert foreign.as_number("2.5", "f", 0, 9, text=True) == 2.5
    assert foreign.as_number(np.float32(0.5), "f", 0, 9) == 0.5
    assert foreign.as_number(np.array([25]), "f", 0, 99) == 25.0
    assert foreign.as_whole(3.0, "f", 0, 9) == foreign.as_whole("3", "f", 0, 9, text=True) == 3
    assert foreign.as_text("Änne 1", "f") == "Änne 1"
    assert foreign.as_text("a\tb", "f") == "a\\tb"
    with pytest.raises(DataError, match="f must be a whole number from 0 to 9, got 2.5"):
        foreign.as_whole(2.5, "f", 0, 9)
    with pytest.raises(DataError, match="f must have at most 100 characters, got 101"):
        foreign.as_text("x" * 101, "f")


def test_pipes_devices_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DataError, match="is a device, pipe or socket, expected a file"):
            foreign.check_file(path)
    with pytest.raises(DataError, match="no such file"):
        foreign.check_file(tmp_path / "none")
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    with pytest.raises(DataError, match="must have at most 1 MiB, got 3"):
        foreign.check_file(tmp_path / "large", 1 << 20)
