"""Markdown and notebooks to HTML with Sphinx, myst-nb and sphinx-book-theme: nothing in it needs
a network.
"""

from __future__ import annotations

import io
import shutil
from importlib import metadata, util
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"
MATHJAX = (
    # one file with every TeX extension, so that MathJax never loads a second one
    "tex-svg-full.js"
)


def settings(title: str) -> dict[str, Any]:
    """Sphinx's configuration."""
    return {
        "project": title,
        "html_title": title,
        "language": "en",
        "extensions": ["myst_nb", "sphinx.ext.mathjax"],
        "exclude_patterns": ["_static"],
        "nb_execution_mode": "off",
        "nb_ipywidgets_js": {},  # the default is two scripts from the network
        "nb_merge_streams": True,
        "nb_render_markdown_format": "gfm",  # outputs of nb.shapes are tables
        "myst_enable_extensions": ["amsmath", "colon_fence", "dollarmath", "html_image"],
        "myst_heading_anchors": 3,
        "html_theme": "sphinx_book_theme",
        "html_theme_options": {
            "home_page_in_toc": True,
            "show_navbar_depth": 1,
            "show_toc_level": 2,
            "use_download_button": True,
            "use_fullscreen_button": False,
            "navbar_persistent": [],  # the side bar has the search field
            "footer_content_items": [],
        },
        "html_context": {"default_mode": "auto"},  # dark or light as the reader's system is
        "html_static_path": ["_static"],
        "html_css_files": ["m2v.css"],
        "html_copy_source": True,
        # would fetch the pages found, which a browser refuses from disk
        "html_show_search_summary": False,
        "html_show_copyright": False,
        "html_show_sphinx": False,
        "mathjax_path": f"mathjax/{MATHJAX}",
        "mathjax3_config": {"options": {"enableMenu": False}},
        # A chapter that links to a file of the repository is fine; the book holds only chapters.
        "suppress_warnings": [
            "myst.xref_missing",
            "misc.highlighting_failure",
            "mystnb.unknown_mime_type",
        ],
    }


def copy_static(target: Path) -> None:
    """Style sheet, MathJax and plotly.js out of the installed packages; FileNotFoundError for a
    missing one.
    """
    (target / "mathjax").mkdir(parents=True)
    for name in ("m2v.css", "curves.js"):
        shutil.copyfile(STATIC / name, target / name)
    copy_mathjax(target / "mathjax")
    copy_plotly(target)


def copy_mathjax(folder: Path) -> None:
    shutil.copyfile(_mathjax(), folder / MATHJAX)


def copy_plotly(folder: Path) -> None:
    shutil.copyfile(_plotly(), folder / "plotly.min.js")


def _mathjax() -> Path:
    for file in metadata.files("sphinx-mathjax-offline") or []:
        if file.name == MATHJAX:
            return Path(str(file.locate()))
    raise FileNotFoundError(
        f"{MATHJAX} is not in the package sphinx-mathjax-offline: install m2v_lib[book] again"
    )


def _plotly() -> Path:
    spec = util.find_spec("plotly")  # finds the package without importing it
    folders = spec.submodule_search_locations if spec else None
    script = (
        Path(list(folders)[0]) / "package_data" / "plotly.min.js"
        if folders
        else Path("plotly.min.js")
    )
    if not script.is_file():
        raise FileNotFoundError(f"{script} is missing: install m2v_lib[book] again")

    return script


def build_html(source: Path, target: Path, title: str) -> str:
    """Build `source` into `target`; returns Sphinx's warnings. Raises RuntimeError when Sphinx
    gives up.
    """
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = io.StringIO()
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            str(source),
            None,
            str(target),
            str(target / ".doctrees"),
            "html",
            confoverrides=settings(title),
            status=None,
            warning=warnings,
            freshenv=True,
        )
        app.build(force_all=True)

    shutil.rmtree(target / ".doctrees", ignore_errors=True)
    if app.statuscode:
        raise RuntimeError(f"Sphinx could not build the book:\n{warnings.getvalue()}")

    return warnings.getvalue()
