"""The page of learning curves: the data that it carries are the logs'."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from fakes.suite import write_record

from m2v_lib.report.pages.curves import MAX_POINTS, curves_page
from m2v_lib.runs.records import Record, load_record


def data_of(page: str) -> list[dict[str, Any]]:
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page)
    found: list[dict[str, Any]] = json.loads(data)
    return found


def test_a_run_has_its_label_and_each_quantity_of_its_log(tmp_path: Path) -> None:
    record = load_record(write_record(tmp_path, {"finetune.init": "pretrained"}, 70.0))
    lines = [{"kind": "train", "step": 1, "loss": 0.5, "lr": 1.0, "text": "x", "bad": math.nan}]
    run = Record(record.path, record.config, record.result, lines + record.metrics, record.env)
    (made,) = data_of(curves_page([run]))
    assert made["name"] == record.name
    rows, _, about = made["label"].partition(" · ")
    assert "table8/1" in rows.split() and about.endswith(", seed 0, MPJPE 70.0 mm")
    assert made["curves"]["train loss"] == [[1], [0.5]]
    assert made["curves"]["val mpjpe"] == [[1, 10, 60], [170.0, 80.0, 71.667]]
    assert set(made["curves"]) == {"train loss", "val mpjpe", "val p_mpjpe"}


def test_a_long_log_is_thinned_to_its_end(tmp_path: Path) -> None:
    record = load_record(write_record(tmp_path, {}, 70.0))
    lines = [{"kind": "train", "step": n, "loss": float(n)} for n in range(1, 1002)]
    run = Record(record.path, record.config, record.result, lines, record.env)
    steps, values = data_of(curves_page([run]))[0]["curves"]["train loss"]
    assert len(steps) <= MAX_POINTS and steps[-1] == values[-1] == 1001


def test_a_name_cannot_end_the_script_and_no_log_is_no_list(tmp_path: Path) -> None:
    record = load_record(write_record(tmp_path, {}, 70.0))
    result = record.result | {"data": record.result["data"] | {"name": "</script><b>"}}
    run = Record(record.path, record.config, result, record.metrics, record.env)
    page = curves_page([run])
    assert "</script><b>" not in page and "</script><b>" in data_of(page)[0]["label"]
    assert "None yet" in curves_page([Record(record.path, record.config, result, [], {})])
