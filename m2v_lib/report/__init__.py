"""The report: one book over the executed notebooks of a suite and the run records,
`reports/html/index.html`.

It opens from disk without a network and is built without torch. `collect` reads how each run
ended, `convert` makes an executed notebook a page, `front` writes the front page from `answers`,
`glance` and `headline`, `contents` the reading order, `pages.records` and `pages.curves` the runs,
`documents` adds the pages of `docs/`, `sphinx_book` makes HTML.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from m2v_lib.config import ConfigError
from m2v_lib.report.answers import answers, claims_settled
from m2v_lib.report.collect import SuiteRun, newest_suite, read_suite
from m2v_lib.report.contents import chapter_page, has_runs_page, runs_page_name, runs_pages
from m2v_lib.report.convert import convert, title_of
from m2v_lib.report.documents import copy_documents, glossary_terms, write_generated
from m2v_lib.report.front import Parts, front_page
from m2v_lib.report.glance import at_a_glance, tables_page
from m2v_lib.report.headline import headline
from m2v_lib.report.notebook_format import nbformat
from m2v_lib.report.pages.curves import curves_page
from m2v_lib.report.pages.records import copy_records, environment_page, records_page
from m2v_lib.report.sphinx_book import build_html, copy_static
from m2v_lib.runs.records import Record, find_records, project_root, runs_root

__all__ = ["build"]

_PICTURE = "Above, the 2D joints that a detector finds in five frames; below, the joints in 3D"
_FRONT = '<img class="m2v-front" alt="{}" src="images/{}" width="400">\n'


def build(
    suite: str | None = None, reports: Path | str | None = None, runs: Path | str | None = None
) -> Path:
    """Build the book of a suite (default: the one that ran last) and return its index.html.

    Where no notebook has run at all, it is made of the records alone. Reads `executed/<suite>/`
    and `records/` of the folder `reports` (default: the checkout's), and the records in `runs`
    (default: where training writes). The old book is replaced only by a whole new one. Documents
    that follow from the package and its records (`docs/audit.md`, `RESULTS.md`) are written anew
    beside `reports`. Raises ConfigError when there is no such suite.
    """
    reports = Path(reports) if reports else project_root() / "reports"
    run = _suite_run(suite, reports / "executed")
    kept = find_records(reports / "records")
    reports.mkdir(parents=True, exist_ok=True)
    write_generated(reports.parent, kept)

    made_here = find_records(Path(runs) if runs else runs_root())
    records = _each_once(made_here, kept)

    with tempfile.TemporaryDirectory(dir=reports, prefix=".book-") as work:
        source, target = Path(work, "source"), Path(work, "html")
        source.mkdir()
        copy_static(source / "_static")
        _copy_pictures(reports.parent / "notebooks" / "images", source / "images")
        docs = reports.parent / "docs"
        documents, terms = copy_documents(docs, source), glossary_terms(docs)
        claims = claims_settled(run, reports.parent / "notebooks")
        _write_pages(
            source, run, records, documents, terms, answers(_chapters(run), kept, claims), kept
        )
        warnings = build_html(source, target, f"Motion2vec: {run.name}")
        copy_records(records, target)
        (target / "warnings.txt").write_text(warnings, encoding="utf-8")
        _replace(target, reports / "html")

    return reports / "html" / "index.html"


def _each_once(made_here: list[Record], kept: list[Record]) -> list[Record]:
    """By name; of a run that is in both, what its own folder says."""
    by_name = {record.name: record for record in (*kept, *made_here)}
    return [by_name[name] for name in sorted(by_name)]


def _suite_run(suite: str | None, executed: Path) -> SuiteRun:
    newest = newest_suite(executed)
    if newest is None and suite is None:
        return SuiteRun("records", {}, ())

    folder = executed / str(suite or newest)
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in executed.glob("*/"))) or "none yet"
        raise ConfigError(
            f"there is no suite {suite!r} under {executed} (there: {there}); start one with "
            "`make reproduce`"
        )

    return read_suite(folder)


def _copy_pictures(images: Path, target: Path) -> None:
    """Drawings that chapters and documents show."""
    target.mkdir()
    for path in (*images.glob("*.svg"), *images.glob("*.png")):
        shutil.copyfile(path, target / path.name)


def _chapters(run: SuiteRun) -> list[str]:
    return [page.name for page in run.pages]


def _write_pages(
    source: Path,
    run: SuiteRun,
    records: list[Record],
    documents: list[str],
    terms: dict[str, str],
    answered: str,
    kept: list[Record],
) -> None:
    titles = {}
    several = [page for page in run.pages if has_runs_page(run, page)]
    links = {page.notebook: f"{chapter_page(run, page.notebook).name}.ipynb" for page in several}
    names = {record.name for record in records}

    for page in run.pages:
        runs = f"{runs_page_name(page.notebook)}.md" if page in several else ""
        notebook = convert(page, links, terms=terms, known_runs=names, runs_page=runs)
        titles[page.name] = title_of(notebook)
        nbformat.write(notebook, str(source / f"{page.name}.ipynb"))

    drawn = source / "images" / "overview.png"
    parts = Parts(
        picture=_FRONT.format(_PICTURE, drawn.name) if drawn.is_file() else "",
        answers=answered,
        glance=at_a_glance(run.settings, _chapters(run), records),
        headline=headline(kept, source),
    )
    texts = {
        "index": front_page(run, titles, parts, _of_suite(run, records), documents),
        "tables": tables_page(records, run.settings),
        "runs": records_page(records, run, with_files=True),
        "curves": curves_page(records),
        "environment": environment_page(records),
        **runs_pages(run, titles),
    }
    for name, text in texts.items():
        (source / f"{name}.md").write_text(text, encoding="utf-8")


def _of_suite(run: SuiteRun, records: list[Record]) -> list[Record]:
    """The runs with the suite's data, preset and recipe."""
    wanted = tuple(run.settings.get(key) for key in ("data", "preset", "recipe"))
    results = [(record, record.result) for record in records]
    return [
        record for record, r in results if (r["data"]["name"], r["preset"], r["recipe"]) == wanted
    ]


def _replace(new: Path, old: Path) -> None:
    """Put the new folder in the old one's place."""
    aside = new.with_name("old")
    if old.exists():
        os.replace(old, aside)
    os.replace(new, old)
    shutil.rmtree(aside, ignore_errors=True)
