"""The list of tables: which there are, the chapter of each and the groups of rows behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.yaml_text import own_yaml


@dataclass(frozen=True)
class Table:
    """A table of the paper or of this project.

    groups: group of rows -> what it measures; make: the target that builds this table alone, empty
    where nothing is trained for it; suite: the groups that `make reproduce` trains.
    """

    title: str
    chapter: str
    asks: str
    make: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    suite: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the table is called on the command line: its target, else its chapter's word."""
        return self.make or self.chapter.partition("_")[2]


@cache
def tables() -> tuple[Table, ...]:
    """Every table, in the order of `tables.yaml`."""
    return tuple(
        Table(**{**entry, "suite": tuple(entry.get("suite", ()))}) for entry in contents()["tables"]
    )


def table_of(target: str) -> Table:
    """The table of a make target. Raises ConfigError that names them all."""
    known = {table.make: table for table in tables() if table.make}
    if target not in known:
        raise ConfigError(
            f"unknown table {target!r}; those that can be built are {', '.join(known)}"
        )
    return known[target]


def measure_name(group: str) -> str:
    """What a group of rows measures: a key of `results.cell_states.MEASURES`."""
    return next((t.groups[group] for t in tables() if group in t.groups), "pose")


def suite_groups() -> tuple[str, ...]:
    """The groups that `make reproduce` trains."""
    return tuple(group for table in tables() for group in table.suite)


@cache
def contents() -> dict[str, Any]:
    """`tables.yaml` as it is."""
    return own_yaml(files(__package__).joinpath("tables.yaml").read_text(encoding="utf-8"))
