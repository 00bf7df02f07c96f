"""Runs killed with SIGKILL go on to the numbers of a run that was never killed, bit for bit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from m2v_lib.config import Experiment
from m2v_lib.models.state_files import CheckpointError
from m2v_lib.runs.records import read_metrics
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain

STAGES: dict[str, Callable[[Experiment, Path], Path]] = {"pretrain": pretrain, "finetune": finetune}

#: A moment: what is about to be written, and how often it was written before. Checkpoints come
#: at steps 5, 10, 12.
MOMENTS = {
    "before any checkpoint": ("line", 2),
    "inside a line, after a checkpoint": ("half line", 4),
    "inside the second checkpoint": ("half checkpoint", 1),
    "after the last step, before the result": ("result", 0),
}

# One process imports torch once and forks for each run. A run that has come to its moment says
# so and waits to be killed from outside; what it had written by then, whole or half, is what the
# resumed run finds.
RUNNER = """
import json, os, sys, time
from pathlib import Path
from m2v_lib.config import Experiment
from m2v_lib.runs.records import MetricsLog
from m2v_lib.models import state_files as checkpoint
from m2v_lib.training.engine import loop
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain

def run(stage, config, root, marker, what, before):
    seen = {"line": 0, "checkpoint": 0}
    append, save_file, write_json = MetricsLog.append, checkpoint.save_file, loop.write_json

    def wait_here():
        Path(marker + ".tmp").write_text(str(os.getpid()))
        os.replace(marker + ".tmp", marker)
        time.sleep(600)

    def watched_append(self, line):
        if what == "half line" and seen["line"] == before:
            with self.path.open("a") as stream:
                stream.write(json.dumps(line)[:20])
            wait_here()
        append(self, line)
        seen["line"] += 1
        if what == "line" and seen["line"] == before:
            wait_here()

    def watched_save(tensors, beside, metadata):
        save_file(tensors, beside, metadata)
        if "checkpoint" in str(beside):
            if what == "half checkpoint" and seen["checkpoint"] == before:
                os.truncate(beside, os.path.getsize(beside) // 2)
                wait_here()
            seen["checkpoint"] += 1

    def watched_json(path, value):
        if what == "result" and path.name == "result.json":
            wait_here()
        write_json(path, value)

    MetricsLog.append = watched_append
    checkpoint.save_file, loop.write_json = watched_save, watched_json
    {"pretrain": pretrain, "finetune": finetune}[stage](Experiment.from_yaml(config), Path(root))

for job in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        try:
            run(*job)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Killed(NamedTuple):
    root: Path
    folder: Path
    files: set[str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, write_tiny_store: Callable[..., Path]) -> Path:
    home = tmp_path_factory.mktemp("resume")
    write_tiny_store(home / "stores")
    return home


@pytest.fixture(autouse=True)
def store_in_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2V_STORE", str(home / "stores"))


@pytest.fixture(scope="module")
def exp(tiny_experiment: Callable[..., Experiment]) -> Experiment:
    return tiny_experiment("paper", {"run.eval_every": 4})


@pytest.fixture(scope="module")
def killed(home: Path, exp: Experiment) -> dict[tuple[str, str], Killed]:
    """Every stage killed at every moment; each process is really gone by signal 9."""
    config = home / "exp.yaml"
    config.write_text(exp.to_yaml())
    jobs, markers = [], []
    for stage in STAGES:
        for i, (what, before) in enumerate(MOMENTS.values()):
            root = home / f"{stage}-{i}"
            markers.append(home / f"{stage}-{i}.at-its-moment")
            jobs.append((stage, str(config), str(root), str(markers[-1]), what, before))
    env = {**os.environ, "M2V_STORE": str(home / "stores"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUNNER, json.dumps(jobs)]
    runner = subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 300
    for marker in markers:
        while not marker.exists():
            assert runner.poll() is None and time.monotonic() < deadline, runner.communicate(
                timeout=5
            )
            time.sleep(0.01)
        os.kill(int(marker.read_text()), signal.SIGKILL)
    out, err = runner.communicate(timeout=60)
    codes = [line for line in out.splitlines() if line.lstrip("-").isdigit()]
    assert codes == [str(-signal.SIGKILL)] * len(jobs), err
    keys = [(stage, moment) for stage in STAGES for moment in MOMENTS]
    return {
        key: Killed(
            Path(job[2]),
            folder := Path(job[2]) / exp.run_name(key[0]),
            {p.name for p in folder.iterdir()},
        )
        for key, job in zip(keys, jobs, strict=True)
    }


@pytest.fixture(scope="module")
def uninterrupted(home: Path, exp: Experiment) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M2V_STORE", str(home / "stores"))
        return {stage: run(exp, home / f"{stage}-whole") for stage, run in STAGES.items()}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in line.items() if k != "seconds"}
        for line in read_metrics(folder / "metrics.jsonl")
    ]


def result_of(folder: Path) -> dict[str, Any]:
    result = json.loads((folder / "result.json").read_text())
    result.pop("seconds")
    return result


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("stage", STAGES)
def test_killed_and_resumed_equals_uninterrupted(
    stage: str,
    moment: str,
    killed: dict[tuple[str, str], Killed],
    uninterrupted: dict[str, Path],
    exp: Experiment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, folder, files = killed[stage, moment]
    assert "result.json" not in files
    assert ("checkpoint.safetensors" in files) == (moment != "before any checkpoint")
    halves = [name for name in files if re.fullmatch(r"checkpoint.safetensors\..*\.tmp", name)]
    assert bool(halves) == ("inside the second" in moment)
    assert ("weights.safetensors" in files) == ("after the last" in moment)
    if "inside a line" in moment:
        assert not (folder / "metrics.jsonl").read_text().endswith("\n")

    assert STAGES[stage](exp, root) == folder
    assert (f"{stage}: resumed at step" in capsys.readouterr().out) == (
        moment != "before any checkpoint"
    )
    whole = uninterrupted[stage]
    assert lines_of(folder) == lines_of(whole) and len(lines_of(whole)) == (
        6 if stage == "pretrain" else 9
    )
    ours, expected = (load_file(f / "weights.safetensors") for f in (folder, whole))
    assert ours.keys() == expected.keys() and all(
        torch.equal(ours[name], expected[name]) for name in expected
    )
    assert result_of(folder) == result_of(whole)
    assert {p.name for p in folder.iterdir()} == {p.name for p in whole.iterdir()}


def test_changed_data_is_not_resumed(
    exp: Experiment,
    write_tiny_store: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store made anew with other contents, under the name a killed run was trained on."""
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    write_tiny_store(tmp_path / "stores")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        for run in STAGES.values():
            with pytest.raises(KeyboardInterrupt):
                run(exp, tmp_path / "runs")
    write_tiny_store(tmp_path / "stores", seed=5)
    for stage, run in STAGES.items():
        with pytest.raises(
            CheckpointError, match="was made with fingerprint [0-9a-f]+, this run has"
        ) as caught:
            run(exp, tmp_path / "runs")
        assert exp.run_name(stage) in str(caught.value) and "\n" not in str(caught.value)


def test_a_finished_run_on_other_data_is_not_taken_for_this_one(
    exp: Experiment,
    write_tiny_store: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    write_tiny_store(tmp_path / "stores")
    folders = {stage: run(exp, tmp_path / "runs") for stage, run in STAGES.items()}
    write_tiny_store(tmp_path / "stores", seed=5)
    for stage, run in STAGES.items():
        with pytest.raises(
            CheckpointError, match="was trained on data with fingerprint [0-9a-f]+, the"
        ) as caught:
            run(exp, tmp_path / "runs")
        assert str(folders[stage]) in str(caught.value) and "\n" not in str(caught.value)
