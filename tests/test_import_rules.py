"""Who may import whom (docs/architecture.md#imports), read from the source: nothing is imported."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "m2v_lib"

#: Rooms that import at most each other, and only downwards in this order.
LEAVES = (
    "errors",
    "yaml_text",
    "runs",
    "skeletons",
    "config",
    "results.paper",
    "geometry",
    "evaluation.metrics",
)

#: Each may import what stands above it, never what stands below.
ORDER = ("models.layers", "models", "training", "experiments", "cli")

#: What training needs runs on a machine with these five packages alone.
BARE = {"torch", "numpy", "safetensors", "yaml", "tqdm"}
TRAINING = (
    "errors",
    "yaml_text",
    "config",
    "skeletons",
    "geometry",
    "runs",
    "data",
    "models",
    "training",
    "evaluation",
    "bench",
)

#: A report is built, and the rows are listed, where torch is absent.
WITHOUT_TORCH = (
    "errors",
    "yaml_text",
    "runs",
    "results",
    "report",
    "config",
    "skeletons",
    "geometry",
    "experiments.rows",
    "experiments.tables",
    "experiments.suite",
    "experiments.queue",
    "experiments.run_notebook",
    "notebook.plots",
    "notebook.viewer",
)

#: Heavy packages, each with its only doors.
ONLY_IN = {
    "plotly": ("notebook.viewer",),
    "IPython": ("notebook.nb",),
    "nbformat": ("report",),
    "sphinx": ("report",),
    "papermill": ("experiments.run_notebook",),
    "nbclient": ("experiments.run_notebook",),
    "matplotlib": ("notebook.plots",),
    "pandas": ("results",),
    "scipy": ("results",),
}


def module_of(path: Path) -> str:
    """Dotted name of a file inside the package: `models.layers.graph`, `runs` for
    runs/__init__.py.
    """
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def within_any(module: str, rooms: Iterable[str]) -> bool:
    return any(within(module, room) for room in rooms)


def imports(path: Path) -> Iterator[str]:
    """Dotted names a file imports anywhere, but under `if TYPE_CHECKING` (those are not there
    when it runs).
    """
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
    return ".".join(
        [*package[: len(package) + 1 - node.level], *([node.module] if node.module else [])]
    )


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def inner_target(dotted: str) -> str:
    """The module of the package that an import names: `m2v_lib.runs.records.find` ->
    `runs.records`.
    """
    name = dotted.removeprefix("m2v_lib").lstrip(".")
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def used() -> list[tuple[str, str, str]]:
    """(module, module of the package it imports or '', outer package or '') of every import."""
    found = []
    for module, path in MODULES.items():
        for name in imports(path):
            inner = name.split(".")[0] == "m2v_lib"
            found.append(
                (module, inner_target(name) if inner else "", "" if inner else name.split(".")[0])
            )
    return found


USED = used()


def offences(
    guilty: Iterable[str], *, inner: Iterable[str] = (), outer: Iterable[str] = ()
) -> list[str]:
    """Imports of rooms `inner` or packages `outer` in the rooms `guilty`, as text."""
    rooms, inner, outer = tuple(guilty), tuple(inner), set(outer)
    return [
        f"{module} imports {target or package}"
        for module, target, package in USED
        if within_any(module, rooms)
        and (package in outer or (target and within_any(target, inner)))
    ]


def test_the_package_is_there() -> None:
    assert len(USED) > 300


@pytest.mark.parametrize("room", LEAVES)
def test_leaves_import_only_leaves(room: str) -> None:
    above = LEAVES[: LEAVES.index(room) + 1]
    wrong = [
        f"{module} imports {target}"
        for module, target, _ in USED
        if within(module, room) and target and not within_any(target, above)
    ]
    assert wrong == []


@pytest.mark.parametrize("position", range(len(ORDER)), ids=ORDER)
def test_nothing_imports_what_is_built_on_it(position: int) -> None:
    below = [room for room in ORDER[position + 1 :] if not within(ORDER[position], room)]
    assert offences([ORDER[position]], inner=below) == []


def test_layers_do_not_know_the_models() -> None:
    models = [m for m in MODULES if m.startswith("models.") and not within(m, "models.layers")]
    assert offences(["models.layers"], inner=models) == []


def test_data_and_models_do_not_know_each_other() -> None:
    assert offences(["data"], inner=["models", "training", "experiments", "cli"]) == []
    assert offences(["models"], inner=["data"]) == []


def test_no_circle_of_imports() -> None:
    graph: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, path in MODULES.items():
        for name in top_level_imports(path):
            target = inner_target(name)
            if target and target != module:
                graph[module].add(target)
    assert circle_in(graph) == []


def top_level_imports(path: Path) -> list[str]:
    """What importing the file imports at once: not what its functions import when they run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("m2v_lib")]
        elif isinstance(node, ast.ImportFrom) and _base(path, node).startswith("m2v_lib"):
            names += [f"{_base(path, node)}.{alias.name}" for alias in node.names]
    return names


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one import circle, or none."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return trail[trail.index(module) :]
        if module in done:
            return []
        for target in sorted(graph[module]):
            if found := visit(target, [*trail, module]):
                return found
        done.add(module)
        return []

    for module in graph:
        if found := visit(module, []):
            return found
    return []


def test_training_runs_on_a_bare_machine() -> None:
    foreign = {package for module, _, package in USED if package and within_any(module, TRAINING)}
    assert foreign - BARE - {"__future__"} - set(sys.stdlib_module_names) == set()


def test_reports_are_built_without_torch() -> None:
    assert offences(WITHOUT_TORCH, outer={"torch"}) == []


@pytest.mark.parametrize("package", ONLY_IN)
def test_heavy_packages_have_one_door(package: str) -> None:
    others = [module for module in MODULES if not within_any(module, ONLY_IN[package])]
    wrong = [
        f"{module} imports {outer}"
        for module, _, outer in USED
        if outer == package and module in others
    ]
    assert wrong == []
