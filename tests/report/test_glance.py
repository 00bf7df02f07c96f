"""The front page's overview and findings: counted from records, linked to cells that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from m2v_lib.experiments.tables import tables as list_of_tables
from m2v_lib.report.glance import FINDINGS, at_a_glance, findings, slug, tables_page
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
        "8 not run",
        "2 mocap, partial schedule 6 not run",
        "8 not run",
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
    linked = findings(["59_paper_vs_code"], [])
    assert "([shown here](59_paper_vs_code.ipynb#stage-1-rerun-teacher-and-targets))" in linked
    assert "(chapter 52_table3)" in linked and linked.count("](") == 1


def test_chapters_and_headings_exist() -> None:
    for chapter in {table.chapter for table in list_of_tables()}:
        assert (NOTEBOOKS / f"{chapter}.ipynb").is_file()
    for chapter, heading in FINDINGS.values():
        read = json.loads((NOTEBOOKS / f"{chapter}.ipynb").read_text(encoding="utf-8"))
        lines = [
            line.strip()
            for cell in read["cells"]
            for line in cell["source"]
            if cell["cell_type"] == "markdown"
        ]
        assert f"## {heading}" in lines, chapter
    assert slug("How much of it can be $P$ and $K$?") == "how-much-of-it-can-be-p-and-k"


def test_the_last_finding_is_the_answer_that_the_records_give() -> None:
    nothing = findings([], [])
    assert "training from scratch: not run; as the" in nothing
    assert nothing.count("as the paper says not run; as released not run.") == 2
    records = [
        run("label-scarcity", row, seed=s, mpjpe=90.0 - row + s)
        for row in (1, 2, 3)
        for s in (0, 1, 2)
    ]
    text = findings([], records)
    assert (
        "training from scratch: -2.0 mm (95 % interval -2.0 to -2.0, 3 seeds): better beyond the "
        "noise;" in text
    )
    assert (
        "test subjects' 2D: -1.0 mm (95 % interval -1.0 to -1.0, 3 seeds): better beyond the noise."
        in text
    )
    assert "preset small" in text and "1.3 mm apart" in text and "0.2 mm, from one run" in text
    assert [line[:2] for line in text.splitlines()] == ["1.", "2.", "3.", "4.", "5."]


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
