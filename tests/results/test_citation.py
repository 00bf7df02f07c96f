"""`m2v cite`: what stands behind a number, and BibTeX from CITATION.cff."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fakes.suite import write_record

from m2v_lib.cli import main
from m2v_lib.experiments.rows import row_of
from m2v_lib.results import tables
from m2v_lib.results.citation import bibtex, facts_of_row
from m2v_lib.runs.records import find_records

ROOT = Path(__file__).resolve().parents[2]


def test_bibtex_has_the_paper_and_this_software() -> None:
    given = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    paper, software = bibtex(ROOT / "CITATION.cff").split("\n\n")
    assert (
        paper.startswith("@article{motion2vec,") and given["preferred-citation"]["title"] in paper
    )
    assert "author = {Ye, Mingrui and Yang, Lianping and" in paper
    assert software.startswith("@software{m2v,") and "author = {{The m2v contributors}}" in software
    assert f"version = {{{given['version']}}}" in software
    for entry in (paper, software):
        assert entry.count("{") == entry.count("}")


def test_a_measured_number_has_all_that_stands_behind_it() -> None:
    records = find_records(ROOT / "reports" / "records")
    line = tables.on_motion_capture("table8", records).set_index("row").loc[2]
    (facts,) = facts_of_row(row_of("table8/2"), records)
    assert facts["records"].split() == list(line["runs"])
    assert facts["MPJPE (mm)"].startswith(f"{line['mpjpe']:.1f} ± ")
    assert facts["seeds"] == "; ".join(map(str, sorted(line["by_seed"])))
    assert facts["printed"] == "38.6 / 32.6 (Table VIII, row 2; not the same quantity)"
    assert {"data", "protocol", "preset", "steps", "commit", "device"} <= set(facts)


def test_a_row_that_never_ran_has_only_what_is_printed() -> None:
    (facts,) = facts_of_row(row_of("table8/2"), [])
    assert facts["state"] == "not run" and "records" not in facts and "MPJPE (mm)" not in facts


def test_a_run_is_cited_by_a_part_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_record(tmp_path / "reports" / "records", {}, 43.2, data="mocap")
    assert main(["cite", folder.name[-11:]]) == 0
    shown = capsys.readouterr().out
    assert f"records      {folder.name}" in shown and "commit       0123456789ab\n" in shown
    assert "protocol     mocap protocol" in shown and "@software{m2v," in shown
    assert main(["cite", "nothing"]) == 2
    assert "must name one run, but none has" in capsys.readouterr().err
