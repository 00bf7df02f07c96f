"""Locks between processes, with flock and, by a stand-in, with Windows' byte locks."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from m2v_lib.runs import locks

ROOT = Path(__file__).resolve().parents[2]
#: What is not there on Windows.
UNIX_ONLY = ("fcntl", "resource", "pwd", "grp", "termios", "pty", "tty")


def test_a_second_opening_does_not_get_the_lock_until_the_first_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as second:
        with (tmp_path / "f").open("w") as first:
            assert locks.try_lock(first) and not locks.try_lock(second)
        assert locks.try_lock(second)


class ByteLocks(types.ModuleType):
    """`msvcrt` as documented: one byte at the file's position, PermissionError where it is held."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: list[int] = []

    def locking(self, number: int, mode: int, n_bytes: int) -> None:
        assert (mode, n_bytes) == (self.LK_NBLCK, 1)
        if self.held:
            raise PermissionError("[Errno 13] Permission denied")
        self.held.append(number)


def test_without_flock_bytes_are_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ByteLocks()
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    monkeypatch.setattr(locks, "fcntl", None)
    with (tmp_path / "f").open("w") as first, (tmp_path / "f").open("w") as second:
        assert locks.try_lock(first) and not locks.try_lock(second)

    fake.held.clear()
    with locks.folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists() and len(fake.held) == 1


def test_every_module_is_imported_where_unix_is_not() -> None:
    code = (
        "import sys, importlib, pkgutil\n"
        f"sys.modules.update(dict.fromkeys({UNIX_ONLY!r}))\n"
        "import m2v_lib\n"
        "names = [m.name for m in pkgutil.walk_packages(m2v_lib.__path__, 'm2v_lib.')]\n"
        "own = [n for n in names if '__main__' not in n and not n.startswith(('m2v_lib.report',\n"
        "       'm2v_lib.notebook', 'm2v_lib.export', 'm2v_lib.bench.worker'))]\n"
        "for name in own: importlib.import_module(name)\n"
        "print(len(own))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150
