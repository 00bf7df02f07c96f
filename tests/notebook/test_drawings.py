"""The drawings: what is committed is what the code draws, in the plots' colours, inside the frame."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from m2v_lib.notebook import colours, plots
from m2v_lib.notebook.drawings import DRAWINGS, write

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "notebooks" / "images"
SVG = "{http://www.w3.org/2000/svg}"
#: Width of a character as a share of the type's size, a little more than the mean of the typeface.
CHARACTER = 0.56


def test_what_is_committed_is_what_the_code_draws(tmp_path: Path) -> None:
    drawn = {path.name: path.read_text() for path in write(tmp_path)}
    committed = {path.name: path.read_text() for path in IMAGES.glob("*.svg")}
    assert drawn == committed, "run `python -m m2v_lib.notebook.drawings`"


@pytest.mark.parametrize("name", DRAWINGS)
def test_nothing_leaves_the_frame(name: str) -> None:
    root = ElementTree.fromstring(DRAWINGS[name]().svg())
    width, height = (float(root.get(side, "")) for side in ("width", "height"))
    assert (
        root.findtext(f"{SVG}title") == root.get("aria-label") and len(DRAWINGS[name]().title) > 20
    )

    for text in root.iter(f"{SVG}text"):
        long = CHARACTER * float(text.get("font-size", "")) * len(text.text or "")
        x, y = float(text.get("x", "")), float(text.get("y", ""))
        left = x - long * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "")]
        assert left >= -2 and left + long <= width + 2 and 8 <= y <= height, text.text

    for line in root.iter(f"{SVG}polyline"):
        for x, y in re.findall(r"([-\d.]+),([-\d.]+)", line.get("points", "")):
            assert 0 <= float(x) <= width and 0 <= float(y) <= height


def test_colours_are_those_of_the_plots() -> None:
    assert plots.SIDE_COLOURS is colours.SIDES and plots.LINE_COLOURS is colours.LINES
    known = {colours.INK, colours.WHITE, *colours.LINES, *colours.SIDES.values()}
    tints = {colours.tint(c, share) for c in known for share in (0.18, 0.4, 0.5, 0.6)}
    for name, draw in DRAWINGS.items():
        used = set(re.findall(r"#[0-9a-f]{6}", draw().svg()))
        assert used <= known | tints, name


def test_every_drawing_is_shown_somewhere() -> None:
    texts = [path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb")]
    texts += [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    shown = {name for text in texts for name in re.findall(r"images/([\w-]+)\.svg", text)}
    assert shown == set(DRAWINGS)
