"""Which models there are and their settings, read from the source of
`m2v_lib/models/systems`.

A model is one file that holds its `Settings`, its network and what its authors published. The
network needs torch; reports, `m2v rows` and `m2v settings` do not have it. So what they need,
the `Settings` class and the class attributes that are plain literals, is taken from the file's
syntax tree, and nothing of the file is imported.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from m2v_lib.config.fields import (
    ConfigError,
    ModelSettings,
    new_setting,
    require_known,
    setting,
)
from m2v_lib.config.sections import DualStreamSettings

FOLDER: Final = Path(__file__).resolve().parents[1] / "models" / "systems"
DUAL_STREAM: Final = "dual_stream"


@dataclass(frozen=True)
class ModelEntry:
    """What is known of a model without torch: its settings, published sizes and own recipe."""

    name: str
    settings: type[ModelSettings]
    module: str
    published_sizes: dict[str, dict[str, Any]] = field(default_factory=dict)
    own_recipe: dict[str, Any] = field(default_factory=dict)


@cache
def entries() -> dict[str, ModelEntry]:
    """Every model by name: the dual stream, and each file below `m2v_lib/models/systems`."""
    found = {
        DUAL_STREAM: ModelEntry(DUAL_STREAM, DualStreamSettings, "m2v_lib.models.dual_stream.model")
    }
    for path in sorted(FOLDER.rglob("*.py"), key=lambda path: path.stem):
        entry = _entry(path)
        if entry:
            found[entry.name] = entry
    return found


@cache
def sizes() -> dict[str, tuple[str, dict[str, Any]]]:
    """Named sizes as published, such as `stcformer-l`: (model, settings that differ from its
    defaults).
    """
    named: dict[str, tuple[str, dict[str, Any]]] = {}
    for entry in entries().values():
        for size, differing in entry.published_sizes.items():
            slug = size.lower().replace(" ", "-")
            named[f"{entry.name}-{slug}"] = (entry.name, differing)
    return named


def model_settings(name: str) -> ModelSettings:
    """The settings of a model, or of a named size, with their defaults. Raises ConfigError."""
    model, differing = sizes().get(name, (name, {}))
    if model not in entries() and any(path.stem == model for path in FOLDER.rglob("*.py")):
        raise ConfigError(f"{model}.py is no model: it has to hold `Settings` and set `MODEL`")
    require_known("model", model, {**entries(), **sizes()})
    return entries()[model].settings(**differing)


def _entry(path: Path) -> ModelEntry | None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if "Settings" not in classes or not _assigns(tree, "MODEL"):
        return None

    settings = _compiled(classes["Settings"], path)

    literals: dict[str, Any] = {}
    for node in classes.values():
        for name in ("published_sizes", "own_recipe"):
            if (value := _class_literal(node, name, path)) is not None:
                literals[name] = value

    return ModelEntry(path.stem, settings, _module(path), **literals)


def _module(path: Path) -> str:
    return ".".join(("m2v_lib.models.systems", *path.relative_to(FOLDER).with_suffix("").parts))


def _assigns(tree: ast.Module, name: str) -> bool:
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    annotated = [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    return any(isinstance(t, ast.Name) and t.id == name for t in [*targets, *annotated])


def _compiled(node: ast.ClassDef, path: Path) -> type[ModelSettings]:
    """The `Settings` class of a file, built in a space with nothing but what settings need."""
    space: dict[str, Any] = {
        "__name__": _module(path),
        "dataclass": dataclass,
        "setting": setting,
        "new_setting": new_setting,
        "ModelSettings": ModelSettings,
        "ConfigError": ConfigError,
        "ClassVar": ClassVar,
        "Any": Any,
    }
    body: list[ast.stmt] = [
        node,
    ]
    module = ast.fix_missing_locations(ast.Module(body, type_ignores=[]))
    exec(compile(module, str(path), "exec", dont_inherit=True), space)

    return space["Settings"]


def _class_literal(node: ast.ClassDef, name: str, path: Path) -> Any:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        elif isinstance(statement, ast.Assign):
            targets = list(statement.targets)  # type: ignore[arg-type]
        else:
            continue
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            try:
                return ast.literal_eval(statement.value)  # type: ignore[arg-type]
            except ValueError as error:
                raise ConfigError(f"{path}: {name} must be a literal") from error

    return None
