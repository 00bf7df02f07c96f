"""The values behind the cells of a table: errors by action, and pre-training losses by step."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from m2v_lib.experiments.queue import budget
from m2v_lib.experiments.rows import rows
from m2v_lib.results.tables import MOCAP_PRESETS, build_table, by_digest_and_seed

if TYPE_CHECKING:
    import pandas as pd

    from m2v_lib.runs.records import Record

Curve = tuple[list[float], list[float]]


def errors_by_action(
    table: str, records: Iterable[Record], *, metric: str = "mpjpe", **settings: Any
) -> pd.DataFrame:
    """One line for each row of the table, one column for each action, then the mean over actions,
    the number of seeds and the state.

    Values are means over the seeds that ran; a row that has not run is all nan. `settings` are
    those of `build_table`.
    """
    import pandas as pd

    records = list(records)
    frame = build_table(table, records, **settings)
    by_name = {
        record.path.name: record.result["test"]["per_action"]
        for record in records
        if _has_actions(record)
    }

    lines = []
    for line in frame.to_dict("records"):
        runs = [by_name[name] for name in line["runs"] if name in by_name]
        actions = sorted({action for run in runs for action in run})
        means = {
            action: statistics.fmean(run[action][metric] for run in runs) for action in actions
        }
        lines.append(
            {
                "experiment": line["label"],
                **means,
                "mean": line[metric],
                "seeds": line["n_seeds"],
                "state": line["state"],
            }
        )

    found = pd.DataFrame(lines)
    last = ["mean", "seeds", "state"]
    return found[[column for column in found if column not in last] + last]


def _has_actions(record: Record) -> bool:
    return bool((record.result.get("test") or {}).get("per_action"))


def pretraining_curves(
    table: str,
    records: Iterable[Record],
    *,
    data: str,
    preset: str,
    recipe: str = "paper",
    overrides: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    quantity: str = "loss",
) -> dict[str, Curve]:
    """The logged values of each row's pre-training run, {label: (steps, values)}; of several
    seeds the first.
    """
    known = by_digest_and_seed(records, "pretrain", seeds)
    found: dict[str, Curve] = {}
    for row in rows(table):
        exp = row.experiment(data=data, preset=preset, recipe=recipe, overrides=overrides)
        if exp.digest("pretrain") in known:
            logged = next(iter(known[exp.digest("pretrain")].values())).metrics
            lines = [line for line in logged if line["kind"] == "train" and quantity in line]
            found[row.label_at(preset)] = (
                [line["step"] for line in lines],
                [line[quantity] for line in lines],
            )

    return found


def curves_on_motion_capture(
    table: str, records: Iterable[Record], quantity: str = "loss"
) -> tuple[str, dict[str, Curve]]:
    """The preset of the run plan that has curves, and those curves; the longest schedule first."""
    records = list(records)
    for preset in MOCAP_PRESETS:
        found = pretraining_curves(
            table,
            records,
            data="mocap",
            preset=preset,
            overrides=budget(preset, table),
            quantity=quantity,
        )
        if found:
            return preset, found
    return MOCAP_PRESETS[-1], {}
