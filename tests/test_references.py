"""Every reference in code, chapters and documents, such as 'spec 5.3', 'audit B12' or a link to
`docs/`, leads to an anchor that is there.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from m2v_lib.data import limits
from m2v_lib.report.documents import audit_page
from m2v_lib.report.pages.any_camera import any_camera_page
from m2v_lib.report.pages.limits import limits_page
from m2v_lib.report.pages.motion import motion_page
from m2v_lib.runs.records import find_records

ROOT = Path(__file__).resolve().parents[1]
TEXTS = (".py", ".md", ".yaml", ".yml", ".toml", ".ipynb", "Makefile", "Snakefile")
#: Records quote what was run, and are not text of ours.
SKIPPED = ("reports/",)

_NUMBER = r"(?:[A-G](?:\d+(?:\.\d+)*)?|\d+(?:\.\d+)*)"
#: 'spec 5.3', 'audit B7-B12, C2', 'spec sections 7 and 8', 'spec 5.5.1-2'
REFERENCE = re.compile(
    rf"\b(spec|audit)\s+(?:(?:sections?|items?)\s+)?"
    rf"({_NUMBER}(?:(?:,\s*|\s+and\s+|\s+to\s+|-){_NUMBER})*)\b",
    re.IGNORECASE,
)
#: Documents that are not in the repository.
FOREIGN = re.compile(r"\b(design|toolchain|style)(\.md|,? sections? \d)", re.IGNORECASE)
LINK = re.compile(r"(?:docs/)?(\w+)\.md#([\w.-]+)")
_STEP = re.compile(rf"(,\s*|\s+and\s+|\s+to\s+|-)({_NUMBER})")


def texts() -> Iterator[tuple[str, str]]:
    """Path and text of every file under version control; of notebooks the sources of cells."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")

    for name in listed:
        path = ROOT / name
        if not name.endswith(TEXTS) or name.startswith(SKIPPED) or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if name.endswith(".ipynb"):
            cells = json.loads(text)["cells"]
            text = "\n\n".join("".join(cell["source"]) for cell in cells)
        yield name, unfolded(text)


def unfolded(text: str) -> str:
    """Text with lines joined, without the signs that begin a comment."""
    return re.sub(r"\s*\n[ \t]*(?:#:?[ \t]+)?", " ", text)


def anchors(document: str) -> set[str]:
    """What can be linked to in a document: its explicit anchors and its headings."""
    text = (ROOT / "docs" / f"{document}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}
    return set(re.findall(r'<a id="([^"]+)"></a>', text)) | slugs


def numbers(reference: str) -> list[str]:
    """The sections or points that the numbers of a reference name.

    >>> numbers("B7-B9, C2"), numbers("5.5.1-2")
    (['B7', 'B8', 'B9', 'C2'], ['5.5.1', '5.5.2'])
    """
    first = re.match(_NUMBER, reference)
    assert first
    named = [first.group()]
    for step, number in _STEP.findall(reference[first.end() :]):
        if step.strip() in ("-", "to"):
            named += span(named[-1], number)
        else:
            named.append(number)
    return named


def span(start: str, end: str) -> list[str]:
    """What follows `start` up to `end`, both of which end in a whole number."""
    stem, low = re.fullmatch(r"(.*?)(\d+)", start).groups()  # type: ignore[union-attr]
    high = int(re.search(r"\d+$", end).group())  # type: ignore[union-attr]
    return [f"{stem}{number}" for number in range(int(low) + 1, high + 1)]


REFERENCES = [
    (name, match.group(), match.group(1).lower(), number)
    for name, text in texts()
    for match in REFERENCE.finditer(text)
    for number in numbers(match.group(2))
]


def test_there_are_references() -> None:
    assert len(REFERENCES) > 150
    assert {kind for _, _, kind, _ in REFERENCES} == {"spec", "audit"}


@pytest.mark.parametrize("kind", ["spec", "audit"])
def test_every_reference_leads_to_an_anchor(kind: str) -> None:
    known = anchors(kind)
    prefix = {"spec": "spec-", "audit": ""}[kind]
    lost = [
        f"{name}: {text}"
        for name, text, of, number in REFERENCES
        if of == kind and f"{prefix}{number}" not in known
    ]
    assert lost == []


def test_no_reference_to_a_document_that_is_not_here() -> None:
    found = [f"{name}: {match.group()}" for name, t in texts() for match in FOREIGN.finditer(t)]
    assert [line for line in found if not line.startswith("tests/test_references.py")] == []


def test_every_link_to_a_document_leads_to_an_anchor() -> None:
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")}
    links = [
        (name, match.group(), *match.groups())
        for name, text in texts()
        for match in LINK.finditer(text)
        if match.group(1) in documents
    ]
    assert links
    assert [f"{name}: {text}" for name, text, page, to in links if to not in anchors(page)] == []


def test_every_named_document_is_there() -> None:
    named = {(name, d) for name, text in texts() for d in re.findall(r"docs/\w+\.md", text)}
    assert named
    assert [f"{name}: {d}" for name, d in sorted(named) if not (ROOT / d).is_file()] == []


def test_the_audit_is_what_the_list_of_disagreements_says() -> None:
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert text == audit_page(), "docs/audit.md is out of date: run `m2v report`"


def test_the_page_of_motion_is_that_of_the_figures() -> None:
    text = (ROOT / "docs" / "motion.md").read_text(encoding="utf-8")
    assert text == motion_page(), "docs/motion.md is out of date: run `m2v report`"


def test_the_page_of_any_camera_is_that_of_the_grids() -> None:
    text = (ROOT / "docs" / "any_camera.md").read_text(encoding="utf-8")
    records = find_records(ROOT / "reports" / "records")
    assert text == any_camera_page(records), "docs/any_camera.md is out of date: run `m2v report`"


def test_the_page_of_limits_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert text == limits_page(), "docs/limits.md is out of date: run `m2v report`"
    named = re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert set(named) == {name for name in vars(limits) if name.isupper()}


def test_anchors_of_a_document_are_unique() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        named = re.findall(r'<a id="([^"]+)"></a>', path.read_text(encoding="utf-8"))
        assert len(named) == len(set(named)), path.name


def test_the_glossary_is_in_order_and_short() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\*\*(.+?)\*\*: ", text, re.MULTILINE)
    assert len(terms) >= 60
    assert terms == sorted(terms, key=str.lower)

    entries = re.split(r'<a id="[^"]+"></a>', text)[1:]
    assert all(len(entry.split()) <= 40 for entry in entries)
