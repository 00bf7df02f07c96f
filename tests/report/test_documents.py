"""The documents: the audit follows from the list of disagreements, references become links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m2v_lib.config import Experiment
from m2v_lib.report.documents import (
    audit_page,
    copy_documents,
    glossary_terms,
    in_the_book,
    link_references,
    link_terms,
    write_generated,
)
from m2v_lib.results import paper


def test_the_audit_has_an_anchor_for_each_point_and_each_group() -> None:
    anchors = re.findall(r'<a id="(.+?)"></a>', audit_page())
    points = [conflict["id"] for conflict in paper.conflicts()]
    assert set(points) | set("ABCDEFG") | {"A4", "A5", "A6"} == set(anchors)
    assert len(anchors) == len(set(anchors))


def test_the_audit_gives_both_readings_and_the_setting() -> None:
    point = audit_page().partition('<a id="B12"></a>')[2].partition("<a id")[0]
    assert "### B12: temporal graph" in point
    assert "- *paper*: frame t sees t - 1\n" in point
    assert "`model.temporal_graph`: `chain`, `similarity`" in point


def test_the_switches_are_the_settings_in_which_the_recipes_differ() -> None:
    table = audit_page().partition('<a id="G"></a>')[2]
    named = re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)
    ours, theirs = (Experiment.preset("base", recipe=r).flat() for r in ("paper", "released"))
    assert named == [key for key in ours if ours[key] != theirs[key]]
    assert "| `model.layer_scale` | `0.0` | `1e-05` |" in table


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("see audit B12, C2.", "see [audit B12](audit.md#B12), C2."),
        ("(audit A4.13)", "([audit A4.13](audit.md#A4.13))"),
        ("Spec section 7)", "[Spec section 7](spec.md#spec-7))"),
        ("of spec 5.3.", "of [spec 5.3](spec.md#spec-5.3)."),
        ("the audit and a `spec 5.3`", "the audit and a `spec 5.3`"),
        ("[audit B12](here.md), respect 5", "[audit B12](here.md), respect 5"),
    ],
)
def test_a_reference_becomes_a_link(text: str, linked: str) -> None:
    assert link_references(text) == linked


def test_documents_come_in_the_order_of_the_side_bar(tmp_path: Path) -> None:
    docs, source = tmp_path / "docs", tmp_path / "source"
    source.mkdir()
    assert copy_documents(docs, source) == []

    docs.mkdir()
    for name in ("zebra", "audit", "spec", "apple"):
        (docs / f"{name}.md").write_text(name, encoding="utf-8")
    assert copy_documents(docs, source) == ["spec", "audit", "apple", "zebra"]
    assert (source / "zebra.md").read_text(encoding="utf-8") == "zebra"


def test_outside_a_checkout_nothing_is_written(tmp_path: Path) -> None:
    write_generated(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_the_first_use_of_a_term_leads_to_the_glossary() -> None:
    terms = glossary_terms(Path(__file__).resolve().parents[2] / "docs")
    assert "MPJPE" in terms and "chapter" not in terms and len(terms) > 40
    text = "# A token\n\n`token` of a Token; a [token](x.md), $token$ or token. P-MPJPE is not MPJPE.\n"
    linked = link_terms(text, left := dict(terms))
    assert "of a [Token](glossary.md#token); a [token](x.md), $token$ or token." in linked
    assert linked.startswith("# A token\n\n`token`")
    assert "[P-MPJPE](glossary.md#p-mpjpe) is not [MPJPE](glossary.md#mpjpe)" in linked
    formula = "$$\n\\text{token}, \\text{spec 5}\n$$"
    assert link_terms(link_references(formula), dict(terms)) == formula
    assert "token" not in left and link_terms(text, left).count("glossary.md") == 0


def test_links_between_folders_lead_to_the_books_pages(tmp_path: Path) -> None:
    assert in_the_book("[r](../RESULTS.md) [n](../notebooks/00_a.ipynb)") == (
        "[r](tables.md) [n](00_a.ipynb)"
    )
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "spec.md").write_text("![m](../notebooks/images/masking.svg)", encoding="utf-8")
    assert copy_documents(docs, tmp_path) == ["spec"]
    assert (tmp_path / "spec.md").read_text() == "![m](images/masking.svg)"
