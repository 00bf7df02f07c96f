"""`m2v runs`: which rows a run stands behind, and what tells two runs apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.suite import write_record

from m2v_lib.cli import main
from m2v_lib.results.run_rows import condensed, rows_of_runs
from m2v_lib.runs.records import load_record


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two finished runs, the second of another length and another error, and nothing else."""
    monkeypatch.setenv("M2V_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    first = write_record(tmp_path / "runs", {"finetune.init": "pretrained"}, 70.0)
    second = write_record(tmp_path / "runs", {"run.max_steps": 7, "model.dim": 32}, 90.0)
    for folder, error in ((first, 60.0), (second, 85.5)):
        result = json.loads((folder / "result.json").read_text())
        result["test"]["per_action"] = {"walk": {"mpjpe": error}}
        (folder / "result.json").write_text(json.dumps(result))
    return [first, second]


def test_a_run_belongs_to_the_rows_of_its_settings(runs: list[Path]) -> None:
    found = rows_of_runs(map(load_record, runs))
    assert "table8/1" in found[runs[0].name] and found[runs[1].name] == ()
    assert condensed(found[runs[0].name]).split()[0].count("/") == 1


def test_the_list_is_cut_to_a_row(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    listed = capsys.readouterr().out
    assert all(run.name in listed for run in runs)
    assert main(["runs", "--row", "table8/1"]) == 0
    shown = capsys.readouterr().out
    assert runs[0].name in shown and runs[1].name not in shown and "MPJPE 70.0 mm" in shown
    assert main(["runs", "--row", "table8/2"]) == 0
    assert capsys.readouterr().out == "no finished run of table8/2 yet\n"
    assert main(["runs", "--row", "table8/99"]) == 2


def test_one_run_is_shown_by_a_piece_of_its_name(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    piece = runs[1].name.split("-")[-2]
    assert main(["runs", "show", piece]) == 0
    shown = capsys.readouterr().out
    assert runs[1].name in shown and "model.dim                  32" in shown
    assert main(["runs", "show", "finetune"]) == 2
    assert "must name one run, but 2 runs" in capsys.readouterr().err


def test_two_runs_differ_by_settings_numbers_and_actions(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(run.name for run in runs)]) == 0
    lines = {
        line.split()[0]: line.split()[1:]
        for line in capsys.readouterr().out.splitlines()
        if line.strip()
    }
    assert lines["model.dim"] == ["16", "32"] and lines["run.max_steps"][1] == "7"
    assert lines["mpjpe"] == ["70.00", "90.00", "+20.00"]
    assert lines["walk"] == ["60.00", "85.50", "+25.50"]
    assert "model.n_layers" not in lines
