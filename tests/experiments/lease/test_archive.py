"""An archive gives back the records it was made of, and nothing from one that was changed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from m2v_lib.cli import main
from m2v_lib.config import Experiment
from m2v_lib.data.store import Store
from m2v_lib.experiments.lease.archive import pack, pack_to_resume
from m2v_lib.experiments.lease.incoming import unpack
from m2v_lib.experiments.lease.soundness import ArchiveError
from m2v_lib.runs.records import RECORD_FILES, StoppedEarly, read_metrics, runs_root
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain

Make = Callable[..., Experiment]


@pytest.fixture
def folders(tiny_store: Store, tiny_experiment: Make, tmp_path: Path) -> list[Path]:
    exp = tiny_experiment("paper", {"run.max_steps": 4})
    return [pretrain(exp), finetune(exp), finetune(exp.override({"run.seed": 1}))]


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RECORD_FILES}


def test_records_come_out_as_they_went_in(folders: list[Path], tmp_path: Path) -> None:
    (archive,) = pack(folders, tmp_path / "records.zip")
    assert main(["records", "import", str(archive), "--into", str(tmp_path / "kept")]) == 0
    for folder in folders:
        kept = tmp_path / "kept" / folder.name
        assert contents(kept) == contents(folder) and {p.name for p in kept.iterdir()} == set(
            RECORD_FILES
        )
    assert unpack(archive, tmp_path / "kept", tmp_path / "other") == [], (
        "what is there already stays"
    )


def test_a_large_archive_is_several_files(folders: list[Path], tmp_path: Path) -> None:
    size = len(pack(folders[:1], tmp_path / "one.zip")[0].read_bytes())
    parts = pack(folders, tmp_path / "records.zip", limit=size + 200)
    assert [p.name for p in parts] == ["records.zip", "records-2.zip", "records-3.zip"]
    assert sum(len(unpack(part, tmp_path / "kept", tmp_path / "other")) for part in parts) == 3


@pytest.fixture
def begun(tiny_store: Store, tiny_experiment: Make) -> Path:
    """A run that its time limit stopped."""
    with pytest.raises(StoppedEarly):
        finetune(tiny_experiment("paper", {"run.seed": 2, "run.max_minutes": 1e-6}))
    (folder,) = runs_root().glob("finetune-*-s2")
    return folder


def test_a_run_goes_on_elsewhere_and_another_finds_its_stage_1(
    folders: list[Path],
    begun: Path,
    tiny_experiment: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (archive,) = pack_to_resume([begun], folders[:1], tmp_path / "to_resume.zip")
    monkeypatch.setenv("M2V_RUNS", str(tmp_path / "elsewhere"))
    assert main(["records", "import", str(archive), "--into", str(tmp_path / "kept")]) == 0
    assert {p.name for p in (tmp_path / "kept").iterdir()} == {folders[0].name}
    stage_1 = tmp_path / "elsewhere" / folders[0].name
    weights = "weights.safetensors"
    assert (stage_1 / weights).read_bytes() == (folders[0] / weights).read_bytes()

    exp = tiny_experiment("paper", {"run.seed": 2})
    resumed = finetune(exp)
    assert resumed == tmp_path / "elsewhere" / begun.name
    whole = finetune(exp, tmp_path / "whole")
    assert (resumed / weights).read_bytes() == (whole / weights).read_bytes()
    assert read_metrics(resumed / "metrics.jsonl")[0]["step"] == 2


def test_what_does_not_fit_stays(folders: list[Path], begun: Path, tmp_path: Path) -> None:
    target = tmp_path / "to_resume.zip"
    assert pack_to_resume([begun], folders[:1], target, most=1000) == []
    assert pack_to_resume([], [], target) == [] and not target.exists()
    size = sum(path.stat().st_size for path in folders[0].iterdir())
    (one,) = pack_to_resume([begun], folders[:1], target, most=size)
    assert [p.parent.name for p in unpack(one, tmp_path / "kept", tmp_path / "other")] == [
        "kept",
        "other",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n, c: None if "checkpoint" in n else (n, c), "has no checkpoint.safetensors"),
        (lambda n, c: (n, c.replace(b"lr: 0.005", b"lr: 0.004")), "has the settings of"),
        (lambda n, c: (n, b"- 1" if n.endswith("yaml") else c), "is no record of a run"),
    ],
)
def test_a_changed_run_to_resume_files_nothing(
    change: Callable[[str, bytes], tuple[str, bytes] | None],
    words: str,
    begun: Path,
    tmp_path: Path,
) -> None:
    (archive,) = pack_to_resume([begun], [], tmp_path / "to_resume.zip")
    with pytest.raises(ArchiveError, match=words):
        unpack(
            changed(archive, tmp_path / "changed.zip", change),
            tmp_path / "kept",
            tmp_path / "other",
        )
    assert not (tmp_path / "other").exists()


def changed(
    archive: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]
) -> Path:
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            if (made := change(entry.filename, old.read(entry))) is not None:
                new.writestr(*made)
    return target


def with_seed_5(name: str, content: bytes) -> tuple[str, bytes]:
    if not name.endswith("result.json"):
        return name, content
    return name, json.dumps({**json.loads(content), "seed": 5}).encode()


CHANGES: dict[str, tuple[Callable[[str, bytes], tuple[str, bytes] | None], str]] = {
    "a file more": (
        lambda n, c: (n.replace("env.json", "notes.txt"), c),
        "is no file of a run record",
    ),
    "a way out": (lambda n, c: (f"../{n}", c), "is no file of a run record"),
    "a file less": (lambda n, c: None if n.endswith("env.json") else (n, c), "has no env.json"),
    "other settings": (
        lambda n, c: (n, c.replace(b"lr: 0.005", b"lr: 0.004")),
        "has the settings of",
    ),
    "another result": (with_seed_5, "has the result of another run"),
    "a torn line": (
        lambda n, c: (n, c[:-10] if n.endswith("jsonl") else c),
        "is no record of a run",
    ),
    "the last lines less": (
        lambda n, c: (n, c.splitlines()[0] if n.endswith("jsonl") else c),
        "another run",
    ),
    "no settings": (lambda n, c: (n, b"- 1" if n.endswith("yaml") else c), "is no record of a run"),
}


@pytest.mark.parametrize("fault", CHANGES)
def test_a_changed_archive_files_nothing(fault: str, folders: list[Path], tmp_path: Path) -> None:
    change, words = CHANGES[fault]
    (archive,) = pack(folders, tmp_path / "records.zip")
    with pytest.raises(ArchiveError, match=words) as caught:
        unpack(
            changed(archive, tmp_path / "changed.zip", change),
            tmp_path / "kept",
            tmp_path / "other",
        )
    assert "changed.zip" in str(caught.value) and not (tmp_path / "kept").exists()


def test_a_torn_archive_is_one_sentence(folders: list[Path], tmp_path: Path) -> None:
    (archive,) = pack(folders, tmp_path / "records.zip")
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ArchiveError, match="cannot be read"):
        unpack(archive, tmp_path / "kept", tmp_path / "other")
