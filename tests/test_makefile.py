"""Into which environment `make` installs, and into which it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTALLS = "uv pip install"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def environment(folder: Path, *programs: str) -> str:
    (folder / "bin").mkdir(parents=True)
    for name in programs:
        (folder / "bin" / name).touch(0o755)
    return f"VENV={folder}"


def test_one_of_somebodys_own_is_used_as_it_is(tmp_path: Path) -> None:
    given = environment(tmp_path / "own", "python", "m2v")
    assert INSTALLS not in (asked := make("--dry-run", given, "lint").stdout)
    assert "ruff check" in asked
    assert INSTALLS in make("--dry-run", given, "setup").stdout, "asked for, it is installed"

    (tmp_path / "own" / ".installed").touch()  # by another checkout
    os.utime(tmp_path / "own" / ".installed", (0, 0))
    assert INSTALLS not in make("--dry-run", given, "lint").stdout


def test_one_without_the_suite_is_left_alone(tmp_path: Path) -> None:
    done = make(environment(tmp_path / "own", "python"), "lint")
    assert done.returncode != 0 and "has no m2v; make setup VENV=" in done.stdout
    assert "ruff" not in done.stdout + done.stderr


def test_one_that_is_not_there_is_made_and_kept_up_to_date(tmp_path: Path) -> None:
    assert INSTALLS in make("--dry-run", f"VENV={tmp_path / 'new'}", "lint").stdout

    given, stamp = environment(tmp_path / "made", "python", "m2v"), tmp_path / "made/.installed"
    stamp.write_text(f"{ROOT}\n", encoding="utf-8")
    assert INSTALLS not in make("--dry-run", given, "lint").stdout
    os.utime(stamp, (0, 0))
    assert INSTALLS in make("--dry-run", given, "lint").stdout
