"""Commands killed with SIGKILL at random moments leave nothing half-written under a final name, and
give the same when they are run again.

M2V_TEST_KILLS says how often each is killed (50 by hand, 1 in a run of all tests). One process
imports torch and forks for every command; what a command gives uninterrupted tells how long it
takes, and so when to kill it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fakes.suite import write_suite
from safetensors.torch import load_file

from m2v_lib.config import Experiment
from m2v_lib.data.store import open_store
from m2v_lib.lift import SAMPLE
from m2v_lib.runs.records import RECORD_FILES, load_record, read_metrics

#: Training has kills at chosen moments too (tests/training/test_resume.py).
KILLS = int(os.environ.get("M2V_TEST_KILLS", "1"))
BY_HAND = pytest.mark.skipif(
    "M2V_TEST_KILLS" not in os.environ,
    reason="by hand (M2V_TEST_KILLS=10); training is killed at chosen moments in every test run",
)

RUNNER = """
import json, os, sys
import numpy, safetensors.torch, scipy.stats, torch
torch.set_num_threads(1)
for line in sys.stdin:
    code, words, log = json.loads(line)
    child = os.fork()
    if child == 0:
        for stream, file in enumerate((os.devnull, log, log)):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
        done = 1
        try:
            exec(code, {"words": words})
            done = 0
        except SystemExit as end:
            done = int(end.code or 0)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(done)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
COMMAND = "import sys; from m2v_lib.cli import main; sys.exit(main(words))"
PREPARE = """
from pathlib import Path
from m2v_lib.data import prepare
prepare("synthetic", input_noise_seed=int(words[1]), root=Path(words[0]))
"""
REPORT = "from m2v_lib.report import build; build(reports=words[0], runs=words[1])"
QUEUE = """
import sys
from pathlib import Path
from m2v_lib.config import Experiment
from m2v_lib.experiments.queue.run import Queue, run_queue
from m2v_lib.experiments.queue.wanted import Item
exp = Experiment.from_yaml(words[0])
default = Experiment.preset(exp.preset_name, exp.recipe).flat()
changes = {k: v for k, v in exp.flat().items() if default[k] != v and k not in ("data.name", "run.seed")}
queue = Queue([Item("pretrain", exp, changes, ("a",))], Path(words[1]), Path(words[2]))
sys.exit(run_queue(queue, {"run.device": "cpu"}, poll=0.2))
"""


class Forks:
    """Runs commands in forks of one process that has torch."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.log = folder / "log.txt"
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **env},
        )

    def start(self, code: str, words: list[str]) -> int:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([code, words, str(self.log)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        assert self.process.stdout
        return int(self.process.stdout.readline())

    def whole(self, code: str, words: list[str]) -> float:
        """Run to the end; returns seconds."""
        began = time.monotonic()
        self.start(code, words)
        assert self.wait() == 0, self.log.read_text()[-3000:]
        return time.monotonic() - began

    def killed(self, code: str, words: list[str], after: float) -> bool:
        """Kill it after so many seconds; whether it was still running."""
        pid = self.start(code, words)
        time.sleep(after)
        below: list[psutil.Process] = []
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it has ended
            below = psutil.Process(pid).children(recursive=True)
            os.kill(pid, signal.SIGKILL)
        code_of = self.wait()
        assert not psutil.wait_procs(below, timeout=30)[1], "a process outlived its launcher"
        return code_of == -signal.SIGKILL


@pytest.fixture(scope="module")
def forks(
    tmp_path_factory: pytest.TempPathFactory, write_tiny_store: Callable[..., Path]
) -> Iterator[Forks]:
    home = tmp_path_factory.mktemp("kills")
    write_tiny_store(home / "stores")
    forks = Forks(home, {"M2V_STORE": str(home / "stores")})
    forks.whole(PREPARE, [str(home / "stores"), "1"])
    yield forks
    assert forks.process.stdin
    forks.process.stdin.close()
    forks.process.wait(60)


def moments(name: str, seconds: float) -> list[float]:
    """When to kill: any time of the work."""
    rng = random.Random(f"{name} {os.environ.get('M2V_TEST_SEED', '0')}")
    return [rng.uniform(0, seconds) for _ in range(KILLS)]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_prepare(forks: Forks, tmp_path: Path) -> None:
    """By turns with nothing there and with an older store in place."""
    seconds = forks.whole(PREPARE, [str(tmp_path / "whole"), "1"])
    expected = contents(tmp_path / "whole")
    for i, after in enumerate(moments("prepare", seconds)):
        root = tmp_path / str(i)
        if i % 2 == 0:
            forks.whole(PREPARE, [str(root), "2"])
        forks.killed(PREPARE, [str(root), "1"], after)
        if (root / "synthetic").exists():
            open_store("synthetic", root).verify()
        forks.whole(PREPARE, [str(root), "1"])
        assert contents(root) == expected


@pytest.mark.parametrize("name", ["motion.html", "motion.bvh", "motion.npz"])
def test_lift(name: str, forks: Forks, tmp_path: Path) -> None:
    def words(folder: Path) -> list[str]:
        folder.mkdir()
        return ["lift", str(SAMPLE), "-o", str(folder / name)]

    seconds = forks.whole(COMMAND, words(tmp_path / "whole"))
    expected = contents(tmp_path / "whole")
    for i, after in enumerate(moments(name, seconds)):
        folder = tmp_path / str(i)
        command = words(folder)
        forks.killed(COMMAND, command, after)
        for file, data in contents(folder).items():
            assert data == expected.get(file, data)
            assert file in expected or file.endswith(".tmp")
        forks.whole(COMMAND, command)
        assert contents(folder) == expected


@pytest.mark.parametrize("form", ["h36m-sh", "h36m-clips"])
def test_export(form: str, forks: Forks, tmp_path: Path) -> None:
    def words(folder: Path) -> list[str]:
        return ["data", "export", "synthetic", "--as", form, "-o", str(folder / "out")]

    seconds = forks.whole(COMMAND, words(tmp_path / "whole"))
    expected = contents(tmp_path / "whole" / "out")
    for i, after in enumerate(moments(form, seconds)):
        forks.killed(COMMAND, words(tmp_path / str(i)), after)
        if (tmp_path / str(i) / "out").exists():
            assert contents(tmp_path / str(i) / "out") == expected
            continue
        forks.whole(COMMAND, words(tmp_path / str(i)))
        assert contents(tmp_path / str(i) / "out") == expected


@BY_HAND
def test_report(forks: Forks, tmp_path: Path) -> None:
    def words(folder: Path) -> list[str]:
        if not folder.exists():
            write_suite(folder)
        return [str(folder), str(folder / "runs")]

    seconds = forks.whole(REPORT, words(tmp_path / "whole" / "reports"))
    expected = set(contents(tmp_path / "whole" / "reports" / "html"))
    assert "index.html" in expected
    for i, after in enumerate(moments("report", seconds)):
        command = words(reports := tmp_path / str(i) / "reports")
        forks.killed(REPORT, command, after)
        assert set(contents(reports / "html")) in (set(), expected)
        forks.whole(REPORT, command)
        assert set(contents(reports / "html")) == expected


@pytest.mark.parametrize(
    "stage",
    [
        "queue",
        *(
            pytest.param(name, marks=BY_HAND)
            for name in ("pretrain", "finetune", "best-on-val", "action")
        ),
    ],
)
def test_training(
    stage: str,
    forks: Forks,
    tmp_path: Path,
    tiny_experiment: Callable[..., Experiment],
    write_acted_store: Callable[[Path], Path],
) -> None:
    """Weights, lines and results are those of the uninterrupted run; a queue keeps its record."""
    changes: dict[str, Any] = {"run.eval_every": 4, "run.max_steps": 24}
    if stage == "best-on-val":
        changes |= {"data.validation": True, "finetune.select": "best-on-val"}
    if stage == "action":
        write_acted_store(forks.log.parent / "stores")
        changes |= {"data.name": "acted", "action.batch_size": 4, "action.epochs": 12}
    exp = tiny_experiment("paper", changes)
    config = tmp_path / "exp.yaml"
    config.write_text(exp.to_yaml())
    command = {"best-on-val": "finetune", "queue": "pretrain"}.get(stage, stage)

    def job(folder: Path) -> tuple[str, list[str]]:
        if stage == "queue":
            return QUEUE, [str(config), str(folder), str(folder / "kept")]
        return f"import os; os.environ['M2V_RUNS'] = {str(folder)!r}; {COMMAND}", [
            command,
            "--config",
            str(config),
        ]

    seconds = forks.whole(*job(tmp_path / "whole"))
    run = exp.run_name(command)
    for i, after in enumerate(moments(stage, seconds)):
        folder = tmp_path / str(i)
        forks.killed(*job(folder), after)
        if (folder / run / "result.json").exists():
            load_record(folder / run)
            assert (folder / run / "weights.safetensors").exists()
        forks.whole(*job(folder))
        assert numbers(folder / run) == numbers(tmp_path / "whole" / run)
        if stage == "queue":
            assert {p.name for p in (folder / "kept" / run).iterdir()} == set(RECORD_FILES)
            load_record(folder / "kept" / run)


def numbers(folder: Path) -> tuple[Any, ...]:
    """All that a run leaves, but for seconds."""
    result = json.loads((folder / "result.json").read_text())
    lines = read_metrics(folder / "metrics.jsonl")
    for entry in (result, *lines):
        del entry["seconds"]
    weights = {k: v.tolist() for k, v in load_file(folder / "weights.safetensors").items()}
    return result, lines, weights, sorted(path.name for path in folder.iterdir())
