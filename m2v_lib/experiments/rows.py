"""Named experiments: the rows of `tables.yaml`, each a preset plus a few overrides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.experiments.tables import contents, measure_name

#: Presets of the paper's own networks; under smaller ones a row's N, d and K may not fit, and
#: `scaled` stands for it.
PAPER_SIZED = ("base", "large")


@dataclass(frozen=True)
class Row:
    """One experiment of a table: a name for files, a label for readers, and what it changes in
    the preset.
    """

    table: str
    row: int
    name: str
    label: str
    overrides: Mapping[str, Any]
    published: tuple[
        Mapping[str, Any], ...
    ] = ()  # places in the paper it stands beside: table, and row or columns
    scaled: tuple[str, Mapping[str, Any]] | None = (
        None  # label and overrides under presets smaller than the paper's
    )
    recipe: str = ""  # the recipe it is always run with; empty: the one in force
    stage: str = "finetune"  # its last stage

    def label_at(self, preset: str) -> str:
        """What is run under this preset, in words."""
        return self.scaled[0] if self.scaled and preset not in PAPER_SIZED else self.label

    def overrides_at(self, preset: str) -> Mapping[str, Any]:
        """What the row changes under this preset."""
        return self.scaled[1] if self.scaled and preset not in PAPER_SIZED else self.overrides

    def experiment(
        self,
        *,
        data: str,
        preset: str,
        recipe: str = "paper",
        overrides: Mapping[str, Any] | None = None,
    ) -> Experiment:
        """The row's experiment; where `overrides` names a key that the row ablates, the row
        wins.
        """
        changes = {"data.name": data, **(overrides or {}), **self.overrides_at(preset)}
        return Experiment.preset(preset, recipe=self.recipe or recipe).override(changes)


def rows(table: str) -> list[Row]:
    """The rows of a table of `tables.yaml`, in order. Raises ConfigError for a table that
    is not there.
    """
    known = _experiments()
    if table not in known:
        raise ConfigError(
            f"there is no table of experiments {table!r}; choose one of {', '.join(known)}"
        )
    return list(known[table])


def row_of(name: str) -> Row:
    """The row `GROUP/ROW`, such as `table5/2`; ROW is its number or name. Raises ConfigError.

    >>> row_of("table8/2").label
    'without stage 1 (from scratch)'
    """
    group, slash, wanted = name.partition("/")
    found = rows(group)
    for row in found:
        if slash and wanted in (str(row.row), row.name):
            return row
    raise ConfigError(
        f"unknown row {name!r}; {group} has {', '.join(f'{group}/{row.row}' for row in found)}"
    )


def groups() -> list[str]:
    """The tables of `tables.yaml`."""
    return list(_experiments())


@cache
def _experiments() -> dict[str, tuple[Row, ...]]:
    groups = contents()["groups"]
    found = {
        group: tuple(_row(group, entry) for entry in entries) for group, entries in groups.items()
    }
    for group, of_group in found.items():
        twice = [n for n, times in Counter(row.row for row in of_group).items() if times > 1]
        if twice:
            raise ConfigError(f"tables.yaml has row {group}/{twice[0]} twice")
    return found


def _row(table: str, entry: Mapping[str, Any]) -> Row:
    at, scaled = entry.get("published"), entry.get("scaled")
    return Row(
        table,
        entry["row"],
        entry.get("name", f"{table}-row{entry['row']}"),
        entry["label"],
        entry["overrides"],
        published=tuple(at if isinstance(at, list) else [at]) if at else (),
        scaled=(scaled["label"], scaled["overrides"]) if scaled else None,
        recipe=entry.get("recipe", ""),
        stage=entry.get("stage", "action" if measure_name(table) == "action" else "finetune"),
    )
