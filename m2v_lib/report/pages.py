"""The pages of the book that no notebook makes: front page, parts, runs and environment, as MyST
markdown.
"""

from __future__ import annotations

import html
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from m2v_lib.report.collect import FAILED, NOT_RUN, OK, Page, SuiteRun
from m2v_lib.results import tables
from m2v_lib.runs.records import Record, commit

if TYPE_CHECKING:
    import pandas as pd

PARTS = (
    "Start here",
    "Data",
    "The model",
    "Pre-training",
    "Fine-tuning",
    "The paper's tables",
    "Looking at results",
    "Further",
    "Further",
    "Other runs",
)
BUILT_WITH = (
    "numpy",
    "pandas",
    "matplotlib",
    "plotly",
    "sphinx",
    "myst-nb",
    "sphinx-book-theme",
    "snakemake",
)
_COLOUR = {OK: "ok", FAILED: "failed", NOT_RUN: "not-run"}
#: The states of a table cell (docs/architecture.md#numbers).
CELL_MEANING = {
    "paper": "printed in the paper",
    "reproduced": "measured here on the paper's data set, protocol and full schedule",
    "partial schedule": "measured on the paper's data set and protocol, but trained for less than the full schedule",
    "mocap": "measured on motion capture projected by Human3.6M's cameras: another benchmark than the paper's",
    "mocap, partial schedule": "the same, trained for less than the full schedule: a stated number of steps",
    "synthetic": "measured on generated motion: shows that everything runs, not how good the method is",
    "not run": "no run record yet",
}


def badge(text: str, colour: str) -> str:
    return f'<span class="m2v-state m2v-{colour}">{html.escape(text)}</span>'


def cell_badge(state: str) -> str:
    return badge(state, tables.state_class(state))


def module_table(suite: SuiteRun, records: Sequence[Record]) -> str:
    """Table VIII as HTML: what was measured with the suite's settings (without a suite: on
    motion capture), and apart from it what the paper prints.
    """
    if suite.settings:
        return with_badges(tables.build_table("table8", records, **suite.settings))
    return with_badges(tables.on_motion_capture("table8", records))


def with_badges(frame: pd.DataFrame) -> str:
    """A built table as HTML, its states as badges."""
    states = "|".join(tables.STATES)
    return (
        re.sub(
            f"<td>({states})</td>",
            lambda m: f"<td>{cell_badge(m.group(1))}</td>",
            tables.to_html(frame),
        )
        + "\n"
    )


def front_page(
    suite: SuiteRun,
    titles: Mapping[str, str],
    headline: str,
    glance: str,
    findings: str,
    table: str,
    records: Sequence[Record],
    documents: Sequence[str] = (),
) -> str:
    """The page one sees first: how the suite ended, what was run on what, the headline,
    findings, the tables' states, Table VIII, all notebooks.
    """
    return "\n".join(
        [
            "# Motion2vec, run and checked\n",
            _verdict(suite, titles),
            _what_ran(suite, records) if suite.pages else "",
            "## Does it learn?\n",
            headline,
            "## Five things to know\n",
            findings,
            "## All tables at a glance\n",
            "How many rows are in which state; [every table in full](tables.md).\n",
            glance,
            "## Table VIII: which module does what\n",
            table,
            "### What a cell state means\n",
            *(f"- {cell_badge(state)} {meaning}" for state, meaning in CELL_MEANING.items()),
            "",
            _notebook_table(suite, titles) if suite.pages else "",
            _contents(suite, titles, documents),
        ]
    )


def _verdict(suite: SuiteRun, titles: Mapping[str, str]) -> str:
    total, failed, waiting = len(suite.pages), suite.count(FAILED), suite.count(NOT_RUN)
    if not total:
        return (
            ":::{admonition} No notebook has run here\n:class: note\nThis book is made of the run "
            "records alone.\n:::\n"
        )
    if not failed and not waiting:
        return (
            f":::{{admonition}} All {total} notebook runs ended well\n:class: tip\nSuite "
            f"`{suite.name}`.\n:::\n"
        )
    counts = [f"{failed} failed"] * bool(failed) + [f"{waiting} did not run"] * bool(waiting)
    kind = "danger" if failed else "warning"
    head = f":::{{admonition}} Of {total} notebook runs {' and '.join(counts)}\n:class: {kind}"
    bad = [page for page in suite.pages if page.state != OK]
    lines = [
        f"- {badge(p.state, _COLOUR[p.state])} {_link(p, titles)} {_code(p.error)}" for p in bad
    ]
    return "\n".join([head, *lines, ":::\n"])


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`" if text else ""


def _link(page: Page, titles: Mapping[str, str]) -> str:
    text = titles[page.name].replace("[", "\\[").replace("]", "\\]").replace("|", "\\|")
    return f"[{text}]({page.name}.ipynb)"


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
        "preset, recipe": f"{suite.settings.get('preset', '?')}, {suite.settings.get('recipe', '?')}",
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
    return "\n".join(["| what ran | |", "|---|---|", *lines, ""])


def _cell(value: Any) -> str:
    return html.escape(str(value)).replace("|", "\\|").replace("\n", " ")


def _notebook_table(suite: SuiteRun, titles: Mapping[str, str]) -> str:
    lines = ["## Notebooks\n", "| notebook | state | time |", "|---|---|--:|"]
    for page in sorted(suite.pages, key=lambda page: page.notebook):
        time = f"{page.seconds:.0f} s" if page.seconds is not None else ""
        lines.append(
            f"| {_link(page, titles)} | {badge(page.state, _COLOUR[page.state])} | {time} |"
        )
    return "\n".join([*lines, ""])


def _contents(suite: SuiteRun, titles: Mapping[str, str], documents: Sequence[str]) -> str:
    """The side bar: a part for each ten; a notebook that ran several times is one entry that
    opens into its runs.

    Chapters stand there with their numbers, by which texts refer to them.
    """
    blocks = []
    for number, caption in enumerate(PARTS):
        entries: list[str] = []
        for page in suite.pages:
            entry = page.name
            title = titles[page.name]
            if has_runs_page(suite, page):
                entry, title = runs_page_name(page.notebook), _runs_title(suite, page, titles)
            if page.notebook[:2].isdigit():
                entry = f"{page.notebook[:2]} {title} <{entry}>"
            if page.part == number and entry not in entries:
                entries.append(entry)
        if entries:
            blocks.append(_toctree(sorted(entries), caption))
    if documents:
        blocks.append(_toctree(documents, "Documents"))
    return "\n".join([*blocks, _toctree(["tables", "runs", "environment"], "Records")])


def _toctree(entries: Sequence[str], caption: str = "") -> str:
    options = f":caption: {caption}\n:hidden:\n" if caption else ":hidden:\n"
    return f"```{{toctree}}\n{options}\n" + "\n".join(entries) + "\n```\n"


def has_runs_page(suite: SuiteRun, page: Page) -> bool:
    return bool(page.label) or sum(other.notebook == page.notebook for other in suite.pages) > 1


def runs_page_name(notebook: str) -> str:
    return f"{notebook.removesuffix('.ipynb')}-runs"


def runs_pages(suite: SuiteRun, titles: Mapping[str, str]) -> dict[str, str]:
    """One page for each notebook that ran with several settings: what it ran and how that ended."""
    pages: dict[str, str] = {}
    for first in suite.pages:
        name = runs_page_name(first.notebook)
        if name in pages or not has_runs_page(suite, first):
            continue
        runs = [page for page in suite.pages if page.notebook == first.notebook]
        title = _runs_title(suite, first, titles)
        rows = [
            f"| {_link(p, titles)} | {badge(p.state, _COLOUR[p.state])} | {p.seconds or 0:.0f} s |"
            for p in runs
        ]
        table = "\n".join(["| run | state | time |", "|---|---|--:|", *rows])
        pages[name] = (
            f"# {title}: {len(runs)} runs\n\n{table}\n\n{_toctree([page.name for page in runs])}"
        )
    return pages


def _runs_title(suite: SuiteRun, page: Page, titles: Mapping[str, str]) -> str:
    """Of a notebook that ran several times: what all runs' titles begin with, and whether one
    failed.
    """
    first = next(other for other in suite.pages if other.notebook == page.notebook)
    failed = any(other.notebook == page.notebook and other.state == FAILED for other in suite.pages)
    return ("✗ " if failed else "") + titles[first.name].lstrip("✗○ ").partition(":")[0]


def records_page(records: Sequence[Record]) -> str:
    """Every run record the book was built from."""
    head = (
        "# Run records\n\nWhat each training run wrote down about itself, and its result on the "
        "test subjects.\n\n"
    )
    if not records:
        return head + "None yet.\n"
    lines = [
        "| run | data | steps | schedule | result | device | time | commit |",
        "|---|---|--:|---|--:|---|--:|---|",
    ]
    for record in records:
        result = record.result
        cells = [
            f"`{record.name}`",
            result["data"]["name"],
            f"{result['schedule']['steps']:,}",
            "partial" if result["schedule"].get("partial") else "full",
            _outcome(result.get("test") or {}),
            result.get("device", "?"),
            f"{result.get('seconds', 0):.0f} s",
            result.get("commit", "?"),
        ]
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return head + "\n".join(lines) + "\n"


def _outcome(test: Mapping[str, Any]) -> str:
    if "top1" in test:
        return f"top-1 {test['top1']:.1f} %"
    return f"MPJPE {test['mpjpe']:.1f} mm" if "mpjpe" in test else ""


def environment_page(records: Sequence[Record]) -> str:
    """Where the runs were made (their own `env.json`) and what this book was built with."""
    lines = ["# Environment\n", "## Where the training ran\n"]
    seen: dict[str, list[str]] = {}
    for record in records:
        env = {
            **record.env,
            **{f"package {k}": v for k, v in record.env.get("packages", {}).items()},
        }
        facts = "; ".join(
            f"{key} {value}"
            for key, value in sorted(env.items())
            if key not in ("packages", "commit")
        )
        seen.setdefault(facts, []).append(record.name)
    for facts, names in seen.items():
        lines += [f"- {_cell(facts)}: {len(names)} runs"]
    lines += [
        "" if seen else "No record yet.\n",
        "## What built this book\n",
        "| package | version |",
        "|---|---|",
    ]
    lines += [
        f"| Python | {platform.python_version()} on {platform.system()} {platform.machine()} |"
    ]
    for name in BUILT_WITH:
        try:
            lines.append(f"| {name} | {metadata.version(name)} |")
        except metadata.PackageNotFoundError:
            lines.append(f"| {name} | not installed |")
    return "\n".join(lines) + "\n"
