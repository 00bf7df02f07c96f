"""The mutation loop for a few seconds with a fixed seed; hours of it are run by hand."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from .run import fault_of, mutate

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("M2V_FUZZ_SECONDS", "12"))


def test_no_mutation_of_a_file_ends_in_another_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.run", "--seconds", str(SECONDS), "--finds"]
    done = subprocess.run(
        [*command, str(tmp_path / "finds")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count(" inputs, 0 finds") >= 10


def test_the_loop_is_seeded_and_sees_faults() -> None:
    one, other = (mutate(b"some bytes", random.Random(3)) for _ in range(2))
    assert one == other

    def fail() -> None:
        raise KeyError("x")

    assert fault_of(lambda: None) is None
    assert fault_of(fail) == "KeyError: 'x'"
