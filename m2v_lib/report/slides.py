"""The chapters as slides for teachers: `python -m m2v_lib.report.slides` writes
`reports/slides/<chapter>.html` through nbconvert's slides exporter.

They open from disk without a network: the exporter's page is kept, but what it would fetch is
replaced by files beside it, and a deck of a few lines takes the place of reveal.js.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from m2v_lib.report.convert import draw_figures, title_of
from m2v_lib.report.notebook_format import NotebookNode, nbformat
from m2v_lib.report.sphinx_book import MATHJAX, STATIC, copy_mathjax, copy_plotly
from m2v_lib.runs.records import project_root

#: Lines of source and of printed text that share a slide with what stands before them.
SHORT_LINES: Final = 8
_FETCHED = re.compile(
    r'<script[^>]*src="https?://[^"]*"[^>]*>\s*</script>'
    r"|<script[^>]*>(?:(?!</script>).)*?(?:https?://[^\"']*mermaid|\brequire\s*\().*?</script>"
    r'|<link[^>]*href="https?://[^"]*"[^>]*>'
    r"|<script type=\"text/x-mathjax-config\">.*?</script>",
    re.DOTALL,
)
_OWN = f"""\
<link rel="stylesheet" href="slides.css">
<script src="plotly.min.js"></script>
<script>MathJax = {{tex: {{inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]}}, options: {{enableMenu: \
false}}}};</script>
<script src="{MATHJAX}" defer></script>
<script src="slides.js"></script>
</head>"""


def write_slides(notebooks: Path, target: Path) -> list[Path]:
    """Every chapter of the folder as stored, as slides; an index beside them. Returns the pages."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("slides.css", "slides.js"):
        shutil.copyfile(STATIC / name, target / name)
    copy_mathjax(target)
    copy_plotly(target)
    shutil.copytree(notebooks / "images", target / "images", dirs_exist_ok=True)

    pages, lines = [], []
    for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(str(path), as_version=4)
        page = target / f"{path.stem}.html"
        page.write_text(slides_of(notebook, path.stem), encoding="utf-8")
        lines.append(f'<li><a href="{page.name}">{path.stem[:2]} {title_of(notebook)}</a></li>')
        pages.append(page)

    index = "<!DOCTYPE html>\n<meta charset=utf-8>\n<title>Slides</title>\n<h1>Slides</h1>\n<ul>\n"
    (target / "index.html").write_text(index + "\n".join(lines) + "\n</ul>\n", encoding="utf-8")
    return pages


def slides_of(notebook: NotebookNode, name: str) -> str:
    """A notebook as an HTML page of slides."""
    from nbconvert import SlidesExporter

    notebook.metadata["title"] = title_of(notebook)
    draw_figures(notebook, name)
    for cell in notebook.cells:
        cell.metadata["slideshow"] = {"slide_type": slide_type(cell)}

    page, _ = SlidesExporter(exclude_input_prompt=True).from_notebook_node(notebook)
    return _FETCHED.sub("", str(page)).replace("</head>", _OWN, 1)


def slide_type(cell: NotebookNode) -> str:
    """Where a slide begins: at a heading, and at code that is long or shows a figure.

    Parameters, imports and references are left out, and so are links into the repository.
    """
    if cell.cell_type == "markdown":
        if re.match(r"## (What we left out|References)", cell.source):
            return "skip"
        return "slide" if re.match(r"##? ", cell.source) else _own_slide(cell.source)
    if "parameters" in cell.metadata.get("tags", []) or re.match(r"(from|import) ", cell.source):
        return "skip"
    outputs = cell.get("outputs", [])
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    if kinds & {"image/png", "image/svg+xml", "text/html", "text/markdown"}:
        return "subslide"
    return _own_slide(cell.source)


def _own_slide(source: str) -> str:
    return "subslide" if len(source.splitlines()) > SHORT_LINES else "-"


if __name__ == "__main__":
    root = project_root()
    made = write_slides(root / "notebooks", root / "reports" / "slides")
    print(f"{len(made)} chapters: {root / 'reports' / 'slides' / 'index.html'}")
