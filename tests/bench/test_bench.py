"""`m2v bench`: what is counted, by hand; who takes turns with whom; the record of a run;
mistakes in one sentence.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from m2v_lib.bench import PARTS, TASKS, Options, bench, find_benches, load_bench
from m2v_lib.bench.client import Failed, Worker
from m2v_lib.bench.counts import ByteCounter, StepCost, count_flops, count_step
from m2v_lib.bench.memory import STATUS, Memory
from m2v_lib.bench.record import as_markdown, measurement, slopes, speed_rows
from m2v_lib.bench.turns import Effort, InterleavedTimer, Limits, Point
from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.models.losses import pose_loss
from m2v_lib.models.registry import build_model
from m2v_lib.runs.records import find_records
from m2v_lib.training.pretraining.objective import MaskedPrediction

GIB = 2**30
CEILINGS = {"fp32_tflops": 1.0, "bf16_tflops": 1.0, "copy_gb_per_s": 1.0, "product_size": 8}
RECORDS = Path(__file__).resolve().parents[2] / "reports" / "records"
TINY = {
    **{
        "model.n_layers": 1,
        "model.dim": 8,
        "model.n_heads": 2,
        "model.dim_rep": 8,
        "model.n_frames": 9,
    },
    **{"pretrain.target_layers": 1, "run.threads": 1},
}


def experiment(**model: Any) -> Experiment:
    return Experiment.preset("smoke").override(
        {**TINY, **{f"model.{k}": v for k, v in model.items()}}
    )


class FakeWorker:
    """Answers like a worker; a step takes a variant's `pace` and `memory` a clip. `log` is
    shared by all of them.
    """

    pace = {"reference": 0.4, "fast": 0.1, "fast-compiled": 0.05}
    memory = {"reference": 2.0, "fast": 1.0, "fast-compiled": 1.0}
    fails_at: dict[tuple[str, int], Failed] = {}

    def __init__(self, log: list[tuple[str, str, int]]) -> None:
        self.log = log

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        if do == "build":
            run = request["experiment"]["run"]
            self.variant = run["path"] + ("-compiled" if run["compile"] else "")
        elif do == "batch":
            self.size = request["size"]
            if (self.variant, self.size) in self.fails_at:
                raise self.fails_at[self.variant, self.size]
        elif do == "flops":
            return {"flops": 10**9}
        if do in ("build", "batch", "time"):
            self.log.append((do, self.variant, 0 if do == "build" else self.size))
        seconds = 0.0 if do == "build" else self.pace[self.variant] * self.size
        n_bytes = int(GIB * self.memory[self.variant] * self.size) if do != "build" else 0
        return {"seconds": seconds, "loss": 1.0, "bytes": 8 * 10**9, "peak_bytes": n_bytes}

    def close(self) -> None:
        self.log.append(("close", self.variant, 0))


class Fakes:
    """InterleavedTimer over fake workers."""

    def __init__(self, variants: tuple[str, ...], limits: Limits, **fails_at: Failed) -> None:
        self.log: list[tuple[str, str, int]] = []
        self.said: list[str] = []
        start: Any = lambda threads: FakeWorker(self.log)  # noqa: E731
        self.turns = InterleavedTimer(
            experiment(), variants, Effort(rounds=4), limits, self.said.append, start
        )

    def measure_growing_sizes(
        self, *sizes: int, main: int = 0
    ) -> dict[tuple[str, int], dict[str, Any]]:
        points = [Point(self.turns.exp, "train", n, main=n == main) for n in sizes]
        return {
            (row["variant"], row["batch"]): row
            for row in self.turns.measure_growing_sizes(points, 1)
        }


ROOMY = Limits(gib=1e9, seconds=1e9, batch=64)


def test_a_measurement_by_hand() -> None:
    row = measurement(
        [0.2, 0.1, 0.4],
        [0.4, 0.4, 0.4],
        batch=2,
        flops=10**9,
        loss=1.5,
        n_bytes=4 * 10**8,
        peak_bytes=7,
    )
    assert row["ms_per_clip"] == pytest.approx({"median": 100.0, "q25": 75.0, "q75": 150.0})
    assert row["speedup"] == pytest.approx({"median": 2.0, "low": 1.0, "high": 4.0})
    assert row["tflops"] == pytest.approx(2e-3 / 0.2)
    assert row["gb_per_s"] == pytest.approx(0.4 / 0.2)
    without = measurement([0.2], None, batch=1, flops=1, loss=0.0, n_bytes=None, peak_bytes=0)
    assert without["speedup"] is None and without["gb_per_s"] is None


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is slow for a whole round slows both; the ratio of medians would say 4."""
    row = measurement(
        [1.0, 4.0, 1.0], [4.0, 8.0, 2.0], batch=1, flops=1, loss=0.0, n_bytes=None, peak_bytes=0
    )
    assert row["speedup"]["median"] == pytest.approx(2.0)


def test_slopes_are_those_of_the_two_largest_sizes() -> None:
    rows = [
        {
            "axis": "n_frames",
            "task": "train",
            "variant": "fast",
            "value": n,
            "batch": 1,
            "flops": n**2,
            "ms_per_clip": {"median": ms},
            "peak_bytes": n * (n > 3),
        }
        for n, ms in ((27, 1.0), (3, 1.0), (9, 1 / 3))
    ]
    (line,) = slopes(rows)
    assert (line["low"], line["high"]) == (9, 27)
    assert (line["time"], line["flops"], line["memory"]) == pytest.approx((1.0, 2.0, 1.0))
    assert slopes(rows[:1]) == []


def test_every_variant_has_a_turn_in_every_round_and_its_own_process() -> None:
    fakes = Fakes(("reference", "fast", "fast-compiled"), ROOMY)
    rows = fakes.measure_growing_sizes(4, main=4)
    order = [variant for do, variant, _ in fakes.log if do == "time"]
    rounds = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert len(rounds) == 4 and all(
        sorted(taken) == ["fast", "fast-compiled", "reference"] for taken in rounds
    )
    assert len({taken[0] for taken in rounds}) == 3, "each begins at times"
    assert len({id(fakes.turns.workers[variant]) for variant in rounds[0]}) == 3
    assert rows["fast", 4]["speedup"]["median"] == pytest.approx(4.0)
    assert rows["fast", 4]["ms_per_clip"]["median"] == pytest.approx(100.0)


def test_slow_steps_get_fewer_rounds_but_three() -> None:
    fakes = Fakes(("reference", "fast"), ROOMY)
    fakes.measure_growing_sizes(100, main=100)
    assert [variant for do, variant, _ in fakes.log if do == "time"].count("reference") == 3


def test_as_many_rounds_as_asked_for() -> None:
    fakes = Fakes(("fast",), ROOMY)
    fakes.turns.effort = Options(rounds=9).effort
    fakes.measure_growing_sizes(100, main=100)
    assert [do for do, _, _ in fakes.log].count("time") == 9


def test_compiled_variants_are_measured_at_main_sizes_only() -> None:
    rows = Fakes(("fast", "fast-compiled"), ROOMY).measure_growing_sizes(1, 2, 4, main=2)
    assert list(rows) == [("fast", 1), ("fast", 2), ("fast-compiled", 2), ("fast", 4)]


@pytest.mark.parametrize(
    ("limits", "reference", "fast", "word"),
    [
        (Limits(gib=4, seconds=1e9, batch=64), [1, 2], [1, 2, 4], "--max-memory"),
        (Limits(gib=1e9, seconds=0.8, batch=64), [1, 2], [1, 2, 4, 8], "--max-seconds"),
        (Limits(gib=0.1, seconds=1e9, batch=64), [1], [1], "--max-memory"),
    ],
    ids=["memory", "time", "the first size is always tried"],
)
def test_a_size_that_would_be_too_much_is_not_tried(
    limits: Limits, reference: list[int], fast: list[int], word: str
) -> None:
    fakes = Fakes(("reference", "fast"), limits)
    rows = fakes.measure_growing_sizes(1, 2, 4, 8)
    assert [n for variant, n in rows if variant == "reference"] == reference
    assert [n for variant, n in rows if variant == "fast"] == fast
    assert all(word in sentence for sentence in fakes.turns.left_out) and fakes.turns.left_out


def test_who_runs_out_of_memory_ends_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        FakeWorker, "fails_at", {("reference", 4): Failed("no", out_of_memory=True)}
    )
    fakes = Fakes(("reference", "fast"), ROOMY)
    rows = fakes.measure_growing_sizes(1, 2, 4, 8)
    assert [n for variant, n in rows if variant == "reference"] == [1, 2]
    assert [n for variant, n in rows if variant == "fast"] == [1, 2, 4, 8]
    assert rows["fast", 8]["speedup"] is None
    assert fakes.turns.left_out == ["train, batch 4, reference: out of memory"]
    assert ("close", "reference", 0) in fakes.log and "reference" not in fakes.turns.workers
    fakes.measure_growing_sizes(1)
    assert [entry for entry in fakes.log if entry[:2] == ("build", "reference")] == [
        ("build", "reference", 0)
    ] * 2


def test_bytes_by_hand() -> None:
    a, b = torch.ones(8, 4), torch.ones(8, 4)
    with ByteCounter() as counter:
        a + b
    assert counter.bytes == 3 * 8 * 4 * 4
    with ByteCounter() as counter:
        a.T.reshape(-1, 8).view(2, 2, 8)[0].detach()
    assert counter.bytes == 0, "views move nothing"
    with ByteCounter() as counter:
        a.T.contiguous()
        a.mul_(2.0)
        torch.empty(1000)
    assert counter.bytes == 2 * (2 * 8 * 4 * 4)
    with ByteCounter() as counter:
        a @ b.T
    assert counter.bytes == (32 + 32 + 64) * 4
    with ByteCounter() as counter:
        a + torch.ones(1).expand(8, 4)
    assert counter.bytes == 2 * 8 * 4 * 4 + 2 * 4, "one number made, and read once"
    with ByteCounter() as counter:
        torch._foreach_lerp_([a], [b], 0.5)
    assert counter.bytes == 3 * 8 * 4 * 4, "two read, one written"


def test_operations_of_the_chain_grow_in_proportion_only_on_the_fast_path() -> None:
    def grown(task: str, path: str) -> float:
        exps = [experiment(n_frames=n).override({"run.path": path}) for n in (1000, 3000)]
        short, long = (count_flops(exp, task) for exp in exps)
        return long / short

    for part in PARTS:
        assert grown(part, "fast") == pytest.approx(3.0) or part == "att_temporal"
    assert grown("graph_temporal", "reference") > 6
    assert grown("att_temporal", "fast") == grown("att_temporal", "reference") > 6


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_operations_of_a_pretraining_step(recipe: str) -> None:
    """By parts, as `count_flops` adds them, they are what a counter sees in a real step."""
    sizes = {key: value for key, value in TINY.items() if key != "pretrain.target_layers"}
    exp = Experiment.preset("smoke", recipe).override(
        {**sizes, "pretrain.target_layers": 1, "run.path": "reference"}
    )
    objective = MaskedPrediction(
        build_model(exp.model, path="reference"), exp.pretrain, torch.Generator()
    )
    x = torch.randn(1, exp.model.n_frames, 17, 3)
    with FlopCounterMode(display=False) as counter:
        objective(x, torch.Generator().manual_seed(0))[0].backward()
    assert count_flops(exp, "pretrain") == counter.get_total_flops()


@pytest.mark.parametrize("preset", ["smoke", "medium"])
def test_a_steps_cost_is_what_a_counter_sees_in_a_real_step(preset: str) -> None:
    """On real tensors, at the full depth; `count_step` computes shapes of two depths alone."""
    few = {"model.n_frames": 9, "finetune.batch_size": 3, "model.n_layers": 4}
    exp = Experiment.preset(preset).override(few)
    model = build_model(exp.model, path="reference").train()
    clips = torch.rand(3, 9, exp.model.n_joints, 3)
    with FlopCounterMode(display=False) as products, ByteCounter() as counter:
        out = model(clips)
        pose_loss(out, torch.empty_like(out), 1.0, 1.0)[0].backward()
    seen = StepCost(counter.operators, counter.bytes, products.get_total_flops())
    assert count_step(exp) == seen


def test_training_costs_three_times_the_forward_pass() -> None:
    exp = experiment(dim=32, n_frames=27)
    assert count_flops(exp, "train") == pytest.approx(3 * count_flops(exp, "inference"), rel=0.05)


@pytest.mark.skipif(not STATUS.exists(), reason="the system keeps no such count")
def test_peak_memory_is_what_was_taken_meanwhile() -> None:
    memory = Memory(torch.device("cpu"))
    memory.begin()
    block = torch.ones(16 << 20)  # 64 MiB
    del block
    assert 60 * 2**20 < memory.peak() < 120 * 2**20
    memory.rest()
    memory.forget_peak()
    assert memory.peak() < 30 * 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    return bench(experiment(), Options(quick=True), out=out, say=lambda line: None)


def test_a_run_leaves_a_record(folder: Path) -> None:
    record = load_bench(folder)
    assert folder.name == record["name"] and folder.name.startswith("bench-cpu1-smoke-paper-")
    assert find_benches(folder.parent) == [record]
    assert find_records(folder.parent) == [], "no run of training"
    rows = {(row["task"], row["batch"], row["variant"]): row for row in record["measurements"]}
    assert list(rows) == [
        (task, n, v) for task in TASKS for n in (1, 2) for v in ("reference", "fast")
    ]
    for row in rows.values():
        assert len(row["seconds"]) == 2 and row["ms_per_clip"]["median"] > 0
        assert row["tflops"] > 0 and row["gb_per_s"] > 0 and row["peak_bytes"] >= 0
    assert (
        rows["train", 2, "fast"]["bytes"]
        > rows["train", 1, "fast"]["bytes"]
        > rows["inference", 1, "fast"]["bytes"]
    )
    assert record["left_out"] == [] and record["quick"] and record["threads"] == 1
    assert record["masks"]["n_clips"] == 96 and record["masks"]["share_of_step"] > 0
    assert all(value > 0 for key, value in record["ceilings"].items())


def test_both_paths_were_given_the_same_work(folder: Path) -> None:
    rows = load_bench(folder)["measurements"]
    losses: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        losses.setdefault((row["task"], row["batch"]), []).append(row["loss"])
    assert all(a == pytest.approx(b, rel=1e-4) for a, b in losses.values())
    assert len({round(a, 6) for a, _ in losses.values()}) == len(losses)


def test_the_table_has_a_line_a_measurement(folder: Path) -> None:
    record = load_bench(folder)
    text = as_markdown(record)
    assert text == (folder / "bench.md").read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(record["measurements"])
    assert len({len(line) for line in table}) == 1, "columns stand straight"
    row = record["measurements"][1]
    assert f"{row['speedup']['median']:.2f}" in speed_rows(record)[1]
    assert "mean nothing" in text


@pytest.fixture
def worker() -> Iterator[Worker]:
    process = Worker(1)
    yield process
    process.close()


def test_a_worker_says_when_memory_is_out(worker: Worker) -> None:
    worker.ask(do="build", experiment=experiment().to_dict(), task="inference")
    with pytest.raises(Failed) as failure:
        worker.ask(do="batch", size=10**12)
    assert failure.value.out_of_memory


def test_a_worker_that_is_gone(worker: Worker) -> None:
    worker.process.terminate()
    with pytest.raises(Failed, match="ended with code -15"):
        worker.ask(do="flops")


def test_the_scaling_run_measures_parts_and_the_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Measured(FakeWorker):
        def ask(self, do: str, **request: Any) -> dict[str, Any]:
            return (
                {**CEILINGS, "device": "cpu", "threads": 1}
                if do == "ceilings"
                else super().ask(do, **request)
            )

        def close(self) -> None: ...

    start: Any = lambda threads: Measured([])  # noqa: E731
    monkeypatch.setattr("m2v_lib.bench.InterleavedTimer", partial(InterleavedTimer, start=start))
    options = Options(scaling=True, max_memory=1e9, max_seconds=1e9)
    record = load_bench(bench(experiment(), options, out=tmp_path, say=lambda line: None))
    assert record["kind"] == "scaling" and record["measurements"] == []
    seen = {(row["axis"], row["task"]) for row in record["scaling"]}
    assert seen == {("n_frames", task) for task in (*PARTS, "train")} | {
        (a, "train") for a in ("n_layers", "dim", "batch")
    }
    frames = [
        row["value"]
        for row in record["scaling"]
        if row["axis"] == "n_frames" and row["task"] == "fusion"
    ]
    assert sorted(set(frames)) == [27, 81, 243, 729, 2187]
    assert len(record["slopes"]) == 2 * len(seen)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--variants", "faster"),
            "m2v: there is no variant 'faster' to measure; choose among reference, fast, ",
        ),
        (
            ("--tasks", "test"),
            "m2v: there is no task 'test' to measure; choose among train, pretrain, inference",
        ),
        (("--batch", "4", "0"), "m2v: batch must be positive, got 0"),
        (("--max-memory", "-1"), "m2v: max_memory must be positive, got -1"),
        (("--threads", "-1"), "m2v: run.threads must not be negative, got -1"),
        (("--device", "cuda"), "m2v: device 'cuda' is not available here; cpu always is"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["bench", "--quick", "--out", str(tmp_path), *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message) and len(captured.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_result_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nothing(self: Worker, do: str, **request: Any) -> dict[str, Any]:
        if do in ("ceilings", "flops"):
            return {**CEILINGS, "device": "cpu", "threads": 1, "flops": 1}
        raise Failed("RuntimeError: no compiler")

    monkeypatch.setattr(Worker, "ask", nothing)
    with pytest.raises(
        ConfigError,
        match="nothing could be measured: train, batch 1, fast: RuntimeError: no compiler",
    ):
        bench(
            experiment(),
            Options(variants=["fast"], quick=True),
            out=tmp_path,
            say=lambda line: None,
        )


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "bench-x").mkdir()
    path = tmp_path / "bench-x" / "bench.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="bench.json: not a bench record"):
        load_bench(path.parent)
    path.write_text(json.dumps({"schema": 0}), encoding="utf-8")
    with pytest.raises(ValueError, match="expected schema 1"):
        find_benches(tmp_path)


def test_the_parent_needs_no_torch() -> None:
    code = "import sys, m2v_lib.bench; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("record", find_benches(RECORDS), ids=lambda record: record["name"])
def test_kept_records_are_whole(record: dict[str, Any]) -> None:
    assert not record["quick"] and not record["commit"].endswith("+changes")
    assert (RECORDS / record["name"] / "bench.md").read_text(encoding="utf-8") == as_markdown(
        record
    )
    assert "reference" in {row["variant"] for row in [*record["measurements"], *record["scaling"]]}
