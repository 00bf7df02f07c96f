"""Figures of the house: how long lines, functions and folders are. CI runs this; `pytest -s` or
`python tests/test_house.py` prints the figures.

They are held so that a page can be read without effort; where one fails, mend the code.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "m2v_lib"

MAX_COLUMNS = 100
MAX_LONG_LINE_SHARE = 0.01
MIN_BLANK_LINE_SHARE = 0.05
MAX_FILES_IN_A_FOLDER = 15
MAX_COMPLEXITY = 15

BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.IfExp,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class File:
    """A module's figures."""

    path: Path
    code_lines: int
    long_lines: int
    body_lines: int  # lines inside functions, docstrings apart
    blank_lines: int  # empty ones among them
    comprehensions: int
    complexity: dict[str, int]  # function -> cyclomatic complexity

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))


def read(path: Path) -> File:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.splitlines()
    code = code_line_numbers(text)
    body = [number for function in outermost(tree) for number in body_line_numbers(function)]

    return File(
        path,
        code_lines=len(code),
        long_lines=sum(len(lines[number - 1]) > MAX_COLUMNS for number in code),
        body_lines=len(body),
        blank_lines=sum(not lines[number - 1].strip() for number in body),
        comprehensions=sum(isinstance(node, COMPREHENSIONS) for node in ast.walk(tree)),
        complexity={f.name: complexity(f) for f in ast.walk(tree) if isinstance(f, FUNCTIONS)},
    )


def code_line_numbers(text: str) -> set[int]:
    """Numbers of the lines that hold code: neither empty nor a comment alone."""
    ignored = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in ignored:
            numbers.update(range(token.start[0], token.end[0] + 1))
    return numbers


def outermost(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods that stand in no other function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTIONS):
            yield node
        else:
            yield from outermost(node)


def body_line_numbers(function: ast.FunctionDef | ast.AsyncFunctionDef) -> range:
    """Numbers of the lines of a function's statements, without its docstring."""
    first = function.body[0]
    has_docstring = ast.get_docstring(function, clean=False) is not None
    if has_docstring and len(function.body) == 1:
        return range(0)
    start = function.body[1] if has_docstring else first
    return range(start.lineno, (function.end_lineno or start.lineno) + 1)


def complexity(function: ast.AST) -> int:
    """Cyclomatic complexity: one, plus one for each branch, loop, handler, condition of a
    comprehension and further operand of `and` or `or`. Functions inside count on their own.
    """
    count = 1
    stack = list(ast.iter_child_nodes(function))
    while stack:
        node = stack.pop()
        if isinstance(node, FUNCTIONS):
            continue
        if isinstance(node, BRANCHES):
            count += 1
        if isinstance(node, ast.comprehension):
            count += len(node.ifs) - 1  # the loop of a comprehension is no branch of the function
        if isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        stack += ast.iter_child_nodes(node)
    return count


FILES = [read(path) for path in sorted(PACKAGE.rglob("*.py"))]


def folder_sizes() -> Counter[str]:
    """Number of modules by folder, `__init__.py` apart."""
    modules = [file.path for file in FILES if file.path.name != "__init__.py"]
    return Counter(str(path.parent.relative_to(ROOT)) for path in modules)


def share(part: str, whole: str) -> float:
    return sum(getattr(f, part) for f in FILES) / sum(getattr(f, whole) for f in FILES)


def too_complex() -> list[str]:
    return [
        f"{file.name}: {function} {number}"
        for file in FILES
        for function, number in file.complexity.items()
        if number > MAX_COMPLEXITY
    ]


def figures() -> str:
    """All figures, a line each."""
    code = sum(file.code_lines for file in FILES)
    comprehensions = sum(file.comprehensions for file in FILES)
    folder, n_files = folder_sizes().most_common(1)[0]
    worst = max(number for file in FILES for number in file.complexity.values())
    return "\n".join(
        [
            f"modules {len(FILES)}, lines of code {code:,}",
            f"code lines over {MAX_COLUMNS} columns: {share('long_lines', 'code_lines'):.2%}",
            f"blank lines inside functions: {share('blank_lines', 'body_lines'):.2%}",
            f"comprehensions in 1,000 lines of code: {1000 * comprehensions / code:.1f}",
            f"largest folder: {folder} with {n_files} files",
            f"highest cyclomatic complexity: {worst}; above {MAX_COMPLEXITY}: {len(too_complex())}",
        ]
    )


def test_the_figures_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{figures()}")


def test_few_lines_are_long() -> None:
    offenders = {file.name: file.long_lines for file in FILES if file.long_lines}
    assert share("long_lines", "code_lines") <= MAX_LONG_LINE_SHARE, offenders


def test_functions_have_air() -> None:
    dense = Counter(
        {f.name: round(f.body_lines * MIN_BLANK_LINE_SHARE) - f.blank_lines for f in FILES}
    )
    text = f"blank lines wanting, most first: {dense.most_common(25)}"
    assert share("blank_lines", "body_lines") >= MIN_BLANK_LINE_SHARE, text


def test_no_folder_is_crowded() -> None:
    crowded = {f: n for f, n in folder_sizes().items() if n > MAX_FILES_IN_A_FOLDER}
    assert crowded == {}


def test_the_architecture_names_every_room() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Who")[0]
    modules = [p for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]
    rooms = {path.stem for path in modules} - {"__init__"}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == rooms


def test_no_function_is_too_complex() -> None:
    assert too_complex() == []


def test_the_figures_are_counted_right() -> None:
    source = '''
def f(a, b):
    """Two lines
    of text."""

    if a and b:  # 2 + 1

        return [x for x in a if x]  # 1
    for _ in a:  # 1
        pass
    return None
'''
    (function,) = outermost(ast.parse(source))
    lines = source.splitlines()
    body = [lines[number - 1] for number in body_line_numbers(function)]
    assert complexity(function) == 1 + 1 + 1 + 1 + 1
    assert len(body) == 6 and sum(not line.strip() for line in body) == 1
    assert code_line_numbers("a = 1\n# no\n\nb = (\n  2)\n") == {1, 4, 5}


if __name__ == "__main__":
    print(figures())
