"""Run records: written whole or not at all, read back, gathered from several folders, cut for a
resume.
"""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.runs import records
from m2v_lib.runs.records import (
    RECORD_FILES,
    MetricsLog,
    environment,
    find_records,
    keep_record,
    load_record,
    project_root,
    read_metrics,
    runs_root,
    write_atomically,
    write_json,
    write_text,
)


def finished_run(folder: Path, **result: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("preset: smoke\nmodel: {dim: 16}\n")
    (folder / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 2.5}\n')
    write_json(folder / "result.json", {"schema": 1, **result})
    write_json(folder / "env.json", {"python": "3.11.7"})
    (folder / "weights.safetensors").write_bytes(b"large")
    return folder


def half_then_full_disk(beside: Path) -> None:
    beside.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def rust_full_disk(beside: Path) -> None:
    """safetensors reports a full disk as its own kind of error, which is no OSError."""
    beside.write_bytes(b"half")
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [half_then_full_disk, rust_full_disk])
def test_full_disk_leaves_the_older_file_and_names_it(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "result.json"
    write_text(file, "old")
    with pytest.raises(OSError) as caught:
        write_atomically(file, write)
    message = str(caught.value)
    assert (
        message.startswith(f"{file}: could not be saved")
        and "No space left" in message
        and "\n" not in message
    )
    assert file.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_a_failure_of_the_writer_itself_is_passed_on_and_leaves_nothing(tmp_path: Path) -> None:
    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise KeyError("a mistake in the program")

    with pytest.raises(KeyError):
        write_atomically(tmp_path / "new.json", fail)
    assert not list(tmp_path.iterdir())


def test_writing_makes_the_folder_and_replaces(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "text"
    for text in ("one", "two"):
        write_text(file, text)
        assert file.read_text() == text
    write_json(file, {"x": [1, None]})
    assert json.loads(file.read_text()) == {"x": [1, None]}


def test_metrics_append_read_and_cut(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.cut_after(0)
    lines = [{"kind": "train", "step": step, "loss": 1 / step} for step in (1, 2, 3)]
    for line in lines:
        log.append(line)
    assert read_metrics(log.path) == lines
    log.cut_after(2)
    assert read_metrics(log.path) == lines[:2]
    log.append(lines[2])
    assert read_metrics(log.path) == lines
    log.cut_after(0)
    assert log.path.read_text() == ""


def test_a_line_torn_by_a_kill_is_dropped(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    whole = {"kind": "train", "step": 1, "loss": 0.25}
    text = json.dumps(whole) + "\n"
    for length in range(1, len(text) - 1):
        log.path.write_text(text + text[:length])
        assert read_metrics(log.path) == [whole]
        log.cut_after(5)
        assert log.path.read_text() == text


def test_full_disk_while_logging_names_the_file(tmp_path: Path) -> None:
    log = MetricsLog(Path("/dev/full"))
    if not log.path.exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(OSError, match="/dev/full: a line could not be added .*No space left"):
        log.append({"step": 1})


def test_load_and_find(tmp_path: Path) -> None:
    finished_run(tmp_path / "runs" / "b-run", stage="finetune")
    finished_run(tmp_path / "runs" / "a-run")
    finished_run(tmp_path / "kept" / "b-run", stage="a copy")
    (tmp_path / "runs" / "unfinished").mkdir()
    found = find_records(tmp_path / "runs", tmp_path / "kept", tmp_path / "absent")
    assert [record.name for record in found] == ["a-run", "b-run"]
    assert found[1].result == {"schema": 1, "stage": "finetune"} and found[1].config["model"] == {
        "dim": 16
    }
    assert found[0].metrics == [{"kind": "train", "step": 1, "loss": 2.5}] and found[0].env == {
        "python": "3.11.7"
    }


@pytest.mark.parametrize("name", RECORD_FILES)
def test_a_missing_or_broken_file_is_named(name: str, tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    if name.endswith(".json"):
        (folder / name).write_text("{")
        with pytest.raises(ValueError, match="run: not a run record"):
            load_record(folder)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"not a run record .*{re.escape(name)}"):
        load_record(folder)


def test_keep_copies_the_small_files_only(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "runs" / "some-run")
    kept = keep_record(folder, tmp_path / "records")
    assert kept == tmp_path / "records" / "some-run"
    assert sorted(p.name for p in kept.iterdir()) == sorted(RECORD_FILES)
    assert load_record(kept).result == load_record(folder).result
    (folder / "env.json").unlink()
    with pytest.raises(ValueError, match=r"env\.json"):
        keep_record(folder, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_runs_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("M2V_RUNS", str(tmp_path))
    assert runs_root() == tmp_path
    monkeypatch.delenv("M2V_RUNS")
    monkeypatch.chdir(tmp_path)
    assert runs_root() == tmp_path / "reports" / "runs"


def test_runs_belong_to_the_checkout_whatever_folder_one_is_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("M2V_RUNS", raising=False)
    (tmp_path / "Snakefile").touch()
    deep = tmp_path / "reports" / "executed"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert project_root() == tmp_path and runs_root() == tmp_path / "reports" / "runs"


def test_environment_says_what_ran_where() -> None:
    env = environment({"device": "cpu"}, packages=("numpy", "no-such-package"))
    assert env["python"] == sys.version.split()[0] and env["device"] == "cpu"
    assert (
        re.match(r"\d+\.", env["packages"]["numpy"])
        and env["packages"]["no-such-package"] == "absent"
    )
    json.dumps(env)


def test_commit_outside_a_checkout_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.fullmatch(r"[0-9a-f]{12}(\+changes)?|unknown", records.commit())

    def no_git(*args: Any, **kwargs: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert records.commit() == "unknown"


def test_two_that_write_a_file_at_a_time_do_not_meet_and_the_users_own_file_stays(
    tmp_path: Path,
) -> None:
    file, own = tmp_path / "out.json", tmp_path / "out.json.tmp"
    own.write_text("somebody's")

    def write(beside: Path) -> None:
        with beside.open("w") as stream:
            stream.write("one ")
            write_text(file, "another")
            stream.write("whole")

    write_atomically(file, write)
    assert file.read_text() == "one whole" and own.read_text() == "somebody's"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.json", "out.json.tmp"]


def test_what_a_killed_process_left_behind_is_removed_and_an_interrupt_leaves_nothing(
    tmp_path: Path,
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    (tmp_path / f"out.json.{gone.pid}-0123abcd.tmp").write_text("half")
    running = tmp_path / f"out.json.{os.getppid()}-0123abcd.tmp"
    running.write_text("half")
    write_text(tmp_path / "out.json", "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"out.json", running.name}

    def interrupted(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "new.json", interrupted)
    assert {p.name for p in tmp_path.iterdir()} == {"out.json", running.name}
