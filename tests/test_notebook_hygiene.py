"""Every chapter can be read without being run, takes its settings from outside, and stays small
and portable.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.runs.records import find_records

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTERS = sorted(FOLDER.glob("*.ipynb"))
EXPECTED = {
    "00_start_here",
    "10_human36m",
    "11_mpi_inf_3dhp",
    "12_ntu_rgbd",
    "13_synthetic_motion",
    "14_motion_capture",
    "15_keypoints_from_anywhere",
    "20_skeleton_embedding",
    "21_attention",
    "22_graph_convolution",
    "23_adaptive_fusion",
    "24_whole_model",
    "25_losses_metrics",
    "26_speed_and_memory",
    "30_masking",
    "31_teacher_targets",
    "32_pretrain",
    "40_finetune",
    "41_finetune_3dhp",
    "42_finetune_action",
    "50_table1",
    "51_table2",
    "52_table3",
    "53_table4",
    "54_figure6",
    "55_table5",
    "56_table6",
    "57_table7",
    "58_table8",
    "59_paper_vs_code",
    "60_qualitative",
    "61_in_the_wild",
    "62_attention_maps",
    "63_open_leaderboard",
    "70_any_skeleton",
    "27_lifters_convolution",
    "28_lifters_transformer",
    "29_lifters_graph",
}
#: what every chapter takes, with the smoke preset's values
COMMON = {"preset": "smoke", "recipe": "paper", "data": "synthetic", "seed": 0, "overrides": {}}
TAGS = {
    "parameters",
    "solution",
    "nbval-ignore-output",
    "nbval-skip",
    "hide-input",
    "hide-output",
    "hide-cell",
}
LARGEST = 700_000  # bytes
LONGEST = 36  # lines of a cell; more belongs in the library
ABSOLUTE = re.compile(
    r"(?<![\w.:/])(/(home|root|tmp|usr|opt|work|mnt|data|Users|private)/|[A-Z]:\\\\)"
)

each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def tags(cell: dict[str, Any]) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def texts(path: Path) -> list[str]:
    """All a reader sees as text: sources and text outputs, without pictures."""
    found = [source(cell) for cell in read(path)["cells"]]
    for cell in cells(path, "code"):
        for output in cell["outputs"]:
            found.append("".join(output.get("text", "")))
            data = output.get("data", {})
            found += ["".join(value) for mime, value in data.items() if mime.startswith("text/")]
    return found


def test_the_chapters_are_there() -> None:
    assert EXPECTED - {path.stem for path in CHAPTERS} == set()
    name = re.compile(r"[0-7]\d_[a-z0-9]+(_[a-z0-9]+)*\.ipynb")
    assert [path.name for path in CHAPTERS if not name.fullmatch(path.name)] == []


@each_chapter
def test_begins_with_a_title_and_a_goal(path: Path) -> None:
    first = read(path)["cells"][0]
    assert first["cell_type"] == "markdown"
    title, _, goal = source(first).partition("\n")
    assert re.match(r"# \S", title), "the first cell begins with the chapter's title"
    assert len(goal.split()) >= 10, "the first cell says the goal in a sentence or two"
    titles = [
        line
        for cell in cells(path, "markdown")
        for line in source(cell).splitlines()
        if re.match(r"# \S", line)
    ]
    assert len(titles) == 1, "one title a page"


@each_chapter
def test_the_first_code_cell_holds_the_parameters(path: Path) -> None:
    code = cells(path, "code")
    assert [tags(cell) for cell in code if "parameters" in tags(cell)] == [["parameters"]]
    assert "parameters" in tags(code[0])
    values = {}
    for line in source(code[0]).strip().splitlines():
        match = re.fullmatch(r"(\w+): (str|int|float|bool|list|dict) = (.+?)  # (.+)", line)
        assert match, f"not 'name: type = value  # help': {line}"
        assert "=" not in match.group(4), f"papermill drops a help text with an equals sign: {line}"
        values[match.group(1)] = ast.literal_eval(match.group(3))
    assert COMMON.items() <= values.items()


@each_chapter
def test_has_been_run_from_top_to_bottom(path: Path) -> None:
    code = [cell for cell in cells(path, "code") if source(cell).strip()]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert any(cell["outputs"] for cell in code), "without stored outputs nbval compares nothing"


@each_chapter
def test_stored_outputs_hold_no_error_and_no_warning(path: Path) -> None:
    outputs = [output for cell in cells(path, "code") for output in cell["outputs"]]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert ["".join(output["text"]) for output in outputs if output.get("name") == "stderr"] == []


@each_chapter
def test_is_small_and_made_of_short_cells(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    long = [
        source(cell) for cell in cells(path, "code") if len(source(cell).splitlines()) > LONGEST
    ]
    assert long == []


@each_chapter
def test_runs_on_any_machine(path: Path) -> None:
    metadata = read(path)["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert set(metadata) <= {"kernelspec", "language_info"}, (
        "no widget state, no trace of a batch run"
    )
    assert [text for text in texts(path) if ABSOLUTE.search(text)] == []
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    forbidden = r"\.\./|os\.chdir|^\s*[%!]|urlopen|urlretrieve|requests\.|wget|input\("
    assert re.findall(forbidden, code, re.MULTILINE) == []


@each_chapter
def test_stored_tables_on_real_motion_are_those_of_the_kept_records(path: Path) -> None:
    """nbval leaves these cells out, so that new records break no chapter; but what is committed
    says the same.
    """
    for cell in cells(path, "code"):
        if shown := re.search(r'on_motion_capture\("([\w-]+)", kept\)\ntables\.show', source(cell)):
            tables = pytest.importorskip("m2v_lib.results.tables")
            kept = find_records(FOLDER.parent / "reports" / "records")
            expected = tables.to_markdown(tables.on_motion_capture(shown[1], kept))
            (output,) = cell["outputs"]
            assert "".join(output["data"]["text/markdown"]) == expected, (
                "run `make outputs` and commit"
            )


@each_chapter
def test_pages_load_nothing_from_elsewhere(path: Path) -> None:
    for text in texts(path):
        assert (
            re.findall(
                r"""<(?:script|img|link|iframe)[^>]+(?:src|href)=["']?(?:https?:)?//""", text
            )
            == []
        )
        assert re.findall(r"!\[[^\]]*\]\((?:https?:)?//", text) == []


@each_chapter
def test_tags_are_known_and_worked_answers_follow_a_question(path: Path) -> None:
    code = cells(path, "code")
    assert {tag for cell in read(path)["cells"] for tag in tags(cell)} - TAGS == set()
    for before, cell in zip(code, code[1:], strict=False):
        if "solution" in tags(cell):
            assert re.search(r"^\w+ = None\b", source(before), re.MULTILINE), (
                "the cell before asks the question"
            )
            assert "nb.check" in source(before) and "nb.check" in source(cell)


@each_chapter
def test_a_check_does_not_show_its_answer_and_a_solution_is_folded(path: Path) -> None:
    """In Jupyter Lab by `source_hidden`; the book folds the tag."""
    for cell in cells(path, "code"):
        for call in checks(source(cell)):
            assert len(call.args) == 1 or isinstance(call.args[1], ast.Name), source(cell)
            if len(call.args) == 1:
                assert {"sealed"} <= {keyword.arg for keyword in call.keywords}, source(cell)
        if "solution" in tags(cell):
            assert cell["metadata"]["jupyter"] == {"source_hidden": True}


def checks(text: str) -> list[ast.Call]:
    """The calls of `nb.check`."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) == "nb.check"]


@pytest.mark.parametrize(
    "path", [p for p in CHAPTERS if p.stem[0] in "234"], ids=lambda path: path.stem
)
def test_three_exercises_of_which_one_is_code_to_write(path: Path) -> None:
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    asked = re.findall(r"^\*\*(\d, \w+)\.\*\*", text, re.MULTILINE)
    assert asked == ["1, check", "2, change", "3, extend"]
    solved = [cell for cell in cells(path, "code") if "solution" in tags(cell)]
    assert len(solved) == 3 and "nb.check_code(mine," in source(solved[-1])
    for cell in solved:
        assert "".join(text for output in cell["outputs"] for text in output["text"]) == "right\n"


@each_chapter
def test_says_what_it_needs_what_it_found_and_where_to_read_on(path: Path) -> None:
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    assert re.search(r"^\*\*Before this:\*\* .+glossary", text, re.MULTILINE)
    assert re.search(r"^## In short\n\n- ", text, re.MULTILINE)
    assert re.search(r"\]\(https?://", text.partition("## References")[2])


@each_chapter
def test_pictures_are_described(path: Path) -> None:
    """A picture's `alt` metadata is its text in the book for who cannot see it."""
    for cell in cells(path, "code"):
        mimes = {mime for output in cell["outputs"] for mime in output.get("data", {})}
        if mimes & {"image/png", "image/svg+xml", "application/vnd.plotly.v1+json"}:
            assert len(cell["metadata"].get("alt", "").split()) >= 3, source(cell)


@each_chapter
def test_cells_have_ids_of_their_own(path: Path) -> None:
    ids = [cell.get("id") for cell in read(path)["cells"]]
    assert None not in ids and len(set(ids)) == len(ids)


@each_chapter
def test_imports_the_library_and_never_another_chapter(path: Path) -> None:
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    assert re.search(r"^(from|import) m2v_lib\b", code, re.MULTILINE)
    assert not re.search(r"^\s*(from|import) (notebooks|\d\d_)", code, re.MULTILINE)


@each_chapter
def test_links_lead_to_chapters_that_exist(path: Path) -> None:
    for cell in cells(path, "markdown"):
        for name in re.findall(r"\]\(([^)#:]+\.ipynb)\)", source(cell)):
            assert (FOLDER / name).is_file(), f"{path.name} links to {name}"
