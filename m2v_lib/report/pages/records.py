"""The pages that list where numbers come from: the runs, each with its row and its files, and the
machines.
"""

from __future__ import annotations

import html
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from m2v_lib.report.collect import SuiteRun
from m2v_lib.results.run_rows import condensed, outcome, rows_of_runs
from m2v_lib.runs.records import RECORD_FILES, Record

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
#: The book's folder with the records' files.
RECORDS = "records"
_HEAD = """\
# Run records

What each training run wrote down about itself, and its result on the test subjects. `rows` are the
rows of the tables that it stands behind; the files are those of its record. On the command line
`m2v runs`, `m2v runs show RUN` and `m2v compare RUN RUN` read the same.

"""
_COLUMNS = ("run", "rows", "seed", "data", "steps", "result", "device", "files")


def records_page(
    records: Sequence[Record], suite: SuiteRun | None = None, *, with_files: bool = False
) -> str:
    """Every run record the book was built from, a line each with an anchor of the run's name.

    A run that a notebook of the suite made leads to that page; with `with_files` there are links
    to the copies that `copy_records` makes.
    """
    if not records:
        return _HEAD + "None yet.\n"

    rows, pages = rows_of_runs(records), _pages_by_run(suite)
    lines = [_line("th", _COLUMNS)]
    for record in sorted(records, key=lambda record: _order(record, rows)):
        result = record.result
        values = [
            f'<a id="{_text(record.name)}"></a><code>{_text(record.name)}</code>',
            _text(condensed(rows[record.name])),
            _text(result.get("seed", "")),
            _text(result["data"]["name"]),
            f"{result['schedule']['steps']:,} of {_full_steps(result['schedule'])}",
            _text(outcome(result.get("test"))),
            _text(f"{result.get('device', '?')}, {result.get('seconds', 0):.0f} s"),
            _links(record, pages, with_files=with_files),
        ]
        lines.append(_line("td", values))

    head, *body = lines
    table = f"<thead>{head}</thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody>"
    return f'{_HEAD}<table class="m2v-table m2v-runs">\n{table}\n</table>\n'


def _order(record: Record, rows: Mapping[str, Sequence[str]]) -> tuple[str, int, str]:
    """By the first row a run stands behind; runs of no row last."""
    group, _, number = (rows[record.name] or ("~/0",))[0].partition("/")
    return group, int(number) if number.isdigit() else 0, record.name


def _full_steps(schedule: Mapping[str, Any]) -> str:
    """The length of the full schedule, from the share of its epochs that were done."""
    if not schedule.get("partial"):
        return "all"
    done, full = schedule.get("epochs_done"), schedule.get("epochs_full")
    return f"{schedule['steps'] * full / done:,.0f}" if done and full else "more"


def _line(tag: str, values: Sequence[str]) -> str:
    if tag == "th":
        return "<tr>" + "".join(f"<th>{value}</th>" for value in values) + "</tr>"
    named = zip(_COLUMNS, values, strict=True)
    cells = "".join(f'<td data-label="{name}">{value}</td>' for name, value in named)
    return f"<tr>{cells}</tr>"


def _text(value: Any) -> str:
    return html.escape(str(value))


def _links(record: Record, pages: Mapping[str, str], *, with_files: bool) -> str:
    links = []
    if record.name in pages:
        links.append(f'<a href="{pages[record.name]}.html">notebook</a>')
    if with_files:
        links.append(f'<a href="curves.html#{_text(record.name)}">curves</a>')
        links += [
            f'<a href="{RECORDS}/{_text(record.name)}/{file}">{file.partition(".")[0]}</a>'
            for file in RECORD_FILES
        ]
    return " ".join(links)


def _pages_by_run(suite: SuiteRun | None) -> dict[str, str]:
    """The suite's page that trained a run, by the run's name."""
    from m2v_lib.config import Experiment

    found: dict[str, str] = {}
    for page in suite.pages if suite else ():
        given, stage = page.parameters, page.notebook[3:].removesuffix(".ipynb")
        if stage not in ("pretrain", "finetune") or "preset" not in given:
            continue
        changes = {"data.name": given["data"], "run.seed": given["seed"], **given["overrides"]}
        exp = Experiment.preset(given["preset"], recipe=given["recipe"]).override(changes)
        found.setdefault(exp.run_name(stage), page.name)
    return found


def copy_records(records: Sequence[Record], target: Path) -> None:
    """Copy the records' files into the finished book, where the runs page links to them."""
    for record in records:
        folder = target / RECORDS / record.name
        folder.mkdir(parents=True, exist_ok=True)
        for name in RECORD_FILES:
            shutil.copyfile(record.path / name, folder / name)


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
        lines += [f"- {_text(facts)}: {len(names)} runs"]

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
