"""Who may import whom (design, section 2), read from the source so that nothing has to be importable."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "m2v_lib"
LEAVES = {"skeleton", "geometry", "metrics", "config", "records", "paper"}
#: each may import what stands left of it, never what stands right
ORDER = ("layers", "model", "pretraining", "training", "cli")
#: what training runs on: it must work on a machine with nothing else
TRAINING = {*LEAVES, *ORDER[:-1], "losses", "data", "evaluate", "baselines", "complexity", "bench", "action"}
BARE = {"torch", "numpy", "safetensors", "yaml", "tqdm"}
WITHOUT_TORCH = {
    "records",
    "paper",
    "experiments",
    "queue",
    "effects",
    "measures",
    "table_text",
    "audit",
    "breakdown",
    "tables",
    "report",
    "config",
    "skeleton",
    "notebooks",
    "suite",
    "plots",
    "viewer",
}
ONLY_IN = {
    "plotly": {"viewer"},
    "IPython": {"nb"},
    "nbformat": {"report"},
    "sphinx": {"report"},
    "papermill": {"notebooks"},
    "nbclient": {"notebooks"},
    "matplotlib": {"plots"},
    "pandas": {"tables", "breakdown"},
}


def part(path: Path) -> str:
    """The part of the package a file belongs to: `layers` for layers/graph.py, `config` for config.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names a file imports anywhere, but under `if TYPE_CHECKING` (those are not there when it runs)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(path, node)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _base(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ("m2v_lib", *path.relative_to(PACKAGE).parts[:-1])
    return ".".join([*package[: len(package) + 1 - node.level], *([node.module] if node.module else [])])


def used() -> list[tuple[Path, str, str]]:
    """(file, part of the package or '' , first name of the import) of every import in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in imports(path):
            words = name.split(".")
            inner = words[1] if words[0] == "m2v_lib" and len(words) > 1 else ""
            found.append((path, inner, words[0]))
    return found


USED = used()


def offences(guilty: Set[str], *, inner: Set[str] = frozenset(), outer: Set[str] = frozenset()) -> list[str]:
    """Imports of parts `inner` or packages `outer` in the parts `guilty`, as text."""
    return [
        f"{path.relative_to(PACKAGE)} imports {f'm2v_lib.{name}' if name else top}"
        for path, name, top in USED
        if part(path) in guilty and (name in inner or top in outer)
    ]


def test_the_package_is_there() -> None:
    assert len(USED) > 50


def test_leaves_import_only_leaves() -> None:
    parts = {name for path, name, _ in USED if part(path) in LEAVES and name}
    existing = {part(path) for path in PACKAGE.rglob("*.py")}
    assert (parts & existing) - LEAVES == set()


@pytest.mark.parametrize("position", range(len(ORDER)), ids=ORDER)
def test_nothing_imports_what_is_built_on_it(position: int) -> None:
    assert offences({ORDER[position]}, inner=set(ORDER[position + 1 :])) == []


def test_data_does_not_know_the_model_and_layers_do_not_know_the_data() -> None:
    assert offences({"data"}, inner={"layers", "model", "pretraining", "training", "cli"}) == []
    assert offences({"layers"}, inner={"data"}) == []


def test_training_runs_on_a_bare_machine() -> None:
    foreign = {top for path, _, top in USED if part(path) in TRAINING and top not in sys.stdlib_module_names}
    assert foreign - BARE - {"m2v_lib", "__future__"} == set()


def test_reports_are_built_without_torch() -> None:
    assert offences(WITHOUT_TORCH, outer={"torch"}) == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_heavy_packages_have_one_door(package: str) -> None:
    others = {part(path) for path in PACKAGE.rglob("*.py")} - ONLY_IN[package]
    assert offences(others, outer={package}) == []
