"""The front page shows the most trained run, never the one that did best on the test subjects."""

from __future__ import annotations

from pathlib import Path

from m2v_lib.report.headline import headline_records
from m2v_lib.runs.records import Record


def record(
    name: str,
    preset: str,
    steps: int,
    mpjpe: float,
    data: str = "mocap",
    model: str = "",
    **more: str,
) -> Record:
    result = {
        "stage": "finetune",
        "preset": preset,
        "data": {"name": data, "protocol": f"that of {data}", **more},
        "schedule": {"steps": steps},
        "test": {"mpjpe": mpjpe},
        "baselines": {"ridge": {"mpjpe": 80.0}},
    }
    return Record(Path(name), {"model": {"name": model}} if model else {}, result, [], {})


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


def test_other_systems_and_other_joints_of_the_same_motion_have_no_headline_of_their_own() -> None:
    joints = {"protocol": "by subject; joints h36m17_alike"}
    others = {"protocol": "by subject; joints vocabulary"}
    runs = [
        record("system", "base", 900, 50.0, model="mixste", **joints),
        record("ours", "compact", 300, 60.0, model="dual_stream", **joints),
        record("hidden", "compact", 100, 90.0, "mocap_vocabulary", **others),
    ]
    assert [r.name for r in headline_records(runs)] == ["ours"]
