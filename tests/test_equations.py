"""Each numbered equation of the paper stands in exactly one chapter, above a cell that proves
the library's code.

There, a heading `### Eq. (n): ...` (or `### Eq. (7) and Eq. (8): ...`) is in the cell directly
above the proof.
"""

from __future__ import annotations

import ast
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


class Place(NamedTuple):
    """Where an equation is proven, and of what."""

    chapter: str
    cell: str  # id of the proof cell
    function: str  # of the library, which is the equation


PLACES = {
    1: Place("23_adaptive_fusion", "23-13", "m2v_lib.models.dual_stream.model:DualStreamBlock"),
    2: Place(
        "23_adaptive_fusion", "23-11", "m2v_lib.models.dual_stream.fusion:AdaptiveFusion.weights"
    ),
    3: Place("21_attention", "21-18", "m2v_lib.models.dual_stream.attention:Attention"),
    4: Place("21_attention", "21-16", "m2v_lib.models.dual_stream.attention:Attention"),
    5: Place("21_attention", "21-14", "m2v_lib.models.dual_stream.attention:Attention"),
    6: Place("21_attention", "21-20", "m2v_lib.models.dual_stream.model:AttentionBlock"),
    7: Place("22_graph_convolution", "22-19", "m2v_lib.models.dual_stream.graph:GraphConv"),
    8: Place("22_graph_convolution", "22-21", "m2v_lib.models.dual_stream.model:GraphBlock"),
    9: Place("25_losses_metrics", "25-10", "m2v_lib.models.losses:mpjpe_loss"),
    10: Place("25_losses_metrics", "25-12", "m2v_lib.models.losses:n_mpjpe_loss"),
    11: Place("25_losses_metrics", "25-14", "m2v_lib.models.losses:velocity_loss"),
    12: Place("25_losses_metrics", "25-14", "m2v_lib.models.losses:velocity_loss"),
    13: Place("40_finetune", "40-08", "m2v_lib.models.losses:pose_loss"),
    14: Place(
        "31_teacher_targets", "31-10", "m2v_lib.training.pretraining.teacher:Teacher.targets"
    ),
}
HEADING = re.compile(r"^### (Eq\. \(\d+\)(?:(?:,| and|, and) Eq\. \(\d+\))*): \S.*$", re.MULTILINE)


def cells_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def numbers_in(cell: dict[str, Any]) -> list[int]:
    """The equations that a markdown cell's headings announce."""
    if cell["cell_type"] != "markdown":
        return []
    text = "".join(cell["source"])
    announced = HEADING.findall(text)
    loose = [
        line
        for line in text.splitlines()
        if re.match(r"#+ .*\bEq\. \(\d", line) and not HEADING.match(line)
    ]
    assert not loose, f"cell {cell['id']}: not '### Eq. (n): title': {loose[0]}"
    return [int(number) for heading in announced for number in re.findall(r"\d+", heading)]


def found() -> dict[int, list[tuple[str, dict[str, Any]]]]:
    """Equation -> (chapter, the cell below its heading) of every heading in every chapter."""
    places: dict[int, list[tuple[str, dict[str, Any]]]] = {}
    for path in sorted(FOLDER.glob("*.ipynb")):
        cells = cells_of(path)
        for above, below in zip(cells, [*cells[1:], {}], strict=True):
            for number in numbers_in(above):
                places.setdefault(number, []).append((path.stem, below))
    return places


FOUND = found()


def test_no_equation_is_without_a_place_and_none_is_made_up() -> None:
    assert set(PLACES) == set(range(1, 15))
    assert set(FOUND) <= set(PLACES)


@pytest.mark.parametrize("number", PLACES)
def test_it_stands_in_one_chapter_above_its_proof(number: int) -> None:
    place = PLACES[number]
    assert [chapter for chapter, _ in FOUND.get(number, [])] == [place.chapter]
    ((_, proof),) = FOUND[number]
    assert proof.get("cell_type") == "code", "the heading is not directly above a code cell"
    assert proof["id"] == place.cell
    source = "".join(proof["source"])
    assert any(
        isinstance(node, ast.Assert) or is_check(node) for node in ast.walk(ast.parse(source))
    ), source
    assert "solution" not in proof["metadata"].get("tags", []) and "nbval-skip" not in proof[
        "metadata"
    ].get("tags", [])


def is_check(node: ast.AST) -> bool:
    """A call such as `torch.testing.assert_close(...)` or the chapter's own `assert_same(...)`."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name.startswith("assert_")


@pytest.mark.parametrize("number", PLACES)
def test_the_proof_names_what_it_proves(number: int) -> None:
    place = PLACES[number]
    module, _, path = place.function.partition(":")
    thing: Any = import_module(module)
    for name in path.split("."):
        thing = getattr(thing, name)
    assert callable(thing)
    ((_, proof),) = FOUND[number]
    assert re.search(rf"\b{name}\b", "".join(proof["source"])), (
        f"{name} is not in cell {place.cell}"
    )
