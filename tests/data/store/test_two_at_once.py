"""Two processes on one store, and few files open at once."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from m2v_lib.data.store import open_store

PREPARE = """
import sys
from pathlib import Path
from m2v_lib.data import prepare
prepare("synthetic", input_noise_seed=int(sys.argv[2]), root=Path(sys.argv[1]))
"""


def start(root: Path, seed: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PREPARE, str(root), str(seed)])


def test_two_prepare_one_store(tmp_path: Path) -> None:
    """The later one's is whole, whichever that is, and nothing else is left."""
    both = [start(tmp_path, 1), start(tmp_path, 2)]
    assert [process.wait(300) for process in both] == [0, 0]
    open_store("synthetic", tmp_path).verify()
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic"]


def test_sixteen_open_files_are_enough(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARE, str(tmp_path), "1"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, before[1])),
    )
    assert process.wait(300) == 0
    open_store("synthetic", tmp_path).verify()
