"""A text file as a table of cells: what separates them, which numbers have decimal commas, what `#`
lines say.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import shown
from m2v_lib.data.keypoints.formats.files import text_of
from m2v_lib.data.limits import MAX_KEYPOINTS

#: a first line by which Excel is told the separator
SEPARATOR: Final = re.compile(r'"?sep=(?P<separator>[,;\t])"?,*')
#: cells of a keypoint that was not found
MISSING: Final = ("", "nan")
MAX_COLUMNS: Final = 3 * MAX_KEYPOINTS + 100


@dataclass(frozen=True)
class Table:
    """Lines of cells with their numbers in the file, and what `#` lines say."""

    path: Path
    head: dict[str, Any]
    columns: list[str]
    lines: list[tuple[int, list[str]]]
    number: Callable[[str], float]

    name: str = ""
    #: the layout that the caller asks for
    layout: str | None = None

    def where(self, line: int) -> str:
        return f"{self.name}: line {line}"


def read_table(path: Path, layout: str | None = None) -> Table:
    """The lines of a file as cells. Raises DataError."""
    lines = text_of(path).splitlines()
    head = _head(lines)
    stated = SEPARATOR.fullmatch(lines[0]) if lines else None
    if stated:
        lines[0] = ""
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    first = numbered[0][1] if numbered else ""
    separator = stated["separator"] if stated else max(",;\t", key=first.count)

    try:
        rows = list(csv.reader((line for _, line in numbered), delimiter=separator))
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from error

    if len(rows) != len(numbered):
        raise DataError(f"{path}: has a quoted cell that goes over several lines")
    if rows and len(rows[0]) > MAX_COLUMNS:
        raise DataError(f"{path}: must have at most {MAX_COLUMNS} columns, got {len(rows[0])}")

    columns = [name.strip().lower() for name in rows[0]] if rows else []
    if len(set(columns)) < len(columns) and columns[:1] not in (["scorer"], ["bodyparts"]):
        raise DataError(f"{path}: two columns have the same name, expected each once")

    body = [
        (number, [cell.strip() for cell in row])
        for (number, _), row in zip(numbered[1:], rows[1:], strict=True)
    ]
    return Table(
        path, head, columns, body, _decimal_comma if separator == ";" else float, str(path), layout
    )


def _head(lines: list[str]) -> dict[str, Any]:
    """What `#` lines say: `key=value`, apart by blanks, commas or semicolons."""
    comments = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    words = re.split(r"[,;]?\s+|[,;](?=\w+=)", comments.rstrip(",; "))
    return dict(word.split("=", 1) for word in words if "=" in word)


def _decimal_comma(text: str) -> float:
    return float(text.replace(",", "."))


def cell(table: Table, where: str, x: str, y: str, score: str) -> list[float]:
    """x, y and confidence of one keypoint; both coordinates left blank or nan: it is missing."""
    try:
        if x.lower() in MISSING and y.lower() in MISSING:
            return [0.0, 0.0, 0.0]
        return [table.number(x), table.number(y), table.number(score) if score else 0.0]
    except ValueError as error:
        odd = next((text for text in (x, y, score) if not _is_number(table, text)), "")
        raise DataError(f"{where} holds something that is no number ({shown(odd)})") from error


def _is_number(table: Table, text: str) -> bool:
    try:
        table.number(text)
    except ValueError:
        return False
    return True
