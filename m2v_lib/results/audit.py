"""A ledger of the paper's claims: each is settled once, by a condition that has to hold, with
the evidence beside.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any

from m2v_lib.results import paper

HOLDS, CONTRADICTED, OPEN = "holds", "contradicted", "can't be decided here"
MARKS = {HOLDS: "✓", CONTRADICTED: "✗", OPEN: "?"}


@dataclass
class Ledger:
    """The claims of `paper.claims()` and how they were settled, in the order of settling."""

    # claim -> verdict, evidence
    settled: dict[str, tuple[str, str]] = field(default_factory=dict)

    def holds(self, claim: str, because: Any, evidence: str) -> None:
        """The claim is right. Raises AssertionError unless the condition `because` is true."""
        self._settle(claim, HOLDS, because, evidence)

    def contradicted(self, claim: str, because: Any, evidence: str) -> None:
        """The claim is wrong, or the paper says something else elsewhere. Raises AssertionError
        as `holds` does.
        """
        self._settle(claim, CONTRADICTED, because, evidence)

    def undecided(self, claim: str, because: Any, evidence: str) -> None:
        """Nothing here can tell; `because` is what that can be seen from. Raises AssertionError
        as `holds` does.
        """
        self._settle(claim, OPEN, because, evidence)

    def _settle(self, claim: str, verdict: str, because: Any, evidence: str) -> None:
        known = {entry["id"]: entry for entry in paper.claims()}
        if claim not in known:
            raise KeyError(f"the paper makes no claim {claim!r}")

        assert bool(because), (
            f"{claim}: the evidence does not show that it is {verdict}: {evidence}"
        )
        assert claim not in self.settled, f"{claim} is settled already"
        self.settled[claim] = verdict, evidence
        print(f"{MARKS[verdict]} {known[claim]['claim']}\n    {verdict}: {evidence}")

    def unsettled(self) -> list[str]:
        """Claims that nothing has been said about."""
        return [entry["id"] for entry in paper.claims() if entry["id"] not in self.settled]

    def count(self, verdict: str) -> int:
        return sum(found == verdict for found, _ in self.settled.values())

    def _repr_html_(self) -> str:
        known = {entry["id"]: entry for entry in paper.claims()}
        rows = []
        for claim, (verdict, evidence) in self.settled.items():
            entry = known[claim]
            place = entry["where"] + (f", line {entry['line']}" if entry["line"] else "")
            cells = [f"{MARKS[verdict]} {verdict}", entry["claim"], place, evidence]
            rows.append(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
            )

        head = "".join(f"<th>{name}</th>" for name in ("verdict", "claim", "where", "evidence"))
        return (
            f'<table class="m2v-table"><thead><tr>{head}</tr></thead><tbody>\n'
            + "\n".join(rows)
            + "\n</tbody></table>"
        )

    def __repr__(self) -> str:
        return ", ".join(f"{self.count(verdict)} {verdict}" for verdict in MARKS)
