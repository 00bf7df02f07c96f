"""The side bar and with it the reading order: chapters first, the training runs of a suite behind
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m2v_lib.report.badges import COLOUR, badge
from m2v_lib.report.collect import FAILED, Page, SuiteRun

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


def page_link(page: Page, titles: Mapping[str, str]) -> str:
    text = titles[page.name].replace("[", "\\[").replace("]", "\\]").replace("|", "\\|")
    return f"[{text}]({page.name}.ipynb)"


def contents(suite: SuiteRun, titles: Mapping[str, str], documents: Sequence[str]) -> str:
    """The side bar: a part for each ten with its chapters, each once; then the pages of training
    runs, the documents and the records.

    A notebook that ran several times is read as a chapter in its first run. Chapters stand there
    with their numbers, by which texts refer to them.
    """
    blocks = []
    for number, caption in enumerate(PARTS):
        entries = [
            _entry(suite, page, titles)
            for page in suite.pages
            if page.tens == number and page == chapter_page(suite, page.notebook)
        ]
        if entries:
            blocks.append(_toctree(sorted(entries), caption))

    several = dict.fromkeys(
        runs_page_name(page.notebook) for page in suite.pages if has_runs_page(suite, page)
    )
    if several:
        blocks.append(_toctree(sorted(several), "Training runs"))
    if documents:
        blocks.append(_toctree(documents, "Documents"))
    return "\n".join([*blocks, _toctree(["tables", "runs", "curves", "environment"], "Records")])


def _entry(suite: SuiteRun, page: Page, titles: Mapping[str, str]) -> str:
    title = titles[page.name]
    if has_runs_page(suite, page):
        title = _common_title(suite, page, titles)
    if page.notebook[:2].isdigit():
        return f"{page.notebook[:2]} {title} <{page.name}>"
    return page.name


def _toctree(entries: Sequence[str], caption: str = "") -> str:
    options = f":caption: {caption}\n:hidden:\n" if caption else ":hidden:\n"
    return f"```{{toctree}}\n{options}\n" + "\n".join(entries) + "\n```\n"


def chapter_page(suite: SuiteRun, notebook: str) -> Page:
    """The page on which a notebook is read as a chapter: of several runs the first."""
    return next(page for page in suite.pages if page.notebook == notebook)


def has_runs_page(suite: SuiteRun, page: Page) -> bool:
    return bool(page.label) or sum(other.notebook == page.notebook for other in suite.pages) > 1


def runs_page_name(notebook: str) -> str:
    return f"{notebook.removesuffix('.ipynb')}-runs"


def runs_pages(suite: SuiteRun, titles: Mapping[str, str]) -> dict[str, str]:
    """One page for each notebook that ran with several settings: what it ran and how that ended.

    The runs hang under it, but for the first, which is the chapter.
    """
    pages: dict[str, str] = {}
    for first in suite.pages:
        name = runs_page_name(first.notebook)
        if name in pages or not has_runs_page(suite, first):
            continue

        runs = [page for page in suite.pages if page.notebook == first.notebook]
        rows = [
            f"| {page_link(p, titles)} | {badge(p.state, COLOUR[p.state])} | {_time(p)} |"
            for p in runs
        ]
        table = "\n".join(["| run | state | time |", "|---|---|--:|", *rows])
        title = f"{_common_title(suite, first, titles)}: {len(runs)} runs"
        pages[name] = f"# {title}\n\n{table}\n\n{_toctree([page.name for page in runs[1:]])}"

    return pages


def _time(page: Page) -> str:
    return f"{page.seconds:.0f} s" if page.seconds is not None else ""


def _common_title(suite: SuiteRun, page: Page, titles: Mapping[str, str]) -> str:
    """Of a notebook that ran several times: what all runs' titles begin with, and whether one
    failed.
    """
    first = chapter_page(suite, page.notebook)
    failed = any(other.notebook == page.notebook and other.state == FAILED for other in suite.pages)
    return ("✗ " if failed else "") + titles[first.name].lstrip("✗○ ").partition(":")[0]
