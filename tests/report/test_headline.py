"""The front page shows the most trained run, never the one that did best on the test subjects."""

from __future__ import annotations

from pathlib import Path

from m2v_lib.report.headline import headline_records
from m2v_lib.runs.records import Record


def record(name: str, preset: str, steps: int, mpjpe: float, data: str = "mocap") -> Record:
    result = {
        "stage": "finetune",
        "preset": preset,
        "data": {"name": data},
        "schedule": {"steps": steps},
        "test": {"mpjpe": mpjpe},
        "baselines": {"ridge": {"mpjpe": 80.0}},
    }
    return Record(Path(name), {}, result, [], {})


def test_longest_training_of_the_largest_preset_and_not_the_lowest_error() -> None:
    runs = [
        record("lucky", "small", 100, 40.0),
        record("long", "small", 900, 50.0),
        record("toy", "smoke", 5000, 30.0),
    ]
    assert [r.name for r in headline_records(runs)] == ["long"]


def test_one_record_a_data_set_and_generated_motion_last() -> None:
    names = {"s": "synthetic", "m": "mocap", "h": "h36m"}
    runs = [record(name, "smoke", 10, 1.0, data) for name, data in names.items()]
    assert [r.name for r in headline_records(runs)] == ["h", "m", "s"]
