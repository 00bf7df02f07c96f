"""What an import meets in practice: archives that are damaged in every way, a state further on
than what is there, a kill between two files.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from m2v_lib.cli import main
from m2v_lib.config import Experiment
from m2v_lib.data.store import Store
from m2v_lib.experiments.lease import incoming
from m2v_lib.experiments.lease.archive import pack, pack_to_resume
from m2v_lib.experiments.lease.incoming import unpack
from m2v_lib.experiments.lease.soundness import ArchiveError, step_reached
from m2v_lib.experiments.queue.run import claim_file
from m2v_lib.runs.locks import try_lock
from m2v_lib.runs.records import RECORD_FILES, StoppedEarly, runs_root
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain

Make = Callable[..., Experiment]
WEIGHTS, CHECKPOINT = "weights.safetensors", "checkpoint.safetensors"


@pytest.fixture
def finished(tiny_store: Store, tiny_experiment: Make) -> Path:
    return pretrain(tiny_experiment("paper", {"run.max_steps": 4}))


def stopped(exp: Experiment, at: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was stopped at a checkpoint after so many steps."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "must_stop", lambda self, stop: self.step == at)
        with pytest.raises(StoppedEarly):
            finetune(exp, root)
    return root / exp.run_name("finetune")


def step_of(folder: Path) -> int:
    return step_reached((folder / CHECKPOINT).read_bytes())


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_an_archive_damaged_anywhere_is_one_sentence_and_files_nothing(
    place: float, finished: Path, tmp_path: Path
) -> None:
    (archive,) = pack([finished], tmp_path / "records.zip")
    content = bytearray(archive.read_bytes())
    at = int(place * len(content))
    content[at : at + 40] = bytes(255 - byte for byte in content[at : at + 40])
    archive.write_bytes(bytes(content))
    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path / "kept", tmp_path / "other")
    assert not (tmp_path / "kept").exists()


def test_an_encrypted_archive_is_one_sentence(finished: Path, tmp_path: Path) -> None:
    (archive,) = pack([finished], tmp_path / "records.zip")
    content = archive.read_bytes()
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0: encrypted
        start = 0
        while (start := content.find(mark, start)) >= 0:
            at = start + flags
            content = content[:at] + bytes([content[at] | 1]) + content[at + 1 :]
            start += 4
    archive.write_bytes(content)
    with pytest.raises(ArchiveError, match="cannot be read"):
        unpack(archive, tmp_path / "kept", tmp_path / "other")


def test_many_files_that_unpack_to_far_more_are_refused_before_they_are_read(
    tmp_path: Path,
) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as opened:
        for number in range(60):
            opened.writestr(f"finetune-{number}/metrics.jsonl", bytes(14 << 20))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(ArchiveError, match="unpacks to"):
        unpack(bomb, tmp_path / "kept", tmp_path / "other")


def changed(archive: Path, name: str, content: Callable[[bytes], bytes]) -> Path:
    target = archive.with_name("changed.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            old_content = old.read(entry)
            new.writestr(
                entry, content(old_content) if entry.filename.endswith(name) else old_content
            )
    return target


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (WEIGHTS, lambda c: c[:-8], "weights.safetensors cannot be read"),
        (WEIGHTS, lambda c: b"", "weights.safetensors cannot be read"),
        (WEIGHTS, lambda c: c.replace(b'\\"seed\\": 0', b'\\"seed\\": 7'), "another run"),
        ("metrics.jsonl", lambda c: b"[" * 200_000, "no record of a run"),
        ("result.json", lambda c: c.replace(b'"fingerprint"', b'"footprint"'), "no record"),
    ],
    ids=["cut", "empty", "of another run", "nested", "no fingerprint"],
)
def test_weights_and_results_that_nobody_could_use_are_refused(
    name: str, change: Callable[[bytes], bytes], words: str, finished: Path, tmp_path: Path
) -> None:
    (archive,) = pack_to_resume([], [finished], tmp_path / "to_resume.zip")
    with pytest.raises(ArchiveError, match=words):
        unpack(changed(archive, name, change), tmp_path / "kept", tmp_path / "other")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("value", ["NaN", '"good"', "null"])
def test_a_result_without_an_error_is_refused(
    value: str, tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    folder = finetune(tiny_experiment("paper", {"run.max_steps": 2}))
    (archive,) = pack([folder], tmp_path / "records.zip")

    def spoil(content: bytes) -> bytes:
        result = json.loads(content)
        result["test"]["mpjpe"] = "MARK"
        return json.dumps(result).replace('"MARK"', value).encode()

    with pytest.raises(ArchiveError, match="no record of a run"):
        unpack(changed(archive, "result.json", spoil), tmp_path / "kept", tmp_path / "other")


def test_a_run_without_a_checkpoint_is_not_packed_and_a_torn_log_is_no_obstacle(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was killed: before a run's first checkpoint, and in the middle of a line."""
    exp = tiny_experiment("paper", {"run.log_every": 1})
    torn = stopped(exp, 3, runs_root(), monkeypatch)
    early = stopped(exp.override({"run.seed": 1}), 3, runs_root(), monkeypatch)
    (early / CHECKPOINT).unlink()
    with (torn / "metrics.jsonl").open("a") as log:
        log.write('{"kind": "train", "st')

    (archive,) = pack_to_resume([early, torn], [], tmp_path / "to_resume.zip")
    filed = unpack(archive, tmp_path / "kept", tmp_path / "other")
    assert [folder.name for folder in filed] == [torn.name]

    resumed, whole = finetune(exp, tmp_path / "other"), finetune(exp, tmp_path / "whole")
    assert (resumed / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


def test_the_state_that_is_further_on_stays(
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What one lease began the next took further, and a third may have ended."""
    exp, runs = tiny_experiment("paper"), tmp_path / "home"
    archives = []
    for lease, at in (("first", 3), ("second", 7)):
        folder = stopped(exp, at, tmp_path / lease, monkeypatch)
        archives += pack_to_resume([folder], [], tmp_path / f"{lease}.zip")

    for archive, expected in zip((*archives, archives[0]), (3, 7, 7), strict=True):
        unpack(archive, tmp_path / "kept", runs)
        assert step_of(runs / folder.name) == expected
    assert "stays at step 7" in capsys.readouterr().out

    ended = finetune(exp, tmp_path / "third")
    (with_weights,) = pack_to_resume([], [ended], tmp_path / "third.zip")
    unpack(with_weights, tmp_path / "kept", runs)
    assert {p.name for p in (runs / folder.name).iterdir()} == {*RECORD_FILES, WEIGHTS}
    assert unpack(archives[1], tmp_path / "kept", runs) == []
    assert (runs / folder.name / WEIGHTS).exists()


def test_a_run_that_is_being_trained_is_left_alone(
    tiny_store: Store,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = stopped(tiny_experiment("paper"), 3, tmp_path / "lease", monkeypatch)
    (archive,) = pack_to_resume([folder], [], tmp_path / "to_resume.zip")
    (tmp_path / "home").mkdir()
    with claim_file(tmp_path / "home" / folder.name).open("w") as stream:
        assert try_lock(stream)
        assert unpack(archive, tmp_path / "kept", tmp_path / "home") == []
    assert "is being trained" in capsys.readouterr().out
    assert len(unpack(archive, tmp_path / "kept", tmp_path / "home")) == 1


def test_an_import_killed_after_any_file_is_made_good_by_the_next(
    finished: Path, tiny_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = stopped(tiny_experiment("paper"), 3, runs_root(), monkeypatch)
    (archive,) = pack_to_resume([begun], [finished], tmp_path / "to_resume.zip")
    write = incoming.write_atomically
    n_files = 0

    for last in range(20):
        kept, runs = tmp_path / f"kept-{last}", tmp_path / f"runs-{last}"
        written: list[Path] = []

        def dies(
            path: Path, content: object, *, last: int = last, log: list[Path] = written
        ) -> None:
            if len(log) == last:
                raise KeyboardInterrupt
            log.append(path)
            write(path, content)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(incoming, "write_atomically", dies)
            try:
                unpack(archive, kept, runs)
            except KeyboardInterrupt:
                assert not any(
                    f for f in runs.glob("*/result.json") if not (f.parent / WEIGHTS).exists()
                )
            else:
                n_files = last
                break
        unpack(archive, kept, runs)
        assert (runs / finished.name / WEIGHTS).read_bytes() == (finished / WEIGHTS).read_bytes()
        assert step_of(runs / begun.name) == 3
        assert {p.name for p in (kept / finished.name).iterdir()} == set(RECORD_FILES)
        shutil.rmtree(runs)

    assert n_files >= 13


def test_another_result_of_the_same_settings_is_named_and_stays(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (archive,) = pack([finished], tmp_path / "records.zip")
    words = ["records", "import", str(archive), "--into", str(tmp_path / "kept")]
    assert main(words) == 0
    capsys.readouterr()
    assert main(words) == 0
    assert "already there" in capsys.readouterr().out

    other = tmp_path / "kept" / finished.name / "result.json"
    result = json.loads(other.read_text())
    other.write_text(json.dumps({**result, "seconds": 1e3, "final": {"loss": 7.0}}))
    assert main(words) == 0
    assert "another result" in capsys.readouterr().out
    assert json.loads(other.read_text())["final"]["loss"] == 7.0


def test_a_record_of_no_commit_is_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = finished / "result.json"
    for commit, noted in (("0123456789ab", False), ("0123456789ab+changes", True)):
        result.write_text(json.dumps({**json.loads(result.read_text()), "commit": commit}))
        (archive,) = pack([finished], tmp_path / "records.zip")
        unpack(archive, tmp_path / f"kept-{noted}", tmp_path / "other")
        assert (f"made from commit {commit}" in capsys.readouterr().out) == noted


def test_what_an_older_lease_packed_is_not_left_beside_the_new(
    finished: Path, tmp_path: Path
) -> None:
    for name in ("records-2.zip", "records-3.zip", "records-mine.zip", "to_resume.zip"):
        (tmp_path / name).write_bytes(b"old")
    pack([finished], tmp_path / "records.zip")
    pack_to_resume([], [], tmp_path / "to_resume.zip")
    assert {p.name for p in tmp_path.glob("*.zip")} == {"records.zip", "records-mine.zip"}


def test_the_weights_that_come_out_load(finished: Path, tmp_path: Path) -> None:
    (archive,) = pack_to_resume([], [finished], tmp_path / "to_resume.zip")
    unpack(archive, tmp_path / "kept", tmp_path / "other")
    assert load_file(tmp_path / "other" / finished.name / WEIGHTS)
