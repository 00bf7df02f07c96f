"""The page of learning curves: those of any runs beside each other, chosen by the reader, from the
records' `metrics.jsonl`. It carries its data and opens from disk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from m2v_lib.results.run_rows import condensed, outcome, rows_of_runs
from m2v_lib.runs.records import Record

#: Points of a curve; of a longer one every so many are left out.
MAX_POINTS: Final = 200
#: Keys of a log's lines that are no quantity to look at.
_NOT_SHOWN: Final = ("kind", "step", "epoch", "seconds", "lr")
_PAGE: Final = """\
# Learning curves

Choose runs in the list (several with Ctrl or Shift, fewer by typing a row, a preset or a name) and what to
show. Errors of validation are in mm, on people held out of training; losses of different recipes or
settings are not the same quantity. An address that ends in `#RUN` or `#RUN,RUN` shows those.
`m2v compare RUN RUN` puts the numbers beside each other.

<div class="m2v-curves">
<input type="search" id="m2v-filter" placeholder="row, preset or name" aria-label="filter">
<select id="m2v-quantity" aria-label="quantity"></select>
<label><input type="checkbox" id="m2v-log"> logarithmic</label>
<select id="m2v-chosen" multiple size="10" aria-label="runs"></select>
<div id="m2v-plot"></div>
</div>
<script type="application/json" id="m2v-curves-data">{data}</script>
<script src="_static/plotly.min.js"></script>
<script src="_static/curves.js"></script>
"""


def curves_page(records: Sequence[Record]) -> str:
    """The page as Markdown with the data of all runs that logged something."""
    rows = rows_of_runs(records)
    runs = [_run(record, condensed(rows[record.name])) for record in records]
    drawn = sorted((run for run in runs if run["curves"]), key=lambda run: str(run["label"]))
    if not drawn:
        return "# Learning curves\n\nNone yet: no run has logged anything.\n"
    data = json.dumps(drawn, separators=(",", ":"), allow_nan=False)
    return _PAGE.replace("{data}", data.replace("<", "\\u003c"))


def _run(record: Record, rows: str) -> dict[str, Any]:
    result = record.result
    about = f"{result['data']['name']} {result['preset']}, seed {result['seed']}"
    found = outcome(result.get("test"))
    label = f"{rows or 'no row'} · {result['stage']}, {about}{', ' * bool(found)}{found}"
    return {"name": record.name, "label": label, "curves": _curves(record.metrics)}


def _curves(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Steps and values of each quantity, such as `val mpjpe`."""
    found: dict[str, list[list[float]]] = {}
    for line in lines:
        for key, value in line.items():
            if key not in _NOT_SHOWN and isinstance(value, int | float) and math.isfinite(value):
                steps, values = found.setdefault(f"{line['kind']} {key}", [[], []])
                steps.append(line["step"])
                values.append(float(f"{value:.5g}"))
    return {name: [_thinned(points) for points in curve] for name, curve in found.items()}


def _thinned(points: list[float]) -> list[float]:
    """At most `MAX_POINTS` of them, the last one among them."""
    every = math.ceil(len(points) / MAX_POINTS)
    return points[(len(points) - 1) % every :: every]
