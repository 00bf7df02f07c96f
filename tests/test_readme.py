"""The front page: three doors in few lines whose commands exist, chapters and results in lists that
are the files'; no number is typed.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest

from m2v_lib import cli, lift, weights
from m2v_lib.experiments import queue
from m2v_lib.experiments import tables as listed
from m2v_lib.report.pages.results import ERRORS, QUESTION, results_page
from m2v_lib.results import effects, tables
from m2v_lib.runs.records import find_records, load_record

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORDS = ROOT / "reports" / "records"
DOORS = ("Learn", "Reproduce", "Lift a video")
MAX_WORDS = 1200
MAX_DOOR_LINES = 8
#: Documents with `m2v` commands in code blocks.
COMMANDED = ("README.md", "CONTRIBUTING.md", "docs/cluster.md", "docs/install.md")
#: A command of the documents' code blocks: at the start of a line, after `&&`, or by its path.
COMMAND = re.compile(r"(?:^|&& |\.venv/bin/)m2v ([a-z][^\n`#]*)", re.MULTILINE)


def section(title: str) -> list[str]:
    """The lines of a section that are not empty, without its heading."""
    body = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [line for line in body.splitlines() if line.strip()]


def test_the_readme_is_short_and_begins_with_three_doors() -> None:
    assert len(README.split()) <= MAX_WORDS
    assert tuple(re.findall(r"^## (.+)$", README, re.MULTILINE)[:3]) == DOORS


@pytest.mark.parametrize("door", DOORS)
def test_a_door_is_at_most_eight_lines(door: str) -> None:
    assert len(section(door)) <= MAX_DOOR_LINES


def test_the_readme_keeps_the_two_commands_and_the_thanks() -> None:
    lines = [line.split("#")[0].strip() for line in section("Reproduce")]
    assert "make reproduce" in lines and "make reproduce DATA=mocap" in lines

    text = " ".join(README.split())
    assert "The data used in this project was obtained from mocap.cs.cmu.edu." in text
    assert "NSF EIA-0196217" in text and "Apache-2.0" in text
    assert (ROOT / "notebooks/images/overview.png").is_file() and "overview.png" in README


@pytest.mark.parametrize("name", COMMANDED)
def test_every_command_is_one(name: str) -> None:
    commands = commands_of(name)
    assert commands
    for command in commands:
        cli.parser().parse_args(shlex.split(command))  # exits where an option is not known


def commands_of(name: str) -> list[str]:
    """The commands in a document's code blocks, without comments."""
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shell = "\n".join(block for language, block in blocks if not language)
    return [command.strip() for command in COMMAND.findall(shell)]


@pytest.mark.parametrize("name", COMMANDED[:3])
def test_every_make_target_is_one(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`|&& )make ([a-z]+\d?)", text, re.MULTILINE))
    one_table = [table.make for table in listed.tables()]
    assert targets
    assert [
        target
        for target in targets
        if target not in one_table and not re.search(rf"^{target}:", makefile, re.MULTILINE)
    ] == []


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "RESULTS.md", "notebooks/README.md"]
)
def test_every_linked_file_is_there(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w.-]+)?\)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_endings_of_lifting_are_the_writers() -> None:
    endings = re.findall(r"`(\.[\w.]+)`", "\n".join(section("More on lifting")))
    assert set(endings) == set(lift.WRITERS)


def test_the_list_of_chapters_is_the_files() -> None:
    folder = ROOT / "notebooks"
    listed = re.findall(
        r"^\| \[(\d\d)\]\((\w+\.ipynb)\) \| (.+?) \| .+ \|$",
        (folder / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    files = sorted(path.name for path in folder.glob("*.ipynb"))
    assert [name for _, name, _ in listed] == files
    assert all(name.startswith(number) for number, name, _ in listed)


def test_the_equations_of_the_list_are_those_of_the_tests() -> None:
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    for numbers, chapter in re.findall(
        r"^\| ([(\d), to]+) \| \[\d\d\]\((\w+\.ipynb)\)", text, re.M
    ):
        notebook = json.loads((ROOT / "notebooks" / chapter).read_text(encoding="utf-8"))
        source = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
        for number in re.findall(r"\d+", numbers):
            assert f"Eq. ({number})" in source, (chapter, number)


def test_results_are_what_the_records_say() -> None:
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    page = results_page(find_records(RECORDS), RECORDS)
    assert text == page, "RESULTS.md is out of date: run `m2v report`"


def test_results_name_every_record_that_is_no_run_of_the_queue() -> None:
    queued = {item.name for preset in ("small", "compact", "base") for item in queue.items(preset)}
    kept = {record.name for record in find_records(RECORDS)}
    named = set(re.findall(r"reports/records/([\w.-]+)\)", (ROOT / "RESULTS.md").read_text()))
    assert kept - queued <= named <= kept
    assert load_record(weights.FOLDER).result["name"] in named, "the package's own network"


def test_each_lifting_run_stands_beside_its_own_ridge_regression() -> None:
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    text = text.partition("## Does pre-training help?")[0]
    lines = re.findall(r"\| ([\d.]+) \| [0-9a-f]{8} (\[s\d+\]\(.*\)) \|$", text, re.M)
    assert len(lines) > 10
    for printed, links in lines:
        names = re.findall(r"reports/records/(finetune-[\w.-]+)\)", links)
        results = [json.loads((RECORDS / name / "result.json").read_text()) for name in names]
        ridge = [result["baselines"]["ridge"]["mpjpe"] for result in results]
        assert printed == f"{statistics.fmean(ridge):.1f}", names


def test_results_give_the_effects_of_pretraining() -> None:
    """Each cell is an effect of its own rows, worked out once more."""
    question = tables.on_motion_capture("label-scarcity", find_records(RECORDS))
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    cells = [(metric, *line) for metric in ERRORS.items() for line in QUESTION.items()]
    for (metric, name), labels, (scratch, released, by_paper) in cells:
        about = [
            effects.describe(effects.effect_of_row(question, row, scratch, metric))
            for row in (by_paper, released)
        ]
        assert f"| {labels} | {name} | {about[0]} | {about[1]} |" in text


def test_no_records_make_a_page_without_numbers(tmp_path: Path) -> None:
    page = results_page([], tmp_path)
    assert "## Lifting" not in page and "## Speed" not in page and "mm (95" not in page


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", [t.make for t in listed.tables() if t.make])
def test_each_table_has_its_make_target(target: str) -> None:
    asked = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 0 and f"m2v rows {target} --targets" in asked.stdout, asked.stderr
