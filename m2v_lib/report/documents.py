"""The documents that code and chapters refer to: pages of the book beside the chapters.

Most are written by hand in `docs/`. `docs/audit.md` follows from the package's own list of
disagreements, so that the settings it names cannot fall behind the code.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from m2v_lib.config import Experiment
from m2v_lib.report.pages.any_camera import any_camera_page
from m2v_lib.report.pages.limits import limits_page
from m2v_lib.report.pages.motion import motion_page
from m2v_lib.report.pages.results import results_page
from m2v_lib.results import paper
from m2v_lib.runs.records import Record, write_text

#: The first of the documents in the book's side bar; others of `docs/` follow by name.
FIRST = ("architecture", "spec", "audit", "glossary")
LINE_LENGTH = 100

#: The first number of a reference; the other numbers of 'audit D4 to D6' stay text.
_REFERENCE = re.compile(
    r"\b(?:(spec)(?:\s+sections?)?\s+(\d+(?:\.\d+)*)"
    r"|(audit)\s+(?:section\s+)?([A-G][\d.]*\d|[A-G]\b))",
    re.IGNORECASE,
)
#: Text in which a reference stays as it is: code, links, formulas.
_LITERAL = re.compile(r"(```.*?```|`[^`]*`|\[[^\]]*\]\([^)]*\)|\$\$.*?\$\$|\$[^$]*\$)", re.DOTALL)

_TERM = re.compile(r'<a id="([^"]+)"></a>\n+\*\*(.+?)\*\*:')
#: The same, headings and table rows: there no term is linked.
_UNLINKED = re.compile(
    r"(```.*?```|`[^`]*`|!?\[[^\]]*\]\([^)]*\)|\$\$.*?\$\$|\$[^$]*\$|\\begin\{.*?\\end\{"
    r"|<[^>]*>|^(?:#|\|)[^\n]*$)",
    re.DOTALL | re.MULTILINE,
)
#: Terms of the glossary that a text uses all the time.
EVERYDAY = ("chapter", "head", "record", "root", "row", "seed", "stage", "suite", "window")
#: Where links between folders of a checkout lead in the book, whose pages lie side by side.
_MOVED = {
    "../docs/": "",
    "../notebooks/images/": "images/",
    "../notebooks/": "",
    "../RESULTS.md": "tables.md",
}

AUDIT_PARTS = {
    "A": "Numbers and words of the paper",
    "B": "Equations",
    "C": "Architecture as configured",
    "D": "Fine-tuning and evaluation",
    "E": "Pre-training",
    "F": "Action recognition",
}
AUDIT_GROUPS = {
    "A4": "the text against the tables",
    "A5": "Tables V to VIII",
    "A6": "Table III",
}

_AUDIT_HEAD = """\
# Audit

Every point where the paper's text, its tables and the authors' released code disagree, or where
one of them is silent. Each point gives both readings, the evidence and, where the difference can be
switched, the settings that do so: first the value of recipe `paper`, then that of `released`. Code
and chapters refer to a point as "audit B12". Files and lines are those of the authors' repository
at commit `9ecb9aa`, unless another is named. Chapter 59 checks the claims by running them.

This page is made from `m2v_lib/results/paper/conflicts.yaml` and `claims.yaml`; `m2v report`
writes it.
"""

_SWITCHES_HEAD = """\
<a id="G"></a>

## G. What the recipes switch

Each line is one setting, so that each difference can be switched alone and its effect measured.

| setting | `paper` | `released` | what it decides |
|---|---|---|---|
"""


def audit_page() -> str:
    """The text of `docs/audit.md`: a heading and an anchor for each point, and a table of
    switches.
    """
    claims = {claim["id"]: claim for claim in paper.claims()}
    lines = [_AUDIT_HEAD]

    part = group = ""

    for conflict in paper.conflicts():
        number = conflict["id"]
        if number[0] != part:
            part = number[0]
            lines.append(f'<a id="{part}"></a>\n\n## {part}. {AUDIT_PARTS[part]}\n')

        of_group = number.partition(".")[0]
        if of_group != number and of_group != group:
            group = of_group
            lines.append(f'<a id="{group}"></a>\n\n### {group}: {AUDIT_GROUPS[group]}\n')

        lines.append(_point(conflict, claims))

    return "\n".join([*lines, _SWITCHES_HEAD + _switches()])


def _point(conflict: Mapping[str, Any], claims: Mapping[str, Mapping[str, Any]]) -> str:
    number = conflict["id"]
    level = "####" if "." in number else "###"
    lines = [f'<a id="{number}"></a>\n', f"{level} {number}: {conflict['about']}\n"]

    for name in ("paper", "released", "evidence"):
        text = conflict[name]
        if text != "-" and not text.startswith(("see the claim", "chapter 59, claim")):
            lines.append(_item(name, _plain(text)))

    for claim in conflict.get("claims", ()):
        where = claims[claim]["where"]
        lines.append(_item(f"claim ({where})", f"{_plain(claims[claim]['claim'])} `{claim}`"))

    if "fields" in conflict:
        switches = [
            f"`{key}`: {_values(values)}" for key, values in sorted(conflict["fields"].items())
        ]
        lines.append(_item("settings", "; ".join(switches)))
    else:
        lines.append(_item("no switch", _plain(conflict["no_switch"])))

    return "\n".join([*lines, ""])


def _item(name: str, text: str) -> str:
    """A list item, wrapped."""
    return textwrap.fill(
        f"- *{name}*: {text}",
        LINE_LENGTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _plain(text: str) -> str:
    """Text in which markdown sees no emphasis: names such as `new_P2V.py` have underscores."""
    return re.sub(r"([_*<])", r"\\\1", text)


def _values(values: Iterable[Any]) -> str:
    paper_value, released_value = (f"`{_shown(value)}`" for value in values)
    if paper_value == released_value:
        return f"{paper_value} in both"
    return f"{paper_value}, {released_value}"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _switches() -> str:
    """A line for each setting in which preset `base` differs between the two recipes."""
    ours, theirs = (Experiment.preset("base", recipe=name) for name in ("paper", "released"))
    after = theirs.flat()

    lines = []
    for key, value in ours.flat().items():
        if after[key] != value:
            row = f"`{key}` | `{_shown(value)}` | `{_shown(after[key])}` | {_meaning(ours, key)}"
            lines.append(f"| {row} |")

    return "\n".join([*lines, ""])


def _meaning(exp: Experiment, key: str) -> str:
    section, name = key.split(".")
    fields = {field.name: field for field in dataclasses.fields(getattr(exp, section))}
    return str(fields[name].metadata.get("meaning", ""))


def write_generated(project: Path, records: Sequence[Record]) -> None:
    """Write what follows from the package and the committed records into a checkout, which has a
    folder `docs`; elsewhere nothing.
    """
    if (project / "docs").is_dir():
        write_text(project / "docs" / "audit.md", audit_page())
        write_text(project / "docs" / "limits.md", limits_page())
        write_text(project / "docs" / "any_camera.md", any_camera_page(records))
        if motion := motion_page():
            write_text(project / "docs" / "motion.md", motion)
        results = results_page(records, project / "reports" / "records")
        write_text(project / "RESULTS.md", results)


def link_references(text: str) -> str:
    """Markdown of a chapter whose references lead to the documents.

    >>> link_references("as in spec 5.3 and `spec 6`")
    'as in [spec 5.3](spec.md#spec-5.3) and `spec 6`'
    """
    pieces = _LITERAL.split(text)
    pieces[::2] = [_REFERENCE.sub(_link, piece) for piece in pieces[::2]]
    return "".join(pieces)


def _link(reference: re.Match[str]) -> str:
    words = " ".join(reference.group().split())
    if reference.group(1):
        page, anchor = "spec", f"spec-{reference.group(2)}"
    else:
        page, anchor = "audit", reference.group(4)
    return f"[{words}]({page}.md#{anchor})"


def glossary_terms(docs: Path) -> dict[str, str]:
    """Anchor of each term of the glossary, the longest first; empty where there is none."""
    path = docs / "glossary.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = {term.partition(" (")[0]: anchor for anchor, term in _TERM.findall(text)}
    known = {term: anchor for term, anchor in found.items() if term not in EVERYDAY}
    return dict(sorted(known.items(), key=lambda item: -len(item[0])))


def link_terms(text: str, terms: dict[str, str]) -> str:
    """Markdown in which the first use of each term leads to the glossary; a term that was linked
    is taken out of `terms`, so that a page links each once.

    >>> link_terms("each token; a token", {"token": "token"})
    'each [token](glossary.md#token); a token'
    """
    for term, anchor in list(terms.items()):
        pieces = _UNLINKED.split(text)
        for number in range(0, len(pieces), 2):
            linked, n = re.subn(
                rf"(?<![\w-])({re.escape(term)})(?![\w-])",
                rf"[\1](glossary.md#{anchor})",
                pieces[number],
                count=1,
                flags=0 if term.isupper() else re.IGNORECASE,
            )
            if n:
                text = "".join([*pieces[:number], linked, *pieces[number + 1 :]])
                del terms[term]
                break
    return text


def copy_documents(docs: Path, source: Path) -> list[str]:
    """Copy the documents into the book's source; their names, in the order of the side bar."""
    present = {path.stem for path in docs.glob("*.md")}
    first = [name for name in FIRST if name in present]
    names = [*first, *sorted(present.difference(FIRST))]

    for name in names:
        text = (docs / f"{name}.md").read_text(encoding="utf-8")
        (source / f"{name}.md").write_text(in_the_book(text), encoding="utf-8")
    return names


def in_the_book(text: str) -> str:
    """Markdown whose links between the folders of a checkout lead to the book's pages.

    >>> in_the_book("[a](../docs/glossary.md) ![b](../notebooks/images/b.svg)")
    '[a](glossary.md) ![b](images/b.svg)'
    """
    for folder, page in _MOVED.items():
        text = text.replace(f"]({folder}", f"]({page}")
    return text
