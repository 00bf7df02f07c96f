"""The queue at work: what is done, who may start, real runs as processes of their own, stopping
and failing.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.cli import main
from m2v_lib.config import Experiment
from m2v_lib.data.store import Store
from m2v_lib.experiments.queue import run as runner
from m2v_lib.experiments.queue.pace import expected_minutes, paces, step_work
from m2v_lib.experiments.queue.run import Queue, is_running, listing, run_queue
from m2v_lib.experiments.queue.wanted import Item
from m2v_lib.runs.records import RESUME_EXIT_CODE, Record, load_record
from m2v_lib.training.folder import run_folder_lock

Make = Callable[..., Experiment]


def chain(exp: Experiment) -> list[Item]:
    """A pre-training, the fine-tuning that starts from it, and one from scratch."""
    default = Experiment.preset(exp.preset_name, exp.recipe).flat()
    changes = {
        k: v
        for k, v in exp.flat().items()
        if default[k] != v and k not in ("data.name", "run.seed")
    }
    from_stage_1 = exp.override({"finetune.init": "pretrained"})
    second = {**changes, "finetune.init": "pretrained"}
    return [
        Item("pretrain", exp, changes, ("a",)),
        Item("finetune", from_stage_1, second, ("b",), exp.run_name("pretrain")),
        Item("finetune", exp, changes, ("c",)),
    ]


@pytest.fixture
def queue(tiny_store: Store, tiny_experiment: Make, tmp_path: Path) -> Queue:
    exp = tiny_experiment("paper", {"run.max_steps": 4, "run.log_every": 2})
    return Queue(chain(exp), tmp_path / "runs", tmp_path / "records")


def finish(folder: Path, *, weights: bool) -> None:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    if weights:
        (folder / "weights.safetensors").write_text("")


def test_everything_is_run_in_order_and_its_records_are_kept(queue: Queue) -> None:
    assert run_queue(queue, {"run.device": "cpu"}) == 0
    assert queue.waiting() == []
    kept = {
        item.stage + item.labels[0]: load_record(queue.kept / item.name) for item in queue.items
    }
    assert (
        kept["finetuneb"].result["init"] == queue.items[0].name
        and kept["finetunec"].result["init"] == "scratch"
    )
    assert not list(queue.kept.glob("*/*.safetensors")), "records hold no weights"
    began = time.monotonic()
    assert run_queue(queue, {}) == 0 and time.monotonic() - began < 1, "nothing is left to do"


def test_a_record_that_a_killed_queue_did_not_keep_is_kept_by_the_next(queue: Queue) -> None:
    for item in queue.items:
        finish(queue.runs / item.name, weights=True)
        for name, text in (("config.yaml", "{}"), ("metrics.jsonl", ""), ("env.json", "{}")):
            (queue.runs / item.name / name).write_text(text)
    assert not queue.waiting() and run_queue(queue, {}) == 0
    assert {path.name for path in queue.kept.iterdir()} == {item.name for item in queue.items}


def test_a_failed_run_stops_only_what_builds_on_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def fake(item: Item, settings: Any, runs: Path, deadline: float) -> int:
        started.append(item.labels[0])
        if item.labels == ("a",):
            return 1
        record = runs / item.name
        finish(record, weights=True)
        for name, text in (("config.yaml", "{}"), ("metrics.jsonl", ""), ("env.json", "{}")):
            (record / name).write_text(text)
        return 0

    monkeypatch.setattr(runner, "_run", fake)
    assert run_queue(queue, {}) == 1
    assert started == ["a", "c"] and [item.labels for item in queue.waiting()] == [("a",), ("b",)]


def test_when_the_time_is_up_it_asks_to_be_resumed(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_run", lambda *args: RESUME_EXIT_CODE)
    assert run_queue(queue, {}, max_minutes=5) == RESUME_EXIT_CODE
    assert run_queue(queue, {}, max_minutes=1e-9) == RESUME_EXIT_CODE


def test_the_time_left_is_handed_to_the_run(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    class Child:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            commands.append(command)

        def wait(self) -> int:
            return RESUME_EXIT_CODE

        def poll(self) -> int:
            return RESUME_EXIT_CODE

    monkeypatch.setattr(runner.subprocess, "Popen", Child)
    assert run_queue(queue, {"run.device": "cuda"}, max_minutes=30) == RESUME_EXIT_CODE
    (command,) = commands
    assert "run.device=cuda" in command
    (minutes,) = (word.partition("=")[2] for word in command if word.startswith("run.max_minutes="))
    assert 29 < float(minutes) <= 30


def test_sigterm_stops_the_queue_even_before_the_run_can_answer(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[str]()

    class Child:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            started.append(command[3])

        def wait(self) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            return -signal.SIGTERM

        def terminate(self) -> None: ...

        def poll(self) -> int:
            return -signal.SIGTERM

    monkeypatch.setattr(runner.subprocess, "Popen", Child)
    assert run_queue(queue, {}) == RESUME_EXIT_CODE
    assert started == ["pretrain"] and queue.failed == set()


def test_a_run_that_another_process_is_at_is_left_to_it(queue: Queue) -> None:
    folder = queue.runs / queue.items[0].name
    assert not is_running(folder)
    with run_folder_lock(folder):
        assert is_running(folder) and [item.labels for item in queue.ready()] == [("c",)]
        assert "running" in listing(queue, [], "cpu").splitlines()[1]
    assert not is_running(folder) and queue.ready()[0].labels == ("a",)


def test_two_queues_never_take_the_same_run(queue: Queue) -> None:
    other = Queue(queue.items, queue.runs, queue.kept)
    with queue.claim() as mine, other.claim() as theirs:
        assert mine is not None and theirs is not None
        assert (mine.labels, theirs.labels) == (("a",), ("c",)), (
            "the one between waits for the first"
        )
        assert is_running(queue.runs / mine.name) and queue.ready() == []
    assert queue.ready()[0] is queue.items[0] and not is_running(queue.runs / queue.items[0].name)


def test_a_run_that_ended_while_it_was_claimed_is_not_made_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = queue.ready()
    finish(queue.runs / queue.items[0].name, weights=True)
    monkeypatch.setattr(Queue, "ready", lambda self: ready)
    with queue.claim() as mine:
        assert mine is not None and mine.labels == ("c",)


def test_a_kept_pre_training_has_to_run_again_where_its_weights_are_missed(queue: Queue) -> None:
    first, second, _ = queue.items
    queue.items.insert(1, third := queue.items.pop())
    finish(queue.kept / first.name, weights=False)
    assert not queue.done(first), "the second run waits for its weights"
    assert queue.waiting() == [third, first, second], (
        "what is made again comes when it is needed, not first"
    )
    finish(queue.kept / second.name, weights=False)
    assert queue.done(first) and queue.done(second)


def test_the_listing_names_what_is_next_with_its_command_and_time(queue: Queue) -> None:
    third = queue.items[2]
    result = {"stage": "finetune", "device": "cpu", "seconds": 600.0, "schedule": {"steps": 4}}
    past = Record(Path("x"), third.exp.to_dict(), result, [], {})
    finish(queue.runs / third.name, weights=True)
    lines = listing(queue, [past], "cpu").splitlines()
    assert lines[0] == "1 of 3 runs are done" and lines[3].startswith("2. b (about 10 min)")
    assert (
        lines[2].split()[:2] == ["m2v", "pretrain"] and f"--seed {third.exp.run.seed}" in lines[2]
    )
    assert "duration unknown" in listing(queue, [past], "cuda").splitlines()[1]
    (queue.runs / queue.items[0].name).mkdir()
    (queue.runs / queue.items[0].name / "metrics.jsonl").write_text(json.dumps({"step": 2}) + "\n")
    assert ", at step 2)" in listing(queue, [past], "cpu").splitlines()[1]


def test_a_larger_run_is_expected_to_take_longer() -> None:
    small, deep = (Experiment.preset("small").override({"model.n_layers": n}) for n in (2, 8))
    assert step_work(deep, "finetune") == 4 * step_work(small, "finetune")
    result = {"stage": "finetune", "device": "cpu", "seconds": 60.0, "schedule": {"steps": 100}}
    past = paces([Record(Path("x"), small.to_dict(), result, [], {})], "cpu")
    minutes = expected_minutes(Item("finetune", deep, {}, ("x",)), past, None)
    assert minutes == pytest.approx(4 * 140.0)  # 14000 steps at 0.6 s, four times the blocks
    base = Item("finetune", Experiment.preset("base"), {}, ("x",))
    assert expected_minutes(base, past, None) is None, (
        "the full schedule is unknown without the store"
    )
    assert expected_minutes(base, past, 800) is not None


def test_without_the_data_the_command_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("M2V_STORE", str(tmp_path))
    assert main(["queue", "--preset", "small", "--run"]) == 2
    assert "m2v data prepare mocap" in capsys.readouterr().err
    assert main(["queue", "--preset", "small"]) == 0
    assert "runs are done" in capsys.readouterr().out


def test_the_cost_of_a_step_by_hand() -> None:
    """Clips, frames, blocks, and for a token 12 d^2 + 8 r d^2 of products, 4 d T of attention over
    time, 500 d of all else.
    """
    sizes = {"model.n_layers": 3, "model.dim": 16, "model.n_frames": 9, "model.mlp_ratio": 2}
    exp = Experiment.preset("small").override(
        {**sizes, "finetune.batch_size": 5, "pretrain.batch_size": 4, "pretrain.n_masks": 2}
    )
    token = 12 * 256 + 8 * 2 * 256 + 4 * 16 * 9 + 500 * 16
    assert step_work(exp, "finetune") == pytest.approx(5 * 9 * 3 * token)
    assert step_work(exp, "pretrain") == pytest.approx(4 * (2 + 1 / 3) * 9 * 3 * token)
    one = exp.override({"model.streams": "gcn"})
    assert step_work(one, "finetune") == pytest.approx(5 * 9 * 3 * (token - (12 + 16) * 128))


def test_the_pace_is_that_of_the_stage_on_the_device_in_the_middle() -> None:
    exp = Experiment.preset("small").override({"run.max_steps": 600})
    item = Item("finetune", exp, {}, ("x",))

    def made(stage: str, device: str, seconds: float) -> Record:
        result = {"stage": stage, "device": device, "seconds": seconds, "schedule": {"steps": 100}}
        return Record(Path("x"), exp.to_dict(), result, [], {})

    past = [made("finetune", "cpu", s) for s in (10.0, 20.0, 900.0)]
    past += [made("finetune", "NVIDIA X", 1.0), made("pretrain", "cpu", 5.0)]
    assert expected_minutes(item, paces(past, "cpu"), None) == pytest.approx(2.0)
    assert expected_minutes(item, paces(past, "cuda"), None) == pytest.approx(0.1)
    ratio = step_work(exp, "finetune") / step_work(exp, "pretrain")
    assert expected_minutes(item, paces(past[-1:], "cpu"), None) == pytest.approx(0.5 * ratio)


def test_a_systems_run_is_judged_by_runs_of_that_system() -> None:
    def of(name: str, batch: int) -> Experiment:
        changes = {"model.name": name, "finetune.batch_size": batch, "run.max_steps": 100}
        return Experiment.preset("compact").override({"data.name": "mocap", **changes})

    result = {"stage": "finetune", "seconds": 60.0, "schedule": {"steps": 100}, "device": "cpu"}
    past = paces([Record(Path("x"), of("pstmo", 16).to_dict(), result, [], {})], "cpu")
    wider = Item("finetune", of("pstmo", 32), {}, ("x",))
    assert expected_minutes(wider, past, None) == pytest.approx(2.0)
    for other in ("mixste", "dual_stream"):
        assert expected_minutes(Item("finetune", of(other, 16), {}, ("x",)), past, None) is None
