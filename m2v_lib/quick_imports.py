"""Imports without what costs much and is never used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: For two formats of text, `iri` and `iri-reference`, which nothing in a notebook file has.
_GRAMMAR: Final = "rfc3987_syntax"


@contextmanager
def without_address_grammar() -> Iterator[None]:
    """Import nbformat, or what imports it, inside: the jsonschema behind it compiles a grammar of
    internationalised addresses at import, a second of processor time, and does without where that
    package is absent.
    """
    if _GRAMMAR in sys.modules:
        yield
        return

    sys.modules[_GRAMMAR] = None  # type: ignore[assignment]  # an import raises ImportError
    try:
        yield
    finally:
        del sys.modules[_GRAMMAR]
