"""Per-action errors and loss curves come from the runs of the row and from no other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from m2v_lib.results import per_action, tables
from m2v_lib.runs.records import Record

SCHEDULE = {"steps": 60, "epochs_done": 2.5, "epochs_full": 60, "partial": True}


def record(table: str, row: int, stage: str, seed: int = 0, **result: Any) -> Record:
    exp = tables.rows(table)[row - 1].experiment(data="mocap", preset="smoke")
    head = {
        "stage": stage,
        "digest": exp.digest(stage),
        "seed": seed,
        "preset": "smoke",
        "schedule": SCHEDULE,
        "data": {"name": "mocap", "fingerprint": "f"},
        "selected": "last",
    }
    metrics = [{"kind": "train", "step": s, "loss": 1.0 / s, "target_rank": 3.0} for s in (10, 20)]
    lines: list[dict[str, Any]] = [*metrics, {"kind": "val", "step": 20, "mpjpe": 5.0}]
    return Record(
        Path(f"{stage}-{head['digest']}-s{seed}"), exp.to_dict(), {**head, **result}, lines, {}
    )


def error(seed: int, walk: float, sit: float) -> Record:
    actions = {
        "walk": {"mpjpe": walk, "p_mpjpe": walk / 2},
        "sit": {"mpjpe": sit, "p_mpjpe": sit / 2},
    }
    test = {"mpjpe": (walk + sit) / 2, "p_mpjpe": (walk + sit) / 4, "per_action": actions}
    return record("table1", 1, "finetune", seed, test=test)


def test_errors_by_action_are_means_over_seeds() -> None:
    runs = [error(0, 10.0, 30.0), error(1, 20.0, 50.0)]
    frame = per_action.errors_by_action("table1", runs, data="mocap", preset="smoke")
    assert list(frame.columns) == ["experiment", "sit", "walk", "mean", "seeds", "state"]
    first, second = frame.to_dict("records")
    assert (first["walk"], first["sit"], first["mean"], first["seeds"]) == (15.0, 40.0, 27.5, 2)
    assert (
        first["state"] == "mocap, partial schedule"
        and second["state"] == "not run"
        and math.isnan(second["walk"])
    )
    aligned = per_action.errors_by_action(
        "table1", runs, data="mocap", preset="smoke", metric="p_mpjpe"
    )
    assert aligned["walk"][0] == 7.5
    empty = per_action.errors_by_action("table1", runs, data="mocap", preset="smoke", seeds=[])
    assert list(empty.columns) == ["experiment", "mean", "seeds", "state"]


def test_curves_are_those_of_the_rows_own_pre_training() -> None:
    runs = [
        record("figure6", 2, "pretrain"),
        record("figure6", 4, "pretrain", seed=1),
        error(0, 1.0, 1.0),
    ]
    found = per_action.pretraining_curves("figure6", runs, data="mocap", preset="smoke")
    assert [label.partition(" of")[0] for label in found] == ["P=0.7, M=3, K=4", "P=0.7, M=1, K=4"]
    assert next(iter(found.values())) == ([10, 20], [0.1, 0.05])
    assert (
        list(
            per_action.pretraining_curves("figure6", runs, data="mocap", preset="smoke", seeds=[1])
        )
        == list(found)[1:]
    )
    ranks = per_action.pretraining_curves(
        "figure6", runs, data="mocap", preset="smoke", quantity="target_rank"
    )
    assert next(iter(ranks.values())) == ([10, 20], [3.0, 3.0])
    assert per_action.pretraining_curves("figure6", runs, data="mocap", preset="small") == {}
