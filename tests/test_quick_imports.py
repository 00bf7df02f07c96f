"""What the commands import: nothing that costs much and is never used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from m2v_lib.quick_imports import without_address_grammar

BOOK = "from m2v_lib.report import build"
NOTEBOOK = """
from pathlib import Path
from m2v_lib.experiments import run_notebook
run_notebook._execute(Path("absent.ipynb"), Path("absent.ipynb"), {})
"""
NAMES = "import sys; print('rfc3987_syntax' in sys.modules, 'nbformat' in sys.modules)"


@pytest.mark.parametrize("command", [BOOK, NOTEBOOK], ids=["book", "notebook"])
def test_no_grammar_of_addresses_is_compiled(command: str, tmp_path: Path) -> None:
    """It takes a second, five times as long as the rest."""
    words = [sys.executable, "-c", f"{command}\n{NAMES}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_it_can_be_imported_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rfc3987_syntax.py").write_text("HERE = True\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "rfc3987_syntax", raising=False)

    with without_address_grammar(), pytest.raises(ImportError):
        importlib.import_module("rfc3987_syntax")

    grammar = importlib.import_module("rfc3987_syntax")
    assert grammar.HERE
    with without_address_grammar():
        assert sys.modules["rfc3987_syntax"] is grammar, "one that is there stays"
    monkeypatch.delitem(sys.modules, "rfc3987_syntax")
