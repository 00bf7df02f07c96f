"""The ledger takes no verdict without a true condition, no claim twice and none that the paper
does not make.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from m2v_lib.results import paper
from m2v_lib.results.audit import MARKS, Ledger


def test_a_verdict_needs_a_true_condition(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger()
    for settle in (ledger.holds, ledger.contradicted, ledger.undecided):
        with pytest.raises(AssertionError, match="stage1-mpjpe: the evidence does not show"):
            settle("stage1-mpjpe", 1 > 2, "a wrong sum")
    assert ledger.settled == {} and capsys.readouterr().out == ""
    ledger.contradicted("stage1-p-mpjpe", True, "the table says 0.5")
    assert (
        "✗ Pre-training improves P-MPJPE by 0.4 mm\n    contradicted: the table says 0.5"
        in capsys.readouterr().out
    )
    with pytest.raises(AssertionError, match="settled already"):
        ledger.holds("stage1-p-mpjpe", True, "again")
    with pytest.raises(KeyError, match="makes no claim"):
        ledger.holds("stage3", True, "")


def test_it_shows_what_is_settled_and_knows_what_is_not() -> None:
    ledger = Ledger()
    ledger.undecided("stage1-noise", True, "n < 2 & no spread")
    assert set(ledger.unsettled()) == {claim["id"] for claim in paper.claims()} - {"stage1-noise"}
    assert repr(ledger) == "0 holds, 0 contradicted, 1 can't be decided here"
    page = ledger._repr_html_()
    assert (
        "n &lt; 2 &amp; no spread" in page and "IV-E, line 399" in page and page.count("<tr>") == 2
    )


def test_the_audit_chapter_settles_every_claim_with_its_evidence() -> None:
    """By its stored outputs, which nbval compares with what it prints when it runs."""
    chapter = Path(__file__).resolve().parents[2] / "notebooks" / "59_paper_vs_code.ipynb"
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    outputs = [
        output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]
    ]
    lines = "".join("".join(output.get("text", "")) for output in outputs).splitlines()
    said = {
        line[2:]: below.strip()
        for line, below in zip(lines, lines[1:], strict=False)
        if line[:2] in ("✓ ", "✗ ", "? ")
    }
    assert (
        list(said) and set(said) == {claim["claim"] for claim in paper.claims()} and len(said) >= 40
    )
    for claim, below in said.items():
        verdict, _, evidence = below.partition(": ")
        assert verdict in MARKS and len(evidence.split()) >= 3, claim
