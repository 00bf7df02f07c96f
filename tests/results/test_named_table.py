"""Tables by name: what is printed and what was measured, in four forms that lose nothing."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from fakes.suite import write_record

from m2v_lib.cli import main
from m2v_lib.config import ConfigError
from m2v_lib.experiments.tables import tables as list_of_tables
from m2v_lib.results import paper, tables
from m2v_lib.results.leaderboard.board import Cost
from m2v_lib.results.named_table import named_table, suite_settings
from m2v_lib.results.per_action import curves_on_motion_capture
from m2v_lib.results.printed import printed_blocks
from m2v_lib.results.render import Block
from m2v_lib.results.text_forms import FORMS, to_csv, to_latex, to_text
from m2v_lib.runs.records import Record, find_records

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return find_records(ROOT / "reports" / "records")


def costs(table: str, settings: object) -> dict[int, Cost]:
    return {row.row: Cost(1000, 1e6) for row in tables.rows(table)}


NAMES = [table.name for table in list_of_tables()]


def test_the_papers_tables_and_this_projects_have_names() -> None:
    assert {f"table{n}" for n in range(1, 9)} | {"figure6", "leaderboard"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_table_has_blocks_of_full_lines(name: str, records: list[Record]) -> None:
    blocks = named_table(name, records, costs)
    assert blocks
    for block in blocks:
        assert {len(line) for line in block.lines} <= {len(block.columns)}, block.title


@pytest.mark.parametrize("name", [full for full in paper.TITLES if not full.startswith("fig6")])
def test_every_printed_value_is_in_its_table(name: str) -> None:
    (block,) = (b for b in printed_blocks(name.partition("_")[0]) if paper.TITLES[name] in b.title)
    cells = [cell for line in block.lines for cell in line]
    for line in paper.table(name):
        if line["value"] is not None:
            assert str(line["value"]) in cells, line


def test_a_label_that_is_printed_twice_has_two_rows() -> None:
    (block,) = printed_blocks("table7")
    twice = [line for line in block.lines if line[:2] == ("0", "20")]
    assert len(twice) == 2 and twice[0] != twice[1]


def test_of_the_figures_logs_only_what_is_drawn_is_shown() -> None:
    drawn = [line for line in paper.table("fig6_logs_from_history") if line["in_figure"]]
    block = printed_blocks("figure6")[-1]
    cells = [cell for line in block.lines for cell in line[1:] if cell]
    assert cells == [str(line["test_loss"]) for line in drawn]


def test_a_curve_is_shown_by_its_ends(records: list[Record]) -> None:
    (block,) = (b for b in named_table("figure6", records, costs) if "measured here" in b.title)
    _, curves = curves_on_motion_capture("figure6", records)
    ends = [(f"{values[0]:.4g}", f"{values[-1]:.4g}") for _, values in curves.values()]
    assert [tuple(line[2:]) for line in block.lines] == ends
    assert any(first != last for first, last in ends)


def test_measured_numbers_are_those_of_the_built_table(records: list[Record]) -> None:
    frame = tables.on_motion_capture("table8", records)
    blocks = named_table("table8", records, costs)
    measured = next(block for block in blocks if block.title.startswith("table8: Measured here"))
    at = measured.columns.index("MPJPE (mm)")
    means = [line[at].split(" ")[0] for line in measured.lines]
    ran = frame["n_seeds"] > 0
    assert means == [f"{v:.1f}" if r else "" for v, r in zip(frame["mpjpe"], ran, strict=True)]


def test_an_unknown_name_and_suite_are_refused(records: list[Record]) -> None:
    with pytest.raises(ConfigError, match="unknown table 'table9'; choose one of table1"):
        named_table("table9", records, costs)
    with pytest.raises(ConfigError, match="must be DATA-PRESET-RECIPE, got 'nope'"):
        suite_settings("nope")
    with pytest.raises(ConfigError, match="the nearest is 'smoke'"):
        suite_settings("synthetic-smok-paper")
    assert suite_settings("my-data-small-released")["data"] == "my-data"


def test_a_suite_shows_its_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("M2V_RUNS", str(tmp_path / "runs"))
    write_record(tmp_path / "runs", {"finetune.init": "pretrained"}, 70.4)
    assert main(["table", "table8", "--suite", "synthetic-smoke-paper", "--as", "csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    (line,) = (line for line in lines if line["state"] == "synthetic" and line["row"] == "1")
    assert line["MPJPE (mm)"] == "70.4" and line["runs"].startswith("finetune-synthetic-smoke")


def test_without_records_only_the_print_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["table", "table6"]) == 0
    shown = capsys.readouterr()
    assert "Table VI, as printed" in shown.out and "no run records under" in shown.err


TRICKY = Block(
    "A title with 50 % & more",
    ("name_1", "value"),
    [("a & b_c {x #1 $2 ~ ^ \\", "1.5 ± 0.2"), ("<P=0.6> | K→8", "")],
    runs=[("run-s0", "run-s1"), ()],
    notes=("A note.",),
)


def test_latex_is_escaped_and_balanced() -> None:
    text = to_latex([TRICKY])
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [1, 1, 1]
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    bare = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[&%$#_{}]|\$\\?[a-z]+\$", "", body)
    assert not set(bare) & set("%$#_~^<>|±→"), bare
    assert "1.5 $\\pm$ 0.2" in text and r"\begin{tabular}{lr}" in text


@pytest.mark.parametrize("name", NAMES)
def test_latex_of_every_table_is_ascii(name: str, records: list[Record]) -> None:
    for line in to_latex(named_table(name, records, costs)).splitlines():
        left = line.replace("’", "")
        assert left.isascii(), line


def test_csv_is_read_back_with_its_runs() -> None:
    other = Block("Another", ("name_1", "note"), [("x", 'a, "quoted" text')])
    lines = list(csv.DictReader(io.StringIO(to_csv([TRICKY, other]))))
    assert [line["table"] for line in lines] == [TRICKY.title] * 2 + ["Another"]
    assert lines[0]["runs"] == "run-s0 run-s1" and lines[0]["name_1"] == TRICKY.lines[0][0]
    assert lines[2]["note"] == 'a, "quoted" text' and lines[2]["value"] == ""


def test_text_wraps_long_cells_in_columns() -> None:
    long = Block("T", ("label", "n"), [("word " * 20, "1"), ("short", "2")])
    lines = to_text([long]).splitlines()
    assert max(map(len, lines)) < 60
    assert [line.split()[-1] for line in lines if line.endswith(("1", "2"))] == ["1", "2"]
    assert len({line.index(line.split()[-1]) for line in lines if line.endswith(("1", "2"))}) == 1


def test_the_command_knows_all_forms() -> None:
    from m2v_lib.cli import parser

    for form in FORMS:
        assert parser().parse_args(["table", "table1", "--as", form]).form == form
