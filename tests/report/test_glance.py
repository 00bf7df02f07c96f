"""The front page's overview and answers: counted from records, linked to cells that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from m2v_lib.experiments.tables import tables as list_of_tables
from m2v_lib.report.answers import SHOWN, answers, claims_settled, slug
from m2v_lib.report.badges import with_badges
from m2v_lib.report.collect import SuiteRun
from m2v_lib.report.glance import at_a_glance, tables_page
from m2v_lib.results import tables
from m2v_lib.runs.records import Record

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SHORT = {"steps": 60, "epochs_done": 2.5, "epochs_full": 60, "partial": True}


def run(
    group: str,
    row: int,
    data: str = "mocap",
    preset: str = "small",
    seed: int = 0,
    mpjpe: float = 90.0,
) -> Record:
    budget = tables.budget(preset, group) if data == "mocap" else {}
    exp = tables.rows(group)[row - 1].experiment(data=data, preset=preset, overrides=budget)
    stage = tables.rows(group)[row - 1].stage
    result: dict[str, Any] = {
        "stage": stage,
        "digest": exp.digest(stage),
        "seed": seed,
        "preset": preset,
        "schedule": SHORT,
        "selected": "last",
        "data": {"name": data, "fingerprint": "f", "protocol": "p", "input_2d": "detected"},
    }
    if stage == "finetune":
        result["test"] = {"mpjpe": mpjpe, "p_mpjpe": 60.0}
    return Record(Path(f"{group}-{row}-s{seed}"), exp.to_dict(), result, [], {})


def cells(text: str, title: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} ")]
    return [re.sub(r"<[^>]+>", "", cell).strip() for cell in line.strip("|").split("|")]


def test_every_table_of_the_paper_is_there_with_the_states_of_its_rows() -> None:
    records = [
        run("table8", 1),
        run("table8", 2),
        run("table5", 3, data="synthetic", preset="smoke"),
        run("figure6", 1),
    ]
    settings = {
        "data": "synthetic",
        "preset": "smoke",
        "recipe": "paper",
        "overrides": {},
        "seeds": [0],
    }
    text = at_a_glance(settings, [], records)
    assert cells(text, "Table VIII")[2:] == [
        "11 not run",
        "4 mocap, partial schedule 7 not run",
        "11 not run",
    ]
    assert cells(text, "Table V")[2:] == ["6 not run", "6 not run", "1 synthetic 5 not run"]
    assert cells(text, "Figure 6")[2:] == [
        "6 not run",
        "1 mocap, partial schedule 5 not run",
        "6 not run",
    ]
    assert (
        cells(text, "Table I")[2] == "4 not run" and cells(text, "Table III")[2] == "counted here"
    )
    on_mocap = at_a_glance({**settings, "data": "mocap"}, [], records)
    assert len(cells(on_mocap, "Table VIII")) == 4, (
        "no third column where the suite is on motion capture"
    )


def test_chapters_are_linked_only_where_they_are_in_the_book() -> None:
    assert "[Table V](55_table5.ipynb)" in at_a_glance({}, ["55_table5"], [])
    assert "](" not in at_a_glance({}, [], [])
    linked = answers(["59_paper_vs_code"], [], None)
    assert "[59](59_paper_vs_code.ipynb#stage-1-rerun-teacher-and-targets)" in linked
    assert "| 52 |" in linked and linked.count("](") == 2


def test_chapters_and_headings_exist() -> None:
    for chapter in {table.chapter for table in list_of_tables()}:
        assert (NOTEBOOKS / f"{chapter}.ipynb").is_file()
    for chapter, heading in SHOWN.values():
        read = json.loads((NOTEBOOKS / f"{chapter}.ipynb").read_text(encoding="utf-8"))
        lines = [
            line.strip()
            for cell in read["cells"]
            for line in cell["source"]
            if cell["cell_type"] == "markdown"
        ]
        assert f"## {heading}" in lines, chapter
    assert slug("How much of it can be $P$ and $K$?") == "how-much-of-it-can-be-p-and-k"


def test_what_holds_when_trained_is_what_the_records_give() -> None:
    nothing = answers([], [], None)
    assert "Pre-training" not in nothing and "not run" in nothing
    records = [
        run("label-scarcity", row, seed=s, mpjpe=90.0 - 9 * row + s)
        for row in (1, 2, 3)
        for s in (0, 1, 2)
    ]
    text = answers([], records, (3, 4, 1))
    assert "of 8, **3** hold, **4** are contradicted, 1 can't be decided" in text
    by_paper, released = (
        cells(text, f"Pre-training {how}, all labels (small)")[1:]
        for how in ("as in the paper", "as released")
    )
    assert by_paper[0] == "-18.0 mm" and released[0] == "-9.0 mm"
    assert re.fullmatch(r"better 95 % CI -\d+\.\d to -\d\d\.\d, 3 seeds", by_paper[1])
    assert 'href="runs.html#label-scarcity-3-s0"' in text
    near = [run("label-scarcity", r, seed=s, mpjpe=90 + s) for r in (1, 3) for s in (0, 1)]
    assert "within seed noise" in answers([], near, None)


def test_the_claims_are_those_that_the_audit_printed(tmp_path: Path) -> None:
    nothing = SuiteRun("records", {}, ())
    assert claims_settled(nothing, tmp_path) is None
    settled = claims_settled(nothing, NOTEBOOKS)
    assert settled and sum(settled) > 40 and min(settled) > 0


def test_a_measured_cell_leads_to_its_runs_and_a_published_one_to_none() -> None:
    page = tables_page([run("table8", 1, mpjpe=91.25, seed=s) for s in (0, 1)])
    assert '<a href="runs.html#table8-1-s0">91.2 ± 0.0</a>' in page
    assert '<a href="runs.html#table8-1-s1">1</a>' in page
    assert not re.search(r"<a [^>]*>38\.4", page)
    frame = tables.on_motion_capture("table8", [run("table8", 1, mpjpe=91.25)])
    assert "<a " not in with_badges(frame, ["another run"]), "the runs page does not list it"


def test_the_page_of_all_tables_never_mixes_measured_and_published() -> None:
    page = tables_page([run("table8", 1, mpjpe=91.25)])
    blocks = re.findall(r"<table.*?</table>", page, re.DOTALL)
    assert any("91.2" in block and "m2v-mocap-partial-schedule" in block for block in blocks)
    assert [
        block for block in blocks if "38.4" in block and ("91.2" in block or "not run" in block)
    ] == []
    for title in (
        "Table I:",
        "Table II:",
        "Table IV:",
        "Table V:",
        "Table VI:",
        "Table VII:",
        "Table VIII:",
    ):
        assert title in page
