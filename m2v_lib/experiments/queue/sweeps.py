"""Sweeps of a preset's settings: the runs of `sweeps.yaml`, and a table of their validation
errors. No torch here.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.experiments.queue.wanted import DATA, Item
from m2v_lib.runs.records import Record
from m2v_lib.yaml_text import own_yaml


def sweep_items(name: str, data: str = DATA, preset: str | None = None) -> list[Item]:
    """The runs of a sweep, all variants with one seed before the next seed. Raises ConfigError.

    `preset` stands in for the sweep's own, to rehearse it.
    """
    sweep = _sweep(name)
    return [
        _item(name, number, changes, seed, data, preset or sweep["preset"])
        for seed in sweep["seeds"]
        for number, changes in enumerate(variants(name))
    ]


def variants(name: str) -> list[dict[str, Any]]:
    """What each variant of a sweep sets: first the base, then the base with each change."""
    sweep = _sweep(name)
    return [dict(sweep["base"]), *({**sweep["base"], **change} for change in sweep["changes"])]


def sweep_table(
    name: str, records: Iterable[Record], data: str = DATA, preset: str | None = None
) -> str:
    """Validation MPJPE (mm) of each variant, mean and spread over seeds, best first, without
    what is not run.
    """
    by_name = {record.name: record.result for record in records}
    own = preset or _sweep(name)["preset"]

    rows: list[tuple[float, str]] = []
    for number, changes in enumerate(variants(name)):
        found = [
            _item(name, number, changes, seed, data, own).name for seed in _sweep(name)["seeds"]
        ]
        errors = [
            by_name[run]["val"]["mpjpe"]
            for run in found
            if run in by_name and by_name[run].get("val")
        ]
        if errors:
            spread = f"{statistics.stdev(errors):.2f}" if len(errors) > 1 else "-"
            mean = statistics.mean(errors)
            rows.append(
                (mean, f"| {_label(name, number)} | {mean:.2f} | {spread} | {len(errors)} |")
            )

    head = [
        "| change to the base | validation MPJPE (mm) | sd over seeds | seeds |",
        "|---|--:|--:|--:|",
    ]
    return "\n".join([*head, *(row for _, row in sorted(rows))])


def _item(
    name: str, number: int, changes: Mapping[str, Any], seed: int, data: str, preset: str
) -> Item:
    exp = Experiment.preset(preset).override({**changes, "data.name": data, "run.seed": seed})
    return Item("finetune", exp, dict(changes), (f"{name}: {_label(name, number)} s{seed}",))


def _label(name: str, number: int) -> str:
    if number == 0:
        return "the base"
    return ", ".join(f"{key}={value}" for key, value in _sweep(name)["changes"][number - 1].items())


def _sweep(name: str) -> dict[str, Any]:
    known = _sweeps()
    if name not in known:
        raise ConfigError(f"there is no sweep {name!r}; choose one of {', '.join(known)}")
    return known[name]


@cache
def _sweeps() -> dict[str, Any]:
    return own_yaml(files(__package__).joinpath("sweeps.yaml").read_text(encoding="utf-8"))
