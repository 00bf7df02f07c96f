"""Inputs that once ended in a traceback or a hang, each a folder with its command: now a sentence of
at most two lines, in seconds, below 1 GiB, and nothing is left behind or changed.

They lie beside the checkout, in `../shared/cases/hostile`; elsewhere these tests are skipped.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases" / "hostile"
SECONDS = 60
#: address space: torch alone maps some 5 GB
MAX_ADDRESS_BYTES = 8 << 30
MAX_RESIDENT_KIB = 1 << 20

NAMES = [path.name for path in sorted(CASES.glob("*")) if (path / "command.txt").is_file()]


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))


def snapshot(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*"))}


@pytest.mark.skipif(not NAMES, reason=f"the handed cases are not here ({CASES})")
@pytest.mark.parametrize("name", NAMES)
def test_a_handed_case_is_a_sentence(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "case"
    shutil.copytree(CASES / name, folder)
    words = shlex.split((folder / "command.txt").read_text())
    before = snapshot(folder)
    environment = {
        **os.environ,
        "M2V_STORE": str(tmp_path / "stores"),
        "M2V_RUNS": str(tmp_path / "runs"),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("M2V_RAISE", None)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "m2v_lib.cli", *words[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=limited,
    )
    seconds = time.monotonic() - began
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2, (done.returncode, done.stderr[-500:])
    assert len(said) <= 2 and said[-1].startswith("m2v: ") and "Traceback" not in done.stderr
    assert seconds < 20, f"{seconds:.1f} s, import of torch included"
    assert snapshot(folder) == before, "something was left or changed"
    assert not (tmp_path / "stores").exists() or not list((tmp_path / "stores").iterdir())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert peak < MAX_RESIDENT_KIB, f"{peak >> 10} MiB"
