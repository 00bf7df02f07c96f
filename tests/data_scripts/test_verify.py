"""The table of ticks and crosses: what is as published, what is not, what cannot be read."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fakes.h36m import CPN, N_FRAMES, PICKLE, WORLD, Files, save_pickle

from m2v_lib.data.export import export_store
from m2v_lib.data.sources import h36m, ntu

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("h36m"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("verify")


def table(
    script: ModuleType, capsys: pytest.CaptureFixture[str], *paths: Path
) -> tuple[int, dict[str, str], str]:
    """Exit status, mark and rest of every row by its name, and the last line."""
    status = script.main([str(path) for path in paths])
    *rows, last = capsys.readouterr().out.splitlines()
    return (
        status,
        {row[2:37].strip(): row[0] + " " + " ".join(row[37:].split()) for row in rows},
        last,
    )


def test_small_files_are_not_the_published_ones(
    script: ModuleType, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows, last = table(script, capsys, files.folder / PICKLE)
    assert status == 1 and last == f"{sum(row[0] == '✗' for row in rows.values())} not as published"
    assert (
        rows["train: frames"] == "✗ 384 expected 1,559,752"
        and rows["test: frames"] == "✗ 384 expected 566,920"
    )
    assert (
        rows["train: subjects"] == "✗ S1 S5 expected S1 S5 S6 S7 S8"
        and rows["test: subjects"] == "✓ S9 S11"
    )
    assert rows["test: actions"] == "✗ 2 expected 15" and rows["test: cameras"] == "✓ 4"
    assert rows["test: clips of 243"] == "✗ 15 expected 2,228"
    assert rows["test: faulty recordings of S9"] == "✗ 0 expected 3"
    assert (
        rows["test: mm per px"][0]
        == rows["train: 2D (px)"][0]
        == rows["test: confidence"][0]
        == "✓"
    )
    assert rows["test: videos"] == "· 16" and rows["kind"] == "· h36m"
    assert any(
        name.startswith("sha256 of h36m") and row.startswith("✗") for name, row in rows.items()
    )


def test_all_as_published(
    script: ModuleType,
    files: Files,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(h36m, "FRAMES", {"npz": (384, 384)})
    monkeypatch.setattr(h36m, "SUBJECTS", {"train": ("S1", "S5"), "test": ("S9", "S11")})
    original = script.equal
    monkeypatch.setattr(script, "equal", lambda what, found, expected: original(what, found, found))
    status, rows, last = table(script, capsys, files.folder / WORLD, files.folder / CPN)
    assert (status, last) == (0, "all as published")
    assert {row[0] for row in rows.values()} == {"✓", "·"}


def test_a_range_that_is_left(script: ModuleType) -> None:
    assert (
        script.within("x", np.array([0, 1.0]), 0, 1).ok
        and not script.within("x", np.array([0, 1.1]), 0, 1).ok
    )
    assert not script.within("x", np.array([-1e-3, 1]), 0, 1).ok
    row = script.within("x", np.linspace(0, 5, 300_000), 1, 10)
    assert (row.found, row.expected, row.ok) == ("0 to 5", "1 to 10", False)


def test_clips_and_other_data_sets(
    script: ModuleType, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows, _ = table(
        script, capsys, files.folder / f"H36M-{N_FRAMES}", files.folder / PICKLE
    )
    assert status == 1 and rows["2D"] == "· of the clips"
    export_store("toy", "3dhp", tmp_path, root=files.folder / "stores")
    status, rows, _ = table(script, capsys, *sorted(tmp_path.glob("*.npz")))
    assert status == 1 and rows["test: valid frames of TS1"] == "✗ 24 expected 603"
    assert rows["test: valid frames"] == "✗ 384 expected 2,929"
    assert rows["train: frames"] == "✗ 384 expected 1,052,736" and rows[
        "train: clips of 81"
    ].endswith("117,024")


def test_what_cannot_be_read_is_one_cross(
    script: ModuleType, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = files.pickle()
    content["test"]["joints_2.5d_image"][7, 3] = np.nan
    path = save_pickle(tmp_path / PICKLE, content)
    status, _, last = table(script, capsys, path)
    assert status == 2 and last.startswith(
        f"✗ {path}: test: joints_2.5d_image at frame 7 (s_09_act_02_subact_01_ca_01"
    )
    for path, said in (
        (tmp_path / "none", "no such file"),
        (SCRIPTS / "verify.py", "no file that is known"),
    ):
        assert script.main([str(path)]) == 2
        assert said in capsys.readouterr().out


def test_action_data_by_counts_and_by_what_the_names_say(
    script: ModuleType,
    tmp_path: Path,
    write_acted_store: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_acted_store(tmp_path)
    path = export_store("acted", "ntu60", tmp_path / "out", root=tmp_path)[0]
    status, rows, _ = table(script, capsys, path)
    assert status == 1 and rows["samples"] == "✗ 16 expected 56,578"
    assert (
        rows["xsub: samples that train"] == "✗ 12 expected 40,091"
        and rows["names as NTU's"] == "✓ 16"
    )
    assert rows["xsub: people who train"].startswith("✗ 1 2 3 expected 1 2 4 5 8")
    assert (
        rows["xview: cameras that test"] == "✓ 1"
        and rows["labels that are not the name's"] == "✓ 0"
    )
    assert (
        rows["confidence"][0] == rows["frames of a sample"][0] == "✓" and rows["kind"] == "· ntu60"
    )
    counts = {
        "all": 16,
        ("xsub", "train"): 12,
        ("xsub", "test"): 4,
        ("xview", "train"): 8,
        ("xview", "test"): 8,
    }
    assert {
        k[0]: sum(v for p, v in script.NTU60_SAMPLES.items() if p[0] == k[0])
        for k in counts
        if k != "all"
    } == {"xsub": script.NTU60_SAMPLES["all"], "xview": script.NTU60_SAMPLES["all"]}
    monkeypatch.setattr(script, "NTU60_SAMPLES", counts)
    monkeypatch.setattr(ntu, "TRAIN_SUBJECTS", (1, 2, 3))
    monkeypatch.setattr(ntu, "CLASSES", ("big", "small"))
    assert table(script, capsys, path)[::2] == (0, "all as published")
