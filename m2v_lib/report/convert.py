"""An executed notebook as a page of the book: told apart by its title, red when it failed, drawn
without a network.
"""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from m2v_lib.report.badges import finished
from m2v_lib.report.collect import FAILED, NOT_RUN, OK, Page
from m2v_lib.report.documents import in_the_book, link_references, link_terms
from m2v_lib.report.notebook_format import NotebookNode, nbformat

PLOTLY = "application/vnd.plotly.v1+json"
#: Of a 3D figure's buttons only "reset" stays: on a phone the others lie over its title, and
#: fingers do their work.
HIDDEN_BUTTONS = [
    "toImage",
    "zoom3d",
    "pan3d",
    "orbitRotation",
    "tableRotation",
    "resetCameraLastSave3d",
]
#: Tags of the cells that papermill adds.
_ADDED = {"papermill-error-cell-tag", "injected-parameters"}
_HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)
_LINK = re.compile(r"\]\((\d\d_\w+\.ipynb)\)")
_TITLE = re.compile(r"^#\s+(.*)$", re.MULTILINE)


def convert(
    page: Page,
    links: Mapping[str, str] | None = None,
    *,
    terms: Mapping[str, str] | None = None,
    known_runs: Collection[str] = (),
    runs_page: str = "",
) -> NotebookNode:
    """The page's notebook, ready for myst-nb; a stub where there is none to read.

    `links` gives the book's page for a chapter's file name, where that is another one (a
    notebook that ran many times). With `terms`, those of the glossary, the first use of each and
    references such as 'spec 5.3' lead to the documents;
    cells of tables lead to those `known_runs` that they show; `runs_page` lists the notebook's
    other runs. The cell of parameters that papermill adds is left out: the page's box has them.
    """
    notebook = _read(page.executed)
    notebook.metadata.pop("widgets", None)  # would pull a script from the network
    notebook.cells = [cell for cell in notebook.cells if not _ADDED & set(_tags(cell))]

    heading, figures, unused = "", 0, dict(terms or {})
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            heading = _last_heading(cell.source) or heading
            cell.source = _LINK.sub(
                lambda m: f"]({(links or {}).get(m.group(1), m.group(1))})", cell.source
            )
            cell.source = in_the_book(cell.source)
            if terms:
                cell.source = link_terms(link_references(cell.source), unused)
        elif cell.cell_type == "code":
            _fold(cell)
            _describe_images(cell, heading)
            _link_runs(cell, known_runs)
            figures = _draw_plotly(cell, f"{page.name}-{number}", heading, figures)

    _set_title(notebook, page, runs_page)  # last: in its HTML no term becomes a link
    return notebook


def _read(path: Path | None) -> NotebookNode:
    try:
        return nbformat.read(str(path), as_version=4) if path else nbformat.v4.new_notebook()
    except Exception:  # half a file, left by a killed run: the page then only says so
        return nbformat.v4.new_notebook()


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def title_of(notebook: NotebookNode) -> str:
    """The text of the first top heading, or ''."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (match := _TITLE.search(cell.source)):
            return match.group(1).strip()
    return ""


def page_title(page: Page, own: str) -> str:
    """The heading plus what tells this run from others of the same notebook; a failure shows in
    the side bar too.
    """
    title = own or page.notebook.removesuffix(".ipynb").lstrip("0123456789_").replace("_", " ")
    if page.label:
        title = f"{title.partition(':')[0]}: {page.label}"
    marked = {OK: title, FAILED: f"✗ {title} (failed)", NOT_RUN: f"○ {title} (not run)"}
    return marked[page.state]


def _set_title(notebook: NotebookNode, page: Page, runs_page: str) -> None:
    title = page_title(page, title_of(notebook))
    banner = f"{_banner(page)}\n{how_to_run(page)}"
    if runs_page:
        banner += f"\nThis notebook ran several times: [all its runs]({runs_page}).\n"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and _TITLE.search(cell.source):
            cell.source = _TITLE.sub(lambda _: f"# {title}\n\n{banner}", cell.source, count=1)
            return
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {title}\n\n{banner}"))


def _banner(page: Page) -> str:
    """Under the title: how the run went."""
    if page.state == NOT_RUN:
        return "```{warning}\nThis notebook has not run in this suite.\n```\n"

    settings = ", ".join(
        f"{key} {json.dumps(value)}" for key, value in page.parameters.items() if value != {}
    )
    facts = [
        f"{page.seconds:.0f} s" if page.seconds is not None else "",
        settings,
        f"commit {page.commit}",
    ]
    line = html.escape("Run: " + "; ".join(fact for fact in facts if fact))
    note = f'<p class="m2v-run">{line}</p>\n'

    if page.state == FAILED:
        error = page.error.replace("`", "'")
        return (
            f"````{{admonition}} This notebook failed\n:class: "
            f"danger\n```text\n{error}\n```\n````\n\n{note}"
        )

    return note


def command_of(page: Page) -> str:
    """The command line that makes this page's notebook again, with the same settings."""
    out = f"reports/executed/mine/{page.name}.ipynb"
    given = [
        f"-p {shlex.quote(f'{key}={_plain(value)}')}"
        for key, value in page.parameters.items()
        if value != {}
    ]
    return " ".join(["m2v notebook", f"notebooks/{page.notebook}", out, *given])


def _plain(value: Any) -> str:
    """As `m2v notebook -p` reads it: words as they are, everything else as JSON."""
    word = isinstance(value, str) and re.fullmatch(
        r"(?!(?i:true|false|yes|no|on|off|null|y|n)$)[A-Za-z_]\w*", value
    )
    return str(value) if word else json.dumps(value)


def how_to_run(page: Page) -> str:
    """A box that opens: the commands for a reader who wants to run the chapter."""
    lines = [
        "make lab  # makes .venv where it is missing and opens the chapters",
        f"# there: open {page.notebook}, change its first code cell, run all cells",
        "#",
        "# or the run that this page shows, as a file:",
        "source .venv/bin/activate",
        re.sub(" (-p |reports/executed/)", r" \\\n  \1", command_of(page)),
    ]
    data = page.parameters.get("data", "synthetic")
    if data != "synthetic":
        lines.insert(
            -1, f"m2v data list  # {data} must be among these; README says how to prepare it"
        )

    text = "\n".join(lines)  # none is empty: that would end the HTML block
    return (
        '<details class="m2v-how"><summary>Run it yourself</summary>\n'
        f"<p>In a copy of the repository:</p>\n<pre>{html.escape(text)}</pre>\n"
        f"{_values_of(page)}</details>\n"
    )


def _values_of(page: Page) -> str:
    """The values that stood in for the chapter's first code cell in this run."""
    if not page.parameters:
        return ""
    values = "\n".join(f"{key} = {value!r}" for key, value in page.parameters.items())
    head = "This page was made with these values in place of those in its first code cell:"
    return f"<p>{head}</p>\n<pre>{html.escape(values)}</pre>\n"


def _link_runs(cell: NotebookNode, known_runs: Collection[str]) -> None:
    """Built tables: states as badges, numbers as links to their runs."""
    for output in cell.get("outputs", []):
        data: dict[str, Any] = output.get("data", {})
        if 'class="m2v-table"' in data.get("text/html", ""):
            data["text/html"] = finished(data["text/html"], known_runs)


def _last_heading(source: str) -> str:
    found = _HEADING.findall(source)
    return found[-1].strip() if found else ""


def _fold(cell: NotebookNode) -> None:
    """Worked answers, and cells whose source the author hid, start folded."""
    tags = _tags(cell)
    if "solution" in tags and "hide-cell" not in tags:
        cell.metadata["tags"] = [*tags, "hide-cell"]
    elif cell.metadata.get("jupyter", {}).get("source_hidden") and "hide-input" not in tags:
        cell.metadata["tags"] = [*tags, "hide-input"]


def _describe_images(cell: NotebookNode, heading: str) -> None:
    """Alternative text for pictures: the cell's own `alt` metadata, else the heading it stands
    under.
    """
    settings = cell.metadata.setdefault("mystnb", {}).setdefault("image", {})
    settings.setdefault("alt", _alt(cell, heading))


def _alt(cell: NotebookNode, heading: str) -> str:
    return str(
        cell.metadata.get("alt") or f"Figure: {heading or 'output of the cell above'}"
    ).replace("\n", " ")


def _draw_plotly(cell: NotebookNode, where: str, heading: str, before: int) -> int:
    """Turn plotly outputs into elements with fixed ids drawn by the one plotly.js of the book;
    count the figures.
    """
    for number, output in enumerate(cell.get("outputs", [])):
        data: dict[str, Any] = output.get("data", {})
        if PLOTLY not in data:
            continue

        figure = data.pop(PLOTLY)
        for other in ("text/html", "image/png"):
            data.pop(other, None)

        data["text/html"] = plotly_html(
            figure, f"plotly-{where}-{number}", _alt(cell, heading), first=before == 0
        )
        before += 1

    return before


def draw_figures(notebook: NotebookNode, page: str) -> None:
    """Turn all plotly outputs of a notebook into elements of a page that loads plotly.js itself."""
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            _draw_plotly(cell, f"{page}-{number}", "", before=1)


def plotly_html(figure: dict[str, Any], element: str, alt: str, *, first: bool) -> str:
    """An element and the call that draws the figure in it; the first of a page also loads the
    shared script.
    """
    spec: dict[str, Any] = {
        key: figure[key] for key in ("data", "layout", "frames") if key in figure
    }
    config: dict[str, Any] = {
        "responsive": True,
        "displaylogo": False,
        "modeBarButtonsToRemove": HIDDEN_BUTTONS,
    }
    config["showSendToCloud"] = False  # plotly's default is a button that uploads the figure
    spec["config"] = config | figure.get("config", {})
    # "</" would end the script element wherever it stood in the figure's texts.
    call = f"Plotly.newPlot({json.dumps(element)}, {json.dumps(spec, allow_nan=False)});".replace(
        "</", "<\\/"
    )
    # not before: the page does not have its width yet
    call = f'addEventListener("load", () => {call[:-1]});'
    load = '<script src="_static/plotly.min.js"></script>\n' if first else ""

    height = figure.get("layout", {}).get("height", 450)
    return (
        f'{load}<div id="{html.escape(element)}" class="m2v-plotly" role="img" '
        f'aria-label="{html.escape(alt)}" style="height:{int(height)}px"></div>\n<script>{call}</script>'
    )
