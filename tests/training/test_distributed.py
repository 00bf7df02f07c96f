"""Two processes make the run that one makes; they stop, change in number, and die, and it goes
on (CPU, gloo).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.store import Store
from m2v_lib.runs.records import RESUME_EXIT_CODE, StoppedEarly, read_metrics
from m2v_lib.training.action import train_action
from m2v_lib.training.engine import distributed
from m2v_lib.training.engine.distributed import ProcessGroup
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain
from m2v_lib.training.schedule import Schedule

ROOT = Path(__file__).resolve().parents[2]
STAGES: dict[str, Callable[[Experiment, Path], Path]] = {"pretrain": pretrain, "finetune": finetune}
#: How many times the run below is killed. Twenty were tried; three are enough to notice when it
#: breaks.
KILLS = int(os.environ.get("M2V_TEST_KILLS", "3"))
#: How many runs are left without the command that started them.
ORPHANS = int(os.environ.get("M2V_TEST_KILLS", "1"))


def experiment(more: dict[str, Any] | None = None, recipe: str = "paper") -> Experiment:
    sizes = {
        "model.n_layers": 2,
        "model.dim": 8,
        "model.n_frames": 9,
        "model.n_heads": 2,
        "model.dim_rep": 8,
        "data.train_stride": 3,
        "data.test_stride": 9,
        "pretrain.batch_size": 7,
        "finetune.batch_size": 7,
        "run.max_steps": 24,
        "run.log_every": 2,
        "run.checkpoint_every": 5,
        "run.eval_every": 8,
        "data.name": "tiny",
        "data.validation": True,
        "run.threads": 1,
        "optim.lr": 1e-4,
    }
    return Experiment.preset("smoke", recipe).override({**sizes, **(more or {})})


def losses(folder: Path) -> list[tuple[int, float]]:
    return [
        (line["step"], line["loss"])
        for line in read_metrics(folder / "metrics.jsonl")
        if line["kind"] == "train"
    ]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "weights.safetensors")


def assert_near(folder: Path, other: Path) -> None:
    """The same run up to the rounding of sums taken in another order, which AdamW makes larger
    with each step.
    """
    steps, values = zip(*losses(folder), strict=True)
    other_steps, other_values = zip(*losses(other), strict=True)
    assert steps == other_steps == tuple(range(2, 25, 2))
    assert values == pytest.approx(other_values, rel=1e-2)
    assert values[:3] == pytest.approx(other_values[:3], rel=1e-4)


# What each of two processes runs: gradients and buffers of its share of a batch, against those
# of the whole batch.
GRADIENTS = """
import sys, torch
from m2v_lib.config import Experiment
from m2v_lib.models.losses import pose_loss
from m2v_lib.models.registry import build_model
from m2v_lib.training.pretraining.objective import MaskedPrediction
from m2v_lib.training.engine.distributed import process_group

exp = Experiment.from_yaml(sys.argv[1])
draw = lambda seed: torch.Generator().manual_seed(seed)
x, y = torch.randn(2, 5, exp.model.n_frames, 17, 3, generator=draw(1), dtype=torch.float64)

def lift(module, group):
    own = group.share(len(x))
    return group.weight(len(x)) * pose_loss(module(x[own]), y[own], 0.5, 20.0)[0]

def hide(module, group):
    own, objective = group.share(len(x)), getattr(module, "module", module)
    return group.size * module(x[own], objective.draw(x.shape[:3], draw(2), own))[0]

def seen(group):
    out = []
    for loss_of in (lift, hide):
        module = build_model(exp.model, seed=0).double()
        if loss_of is hide:
            module = MaskedPrediction(module, exp.pretrain, draw(3)).double()
        network = group.wrap(module, torch.device("cpu"))  # alive until the gradients are there
        loss = loss_of(network, group)
        loss.backward()
        out.append([group.mean(loss.detach()), *(p.grad for p in module.parameters() if p.grad is not None)])
        out[-1] += [b for b in module.buffers() if b.is_floating_point()]
    return out

with process_group(exp) as group:
    together = seen(group)
alone = seen(type(group)())
for ours, theirs in zip(together, alone, strict=True):
    assert len(ours) == len(theirs) > 40
    largest = max(float(t.abs().max()) for t in theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11 * largest)
print("equal")
"""


# The same of every comparison system without dropout, some of whose weights its own loss alone
# trains.
SYSTEMS = """
import torch
from m2v_lib.config import Experiment
from m2v_lib.config.models import DUAL_STREAM, entries
from m2v_lib.models.layers.stochastic_depth import StochasticDepth
from m2v_lib.models.losses import lifting_loss
from m2v_lib.models.registry import build_model
from m2v_lib.training.engine.distributed import process_group

smoke = Experiment.preset("smoke").override({"run.device": "cpu"})
draw = lambda seed: torch.Generator().manual_seed(seed)
x, y = torch.randn(2, 5, 9, 17, 3, generator=draw(1), dtype=torch.float64)

def seen(name, group):
    exp = smoke.override({"model.name": name, "model.n_frames": 9})
    model = build_model(exp.model, seed=0).double()
    for layer in model.modules():
        if isinstance(layer, (torch.nn.modules.dropout._DropoutNd, StochasticDepth)):
            layer.p = 0.0
    network, own = group.wrap(model, torch.device("cpu")), group.share(len(x))
    loss = group.weight(len(x)) * lifting_loss(model, network, x[own], y[own], exp.finetune)[0]
    loss.backward()
    named = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    named |= {k: b for k, b in model.named_buffers() if b.is_floating_point()}
    return {"loss": group.mean(loss.detach()), **named}

names = [name for name in entries() if name != DUAL_STREAM]
with process_group(smoke) as group:
    together = {name: seen(name, group) for name in names}
for name in names:
    alone = seen(name, type(group)())
    largest = max(float(t.abs().max()) for t in alone.values())
    assert alone.keys() == together[name].keys()
    for key, theirs in alone.items():
        torch.testing.assert_close(
            together[name][key], theirs, rtol=1e-9, atol=1e-11 * largest, msg=f"{name}: {key}"
        )
print("equal")
"""


def test_systems_gradients_and_batch_norm_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    (tmp_path / "compare.py").write_text(SYSTEMS, encoding="utf-8")
    done = in_two_processes(str(tmp_path / "compare.py"))
    assert done.returncode == 0 and done.stdout.count("equal") == 2, done.stderr[-3000:]


def in_two_processes(*words: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [sys.executable, *launcher, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_gradients_and_batch_norm_are_those_of_the_whole_batch(recipe: str, tmp_path: Path) -> None:
    """In float64, five clips for two processes; both stages."""
    (tmp_path / "compare.py").write_text(GRADIENTS, encoding="utf-8")
    (tmp_path / "experiment.yaml").write_text(experiment(recipe=recipe).to_yaml(), encoding="utf-8")
    done = in_two_processes(str(tmp_path / "compare.py"), str(tmp_path / "experiment.yaml"))
    assert done.returncode == 0 and done.stdout.count("equal") == 2, done.stderr[-3000:]


@pytest.mark.parametrize(("stage", "recipe"), [("pretrain", "paper"), ("finetune", "released")])
def test_two_processes_make_the_run_of_one(
    stage: str,
    recipe: str,
    tiny_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same global batch, an odd one too; batch norm over both. Nothing temporary is left."""
    alone = STAGES[stage](experiment(recipe=recipe), tmp_path / "one")
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    together = STAGES[stage](experiment({"run.devices": 2}, recipe), tmp_path / "two")
    assert together.name == alone.name
    assert_near(together, alone)
    assert not [path for path in temporary.iterdir() if "inductor" not in path.name]


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(
    first: int, then: int, tiny_store: Store, tmp_path: Path
) -> None:
    whole = finetune(experiment(), tmp_path / "whole")
    with pytest.raises(StoppedEarly, match="to be resumed"):
        finetune(experiment({"run.devices": first, "run.max_minutes": 1e-6}), tmp_path / "runs")
    folder = tmp_path / "runs" / whole.name
    assert not (folder / "result.json").exists() and (folder / "checkpoint.safetensors").exists()
    finetune(experiment({"run.devices": then}), tmp_path / "runs")
    assert_near(folder, whole)


#: Put where Python finds it: rank 0 begins late when it is started again, so its peer looks for
#: it too early.
LATE = """
import os, time
if os.environ.get("RANK") == "0" and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
    time.sleep(1.5)
"""


Start = Callable[[Experiment], subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`m2v finetune` in a process of its own, with two workers."""
    (tmp_path / "sitecustomize.py").write_text(LATE, encoding="utf-8")
    started = list[subprocess.Popen[bytes]]()

    def begin(exp: Experiment) -> subprocess.Popen[bytes]:
        config = tmp_path / "experiment.yaml"
        config.write_text(exp.to_yaml(), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "m2v_lib.cli",
            "finetune",
            "--config",
            str(config),
            "--devices",
            "2",
        ]
        env = {**os.environ, "M2V_RUNS": str(tmp_path / "runs"), "PYTHONPATH": str(tmp_path)}
        with (tmp_path / "log.txt").open("ab") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=env))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:  # the test failed
            kill(
                [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            )


def kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        process.kill()


def workers(process: psutil.Process) -> list[psutil.Process]:
    """The two that train, below the command and the launcher."""
    below = process.children(recursive=True)
    return [
        p
        for p in below
        if "m2v_lib.training.engine.launcher" not in p.cmdline() and "m2v_lib.cli" in p.cmdline()
    ]


def test_a_run_killed_again_and_again_ends_like_one_that_was_not(
    start: Start, tiny_store: Store, tmp_path: Path
) -> None:
    """SIGKILL at random moments, by turns one worker (the launcher starts it again) and all
    processes at once.
    """
    exp = experiment({"run.max_steps": 60 * (KILLS + 1), "run.checkpoint_every": 7})
    whole = finetune(exp.override({"run.devices": 2}), tmp_path / "whole")
    folder = tmp_path / "runs" / whole.name
    rng = random.Random(0)
    running = start(exp)
    killed = 0
    while running.poll() is None:
        process = psutil.Process(running.pid)
        if killed < KILLS and len(alive := _trained_further(process, folder)) == 2:
            time.sleep(rng.uniform(0, 0.5))
            kill(
                [process, *process.children(recursive=True)] if killed % 2 else [rng.choice(alive)]
            )
            killed += 1
            if killed % 2 == 0:
                running.wait()
                running = start(exp)
        time.sleep(0.05)
    assert running.returncode == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert killed == KILLS
    log = (tmp_path / "log.txt").read_text()
    assert "connectFullMesh failed" not in log, "an address of an attempt before was tried"
    assert log.count("test MPJPE") == 1, "one process says how it ended"
    lines, expected = (read_metrics(f / "metrics.jsonl") for f in (folder, whole))
    assert [(line["kind"], line["step"]) for line in lines] == [
        (line["kind"], line["step"]) for line in expected
    ]
    assert losses(folder) == losses(whole)
    assert {n: v.tolist() for n, v in weights(folder).items()} == {
        n: v.tolist() for n, v in weights(whole).items()
    }


def _trained_further(process: psutil.Process, folder: Path) -> list[psutil.Process]:
    """The workers, once a line was logged that was not there when they began."""
    try:
        alive = workers(process)
        log = folder / "metrics.jsonl"
        born = max((p.create_time() for p in alive), default=float("inf"))
        return alive if log.exists() and log.stat().st_mtime > born and log.stat().st_size else []
    except psutil.NoSuchProcess:
        return []


def test_sigterm_stops_all_processes_at_a_checkpoint(
    start: Start, tiny_store: Store, tmp_path: Path
) -> None:
    exp = experiment({"run.max_steps": 100_000})
    process = start(exp)
    folder = tmp_path / "runs" / exp.run_name("finetune")
    while len(_trained_further(psutil.Process(process.pid), folder)) < 2:
        assert process.poll() is None, (tmp_path / "log.txt").read_text()
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == RESUME_EXIT_CODE, (tmp_path / "log.txt").read_text()[-2000:]
    assert (folder / "checkpoint.safetensors").exists() and not (folder / "result.json").exists()
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


def test_whoever_is_killed_leaves_no_process_behind(
    start: Start, tiny_store: Store, tmp_path: Path
) -> None:
    """SIGKILL of the command at random moments, its processes still starting or at work."""
    rng = random.Random(1)
    for _ in range(ORPHANS):
        running = start(experiment({"run.max_steps": 100_000}))
        process = psutil.Process(running.pid)
        while not (below := process.children(recursive=True)):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 8))
        below = process.children(recursive=True)
        running.kill()
        running.wait()
        assert below and not psutil.wait_procs(below, timeout=20)[1]


@pytest.mark.parametrize(("device", "kind"), [("cpu", "CPU cores"), ("cuda", "CUDA devices")])
def test_more_processes_than_the_machine_has_are_refused(
    device: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_n_cores", lambda: 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(ConfigError, match=f"must be at most the 3 {kind} .*, got 1000"):
        distributed.must_launch(experiment({"run.devices": 1000, "run.device": device}))
    assert distributed.must_launch(experiment({"run.devices": 3, "run.device": device}))


def test_shares_cover_a_batch_and_weights_make_its_mean() -> None:
    values = torch.arange(7.0)
    group = [ProcessGroup(rank, 3) for rank in range(3)]
    assert [i for t in group for i in range(7)[t.share(7)]] == list(range(7))
    means = [t.weight(7) * values[t.share(7)].mean() for t in group]
    assert float(torch.stack(means).mean()) == pytest.approx(float(values.mean()))
    assert ProcessGroup().weight(7) == 1.0


def test_a_mistake_of_the_user_is_said_once_and_not_tried_again(
    tiny_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="leave a last batch of 1 for 2 processes"):
        finetune(experiment({"run.devices": 2, "finetune.batch_size": 4}), tmp_path)


def test_a_last_batch_too_small_for_the_processes_is_refused(tmp_path: Path) -> None:
    stage: Any = SimpleNamespace(
        exp=experiment(), module=None, schedule=Schedule(9, 4, 1, 0), device=None
    )
    with pytest.raises(
        ConfigError, match="leave a last batch of 1 for 2 processes; choose another batch size"
    ):
        Trainer(stage, tmp_path, ProcessGroup(0, 2))


@pytest.mark.parametrize("launched", [False, True])
def test_a_systems_own_loss_says_that_it_trains_on_one_device(
    launched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if launched:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
    changes = {"finetune.loss": "own", "run.devices": 1 if launched else 2}
    with pytest.raises(ConfigError, match="finetune.loss=own trains on one device, in one process"):
        finetune(experiment(changes), tmp_path)


def test_action_recognition_says_that_it_trains_on_one_device(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run.devices=2: action recognition trains on one device"):
        train_action(experiment({"run.devices": 2}), tmp_path)
