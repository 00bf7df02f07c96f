"""nbformat for the pages of the book, imported in a tenth of its time."""

from __future__ import annotations

from m2v_lib.quick_imports import without_address_grammar

with without_address_grammar():
    import nbformat
    from nbformat import NotebookNode

__all__ = ["NotebookNode", "nbformat"]
