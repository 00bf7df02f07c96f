"""A lease from checks to archive on a CPU: shared pre-training once, stopping in time, an engine
that does not hold.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from m2v_lib.bench import sweep_cost
from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.store import Store
from m2v_lib.experiments.lease import presets as presets_module
from m2v_lib.experiments.lease import worker as worker_module
from m2v_lib.experiments.lease.command import Lease
from m2v_lib.experiments.lease.incoming import unpack
from m2v_lib.experiments.lease.jobs import (
    Job,
    by_kind,
    compiled,
    jobs_of,
    read_jobs,
    write_jobs,
)
from m2v_lib.experiments.lease.trial import Trial
from m2v_lib.experiments.lease.verdicts import fastest, graphs_hold
from m2v_lib.experiments.queue.sweeps import (
    label,
    read_cost,
    sweep_items,
    sweep_table,
    variants,
)
from m2v_lib.experiments.queue.wanted import Item
from m2v_lib.runs.records import Record, load_record
from m2v_lib.training.finetune import Finetune
from m2v_lib.training.pretrain import Pretrain

Make = Callable[..., Experiment]


def chain(make: Make, steps: int = 4) -> list[Job]:
    """A pre-training, two fine-tunings that start from it, and one from scratch, the needy
    first.
    """
    exp = make("paper", {"run.max_steps": steps, "run.log_every": 2})
    needy = exp.override({"finetune.init": "pretrained"})
    fewer = needy.override({"data.label_fraction": 0.5})
    name = exp.run_name("pretrain")
    return [
        Job("finetune", needy, name),
        Job("finetune", fewer, name),
        Job("pretrain", exp),
        Job("finetune", exp),
    ]


def work(jobs: list[Job], tmp_path: Path, *, lanes: int = 3, seconds: float = 600) -> int:
    write_jobs(tmp_path / "jobs.json", jobs)
    until = str(time.monotonic() + seconds)
    return worker_module.main(
        [
            str(tmp_path / "jobs.json"),
            "--runs",
            str(tmp_path / "runs"),
            "--lanes",
            str(lanes),
            "--until",
            until,
        ]
    )


def test_a_worker_makes_what_is_shared_once_and_first(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = chain(tiny_experiment)
    assert work(jobs, tmp_path) == 0
    records = {job.name: load_record(tmp_path / "runs" / job.name) for job in jobs}
    assert [records[job.name].result.get("init") for job in jobs] == [
        jobs[2].name,
        jobs[2].name,
        None,
        "scratch",
    ]
    assert capsys.readouterr().out.count("pretrain 4/4") == 1
    began = time.monotonic()
    assert work(jobs, tmp_path) == 0 and time.monotonic() - began < 2, "nothing is left to do"


def test_jobs_survive_the_file_between_processes(tiny_experiment: Make, tmp_path: Path) -> None:
    jobs = chain(tiny_experiment)
    write_jobs(tmp_path / "jobs.json", jobs)
    assert read_jobs(tmp_path / "jobs.json") == jobs
    on_gpu = jobs_of([Item("finetune", jobs[0].exp, {}, ("a",), "b")], {"run.device": "cuda"})
    assert (
        on_gpu[0].exp.run.log_every == 250
        and on_gpu[0].name == jobs[0].name
        and on_gpu[0].needs == "b"
    )


def test_a_lease_makes_the_wanted_runs_and_no_others(tiny_experiment: Make) -> None:
    exp = tiny_experiment("paper")
    for settings in ({"run.max_steps": 7}, {"run.precision": "bf16"}):
        with pytest.raises(ConfigError, match="of the wanted"):
            jobs_of([Item("finetune", exp, {}, ("a",))], settings)


def test_a_failed_run_stops_only_what_builds_on_it(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = chain(tiny_experiment)
    draw = Pretrain.draw

    def fails(self: Any, *given: Any) -> Any:
        raise RuntimeError("no memory")

    monkeypatch.setattr(Pretrain, "draw", fails)
    assert work(jobs, tmp_path) == 0
    done = [(tmp_path / "runs" / job.name / "result.json").exists() for job in jobs]
    assert done == [False, False, False, True]
    monkeypatch.setattr(Pretrain, "draw", draw)
    assert work(jobs, tmp_path) == 0
    assert all((tmp_path / "runs" / job.name / "result.json").exists() for job in jobs)


def test_a_failing_device_ends_the_worker(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Any, *given: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Finetune, "draw", fails)
    assert work(chain(tiny_experiment)[3:], tmp_path) == worker_module.DEVICE_FAILED


def test_a_worker_stops_at_checkpoints_when_the_time_is_up_and_another_goes_on(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    jobs = chain(tiny_experiment, steps=3000)
    began = time.monotonic()
    assert work(jobs, tmp_path, seconds=4) == 0
    assert time.monotonic() - began < 15
    begun = [f for f in (tmp_path / "runs").glob("*/checkpoint.safetensors")]
    assert len(begun) == 2, "the pre-training and the run from scratch: the others wait"
    short = chain(tiny_experiment)
    assert work(short, tmp_path) == 0


def test_a_run_for_which_there_is_no_time_is_not_begun(
    tiny_experiment: Make, tmp_path: Path
) -> None:
    (*_, job) = chain(tiny_experiment, steps=1000)
    stop = worker_module.StopRequest(1.0)
    worker = worker_module.Worker([job], tmp_path, stop)
    assert worker.may_begin(job), "nothing is known of its pace"
    worker.seconds_a_step["finetune"] = 0.1
    assert not worker.may_begin(job)
    worker.seconds_a_step["finetune"] = 0.01
    assert worker.may_begin(job)


def test_a_whole_lease_on_a_cpu(tiny_store: Store, tiny_experiment: Make, tmp_path: Path) -> None:
    jobs = chain(tiny_experiment)
    lease = Lease(
        jobs, 8, "cpu", tmp_path / "runs", tmp_path / "out", workers=2, lanes=2, bench_seconds=2
    )
    lease.presets = ["smoke"]
    assert lease.run() == 0
    report = json.loads((tmp_path / "out" / "lease.json").read_text())
    checks = {check["name"]: check["holds"] for check in report["trial"]["checks"]}
    assert checks == {
        "fast path = reference path": True,
        **{f"graph = eager, {stage}": None for stage in ("finetune", "pretrain")},
        **{f"together = alone, {stage}": True for stage in ("finetune", "pretrain")},
        **{f"stopped and resumed = whole, {stage}": True for stage in ("finetune", "pretrain")},
        **{f"bfloat16 near float32, {stage}": True for stage in ("finetune", "pretrain")},
    }
    assert report["trial"]["bench"]["finetune"]["eager, 1 at a time"] > 0
    timed = [(row["preset"], row["task"]) for row in report["presets"]]
    tasks = ("train", "pretrain", "inference")
    assert timed == [("smoke", task) for task in tasks for _ in range(2)]
    assert all(row["ms_per_clip"] > 0 for row in report["presets"])
    assert (
        len(report["done"]) == 4 and report["left"] == 0 and report["archives"] == ["records.zip"]
    )
    filed = unpack(tmp_path / "out" / "records.zip", tmp_path / "kept", tmp_path / "runs")
    assert {f.name for f in filed} == {job.name for job in jobs}
    assert (tmp_path / "out" / "records.zip").stat().st_size < 16 << 20


def test_a_preset_is_measured_against_the_equations_as_written(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant that fails is a row that says so, and the others are measured all the same."""
    real = Trial.steps_a_second

    def fails(self: Any, stage: str, *given: Any) -> float:
        exp = self.jobs[stage].exp
        if exp.run.path == "fast" and exp.model.n_layers == 3:
            raise RuntimeError("out of memory\nand more")
        return real(self, stage, *given)

    monkeypatch.setattr(Trial, "steps_a_second", fails)
    monkeypatch.setattr("m2v_lib.bench.worker.limit_memory", lambda: None)
    sizes = {"medium": 2, "base": 3}
    stand_ins = {n: tiny_experiment("paper", {"model.n_layers": k}) for n, k in sizes.items()}
    monkeypatch.setattr(presets_module, "Experiment", SimpleNamespace(preset=stand_ins.get))
    (job, *_) = chain(tiny_experiment)
    write_jobs(tmp_path / "jobs.json", [job])
    out, said = tmp_path / "presets.json", list[str]()
    words = [str(tmp_path / "jobs.json"), "--out", str(out), "--seconds", "0.05", "--presets"]
    assert presets_module.main([*words, "medium", "base"], said.append) == 0

    rows = json.loads(out.read_text())["rows"]
    assert all(row["ms_per_clip"] > 0 for row in rows if row["task"] == "inference")
    written, fast, deep, failed = [row for row in rows if row["task"] == "train"]
    assert written["variant"] == deep["variant"] == presets_module.WRITTEN
    assert written["speedup"] == 1 == deep["speedup"] and written["ms_per_clip"] > 0
    ratio = written["ms_per_clip"] / fast["ms_per_clip"]
    assert fast["speedup"] == pytest.approx(ratio, rel=0.01, abs=0.01)
    assert failed["error"] == "RuntimeError: out of memory" and "out of memory" in "".join(said)


def test_the_command_takes_what_is_not_done_and_the_pre_training_that_it_needs(
    tiny_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of the pre-training is kept, its weights are not: it is made again."""
    taken: list[Lease] = []

    def take(self: Lease) -> int:
        taken.append(self)
        return 0

    monkeypatch.setattr(Lease, "run", take)
    monkeypatch.setattr("m2v_lib.runs.records.project_root", lambda: tmp_path)
    words = [
        "queue",
        "--preset",
        "smoke",
        "--data",
        "tiny",
        "--lease",
        "1",
        "--workers",
        "2",
        "--out",
        str(tmp_path),
    ]
    assert main(words) == 0
    jobs = taken[0].jobs
    for job in (j for j in jobs if j.stage == "pretrain"):
        (tmp_path / "reports" / "records" / job.name).mkdir(parents=True)
        (tmp_path / "reports" / "records" / job.name / "result.json").write_text("{}")
    assert main(words) == 0
    again = [job.name for job in taken[1].jobs]
    needed = {job.needs for job in taken[1].jobs if job.needs}
    assert needed and needed <= set(again) and taken[1].workers == 2
    assert all(again.index(job.needs) < again.index(job.name) for job in taken[1].jobs if job.needs)


def trial(holds: bool, rates: dict[str, float] | None = None) -> dict[str, Any]:
    paths = {"name": "fast path = reference path", "holds": False}
    others = [
        {"name": f"{claim}, {stage}", "holds": holds}
        for claim in ("graph = eager", "stopped and resumed = whole")
        for stage in ("finetune", "pretrain")
    ]
    return {
        "checks": [paths, *others],
        "bench": {"finetune": rates or {}},
    }


@pytest.mark.parametrize(
    ("found", "expected"), [(trial(True), "auto"), (trial(False), "off"), ({}, "off")]
)
def test_where_recorded_steps_do_not_hold_none_is_recorded(
    found: dict[str, Any],
    expected: str,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = Lease(chain(tiny_experiment), 9, "cuda", tmp_path / "runs", tmp_path)

    def call(module: str, words: list[str], timeout: float) -> str:
        if found:
            Path(words[1]).write_text(json.dumps(found))
        return "in time"

    monkeypatch.setattr(lease, "call", call)
    lease.trial()
    assert {job.exp.run.cuda_graph for job in lease.jobs} == {expected}
    assert {job.exp.run.path for job in lease.jobs} == {"reference" if found else "fast"}


def test_as_many_at_a_time_as_isfastest() -> None:
    rates = {
        "eager, 1 at a time": 9000.0,
        "graph, 1 at a time": 700.0,
        "graph, 8 at a time": 2500.0,
        "graph, 16 at a time": 2400.0,
    }
    assert fastest(trial(True, rates)) == 8 and fastest({}) == 4
    assert fastest(trial(True, {"graph, 1 at a time": 700.0})) == 4, "the bench was cut short"
    assert graphs_hold(trial(True), "finetune") and not graphs_hold({"checks": []}, "finetune")


def test_a_sweep_has_the_base_and_each_change_with_every_seed(tmp_path: Path) -> None:
    for name in ("compact-optimiser", "compact-minutes", "compact-data", "compact-length"):
        items = sweep_items(name)
        assert len(items) == 3 * len(variants(name)) and len({item.name for item in items}) == len(
            items
        )
        own = (
            " (optim.lr=0.004, run.precision=bf16, run.compile=True)"
            if name == "compact-minutes"
            else ""
        )
        assert items[0].exp.preset_name == "compact"
        assert items[0].labels == (f"{name}: the base{own} s0",)


def test_each_kind_of_jobs_is_apart_and_the_commonest_blocks_are_compiled(
    tiny_experiment: Make,
) -> None:
    def job(changes: dict[str, Any]) -> Job:
        return Job("finetune", tiny_experiment("paper", changes))

    deep, wide = {"model.n_layers": 3}, {"model.dim": 16}
    system = Job("finetune", Experiment.preset("smoke").override({"model.name": "mixste"}))
    blocks = [job({}), job(wide), job(deep)]
    jobs = [system, *blocks, job({"data.cameras": "random", **wide})]

    kinds = by_kind(jobs)
    assert list(kinds) == ["blocks", "systems", "cameras"] and kinds["blocks"] == blocks
    assert [j.exp.run.compile for j in compiled(jobs)] == [False, True, False, True, True]
    assert [j.name for j in compiled(jobs)] == [j.name for j in jobs]


def test_the_cost_of_a_sweeps_steps_is_filed_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_store: Store, tiny_experiment: Make
) -> None:
    """The variants stand in for those of the sweep, whose steps take seconds."""
    exps = [tiny_experiment("paper", {"model.dim": dim, "run.max_steps": 40}) for dim in (8, 64)]
    items = [Item("finetune", exp, {}, ("",)) for exp in exps]
    monkeypatch.setattr(sweep_cost, "sweep_items", lambda name, data: items)

    said: list[str] = []
    sweep_cost.measure_cost("compact-length", "tiny", tmp_path, say=said.append)
    cost = read_cost("compact-length", tmp_path)
    assert list(cost) == [label("compact-length", n) for n in range(2)] and len(said) == 2
    narrow, wide = cost.values()
    assert 0 < narrow < wide
    assert read_cost("compact-data", tmp_path) == {}


def test_a_sweeps_table_ranks_by_validation_error_alone() -> None:
    items = sweep_items("compact-length")
    errors = {items[0].name: (50.0, 70.0), items[1].name: (60.0, 10.0), items[6].name: (52.0, 70.0)}
    records = [
        Record(
            Path(name),
            {},
            {"val": {"mpjpe": val}, "test": {"mpjpe": test}, "schedule": {"steps": 1200}},
            [],
            {},
        )
        for name, (val, test) in errors.items()
    ]
    lines = sweep_table("compact-length", records, cost={"the base": 0.1}).splitlines()[2:]
    link = "[s{}](reports/records/{})"
    of_base = f"run {link.format(0, items[0].name)} {link.format(1, items[6].name)}"
    shorter = f"run {link.format(0, items[1].name)}"
    assert lines == [
        f"| the base | 1,200 | 2.0 | 51.00 | 1.41 | {of_base} |",
        f"| run.max_steps=1300, run.eval_every=1300 | 1,200 | - | 60.00 | - | {shorter} |",
    ]
    assert sweep_table("compact-data", records) == ""
