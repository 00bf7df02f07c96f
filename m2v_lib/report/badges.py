"""States as badges, and built tables as HTML whose measured cells lead to their runs."""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from m2v_lib.report.collect import FAILED, NOT_RUN, OK
from m2v_lib.results import tables

if TYPE_CHECKING:
    import pandas as pd

COLOUR = {OK: "ok", FAILED: "failed", NOT_RUN: "not-run"}
#: The states of a table cell (docs/architecture.md#numbers).
CELL_MEANING = {
    "paper": "printed in the paper",
    "reproduced": "measured here on the paper's data set, protocol and full schedule",
    "partial schedule": "measured on the paper's data set and protocol, but trained for less "
    "than the full schedule",
    "mocap": "measured on motion capture projected by Human3.6M's cameras: another benchmark "
    "than the paper's",
    "mocap, partial schedule": "the same, trained for less than the full schedule: a stated "
    "number of steps",
    "synthetic": "measured on generated motion: shows that everything runs, not how good the "
    "method is",
    "not run": "no run record yet",
}
_ROW = re.compile(r'<tr class="([^"]*)" data-runs="([^"]*)">(.*?)</tr>', re.DOTALL)
_MEASURED = re.compile(r'<td class="m2v-measured">([^<]+)</td>')
_SEEDS = re.compile(r'<td class="m2v-seeds">([^<]+)</td>')
_TABLE = re.compile(r'<table class="m2v-table">.*?</table>', re.DOTALL)
_STATE = re.compile(f"<td>({'|'.join(tables.STATES)})</td>")


def badge(text: str, colour: str) -> str:
    return f'<span class="m2v-state m2v-{colour}">{html.escape(text)}</span>'


def cell_badge(state: str) -> str:
    return badge(state, tables.state_class(state))


def with_badges(frame: pd.DataFrame, runs: Collection[str] = ()) -> str:
    """A built table as HTML for a page of the book (see `finished`)."""
    return finished(tables.to_html(frame), runs) + "\n"


def finished(page: str, runs: Collection[str] = ()) -> str:
    """HTML whose built tables have their states as badges, their measured cells as links to those
    `runs` that the runs page lists, and each cell its column's name, for narrow screens.
    """
    return _TABLE.sub(lambda match: _labelled(_linked(match.group(), runs)), page)


def _linked(table: str, runs: Collection[str]) -> str:
    table = _STATE.sub(lambda match: f"<td>{cell_badge(match.group(1))}</td>", table)

    def row(match: re.Match[str]) -> str:
        state, names, cells = match.groups()
        known = [name for name in names.split() if name in runs]
        if known:
            cells = _MEASURED.sub(
                lambda cell: f"<td>{run_link(known[0], cell.group(1))}</td>", cells
            )
            links = " ".join(run_link(name, _seed(name)) for name in known)
            cells = _SEEDS.sub(lambda cell: f"<td>{cell.group(1)} (seed {links})</td>", cells)
        return f'<tr class="{state}">{cells}</tr>'

    return _ROW.sub(row, table)


def run_link(run: str, text: str) -> str:
    """A link to the run's line on the runs page."""
    return f'<a href="runs.html#{html.escape(run)}">{html.escape(text)}</a>'


def _seed(run: str) -> str:
    """The seed at the end of a run's name.

    >>> _seed("finetune-mocap-small-paper-e5e1fc58-s0")
    '0'
    """
    return run.rpartition("-s")[2]


def _labelled(table: str) -> str:
    """Give each cell the name of its column, which a style sheet can show before it."""
    names = re.findall(r"<th>(.*?)</th>", table)

    def row(match: re.Match[str]) -> str:
        labels: Any = iter(names)
        return re.sub("<td", lambda _: f'<td data-label="{next(labels, "")}"', match.group())

    return re.sub(r"<tr class=.*?</tr>", row, table, flags=re.DOTALL)
