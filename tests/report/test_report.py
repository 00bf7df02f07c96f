"""The book: every run with its state, numbers of different kinds apart, and nothing that needs
torch or a network.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fakes.browser import Browser, chromium
from fakes.suite import FIGURE, SUITE, write_record, write_run, write_suite

from m2v_lib.cli.options import pair as _pair
from m2v_lib.config import ConfigError
from m2v_lib.report import build
from m2v_lib.report.collect import Page, read_suite
from m2v_lib.report.convert import command_of, convert, plotly_html
from m2v_lib.report.pages.records import records_page
from m2v_lib.runs.records import Record

ROOT = Path(__file__).resolve().parents[2]
#: builds the book in a process that cannot import torch
WITHOUT_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is not installed")
sys.meta_path.insert(0, Blocker())
from m2v_lib.report import build
print(build(reports=sys.argv[1], runs=sys.argv[2]))
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a book over the fake suite, built where torch cannot be imported."""
    reports = tmp_path_factory.mktemp("project") / "reports"
    write_suite(reports)
    command = [sys.executable, "-c", WITHOUT_TORCH, str(reports), str(reports / "runs")]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return reports / "html"


def words(page: Path) -> str:
    """The page's main text without tags, blanks folded."""
    main = re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.DOTALL)
    assert main, page
    return " ".join(re.sub(r"<[^>]+>", " ", main.group()).split())


def test_front_page_says_what_ran_and_how_it_ended(book: Path) -> None:
    text = words(book / "index.html")
    assert "Of 6 notebook runs 2 failed and 1 did not run" in text
    assert "synthetic (fingerprint ffffffffffff)" in text
    assert "smoke, paper" in text and "cpu" in text and "0123456789ab" in text


def test_front_page_compares_with_the_baselines_of_the_same_record(book: Path) -> None:
    text = words(book / "index.html")
    assert "207.0" in text and "86.0" in text and "43.2" in text and "0.50" in text
    assert "partial schedule, 60 steps, 2.5 of 60 epochs" in text
    (curve,) = [image for image in Images.of(book / "index.html") if "curve-mocap" in image["src"]]
    assert (book / curve["src"]).is_file() and "ridge stands at 86 mm" in curve["alt"]


def test_published_and_synthetic_numbers_stand_in_different_tables(book: Path) -> None:
    page = (book / "tables.html").read_text(encoding="utf-8")
    tables = re.findall(r'<table class="m2v-table">.*?</table>', page, re.DOTALL)
    measured = [table for table in tables if "70.4" in table]
    published = [table for table in tables if "38.4" in table]
    assert len(measured) >= 1 and len(published) >= 1 and not set(measured) & set(published)
    assert (
        any(t.count("not run") == 7 for t in measured) and "m2v-state m2v-synthetic" in measured[0]
    )


def test_a_measured_cell_leads_to_its_record(book: Path) -> None:
    page = (book / "tables.html").read_text(encoding="utf-8")
    (run,) = set(re.findall(r'<a href="runs.html#([^"]+)">70.4', page))
    runs = (book / "runs.html").read_text(encoding="utf-8")
    assert f'<a id="{run}">' in runs and "table8/1" in runs
    for file in ("config.yaml", "result.json", "metrics.jsonl", "env.json"):
        assert f'href="records/{run}/{file}"' in runs and (book / "records" / run / file).is_file()


def test_the_first_screen_has_no_number_of_the_smoke_suite(book: Path) -> None:
    text = words(book / "index.html").partition("All tables at a glance")[0]
    assert "Does it reproduce?" in text and "When trained, on motion capture" in text
    assert "70.4" not in text


def test_chapters_come_before_the_copies_of_training_runs(book: Path) -> None:
    order, page = [], "index.html"
    while page not in order:
        order.append(page)
        text = (book / page).read_text(encoding="utf-8")
        after = re.search(r'<a class="right-next"\s+href="([^"]+)"', text)
        page = after.group(1) if after else page
    names = [name.removesuffix(".html") for name in order]
    first, second = "40_finetune-table8-row1-s0", "40_finetune-table8-row2-s0"
    assert names.index("30_masking") + 1 == names.index(first)
    assert names.index(first) < names.index("40_finetune-runs") < names.index(second)


def test_every_run_has_a_page_and_a_failed_one_is_red(book: Path) -> None:
    broken, killed = book / "13_broken.html", book / "24_killed.html"
    for page, error in ((broken, "ZeroDivisionError: by zero"), (killed, "killed")):
        assert re.search(r'class="[^"]*danger', page.read_text(encoding="utf-8")), page
        assert "This notebook failed" in words(page) and error in words(page)
    assert "has not run" in words(book / "30_masking.html")
    assert (
        "danger"
        not in (book / "00_start_here.html").read_text(encoding="utf-8").partition("<article")[2]
    )


def test_every_page_says_how_to_run_it(book: Path) -> None:
    for page in ("00_start_here.html", "13_broken.html", "30_masking.html"):
        text = (book / page).read_text(encoding="utf-8")
        (box,) = re.findall(r'<details class="m2v-how">.*?</details>', text, re.DOTALL)
        assert "make lab" in box and f"m2v notebook notebooks/{page[:-5]}.ipynb" in box


def test_the_injected_parameters_stand_in_the_box_alone(book: Path) -> None:
    text = (book / "00_start_here.html").read_text(encoding="utf-8")
    (box,) = re.findall(r'<details class="m2v-how">.*?</details>', text, re.DOTALL)
    assert "seed = 0" in box and "seed = 0" not in words(book / "00_start_here.html").replace(
        " ".join(re.sub(r"<[^>]+>", " ", box).split()), ""
    )


def test_terms_lead_to_the_glossary_but_not_inside_html() -> None:
    page = Page("00-x", "00_x.ipynb", "chapter", "", "ok", parameters={"preset": "smoke"})
    made = convert(page, terms={"preset": "preset", "notebook": "notebook"})
    assert "glossary" not in made.cells[0].source and "preset" in made.cells[0].source


def test_the_command_of_a_page_means_the_settings_it_was_made_with() -> None:
    given = {
        "preset": "smoke",
        "data": "mocap",
        "seed": 3,
        "max_minutes": 0.5,
        "checkpoint": "",
        "label": "it's",
        "word": "yes",
        "overrides": {"finetune.init": "pretrained", "model.dim": 32},
    }
    page = Page("40-x", "40_finetune.ipynb", "chapter", "", "ok", parameters=given)
    words = shlex.split(command_of(page))
    assert words[:4] == [
        "m2v",
        "notebook",
        "notebooks/40_finetune.ipynb",
        "reports/executed/mine/40-x.ipynb",
    ]
    assert set(words[4::2]) == {"-p"}
    assert dict(_pair(word) for word in words[5::2]) == given


def test_runs_of_one_notebook_are_told_apart(book: Path) -> None:
    assert "Fine-tuning: full model, seed 0" in words(book / "40_finetune-table8-row1-s0.html")
    listing = words(book / "40_finetune-runs.html")
    assert (
        "Fine-tuning: full model, seed 0" in listing
        and "Fine-tuning: from scratch, seed 0" in listing
    )


def test_the_side_bar_has_the_numbers_by_which_texts_name_chapters(book: Path) -> None:
    page = (book / "index.html").read_text(encoding="utf-8")
    entries = re.findall(
        r'<li class="toctree-l1[^>]*><a [^>]*href="([^"]+)">\s*([^<]+?)\s*</a>', page
    )
    expected = {
        "00_start_here.html": "00 A chapter",
        "13_broken.html": "13 ✗ A broken chapter (failed)",
        "30_masking.html": "30 ○ masking (not run)",
        "40_finetune-table8-row1-s0.html": "40 Fine-tuning",
    }
    assert expected.items() <= dict(entries).items()


def test_search_fetches_no_page(book: Path) -> None:
    """A browser refuses it from disk; the index is a script and is read."""
    assert "SHOW_SEARCH_SUMMARY: false" in (
        book / "_static" / "documentation_options.js"
    ).read_text(encoding="utf-8")


def test_tables_that_a_cell_shows_are_tables(book: Path) -> None:
    page = (book / "00_start_here.html").read_text(encoding="utf-8")
    assert re.search(r"<td>\s*(<p>)?2 × 3", page) and "| name |" not in page


def test_chapters_link_to_the_pages_of_the_book(book: Path) -> None:
    page = (book / "00_start_here.html").read_text(encoding="utf-8").partition("<article")[2]
    assert 'href="40_finetune-table8-row1-s0.html"' in page and 'href="30_masking.html"' in page


def test_a_worked_answer_is_folded(book: Path) -> None:
    page = (book / "00_start_here.html").read_text(encoding="utf-8")
    assert re.search(r"<details[^>]*>(?:(?!</details>).)*answer", page, re.DOTALL)


class Images(HTMLParser):
    """All elements that make a browser fetch something; `images` with their alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.images: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        if tag == "img":
            self.images.append(values)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.fetched.append(values.get("src", ""))
        if tag == "link" and values.get("rel") not in (
            "canonical",
            "author",
            "next",
            "prev",
            "search",
            "index",
        ):
            self.fetched.append(values.get("href", ""))

    @classmethod
    def read(cls, page: Path) -> Images:
        parser = cls()
        parser.feed(page.read_text(encoding="utf-8"))
        return parser

    @classmethod
    def of(cls, page: Path) -> list[dict[str, str]]:
        return cls.read(page).images


def test_pages_and_style_sheets_name_no_other_host(book: Path) -> None:
    pages = list(book.rglob("*.html"))
    assert len(pages) > 8
    for page in pages:
        assert [
            address for address in Images.read(page).fetched if re.match(r"(https?:)?//", address)
        ] == [], page
    for sheet in book.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8", errors="replace")
        assert re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^)"']+""", text) == [], sheet


def test_pictures_have_an_alternative_text(book: Path) -> None:
    images = [image for page in book.glob("*.html") for image in Images.of(page)]
    assert len(images) >= 2
    assert [
        image for image in images if not image.get("alt") or image["alt"].startswith("_images")
    ] == []
    assert any(image["alt"] == "Figure: Maths" for image in images)


def test_figure_text_cannot_end_the_script() -> None:
    made = plotly_html(FIGURE, "plotly-a-0", "a figure", first=True)
    assert made.count("</script>") == 2
    data = re.search(r'newPlot\("plotly-a-0", (.*)\)\);', made)
    assert data and json.loads(data.group(1))["frames"] == FIGURE["frames"]


def test_a_figure_has_no_button_that_uploads_it(book: Path, browser: Browser) -> None:
    assert browser.open(book / "00_start_here.html", "document.querySelector('.modebar-btn')")
    assert browser.value(
        "[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
    ) == ["Reset camera to default"]


def test_status_that_cannot_be_read_and_half_a_notebook_are_failures(tmp_path: Path) -> None:
    write_run(tmp_path, "00_a", None, "ok")
    (tmp_path / "00_a.ipynb").write_text('{"cells": [', encoding="utf-8")
    write_run(tmp_path, "13_b", None, "ok")
    (tmp_path / "24_c.status.json").write_text("{", encoding="utf-8")
    states = {page.name: (page.state, page.error) for page in read_suite(tmp_path).pages}
    assert states["00_a"] == ("failed", "its executed notebook is not readable")
    assert states["13_b"] == ("failed", "its executed notebook is missing")
    assert states["24_c"] == ("failed", "its status file is not readable")


def test_a_record_says_its_result_in_its_own_unit() -> None:
    head = {
        **{"data": {"name": "mocap"}, "schedule": {"steps": 3}, "preset": "small"},
        **{"recipe": "paper", "digest": "0"},
    }
    tests: dict[str, Any] = {
        "lifted": {"mpjpe": 53.64},
        "named": {"top1": 71.25},
        "pretrained": None,
    }
    page = records_page(
        [Record(Path(name), {}, {**head, "test": test}, [], {}) for name, test in tests.items()]
    )
    rows = {m[1]: m[0] for m in re.finditer(r'<tr><td.*?<a id="(.*?)">.*?</tr>', page)}
    assert ">MPJPE 53.6 mm<" in rows["lifted"] and ">top-1 71.2 %<" in rows["named"]
    assert "MPJPE" not in rows["pretrained"] and "top-1" not in rows["pretrained"]


def test_the_committed_records_alone_make_a_book_with_every_table(tmp_path: Path) -> None:
    """As `make report` does on a fresh clone, on a machine without torch."""
    reports = tmp_path / "reports"
    shutil.copytree(ROOT / "reports" / "records", reports / "records")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(reports), str(reports / "runs")]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    text = words(reports / "html" / "index.html")
    assert "No notebook has run here" in text and "Does it reproduce?" in text
    assert "what ran" not in text, "nothing is said of what did not happen"
    assert "within seed noise" in text, "what the networks trained to their ends say of stage 1"
    page = (reports / "html" / "tables.html").read_text(encoding="utf-8")
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
    documents_are_pages(reports / "html")
    measured = re.findall(
        r'<table class="m2v-table">\s*<caption>Measured.*?</table>', page, re.DOTALL
    )
    assert len(measured) >= 9 and not any(re.search(r"\b38\.4\b", table) for table in measured)


def documents_are_pages(book: Path) -> None:
    """Each document is a page in the side bar, and its links to other documents end at an
    anchor; no page fetches anything from another host.
    """
    front = (book / "index.html").read_text(encoding="utf-8")
    names = [path.stem for path in (ROOT / "docs").glob("*.md")]
    assert {"spec", "audit", "architecture", "glossary"} <= set(names)
    for name in names:
        text = (book / f"{name}.html").read_text(encoding="utf-8")
        assert f'href="{name}.html"' in front
        assert [a for a in Images.read(book / f"{name}.html").fetched if "//" in a] == []

        for page, anchor in re.findall(
            r'href="(\w+)\.html#([^"]+)"', text.partition("<article")[2]
        ):
            assert f'id="{anchor}"' in (book / f"{page}.html").read_text(encoding="utf-8")
    assert 'id="B12"' in (book / "audit.html").read_text(encoding="utf-8")
    assert 'href="spec.html#spec-5.5"' in (book / "architecture.html").read_text(encoding="utf-8")


def test_an_unknown_suite_is_said_in_a_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "executed" / SUITE
    folder.mkdir(parents=True)
    (folder / "suite.json").write_text("{}")
    for reports in (tmp_path, tmp_path / "where nothing has run"):
        with pytest.raises(ConfigError, match="there is no suite 'mocap-small-paper'"):
            build("mocap-small-paper", reports=reports)
        assert not (reports / "html").exists()


def test_a_broken_record_keeps_the_old_book(tmp_path: Path) -> None:
    write_run(tmp_path / "executed" / SUITE, "00_a", None, "failed")
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("old", encoding="utf-8")
    record = write_record(tmp_path / "records", {}, 40.0)
    (record / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="not a run record"):
        build(reports=tmp_path, runs=tmp_path / "runs")
    assert (tmp_path / "html" / "index.html").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".book")] == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no Chromium on this machine")
    with Browser() as opened:
        yield opened


def test_opened_from_disk_the_figure_and_the_maths_are_drawn(book: Path, browser: Browser) -> None:
    page = book / "00_start_here.html"
    assert browser.open(page, "document.querySelector('.m2v-plotly canvas')"), (
        "the 3D figure was not drawn"
    )
    wide = "document.querySelector('.m2v-plotly canvas').getBoundingClientRect().width"
    assert (
        300
        < browser.value(wide)
        <= browser.value("document.querySelector('.m2v-plotly').clientWidth")
    )
    assert browser.open(page, "document.querySelectorAll('mjx-container svg').length == 2"), (
        "the maths was not drawn"
    )
    assert (
        browser.value("document.querySelector('.m2v-plotly')._transitionData._frames.length") == 1
    )
    assert browser.open(book / "index.html", "document.querySelector('img').naturalWidth > 100")
    assert browser.open(book / "13_broken.html")
    drawn = "document.querySelectorAll('#m2v-plot .scatterlayer .trace').length"
    assert browser.open(book / "curves.html", f"{drawn} == 2"), "no learning curves"
    choose = "const c = document.getElementById('m2v-chosen'); c.options[0].selected = false; c.onchange()"
    browser.value(choose)
    assert browser.value(drawn) == 1
    assert browser.value("document.querySelectorAll('.modebar-btn').length") == 0  # none uploads
    browser.metrics(320, 640)
    cut = "(c => c.scrollWidth - c.clientWidth)(document.getElementById('m2v-chosen'))"
    assert browser.value(cut) <= 0, "a phone cuts the names of runs"
    assert browser.faults == []
    assert [
        address
        for address in browser.requests
        if not address.startswith(("file:", "data:", "blob:"))
    ] == []
