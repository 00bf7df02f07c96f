"""Which runs are wanted, in which order: rows of `experiments.yaml` by the rules of
`wanted.yaml`. No torch here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.experiments.rows import Row, rows
from m2v_lib.yaml_text import own_yaml

DATA = "mocap"


@dataclass(frozen=True)
class Item:
    """One training run: its experiment and stage, what it was asked for by, and the run that has
    to come before.
    """

    stage: str
    exp: Experiment
    changes: Mapping[str, Any]  # what the command sets beside preset, recipe, data and seed
    labels: tuple[str, ...]
    needs: str = ""  # run name of its pre-training

    @cached_property
    def name(self) -> str:
        return self.exp.run_name(self.stage)

    def command(self, extra: Mapping[str, Any] | None = None) -> list[str]:
        """The command line that makes this run."""
        exp, settings = self.exp, {**self.changes, **(extra or {})}
        about = ["--preset", exp.preset_name, "--recipe", exp.recipe, "--data", exp.data.name]
        words = [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in settings.items()
        ]
        return [
            "m2v",
            self.stage,
            *about,
            "--seed",
            str(exp.run.seed),
            *(w for word in words for w in ("--set", word)),
        ]


def budget(preset: str, group: str) -> dict[str, Any]:
    """The settings that cut a group's runs to size under a preset; empty is the full schedule.
    Raises ConfigError.
    """
    known = _settings()["budgets"]
    if preset not in known:
        raise ConfigError(
            f"there is no queue for preset {preset!r}; choose one of {', '.join(known)}"
        )
    return dict(known[preset].get(group, known[preset]["default"]))


def items(preset: str, data: str = DATA) -> list[Item]:
    """All runs wanted, in the order wanted; a run's pre-training stands before it, and each run
    once.
    """
    found: dict[str, Item] = {}
    for entry in _settings()["order"]:
        if preset not in entry.get("presets", [preset]):
            continue
        chosen = [row for row in rows(entry["group"]) if row.row in entry.get("rows", [row.row])]
        for seed in entry["seeds"]:
            for row in chosen:
                _add(found, row, seed, preset, data)

    return list(found.values())


def _add(found: dict[str, Item], row: Row, seed: int, preset: str, data: str) -> None:
    changes = {**budget(preset, row.table), **row.overrides_at(preset)}
    exp = row.experiment(
        data=data, preset=preset, overrides={**budget(preset, row.table), "run.seed": seed}
    )
    label, needs = f"{row.name} s{seed}", ""

    if row.stage == "pretrain" or exp.finetune.init == "pretrained":
        needs = exp.run_name("pretrain")
        # Stage 1 has nothing to do with these, so its command and config.yaml do not name them.
        own = {
            k: v
            for k, v in changes.items()
            if not k.startswith("finetune.") and not k.startswith("data.label_")
        }
        start = Experiment.preset(preset, exp.recipe).override(
            {"data.name": data, "run.seed": seed, **own}
        )
        _share(found, Item("pretrain", start, own, (label,)))

    if row.stage == "finetune":
        if not needs:
            changes = {
                key: value for key, value in changes.items() if not key.startswith("pretrain.")
            }
        _share(found, Item("finetune", exp, changes, (label,), needs))


def _share(found: dict[str, Item], item: Item) -> None:
    known = found.setdefault(item.name, item)
    if known is not item and item.labels[0] not in known.labels:
        found[item.name] = replace(known, labels=(*known.labels, *item.labels))


@cache
def _settings() -> dict[str, Any]:
    return own_yaml(files(__package__).joinpath("wanted.yaml").read_text(encoding="utf-8"))
