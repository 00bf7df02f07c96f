"""The numbers the paper prints, one CSV a table, and the words to cite them with. Nothing here
is measured.

Each line of a CSV is one printed value with its unit and its line in the paper's text. Marks and
labels are copied as printed; where the print is doubtful `cite` says so (audit A1-A7).
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.yaml_text import own_yaml

TITLES = {
    "table1_protocol1": "Table I, MPJPE, detected 2D",
    "table1_protocol2": "Table I, P-MPJPE, detected 2D",
    "table1_gt": "Table I, MPJPE, ground-truth 2D",
    "table2_mpi_inf_3dhp": "Table II",
    "table3_complexity": "Table III",
    "table4_action": "Table IV",
    "table5_pretrain_ablation": "Table V",
    "table6_size_ablation": "Table VI",
    "table7_loss_ablation": "Table VII",
    "table8_module_ablation": "Table VIII",
    "fig6_pretrain_losses": "Figure 6, losses quoted in section IV-E",
    "fig6_logs_from_history": "Figure 6, logs in the authors' repository",
}

#: Printed values that cannot stand as printed, by table and row as given to `cite`.
DOUBTS = {
    ("table7_loss_ablation", 13): "label uncertain: (0, 20) is printed twice",
    ("table3_complexity", "Ours-L"): "its 91.8 G are probably 191.8 G",
    ("table1_gt", "Ours-B"): "its average does not match its actions",
    ("table1_gt", "Ours-L"): "its average does not match its actions",
}

_INT = {"K", "M", "N", "d", "epoch", "name_K", "name_M", "paper_line", "ref", "row"}
_FLOAT = {"P", "lambda_1", "lambda_2", "name_P", "test_loss", "value"}
_BOOL = {
    "AF",
    "GS",
    "S1",
    "SF",
    "SPE",
    "TPE",
    "TrS",
    "approximate",
    "in_figure",
    "marked_underline",
    "with_stage1",
}


def table(name: str) -> list[dict[str, Any]]:
    """The printed values of a table, typed; an empty field is None. `table8` does for
    `table8_module_ablation`.

    Raises ConfigError for a name that is unknown or fits several tables.
    """
    return [dict(row) for row in _read(resolve(name))]


def resolve(name: str) -> str:
    """The full name of a table from itself or an unambiguous beginning."""
    fits = [full for full in TITLES if full == name or full.startswith(f"{name}_")]
    if len(fits) != 1:
        what = "fits several tables" if fits else "is no table of the paper"
        raise ConfigError(f"{name!r} {what}; choose one of {', '.join(fits or TITLES)}")
    return fits[0]


def value(name: str, **where: Any) -> float | None:
    """The one printed value whose columns equal `where`, e.g. ``value("table8", row=1,
    metric="MPJPE")``.

    None where the paper leaves the field empty; ConfigError unless exactly one value fits.
    """
    fits = [row for row in table(name) if all(row[key] == wanted for key, wanted in where.items())]
    if len(fits) != 1:
        raise ConfigError(f"{len(fits)} values of {cite(name)} have {where}, expected one")
    return fits[0]["value"]


def nth(name: str, row: int, metric: str) -> float | None:
    """The value of a metric in the row-th printed row, counted from 1: where labels repeat, as
    in Table VII.

    None where the paper leaves the field empty; ConfigError where there is no such row.
    """
    values = [line["value"] for line in table(name) if line["metric"] == metric]
    if not 1 <= row <= len(values):
        raise ConfigError(f"{cite(name)} has {len(values)} rows with {metric}, so no row {row}")
    return values[row - 1]


def cite(name: str, row: int | str | None = None) -> str:
    """Where a printed number stands: 'Table VIII, row 2', 'Table III, Ours-L (its 91.8 G are
    probably 191.8 G)'.
    """
    full = resolve(name)
    if row is None:
        return TITLES[full]
    place = f"{TITLES[full]}, {f'row {row}' if isinstance(row, int) else row}"
    doubt = DOUBTS.get((full, row))
    return f"{place} ({doubt})" if doubt else place


def claims() -> list[dict[str, Any]]:
    """What the paper says: id, where (section), line of its text, claim; `values` where the
    sentence has numbers.
    """
    return _entries("claims.yaml")


def claim(name: str, value: str) -> float:
    """A number from a sentence of the paper, e.g. ``claim("stage1-mpjpe", "gain")``. Raises
    ConfigError.
    """
    for entry in claims():
        if entry["id"] == name and value in entry.get("values", {}):
            return float(entry["values"][value])
    raise ConfigError(f"no claim {name!r} with a number {value!r}")


def conflicts() -> list[dict[str, Any]]:
    """Where paper, tables and released code disagree: id of the audit's point, about, paper,
    released, evidence, `fields` ({setting: [paper, released]}) or `no_switch` (why there is
    none), and the `claims` that settle it.
    """
    return _entries("conflicts.yaml")


def _entries(name: str) -> list[dict[str, Any]]:
    return own_yaml(files(__name__).joinpath(name).read_text(encoding="utf-8"))


@cache
def _read(full_name: str) -> tuple[dict[str, Any], ...]:
    lines = files(__name__).joinpath(f"{full_name}.csv").read_text(encoding="utf-8").splitlines()
    return tuple(
        {key: _typed(key, text) for key, text in row.items()} for row in csv.DictReader(lines)
    )


def _typed(column: str, text: str) -> Any:
    if text == "":
        return None
    return _converter(column)(text)


def _converter(column: str) -> Callable[[str], Any]:
    if column in _INT:
        return int
    if column in _FLOAT:
        return float
    if column in _BOOL or column.startswith("printed_col"):
        return lambda text: bool(int(text))
    return str
