"""Tables of text in the forms that papers, spreadsheets and terminals take."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from m2v_lib.results.render import Block, blocks_to_markdown

#: Columns of a cell on a terminal; longer text goes on below.
MAX_CELL: Final = 44
_ESCAPED: Final = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "λ": r"$\lambda$",
    "−": r"$-$",
}


def to_text(blocks: Iterable[Block]) -> str:
    """Columns of equal width under each title, for a terminal."""
    return "\n".join(_text_block(block) for block in blocks)


def _text_block(block: Block) -> str:
    wrapped = [
        [textwrap.wrap(cell, MAX_CELL) or [""] for cell in line]
        for line in (block.columns, *block.lines)
    ]
    widths = [max(max(map(len, cell)) for cell in column) for column in zip(*wrapped, strict=True)]

    lines = [block.title, ""]
    for number, cells in enumerate(wrapped):
        for depth in range(max(map(len, cells))):
            parts = [cell[depth] if depth < len(cell) else "" for cell in cells]
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))

    return "\n".join([*lines, *block.notes, ""])


def to_csv(blocks: Iterable[Block]) -> str:
    """One file for all blocks: the columns of all of them, behind one that says which it is."""
    blocks = list(blocks)
    names = dict.fromkeys(name for block in blocks for name in block.columns)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["table", *names, "runs"], lineterminator="\n", restval="")
    writer.writeheader()
    for block in blocks:
        runs = block.runs or [()] * len(block.lines)
        for line, of_line in zip(block.lines, runs, strict=True):
            named = dict(zip(block.columns, line, strict=True))
            writer.writerow({"table": block.title, **named, "runs": " ".join(of_line)})
    return stream.getvalue()


def to_latex(blocks: Iterable[Block]) -> str:
    """A `table` environment for each block; needs the package booktabs alone."""
    return "\n".join(_latex_block(block) for block in blocks)


def _latex_block(block: Block) -> str:
    columns = "".join("r" if _numeric(column) else "l" for column in zip(*block.lines, strict=True))
    notes = "".join(f" {note}" for note in block.notes)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(block.title + '.' + notes)}}}",
        rf"\begin{{tabular}}{{{columns or 'l' * len(block.columns)}}}",
        r"\toprule",
        _latex_line(block.columns),
        r"\midrule",
        *(_latex_line(line) for line in block.lines),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, with their spread if there is one."""
    found = [cell.partition(" ±")[0].replace(",", "") for cell in cells if cell]
    return bool(found) and all(_is_number(text) for text in found)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """Text as LaTeX sets it, letter by letter.

    >>> escaped("50 % & P_1")
    '50 \\\\% \\\\& P\\\\_1'
    """
    return "".join(_ESCAPED.get(letter, letter) for letter in text)


FORMS: Final[Mapping[str, Callable[[Iterable[Block]], str]]] = {
    "text": to_text,
    "csv": to_csv,
    "markdown": blocks_to_markdown,
    "latex": to_latex,
}
