"""What goes wrong on a lent machine: an engine that does not hold, signals, processes that die, runs
that fail, clocks that jump; each is said, and nothing made is lost.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.store import Store
from m2v_lib.experiments.lease import trial as trial_module
from m2v_lib.experiments.lease import worker as worker_module
from m2v_lib.experiments.lease.command import Lease
from m2v_lib.experiments.lease.incoming import unpack
from m2v_lib.experiments.lease.jobs import Job, write_jobs
from m2v_lib.experiments.lease.trial import Trial, rate_of
from m2v_lib.runs.records import RESUME_EXIT_CODE
from m2v_lib.training.engine import loop as loop_module
from m2v_lib.training.engine import saved_state
from m2v_lib.training.engine.step import TrainingStep

Make = Callable[..., Experiment]
CPU = torch.device("cpu")
PACKAGE = Path(trial_module.__file__).parents[3]

LEASE = """
import sys
from pathlib import Path
from m2v_lib.experiments.lease.command import Lease
from m2v_lib.experiments.lease.jobs import read_jobs
root = Path(sys.argv[1])
lease = Lease(read_jobs(root / "given.json"), 5, "cpu", root / "runs", root / "out")
lease.call = lambda *given, **more: "in time"
sys.exit(lease.run())
"""


@pytest.mark.parametrize("minutes", [0.0, -3.0, math.nan, math.inf])
def test_a_lease_has_minutes(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be minutes above 0"):
        Lease([], minutes, "cpu", tmp_path, tmp_path)


@pytest.mark.parametrize("given", [{"workers": 0}, {"lanes": -1}, {"lanes": 33}])
def test_a_lease_has_workers_and_streams(given: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must"):
        Lease([], 1.0, "cpu", tmp_path, tmp_path, **given)  # type: ignore[arg-type]


def test_no_minutes_are_a_sentence_and_not_a_listing(
    tiny_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["queue", "--preset", "smoke", "--data", "tiny", "--lease", "0"]
    assert main(words) == 2
    assert "minutes above 0" in capsys.readouterr().err


def test_a_lease_without_runs_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    lease = Lease([], 1, "cpu", tmp_path / "runs", tmp_path / "out", presets=["smoke"])
    assert lease.run() == 0
    assert json.loads((tmp_path / "out" / "lease.json").read_text())["left"] == 0


def test_two_leases_do_not_write_in_one_folder(tmp_path: Path) -> None:
    first, second = (Lease([], 1, "cpu", tmp_path, tmp_path) for _ in range(2))
    with first.out_to_itself(), pytest.raises(ConfigError, match="another lease writes there"):
        second.run()


def found(**wrong: bool) -> dict[str, Any]:
    """A trial in which all holds but what is named."""
    claims = {
        "blocks can be compiled": "compiled",
        "fast path = reference path": "paths",
        **{
            f"{claim}, {stage}": f"{short}_{stage}"
            for stage in ("finetune", "pretrain")
            for claim, short in (
                ("graph = eager", "graph"),
                ("stopped and resumed = whole", "resumed"),
                ("together = alone", "together"),
                ("bfloat16 near float32", "bfloat16"),
            )
        },
    }
    checks = [{"name": name, "holds": wrong.get(short, True)} for name, short in claims.items()]
    return {"checks": checks, "bench": {"finetune": {"graph, 1 at a time": 1.0}}}


@pytest.mark.parametrize(
    ("wrong", "graphs", "path", "compiling", "lanes", "n_jobs", "resumable"),
    [
        ("none", "auto auto", "fast", True, 4, 4, 2),
        ("graph_pretrain", "auto off", "fast", True, 4, 4, 2),
        ("resumed_finetune", "off auto", "fast", True, 4, 4, 1),
        ("paths", "auto auto", "reference", True, 4, 4, 2),
        ("compiled", "auto auto", "fast", False, 4, 4, 2),
        ("together_pretrain", "auto auto", "fast", True, 1, 4, 2),
        ("bfloat16_finetune", "auto auto", "fast", True, 4, 3, 2),
        ("bfloat16_pretrain", "auto auto", "fast", True, 4, 3, 2),
    ],
)
def test_what_does_not_hold_is_replaced_or_left_out_and_said(
    wrong: str,
    graphs: str,
    path: str,
    compiling: bool,
    lanes: int,
    n_jobs: int,
    resumable: int,
    tiny_experiment: Make,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exps = [tiny_experiment("paper", {"run.precision": p}) for p in ("fp32", "bf16")]
    jobs = [Job(stage, exp) for stage in ("finetune", "pretrain") for exp in exps]
    lease = Lease(jobs, 9, "cuda", tmp_path, tmp_path, compile=True)
    lease.use(found(**{wrong: False}), gpu=True)

    of_stage = {job.stage: job.exp.run.cuda_graph for job in lease.jobs}
    assert " ".join(of_stage[stage] for stage in ("finetune", "pretrain")) == graphs
    assert {job.exp.run.path for job in lease.jobs} == {path}
    assert (lease.compile, lease.lanes, len(lease.jobs)) == (compiling, lanes, n_jobs)
    assert len(lease.resumable) == resumable
    assert ("lease: " in capsys.readouterr().out) == (wrong != "none")


def test_what_was_not_checked_in_time_is_not_recorded(
    tiny_experiment: Make, tmp_path: Path
) -> None:
    jobs = [Job(stage, tiny_experiment("paper")) for stage in ("finetune", "pretrain")]
    lease = Lease(jobs, 9, "cuda", tmp_path, tmp_path)
    cut = found()
    cut["checks"] = [c for c in cut["checks"] if not c["name"].endswith("pretrain")]
    lease.use(cut, gpu=True)
    assert [job.exp.run.cuda_graph for job in lease.jobs] == ["auto", "off"]


def test_each_check_is_kept_as_soon_as_it_is_known_and_an_error_is_one_of_them(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jobs(tmp_path / "jobs.json", [Job("finetune", tiny_experiment("paper"))])

    def fails(self: Any, stage: str, graph: str, *given: Any, **more: Any) -> Any:
        raise RuntimeError("no memory\nand more")

    def killed(self: Any, stage: str) -> Any:
        raise KeyboardInterrupt

    def cannot(*given: Any, **more: Any) -> Any:
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(Trial, "losses", fails)
    monkeypatch.setattr(Trial, "bfloat16", killed)
    monkeypatch.setattr(torch, "compile", cannot)
    words = [str(tmp_path / "jobs.json"), "--out", str(tmp_path / "trial.json"), "--compile"]
    with pytest.raises(KeyboardInterrupt):
        trial_module.main(words)

    checks = json.loads((tmp_path / "trial.json").read_text())["checks"]
    seen = {check["name"]: (check["holds"], check["seen"]) for check in checks}
    assert seen["blocks can be compiled"] == (False, "RuntimeError: Failed to find C compiler")
    assert seen["fast path = reference path"][0] is True
    assert seen["stopped and resumed = whole, finetune"] == (False, "RuntimeError: no memory")


def test_moments_lost_on_resuming_are_found_although_the_rate_warms_up(
    tiny_store: Store, tiny_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = tiny_experiment("paper", {"optim.warmup_steps": 500})
    trial = Trial({"finetune": Job("finetune", exp)}, CPU)
    assert trial.resumes("finetune") == (True, "losses differ by 0.0e+00")
    monkeypatch.setattr(saved_state, "_restore_moments", lambda *given: None)
    trial.known.clear()
    assert trial.resumes("finetune")[0] is False


def test_losses_that_are_wrong_in_bfloat16_are_found_in_a_run_in_bfloat16(
    tiny_store: Store, tiny_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = tiny_experiment("paper", {"run.precision": "bf16"})
    trial = Trial({"finetune": Job("finetune", exp)}, CPU)
    assert trial.bfloat16("finetune")[0]
    add = TrainingStep.add_to_sums

    def wrong(self: TrainingStep, scalars: dict[str, Any]) -> None:
        off = 1.5 if self.stage.exp.run.precision == "bf16" else 1.0
        add(self, {name: off * value for name, value in scalars.items()})

    monkeypatch.setattr(TrainingStep, "add_to_sums", wrong)
    trial.known.clear()
    assert not trial.bfloat16("finetune")[0]


@pytest.mark.parametrize(("host", "device"), [(1e-4, 0.05), (1e-3, 1e-3), (0.01, 0.0)])
def test_steps_are_timed_by_when_they_are_done(
    host: float, device: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that is given work faster than it does it, and has some left from before."""
    clock, busy_until = [0.0], [3.0]

    def turn() -> None:
        clock[0] += host
        busy_until[0] = max(busy_until[0], clock[0]) + device

    def wait() -> None:
        clock[0] = max(clock[0], busy_until[0])

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    rate = rate_of(turn, wait, 4.0, 10**6)
    assert rate == pytest.approx(1 / max(host, device), rel=0.1)
    assert clock[0] < 3.0 + 2 * 4.0, "the time that was given"
    taken = list[int]()
    rate_of(lambda: (turn(), taken.append(1)), wait, 4.0, 7)  # type: ignore[arg-type, func-returns-value]
    assert len(taken) == 7


def test_a_run_that_failed_is_named_and_the_clock_may_jump(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left failed: the same lease again would do no more, which the exit code says."""
    exp = tiny_experiment("paper", {"run.max_steps": 4, "run.log_every": 1})
    jobs = [Job("finetune", exp.override({"optim.lr": 1e30})), Job("finetune", exp)]
    lease = Lease(jobs, 5, "cpu", tmp_path / "runs", tmp_path / "out")
    monkeypatch.setattr(lease, "call", lambda *given, **more: "in time")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 1e6 * lease.report.get("lanes", 0))
    assert lease.run() == 1
    report = json.loads((tmp_path / "out" / "lease.json").read_text())
    assert report["done"] == [jobs[1].name]
    assert list(report["failed"]) == [jobs[0].name]
    assert "FloatingPointError" in report["failed"][jobs[0].name]
    assert report["archives"] == ["records.zip"], "it has no checkpoint to go on from"


@contextmanager
def lease_that_trains(exp: Experiment, root: Path) -> Iterator[subprocess.Popen[str]]:
    """A lease in a process of its own, once its run has logged a step."""
    write_jobs(root / "given.json", [Job("finetune", exp)])
    env = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    lease = subprocess.Popen(
        [sys.executable, "-c", LEASE, str(root)], env=env, text=True, stdout=subprocess.PIPE
    )
    log = root / "runs" / exp.run_name("finetune") / "metrics.jsonl"
    until = time.monotonic() + 60
    while not (log.exists() and log.read_text()):
        assert lease.poll() is None and time.monotonic() < until
        time.sleep(0.1)
    try:
        yield lease
    finally:
        lease.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lease_that_is_taken_back_packs_what_it_has_and_leaves_no_process(
    number: int, tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    exp = tiny_experiment("paper", {"run.max_steps": 100_000, "run.log_every": 1})
    with lease_that_trains(exp, tmp_path) as lease:
        workers = psutil.Process(lease.pid).children(recursive=True)
        lease.send_signal(number)
        said, _ = lease.communicate(timeout=30)
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert workers and not alive

    if number == signal.SIGKILL:
        return
    assert lease.returncode == RESUME_EXIT_CODE
    assert f"{signal.Signals(number).name} came" in said
    (filed,) = unpack(tmp_path / "out" / "to_resume.zip", tmp_path / "kept", tmp_path / "home")
    assert (filed / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("ending", "code", "graphs"), [("kill -9 $$", "-9", "auto"), ("exit 3", "3", "off")]
)
def test_a_worker_that_dies_is_followed_by_another_twice(
    ending: str,
    code: str,
    graphs: str,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The system that is short of memory ends the largest process; 3 says that a device failed."""
    lease = Lease([Job("finetune", tiny_experiment("paper"))], 1, "cpu", tmp_path, tmp_path)
    given: list[str] = []

    def start(module: str, jobs: str, words: list[str]) -> subprocess.Popen[bytes]:
        entries = json.loads((tmp_path / jobs).read_text())
        given.append(entries[0]["experiment"]["run"]["cuda_graph"])
        return subprocess.Popen(["sh", "-c", ending])

    monkeypatch.setattr(lease, "start", start)
    monkeypatch.setattr(lease, "call", lambda *given, **more: "in time")
    assert lease.run() == RESUME_EXIT_CODE
    assert given == ["auto", graphs, graphs]
    assert capsys.readouterr().out.count(f"ended with exit code {code}; another begins") == 2


def test_a_disk_that_is_full_fails_the_run_and_not_the_lease(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job("finetune", tiny_experiment("paper", {"run.seed": seed})) for seed in range(2)]
    save = loop_module.save_tensors

    def full(path: Path, *given: Any) -> None:
        if path.parent.name == jobs[0].name:
            raise OSError(28, "No space left on device", str(path))
        save(path, *given)

    monkeypatch.setattr(loop_module, "save_tensors", full)
    write_jobs(tmp_path / "jobs.json", jobs)
    words = [str(tmp_path / "jobs.json"), "--runs", str(tmp_path / "runs")]
    words += ["--until", str(time.monotonic() + 600), "--failures", str(tmp_path / "failures")]
    assert worker_module.main(words) == 0
    (line,) = [json.loads(text) for text in (tmp_path / "failures").read_text().splitlines()]
    assert line["name"] == jobs[0].name and "No space left" in line["error"]
    assert (tmp_path / "runs" / jobs[1].name / "result.json").exists()
