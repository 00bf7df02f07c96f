"""What every model's file says of its settings, checked against what experiments take."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest

import m2v_lib.models.systems
from m2v_lib.config import ConfigError, Experiment, models
from m2v_lib.config.fields import ModelSettings, new_setting, setting
from m2v_lib.experiments.rows import rows
from m2v_lib.models.base import Lifter
from m2v_lib.models.registry import model_class

FOLDER = Path(m2v_lib.models.systems.__file__).parent
BESIDE = "_pretraining"  # a system's own pre-training
FILES = [
    path
    for path in sorted(FOLDER.rglob("*.py"))
    if path.stem != "__init__" and not path.stem.endswith(BESIDE)
]
BY_OWN_RECIPE = {row.overrides["model.name"] for row in rows("leaderboard-own")}
#: all that may be needed to read settings, on a machine without torch
NAMES: dict[str, Any] = {
    "dataclass": dataclasses.dataclass,
    "ModelSettings": ModelSettings,
    "setting": setting,
    "new_setting": new_setting,
    "Any": Any,
    "ClassVar": ClassVar,
}


def model_of(path: Path) -> type[Lifter]:
    return model_class(path.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_settings_can_be_read_without_torch(path: Path) -> None:
    (found,) = (
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    scope = {"__name__": __name__, **NAMES}
    exec(compile(ast.Module([found], []), path.name, "exec"), scope)
    read: Any = scope["Settings"]

    assert read().name == path.stem
    fields = {f.name: (f.default, f.metadata["meaning"]) for f in dataclasses.fields(read)}
    own = model_of(path).Settings
    assert fields == {f.name: (f.default, f.metadata["meaning"]) for f in dataclasses.fields(own)}
    assert all(isinstance(default, int | float | str) for default, _ in fields.values())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_sizes_and_recipe_are_settings_there_are(path: Path) -> None:
    model = model_of(path)
    for sizes in model.published_sizes.values():
        model.Settings(**sizes)
    assert model.own_recipe or path.stem not in BY_OWN_RECIPE
    Experiment.preset("base").override({"model.name": path.stem, **model.own_recipe})


def test_a_file_without_a_model_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "halfway.py").write_text("class Settings: ...\n")
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    with pytest.raises(ConfigError, match="halfway.py is no model: .* set `MODEL`"):
        models.model_settings("halfway")
