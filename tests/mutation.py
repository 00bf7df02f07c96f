"""Small faults put one at a time into a copy of a module, and whether its tests notice; by hand.

    python -m tests.mutation m2v_lib/lift/camera.py [more modules] --mutants 12 --seed 0

A fault is a comparison, an operator or a function turned into its neighbour, a number off by one, a
dropped `not`, swapped branches. The tests run are those of the module's name, and those beside
them that import it. One process imports torch and forks for every mutant. What survives is printed
as a line to look at: it is equivalent, harmless, or a gap in the tests.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final = ("m2v_lib", "tests", "data_scripts", "notebooks", "docs")
#: a mutant that runs so much longer than the tests of the module as it is hangs, and is noticed
TIMES_LONGER: Final = 4
EXTRA_SECONDS: Final = 20.0

OPERATORS: Final[dict[type[ast.AST], type[ast.AST]]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}
NAMES: Final = dict(
    pair
    for one, other in (
        *(("min", "max"), ("floor", "ceil"), ("argmin", "argmax"), ("sum", "mean")),
        *(("amin", "amax"), ("any", "all"), ("sin", "cos"), ("minimum", "maximum")),
        *(("zeros", "ones"), ("round", "int"), ("median", "mean"), ("add_", "sub_")),
    )
    for pair in ((one, other), (other, one))
)


class Mutant(NamedTuple):
    """A module's source with one fault, and what it is."""

    source: str
    line: int
    what: str


def mutants_of(source: str) -> list[Mutant]:
    """All faults of a module."""
    tree, found = ast.parse(source), []
    for number, node in enumerate(_looked_at(tree)):
        for change in range(len(_changes(node))):
            changed = copy.deepcopy(tree)
            place = next(n for i, n in enumerate(_looked_at(changed)) if i == number)
            before = ast.unparse(place)
            _changes(place)[change]()
            line, after = getattr(place, "lineno", 0), ast.unparse(place)
            found.append(Mutant(ast.unparse(changed), line, f"{before}  ->  {after}"))
    return found


def _looked_at(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that compute: no annotations, messages of errors, or decorators."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr):
                yield child
                yield from _looked_at(child)


def _changes(node: ast.AST) -> list[Any]:
    """What can be done to a node, each a function that does it."""
    place: Any = node
    if isinstance(node, ast.Compare):
        return [partial(_put, place.ops, i, OPERATORS[type(op)]()) for i, op in enumerate(node.ops)]
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign):
        other = OPERATORS.get(type(node.op))
        return [partial(setattr, place, "op", other())] if other and not _joins_text(node) else []
    if isinstance(node, ast.UnaryOp):
        return [partial(_lose_operator, node)]
    if isinstance(node, ast.IfExp):
        return [partial(_swap, node)]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [partial(setattr, place, "value", _off_by_one(node.value))]
    for field in ("id", "attr"):
        if getattr(node, field, None) in NAMES:
            return [partial(setattr, place, field, NAMES[getattr(node, field)])]
    return []


def _put(items: list[Any], at: int, item: Any) -> None:
    items[at] = item


def _joins_text(node: ast.AST) -> bool:
    left = getattr(node, "left", None)
    return isinstance(left, ast.JoinedStr) or isinstance(getattr(left, "value", None), str)


def _off_by_one(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else (value * 1.5 if value else 1.0)


def _lose_operator(node: ast.UnaryOp) -> None:
    """`not x` becomes `not not x`, `~x` becomes `~~x`, and `-x` becomes x."""
    if isinstance(node.op, ast.Not | ast.Invert):
        node.operand = ast.UnaryOp(type(node.op)(), node.operand)
    else:
        node.op = ast.UAdd()


def _swap(node: ast.IfExp) -> None:
    node.body, node.orelse = node.orelse, node.body


def tests_of(module: str) -> list[str]:
    """The module's tests: by its name or its folder's, and those in the same folder that import
    it; any that do where there are none.
    """
    path = Path(module)
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    stem = path.stem if path.stem != "__init__" else path.parent.name
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    near = [p for p in every if p.parts[len(ROOT.parts) + 1 : -1] == path.parts[1:-1]]
    importing = [p for p in every if name in p.read_text(encoding="utf-8")]
    named = [p for p in every if p.stem == f"test_{stem}" and (p in near or p in importing)]
    chosen = named or [p for p in importing if p in near] or importing
    return [str(p.relative_to(ROOT)) for p in chosen]


def passes(folder: Path, tests: Sequence[str], limit: float) -> tuple[bool, float]:
    """Whether the tests pass in a copy of the checkout, within a limit of seconds, and how long
    they took.
    """
    began, child = time.monotonic(), os.fork()
    if child == 0:
        _run_tests(folder, tests)

    while time.monotonic() < began + limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0, time.monotonic() - began
        time.sleep(0.05)

    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False, limit


def _run_tests(folder: Path, tests: Sequence[str]) -> None:
    """In a process of its own, which ends here."""
    import pytest

    os.setpgid(0, 0)
    os.chdir(folder)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    code = 1
    try:
        options = ["-x", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]
        code = pytest.main([*options, *tests])
    finally:
        os._exit(code)


def survivors(module: str, folder: Path, n: int, seed: int, tests: Sequence[str]) -> int:
    """Try `n` faults of a module and print those that its tests let pass; returns how many."""
    ok, seconds = passes(folder, tests, 600)
    if not ok:
        print(f"{module}: {' '.join(tests)} fail as they are", flush=True)
        return 0

    source = (folder / module).read_text(encoding="utf-8")
    every = mutants_of(source)
    chosen = random.Random(f"{module} {seed}").sample(every, min(n, len(every)))
    alive = 0

    for mutant in sorted(chosen, key=lambda mutant: mutant.line):
        (folder / module).write_text(mutant.source, encoding="utf-8")
        if passes(folder, tests, TIMES_LONGER * seconds + EXTRA_SECONDS)[0]:
            alive += 1
            print(f"  {module}:{mutant.line}: {mutant.what}", flush=True)
    (folder / module).write_text(source, encoding="utf-8")

    print(
        f"{module}: {alive} of {len(chosen)} survive ({len(every)} faults, {seconds:.0f} s)",
        flush=True,
    )
    return alive


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="+", help="files such as m2v_lib/lift/camera.py")
    parser.add_argument("--mutants", type=int, default=10, help="faults tried in each module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tests", nargs="+", help="run these instead of the modules' own")
    args = parser.parse_args(argv)

    import safetensors.torch  # noqa: F401 - before the forks, once
    import scipy.stats  # noqa: F401
    import torch

    torch.set_num_threads(1)
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "checkout"
        for part in FOLDERS:
            leave = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, folder / part, ignore=leave)
        for file in ROOT.glob("*.*"):
            if file.is_file():
                shutil.copy(file, folder)
        for module in args.modules:
            tests = args.tests or tests_of(module)
            survivors(module, folder, args.mutants, args.seed, tests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
