"""Slides: each chapter's headings begin one, and nothing in them needs a network."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fakes.browser import Browser, chromium
from fakes.suite import chapter
from nbformat.v4 import new_code_cell, new_markdown_cell

from m2v_lib.report.slides import slide_type, slides_of, write_slides

ROOT = Path(__file__).resolve().parents[2]


def test_a_slide_begins_at_a_heading_and_at_what_fills_one() -> None:
    long = "\n".join("x = 1" for _ in range(20))
    parameters = new_code_cell("seed = 0", metadata={"tags": ["parameters"]})
    cells = {
        "slide": [new_markdown_cell("## The idea\n\nText."), new_markdown_cell("# Title")],
        "subslide": [new_code_cell(long)],
        "-": [new_code_cell("x = 1"), new_markdown_cell("Text.")],
        "skip": [parameters, new_code_cell("import torch"), new_markdown_cell("## References\n")],
    }
    for kind, of_kind in cells.items():
        assert [slide_type(cell) for cell in of_kind] == [kind] * len(of_kind)


def test_a_page_of_slides_fetches_nothing() -> None:
    page = slides_of(chapter(), "00_start_here")
    assert page.count("<section>") >= 4 and "Plotly.newPlot" in page
    assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//', page) == []
    assert "require(" not in page and "mermaid" not in re.sub(
        r"<style.*?</style>", "", page, flags=re.S
    )


def test_slides_turn_and_draw_from_disk(tmp_path: Path) -> None:
    if chromium() is None:
        pytest.skip("no Chromium on this machine")
    notebooks = tmp_path / "notebooks"
    (notebooks / "images").mkdir(parents=True)
    source = ROOT / "notebooks" / "25_losses_metrics.ipynb"
    (notebooks / source.name).write_bytes(source.read_bytes())
    (notebooks / "images" / "errors.svg").write_bytes(
        (source.parent / "images" / "errors.svg").read_bytes()
    )
    (page,) = write_slides(notebooks, tmp_path / "slides")
    shown = "document.querySelectorAll('section section.shown').length"
    with Browser() as browser:
        assert browser.open(page, f"{shown} == 1 && document.querySelector('mjx-container')")
        assert browser.value("document.querySelector('.place').textContent").startswith("1 / ")
        browser.value("dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))")
        assert browser.value("document.querySelector('.place').textContent").startswith("2 / ")
        assert browser.value("document.querySelector('section.shown img').naturalWidth > 100")
        assert browser.faults == []
        assert [a for a in browser.requests if not a.startswith(("file:", "data:", "blob:"))] == []
