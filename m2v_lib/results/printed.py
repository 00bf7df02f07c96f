"""The paper's printed tables as tables of text, in the order of print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from m2v_lib.results import paper
from m2v_lib.results.render import Block

#: By beginning of a printed table's name: the columns that name a row, and the one whose values
#: become columns.
_AXES: Final = {
    "table1": (("method",), "action"),
    "table2": (("method",), "metric"),
    "table3": (("method",), "metric"),
    "table4": (("method", "with_stage1"), "split"),
    "table5": (("P", "M", "K"), "metric"),
    "table6": (("N", "d"), "metric"),
    "table7": (("lambda_1", "lambda_2"), "metric"),
    "table8": (("row", "S1", "TPE", "SPE", "AF", "SF", "TrS", "GS"), "metric"),
    "fig6_pretrain": (("K",), "stage"),
    "fig6_logs": (("figure_label",), "epoch"),
}


def printed_blocks(name: str) -> list[Block]:
    """What the paper prints as table NAME (`table1` ... `table8`, `figure6`); none for others."""
    beginning = "fig6" if name == "figure6" else name
    return [_block(full) for full in paper.TITLES if full.startswith(f"{beginning}_")]


def _block(full_name: str) -> Block:
    (keys, across) = next(axes for start, axes in _AXES.items() if full_name.startswith(start))
    lines = [line for line in paper.table(full_name) if line.get("in_figure", True)]
    columns = list(dict.fromkeys(str(line[across]) for line in lines))
    value = "test_loss" if "test_loss" in lines[0] else "value"

    return Block(
        f"{paper.TITLES[full_name]}, as printed",
        (*keys, *columns),
        _rows(lines, keys, across, value, columns),
    )


def _rows(
    lines: Sequence[dict[str, Any]],
    keys: Sequence[str],
    across: str,
    value: str,
    columns: Sequence[str],
) -> list[tuple[str, ...]]:
    """A row ends where another begins: some labels are printed twice (audit A1)."""
    rows: list[tuple[tuple[str, ...], dict[str, str]]] = []
    for line in lines:
        label, column = tuple(_label(line[key]) for key in keys), str(line[across])
        if not rows or rows[-1][0] != label:
            rows.append((label, {}))
        rows[-1][1][column] = _text(line[value])
    return [(*label, *(found.get(column, "") for column in columns)) for label, found in rows]


def _label(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
