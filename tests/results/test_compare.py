"""Runs beside each other: the paired test against sums by hand, curves as text."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
from fakes.suite import write_record

from m2v_lib.cli import main
from m2v_lib.results.compare import (
    HEIGHTS,
    common_actions,
    learning_curve,
    paired_difference,
    settings_that_differ,
    sparkline,
)
from m2v_lib.runs.records import Record, load_record

ACTIONS = {"walk": (60.0, 62.0), "run": (70.0, 71.5), "jump": (80.0, 83.5), "fight": (90.0, 91.0)}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    monkeypatch.setenv("M2V_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    folders = [
        write_record(tmp_path / "runs", {"run.seed": seed, "model.dim": dim}, 70.0)
        for seed, dim in ((0, 16), (1, 16), (0, 32))
    ]
    for n, folder in enumerate(folders):
        result = json.loads((folder / "result.json").read_text())
        errors = {name: {"mpjpe": pair[min(n, 1)]} for name, pair in ACTIONS.items()}
        result["test"]["per_action"] = errors
        (folder / "result.json").write_text(json.dumps(result))
    return [load_record(folder) for folder in folders]


def test_the_paired_difference_by_hand() -> None:
    reference, ours = zip(*ACTIONS.values(), strict=True)
    found = paired_difference(ours, reference)

    d = [b - a for a, b in ACTIONS.values()]
    mean = sum(d) / 4
    sd = math.sqrt(sum((x - mean) ** 2 for x in d) / 3)
    half = 3.182446305 * sd / math.sqrt(4)  # t quantile of three degrees of freedom
    assert (found.n, found.mean) == (4, mean)
    assert found.low == pytest.approx(mean - half) and found.high == pytest.approx(mean + half)

    # all sixteen signs of the ranks: two of them are as extreme as all positive
    ranks = [1, 2, 3, 4]
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s)
        for signs in itertools.product((0, 1), repeat=4)
    ]
    assert found.p == pytest.approx(2 * sum(s >= 10 for s in sums) / len(sums))


def test_too_few_pairs_and_constant_differences_have_no_interval() -> None:
    assert math.isnan(paired_difference([1.0, 2.0], [0.0, 3.0]).low)
    same = paired_difference([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])
    assert same.mean == 1.0 and math.isnan(same.low) and math.isnan(same.p)


def test_three_runs_differ_by_seed_and_width(runs: list[Record]) -> None:
    assert settings_that_differ(runs) == {"model.dim": (16, 16, 32), "run.seed": (0, 1, 0)}
    assert common_actions(runs)["jump"] == (80.0, 83.5, 83.5)


def test_the_command_shows_settings_actions_test_and_curves(
    runs: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(run.name for run in runs)]) == 0
    shown = capsys.readouterr().out
    assert "paired over 4 actions" in shown and "  C - A +2.00 mm, 95 % CI" in shown
    assert "val mpjpe, steps 1 to 60" in shown and shown.count("170 to 71.67") == 3
    assert main(["compare", runs[0].name]) == 2
    assert "compare takes 2 to 26 runs, got 1" in capsys.readouterr().err


def test_other_data_is_not_compared_silently(
    runs: list[Record], capsys: pytest.CaptureFixture[str]
) -> None:
    result = runs[1].path / "result.json"
    result.write_text(result.read_text().replace("f" * 64, "e" * 64))
    assert main(["compare", runs[0].name, runs[1].name]) == 0
    assert "another data fingerprint" in capsys.readouterr().out


def test_a_curve_as_text_falls_holds_and_ends() -> None:
    text = sparkline(([1, 50, 75], [8.0, 4.5, 1.0]), 100, 1.0, 8.0, width=10)
    assert text == HEIGHTS[7] * 4 + HEIGHTS[4] * 3 + HEIGHTS[0] + "  "
    assert sparkline(([], []), 10, 0.0, 1.0, width=4) == "    "


def test_the_training_loss_stands_in_where_validation_is_rare(runs: list[Record]) -> None:
    assert learning_curve(runs[0])[0] == "val mpjpe"
    trained = ({"kind": "train", "step": s, "loss": 1 / s, "mpjpe": s} for s in (1, 2, 4))
    rare = [runs[0].metrics[0], *trained]
    run = Record(runs[0].path, {}, {}, rare, {})
    assert learning_curve(run) == ("train loss", ([1, 2, 4], [1.0, 0.5, 0.25]))
    assert learning_curve(run, "val mpjpe")[1][0] == [1]
