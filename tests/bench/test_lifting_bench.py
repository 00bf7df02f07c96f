"""Lifting at its largest is measured by the commands that users run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from m2v_lib.bench import lifting
from m2v_lib.bench.lifting import FILE, Case, bench_lifting, keypoints
from m2v_lib.config import ConfigError


def test_a_recording_and_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = (Case("two", 12, 2), Case("line by line", 12, 2, stream=True))
    monkeypatch.setattr(lifting, "CASES", cases)
    record = json.loads((bench_lifting(out=tmp_path, say=lambda _: None) / FILE).read_text())
    recording, stream = record["rows"]
    assert recording["poses_per_cpu_second"] == pytest.approx(
        24 / recording["cpu_seconds"], rel=0.1
    )
    assert stream["first_ms"] > stream["median_ms"] > 0
    assert all(row["peak_mib"] > 100 for row in record["rows"])


def test_a_lift_that_fails_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifting, "CASES", (Case("nobody", 0, 1),))
    with pytest.raises(ConfigError, match="ended with code"):
        bench_lifting(out=tmp_path, say=lambda _: None)


def test_people_are_apart() -> None:
    points = keypoints(Case("crowd", 5, 50))
    assert points.shape == (5, 50, 33, 3)
    middles = points[..., :2].mean((0, 2))
    gaps = abs(middles[:, None] - middles[None]).max(-1) + 1e9 * (
        middles[:, None] == middles[None]
    ).all(-1)
    assert gaps.min() > 20
