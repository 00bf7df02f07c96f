"""One frozen tree of settings, `Experiment`, with presets, recipes and a single door for change:
`override`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from m2v_lib.config.fields import ConfigError, digested, require_known, typed, values_of
from m2v_lib.config.models import entries, model_settings, sizes
from m2v_lib.config.presets import PRESETS, SIZES
from m2v_lib.config.recipes import RECIPES
from m2v_lib.config.sections import (
    ActionConfig,
    DataConfig,
    DualStreamSettings,
    FinetuneConfig,
    OptimConfig,
    PretrainConfig,
    RunConfig,
)
from m2v_lib.config.validation import validate
from m2v_lib.errors import InputError
from m2v_lib.skeletons import KNOWN
from m2v_lib.yaml_text import parse_yaml

#: Sections that decide the result of a stage; `run` only says where and how long.
STAGE_SECTIONS = {
    "pretrain": ("data", "model", "pretrain", "optim"),
    "finetune": ("data", "model", "finetune", "optim"),
    "action": ("data", "model", "action", "optim"),
}


@dataclass(frozen=True)
class Experiment:
    """All settings of one experiment; make it with `preset`, change it with `override`."""

    preset_name: str = "base"
    recipe: str = "paper"
    data: DataConfig = field(default_factory=DataConfig)
    #: The settings class of the model that `model.name` names.
    model: Any = field(default_factory=DualStreamSettings)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    action: ActionConfig = field(default_factory=ActionConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @staticmethod
    @cache
    def preset(name: str, recipe: str = "paper") -> Experiment:
        """The named preset under a recipe. Raises ConfigError for an unknown name."""
        require_known("preset", name, PRESETS)
        require_known("recipe", recipe, RECIPES)
        # A preset's sizes win over the recipe's (K = 6 does not fit the two layers of `smoke`).
        return Experiment(preset_name=name, recipe=recipe).override(
            {**RECIPES[recipe], **PRESETS[name]()}
        )

    def override(self, changes: Mapping[str, Any]) -> Experiment:
        """A copy with dotted keys changed; checks keys, types and sense. A change of `model.name`
        comes first: the other keys of the section are then those of the new model.

        >>> Experiment.preset("base").override({"model.dim": 64}).model.dim
        64
        """
        start = self._with_model(changes["model.name"]) if "model.name" in changes else self
        flat = start.flat()
        by_section: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            if key == "model.name":
                continue
            require_known("setting", key, flat)
            section, name = key.split(".", 1)
            checked = typed(key, value, getattr(start, section), name)
            by_section.setdefault(section, {})[name] = checked

        sections = {
            name: dataclasses.replace(getattr(start, name), **values)
            for name, values in by_section.items()
        }
        changed = dataclasses.replace(start, **sections)
        validate(changed)

        return changed

    def _with_model(self, name: Any) -> Experiment:
        """The same experiment with another model: at its published size under the paper's presets,
        at its own small sizes under the others, whose frames it takes where its size leaves
        them open. The skeleton stays.
        """
        if type(name) is not str:
            raise ConfigError(f"model.name must be str, got {type(name).__name__}")
        if name == self.model.name:
            return self

        settings = model_settings(name)
        reduced = settings.preset_sizes.get(SIZES.get(self.preset_name, ""), {})
        kept = {"skeleton": self.model.skeleton}
        size = sizes().get(name, (name, {}))[1]
        if self.preset_name in SIZES and "filter_widths" not in size:  # these make its frames
            kept["n_frames"] = self.model.n_frames
        model = dataclasses.replace(settings, **{**kept, **reduced})
        changed = dataclasses.replace(self, model=model)

        if self.recipe == "own":
            own = dict(entries()[model.name].own_recipe)
            if self.preset_name in SIZES:  # which window is seen is the preset's: length and step
                own.pop("data.frame_step", None)
            return changed.override(own)

        return changed

    def flat(self) -> dict[str, Any]:
        """Every setting under its dotted key."""
        return {
            f"{section}.{key}": value
            for section, keys in self.sections().items()
            for key, value in keys.items()
        }

    def sections(self) -> dict[str, dict[str, Any]]:
        return {
            f.name: values_of(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if dataclasses.is_dataclass(getattr(self, f.name))
        }

    def digest(self, stage: str) -> str:
        """Eight hex digits naming everything that decides the stage's result but the seed."""
        require_known("stage", stage, STAGE_SECTIONS)
        every = (
            dataclasses.replace(self.data, label_fraction=1.0, label_subjects=0)
            if stage == "pretrain"
            else self.data
        )
        names = [*STAGE_SECTIONS[stage]]
        if getattr(getattr(self, stage), "init", "scratch") == "pretrained":
            names.append("pretrain")
        chosen: dict[str, Any] = {
            name: digested(every if name == "data" else getattr(self, name)) for name in names
        }
        # The joint count was a setting of its own when the first records were made.
        chosen["model"]["n_joints"] = self.model.n_joints
        if self.model.skeleton not in KNOWN:
            chosen["model"]["skeleton"] = self.model.joints.to_dict()
        chosen["run"] = {"max_steps": self.run.max_steps}
        if self.run.precision != "fp32":
            chosen["run"]["precision"] = self.run.precision

        if getattr(getattr(self, stage), "select", "last") != "last":
            chosen["run"]["eval_every"] = (
                self.run.eval_every
            )  # decides which weights can be the best

        text = json.dumps(chosen, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def run_name(self, stage: str) -> str:
        """Folder name of the stage's run: stage, data, preset, recipe, digest and seed."""
        of_what = f"{self.data.name}-{self.preset_name}-{self.recipe}"
        return f"{stage}-{of_what}-{self.digest(stage)}-s{self.run.seed}"

    def to_dict(self) -> dict[str, Any]:
        return {"preset": self.preset_name, "recipe": self.recipe, **self.sections()}

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Experiment:
        """Inverse of `to_dict`; settings left out keep the preset's value."""
        chosen = {"preset": "base", "recipe": "paper"}
        for key in chosen:
            value = values.get(key, chosen[key])
            if type(value) is not str:
                raise ConfigError(f"{key} must be a name, got {type(value).__name__}")
            chosen[key] = value
        start = Experiment.preset(chosen["preset"], chosen["recipe"])
        changes: dict[str, Any] = {}
        for section, settings in values.items():
            if section in ("preset", "recipe"):
                continue
            require_known("section", section, start.sections())
            if not isinstance(settings, Mapping):
                raise ConfigError(f"section {section!r} must be a table of settings")
            changes.update({f"{section}.{key}": value for key, value in settings.items()})

        n_joints = changes.pop("model.n_joints", None)  # follows from the skeleton since
        made = start.override(changes)
        if n_joints not in (None, made.model.n_joints):
            raise ConfigError(
                f"model.n_joints must be that of {made.model.skeleton}, "
                f"{made.model.n_joints}, got {n_joints}"
            )

        return made

    @staticmethod
    def from_yaml(path: Path | str) -> Experiment:
        """Read a YAML file as written by `to_yaml`. Raises ConfigError naming the file."""
        try:
            values = parse_yaml(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, InputError) as error:
            raise ConfigError(
                f"{path}: not readable as YAML ({' '.join(str(error).split())})"
            ) from error

        if not isinstance(values, Mapping):
            raise ConfigError(f"{path}: expected a table of settings, got {type(values).__name__}")

        return Experiment.from_dict(values)
