"""Every test process, notebooks under nbval too, gets runs and stores of its own: tests neither
use nor touch yours.

Two notebooks that train the same thing side by side would otherwise write into one run folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    folder = Path(tempfile.mkdtemp(prefix="m2v-test-"))
    config.stash[FOLDER] = folder
    os.environ["M2V_RAISE"] = "1"  # no last catch: a bug in the command line must be seen
    os.environ["M2V_RUNS"] = str(folder / "runs")
    os.environ["M2V_STORE"] = str(folder / "stores")


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)
