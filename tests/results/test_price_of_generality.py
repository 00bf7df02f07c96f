"""The price of generality, from records whose numbers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.experiments.rows import rows
from m2v_lib.results.any_skeleton import (
    EVALUATIONS,
    GENERALIST,
    PREDICTS_HIDDEN,
    by_length,
    hidden_errors,
    price_of_generality,
)
from m2v_lib.runs.records import Record


def a_record(folder: Path, row: int, seed: int, test: dict[str, Any]) -> Record:
    (wanted,) = (r for r in rows("any-skeleton") if r.row == row)
    digest = wanted.experiment(data="", preset="compact").digest("finetune")
    result = {
        "stage": "finetune",
        "digest": digest,
        "seed": seed,
        "test": test,
        "baselines": {"ridge": {"mpjpe": 84.0}},
    }
    path = folder / f"row{row}-s{seed}"
    path.mkdir()
    return Record(path, {}, result, [], {})


def test_each_skeletons_own_error_is_set_against_the_network_bound_to_it(tmp_path: Path) -> None:
    found = []
    for seed, shift in enumerate((-1.0, 1.0)):
        errors = {"h36m17": 90.0, "coco17": 95.0, "body25": 80.0, "mpi_inf_3dhp17": 70.0}
        by_skeleton = {name: {"mpjpe": error + shift} for name, error in errors.items()}
        general = {"mpjpe": 90.0 + shift, "by_skeleton": by_skeleton}
        found.append(a_record(tmp_path, GENERALIST, seed, general))
        found.append(a_record(tmp_path, 3, seed, {"mpjpe": 85.0 + shift}))

    price = price_of_generality(found)

    assert price.loc["coco17", ["any", "bound"]].tolist() == [95.0, 85.0]
    assert price.loc["coco17", "price"].startswith("+10.0 mm (95 % CI ")
    assert price.loc["coco17", "ridge"] == 84.0
    assert price.loc["h36m17", "price"] == "not run"
    # noise: five cells of standard deviation sqrt(2) have five degrees of freedom, t = 2.571
    assert price.loc["coco17", "any_half"] == pytest.approx(2.5706, abs=1e-3)


def test_errors_by_length_are_those_that_were_kept(tmp_path: Path) -> None:
    found = [a_record(tmp_path, GENERALIST, seed, {"mpjpe": 90.0}) for seed in (0, 1)]
    for number, record in enumerate(found):
        kept = [
            {"skeleton": "coco17", "frames": frames, "mpjpe": frames + 2.0 * number}
            for frames in (9, 27)
        ]
        (record.path / EVALUATIONS).write_text(json.dumps(kept))

    frame = by_length(found)

    assert frame.loc["coco17"].to_dict() == {9: 10.0, 27: 28.0}
    assert by_length([]).empty


def test_errors_of_joints_that_were_not_given(tmp_path: Path) -> None:
    record = a_record(tmp_path, PREDICTS_HIDDEN, 0, {"mpjpe": 90.0})
    kept = [
        {"skeleton": "body25", "frames": 27, "given": "", "mpjpe": 80.0},
        {"skeleton": "body25", "frames": 27, "given": "h36m17", "hidden": {"nose": 5.0}},
    ]
    (record.path / EVALUATIONS).write_text(json.dumps(kept))

    assert hidden_errors([record]).to_dict() == {"h36m17": {"nose": 5.0}}
    assert hidden_errors([]).empty
