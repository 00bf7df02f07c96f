"""Which rows of the tables a run belongs to, and runs by a part of their name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.experiments.queue import budget
from m2v_lib.experiments.rows import PAPER_SIZED, Row, groups, rows
from m2v_lib.runs.records import Record


def rows_of_runs(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """The rows, such as `table8/2`, by run name; none for a run of another combination.

    A run belongs to a row when its settings have the row's digest, either with the preset's own
    schedule or with the steps that the run plan gives it. A pre-training run belongs to the rows
    that start from it.
    """
    found = {}
    for record in records:
        result = record.result
        wanted = _rows_by_digest(result["data"]["name"], result["preset"], result["recipe"])
        found[record.name] = tuple(wanted.get(str(result.get("digest")), ()))
    return found


@cache
def _rows_by_digest(data: str, preset: str, recipe: str) -> dict[str, list[str]]:
    by_digest: dict[str, list[str]] = {}
    for row in (row for group in groups() for row in rows(group)):
        name = f"{row.table}/{row.row}"
        for digest in dict.fromkeys(_digests(row, data, preset, recipe)):
            by_digest.setdefault(digest, []).append(name)
    return by_digest


def _digests(row: Row, data: str, preset: str, recipe: str) -> Iterator[str]:
    """Of the row's stages, with and without the run plan's number of steps."""
    schedules: list[Mapping[str, Any]] = [{}]
    if preset not in PAPER_SIZED or data == "mocap":
        schedules.append(budget(preset, row.table))

    for changes in schedules:
        try:
            exp = row.experiment(data=data, preset=preset, recipe=recipe, overrides=changes)
        except ConfigError:  # the row's sizes do not fit this preset
            continue
        yield exp.digest(row.stage)
        if exp.finetune.init == "pretrained":
            yield exp.digest("pretrain")


def condensed(rows_of_run: Iterable[str]) -> str:
    """Rows as text, those of a group together.

    >>> condensed(["table8/1", "table7/1", "table7/2"])
    'table8/1 table7/1,2'
    """
    by_group: dict[str, list[str]] = {}
    for name in rows_of_run:
        group, _, number = name.partition("/")
        by_group.setdefault(group, []).append(number)
    return " ".join(f"{group}/{','.join(numbers)}" for group, numbers in by_group.items())


def find_run(name: str, records: Sequence[Record]) -> Record:
    """The run of this name, or the only one whose name contains it. Raises ConfigError."""
    exact = [record for record in records if record.name == name]
    fitting = exact or [record for record in records if name in record.name]
    if len(fitting) == 1:
        return fitting[0]

    several = ", ".join(record.name for record in fitting[:5])
    problem = (
        f"{len(fitting)} runs have it in their name ({several} ...)" if fitting else "none has"
    )
    raise ConfigError(f"{name!r} must name one run, but {problem}; `m2v runs` lists them")


def outcome(test: Mapping[str, Any] | None) -> str:
    """A run's main number with its unit; '' where it was not tested."""
    if test and "top1" in test:
        return f"top-1 {test['top1']:.1f} %"
    return f"MPJPE {test['mpjpe']:.1f} mm" if test and "mpjpe" in test else ""
