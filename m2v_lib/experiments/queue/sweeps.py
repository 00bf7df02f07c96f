"""Sweeps of a preset's settings: the runs of `sweeps.yaml`, and a table of their validation
errors. No torch here.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.experiments.queue.wanted import DATA, Item
from m2v_lib.runs.records import Record
from m2v_lib.yaml_text import own_yaml

#: Where the cost of a sweep's steps stands, under the committed records.
COST_FILE: Final = "sweep-cost/{name}.json"
#: Settings of a schedule's length, which a table's column says.
_LENGTH: Final = ("run.max_steps", "run.eval_every")


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


def sweep_names() -> list[str]:
    return list(_sweeps())


def sweep_table(
    name: str,
    records: Iterable[Record],
    data: str = DATA,
    preset: str | None = None,
    cost: Mapping[str, float] | None = None,
) -> str:
    """Validation MPJPE (mm) of each variant, mean and spread over seeds, best first, without
    what is not run; "" where nothing is. `cost` are seconds of a step on one core, by variant
    (`read_cost`).
    """
    by_name = {record.name: record.result for record in records}
    own = preset or _sweep(name)["preset"]

    rows: list[tuple[float, str]] = []
    for number, changes in enumerate(variants(name)):
        seeds = _sweep(name)["seeds"]
        runs = [_item(name, number, changes, seed, data, own).name for seed in seeds]
        done = {run: by_name[run] for run in runs if run in by_name and by_name[run].get("val")}
        if done:
            rows.append(_sweep_row(label(name, number), done, cost or {}))

    head = [
        "| change to the base | steps | CPU min | validation MPJPE (mm) | sd over seeds | runs |",
        "|---|--:|--:|--:|--:|---|",
    ]
    return "\n".join([*head, *(row for _, row in sorted(rows))]) if rows else ""


def _sweep_row(
    change: str, results: Mapping[str, Mapping[str, Any]], cost: Mapping[str, float]
) -> tuple[float, str]:
    """A variant's error and its line, from the results of its runs by name."""
    errors = [result["val"]["mpjpe"] for result in results.values()]
    (steps, *_) = [result["schedule"]["steps"] for result in results.values()]
    minutes = f"{steps * cost[change] / 60:.1f}" if change in cost else "-"
    spread = f"{statistics.stdev(errors):.2f}" if len(errors) > 1 else "-"
    mean = statistics.mean(errors)
    links = " ".join(f"[s{run.rpartition('-s')[2]}](reports/records/{run})" for run in results)
    return mean, f"| {change} | {steps:,} | {minutes} | {mean:.2f} | {spread} | run {links} |"


def read_cost(name: str, kept: Path) -> dict[str, float]:
    """Seconds of a step of each variant as `sweep_cost` filed them; none where it did not."""
    path = kept / COST_FILE.format(name=name)
    if not path.exists():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8"))["seconds_a_step"])


def _item(
    name: str, number: int, changes: Mapping[str, Any], seed: int, data: str, preset: str
) -> Item:
    exp = Experiment.preset(preset).override({**changes, "data.name": data, "run.seed": seed})
    return Item("finetune", exp, dict(changes), (f"{name}: {label(name, number)} s{seed}",))


def label(name: str, number: int) -> str:
    """What a variant changes, in words; of the base what it is beside the preset and its steps."""
    sweep = _sweep(name)
    if number:
        return ", ".join(f"{key}={value}" for key, value in sweep["changes"][number - 1].items())
    own = [f"{key}={value}" for key, value in sweep["base"].items() if key not in _LENGTH]
    return f"the base ({', '.join(own)})" if own else "the base"


def _sweep(name: str) -> dict[str, Any]:
    known = _sweeps()
    if name not in known:
        raise ConfigError(f"there is no sweep {name!r}; choose one of {', '.join(known)}")
    return known[name]


@cache
def _sweeps() -> dict[str, Any]:
    return own_yaml(files(__package__).joinpath("sweeps.yaml").read_text(encoding="utf-8"))
