"""The front page: what this is, does it reproduce, how far each table is, how the suite ended."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from m2v_lib.report.badges import CELL_MEANING, COLOUR, badge, cell_badge
from m2v_lib.report.collect import FAILED, NOT_RUN, OK, SuiteRun
from m2v_lib.report.contents import contents, page_link
from m2v_lib.runs.records import Record, commit

#: Without the list of the page's headings: the tables take its place.
_WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n"
_WHAT = """\
A camera sees a person as points in an image; where are they in space? *Motion2vec* learns how
people move from 2D alone, then to lift it to 3D. Here it is explained in chapters, built as a
library and trained again, and every number says where it came from.
"""


@dataclass(frozen=True)
class Parts:
    """What other modules make for the front page, as Markdown."""

    picture: str
    answers: str
    glance: str
    headline: str


def front_page(
    suite: SuiteRun,
    titles: Mapping[str, str],
    parts: Parts,
    records: Sequence[Record],
    documents: Sequence[str] = (),
) -> str:
    """The page one sees first; all but its first two sentences follows from records and runs."""
    return "\n".join(
        [
            _WIDE,
            "# Motion2vec, run and checked\n",
            parts.picture,
            _WHAT,
            "## Does it reproduce?\n",
            parts.answers,
            _verdict(suite, titles),
            "## All tables at a glance\n",
            "How many rows are in which state; [every table in full](tables.md).\n",
            parts.glance,
            "### What a cell state means\n",
            *(f"- {cell_badge(state)} {meaning}" for state, meaning in CELL_MEANING.items()),
            "",
            "## Does it learn?\n",
            parts.headline,
            _what_ran(suite, records) if suite.pages else "",
            _notebook_table(suite, titles) if suite.pages else "",
            contents(suite, titles, documents),
        ]
    )


def _verdict(suite: SuiteRun, titles: Mapping[str, str]) -> str:
    total, failed, waiting = len(suite.pages), suite.count(FAILED), suite.count(NOT_RUN)
    if not total:
        return "No notebook has run here: this book is made of the run records alone.\n"
    if not failed and not waiting:
        return f"All {total} notebook runs of the suite `{suite.name}` ended well.\n"

    counts = [f"{failed} failed"] * bool(failed) + [f"{waiting} did not run"] * bool(waiting)
    kind = "danger" if failed else "warning"
    head = f":::{{admonition}} Of {total} notebook runs {' and '.join(counts)}\n:class: {kind}"
    bad = [page for page in suite.pages if page.state != OK]

    lines = [
        f"- {badge(p.state, COLOUR[p.state])} {page_link(p, titles)} {_code(p.error)}" for p in bad
    ]
    return "\n".join([head, *lines, ":::\n"])


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else ""


def _what_ran(suite: SuiteRun, records: Sequence[Record]) -> str:
    devices = sorted({str(record.result.get("device", "?")) for record in records}) or [
        "no training yet"
    ]
    data = sorted(
        {
            f"{r.result['data']['name']} (fingerprint {r.result['data']['fingerprint'][:12]})"
            for r in records
        }
    )
    commits = sorted({page.commit for page in suite.pages if page.commit}) or [commit()]
    started = sorted(page.started for page in suite.pages if page.started)
    seconds = sum(page.seconds or 0.0 for page in suite.pages)
    rows = {
        "data": ", ".join(data) or str(suite.settings.get("data", "?")),
        "preset, recipe": ", ".join(suite.settings.get(key, "?") for key in ("preset", "recipe")),
        "seeds": ", ".join(map(str, suite.settings.get("seeds", ["?"]))),
        "overrides": ", ".join(
            f"{k} = {v}" for k, v in (suite.settings.get("overrides") or {}).items()
        )
        or "none",
        "device": ", ".join(devices),
        "commit": ", ".join(commits),
        "first notebook started": started[0].replace("T", " ") if started else "never",
        "time in notebooks": f"{seconds / 60:.1f} min over {len(suite.pages)} runs",
    }

    lines = [f"| {key} | {_cell(value)} |" for key, value in rows.items()]
    return "\n".join(["## What ran\n", "| what ran | |", "|---|---|", *lines, ""])


def _cell(value: Any) -> str:
    return html.escape(str(value)).replace("|", "\\|").replace("\n", " ")


def _notebook_table(suite: SuiteRun, titles: Mapping[str, str]) -> str:
    lines = ["## Notebooks\n", "| notebook | state | time |", "|---|---|--:|"]
    for page in sorted(suite.pages, key=lambda page: page.notebook):
        time = f"{page.seconds:.0f} s" if page.seconds is not None else ""
        lines.append(
            f"| {page_link(page, titles)} | {badge(page.state, COLOUR[page.state])} | {time} |"
        )
    return "\n".join([*lines, ""])
