"""Human3.6M's original CDF files become the two published files, which the reader takes; faults
are one sentence.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fakes.h36m import GT, WORLD, Files

from m2v_lib.data import prepare
from m2v_lib.data.safe_pickle.reader import read_object_npz
from m2v_lib.data.store import DataError, open_store

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"
PLACE = "MyPoseFeatures/D3_Positions"


class FakeCDF:
    """cdflib's reader of one variable, over a .npy file that is called .cdf."""

    def __init__(self, path: str) -> None:
        self.pose = np.load(path, allow_pickle=False)

    def varget(self, name: str) -> np.ndarray:
        if name != "Pose":
            raise ValueError(f"Variable name '{name}' not found.")
        return self.pose


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("h36m"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    fake = ModuleType("cdflib")
    fake.CDF = FakeCDF  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cdflib", fake)
    return importlib.import_module("h36m_cdf")


def raw_folder(files: Files, folder: Path, **renamed: str) -> Path:
    """The exported recordings as the archive has them: world millimetres, one row of 96 numbers
    a frame.
    """
    for subject, actions in files.npz(WORLD)["positions_3d"].items():
        for name, positions in actions.items():
            path = folder / subject / PLACE / f"{renamed.get(name, name)}.cdf"
            save(path, positions.reshape(1, -1, 96).astype(np.float64) * 1000)
    return folder


def save(path: Path, pose: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        np.save(stream, pose)
    return path


def test_the_files_are_those_of_the_export(
    script: ModuleType, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = raw_folder(files, tmp_path / "raw")
    (tmp_path / "file").touch()
    assert script.main([str(raw), "-o", str(tmp_path / "file" / "out"), "--partial"]) == 2
    assert "Not a directory" in capsys.readouterr().err
    assert script.main([str(raw), "-o", str(tmp_path / "out"), "--partial"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "out" / name) for name in (WORLD, GT)
    ]
    for name, key, atol in ((WORLD, "positions_3d", 1e-6), (GT, "positions_2d", 2e-3)):
        given, made = (
            read_object_npz(files.folder / name)[key],
            read_object_npz(tmp_path / "out" / name)[key],
        )
        assert {s: sorted(a) for s, a in given.items()} == {s: sorted(a) for s, a in made.items()}
        for subject, actions in given.items():
            for action in actions:
                np.testing.assert_allclose(actions[action], made[subject][action], atol=atol)
    prepare("h36m", root=tmp_path, source=tmp_path / "out")
    assert open_store("h36m", tmp_path).meta.input_is_truth


def test_names_of_actions_and_the_damaged_recording(
    script: ModuleType, files: Files, tmp_path: Path
) -> None:
    names = {"walk 1": "TakingPhoto 1", "wave 1": "Directions"}
    made = script.recordings(raw_folder(files, tmp_path, **names), partial=True)
    assert sorted(made["S9"]) == ["Directions", "Photo 1"] and list(made["S11"]) == ["Photo 1"]
    assert made["S1"]["Photo 1"].name == "TakingPhoto 1.cdf"
    assert script._name("WalkingDog") == "WalkDog" and script._name("Walking 1") == "Walking 1"


FAULTS: dict[str, tuple[Any, str]] = {
    "damaged": (b"not a CDF", "cannot be read as a CDF file with the variable Pose"),
    "17 joints": (
        np.ones((1, 5, 51)),
        r"Pose has shape \(1, 5, 51\), expected frames of 32 joints x 3",
    ),
    "no frame": (np.ones((1, 0, 96)), r"Pose has shape \(1, 0, 96\)"),
    "metres": (1.5, "the median bone is .* looks like metres"),
    "nan": (np.full((1, 5, 96), np.nan), "Pose at frame 0 is not a finite number"),
    "camera space": (
        -4e3,
        "expected in front of the lens; are these D3_Positions, in the room and not in a camera",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_one_sentence_and_nothing_is_written(
    fault: str, script: ModuleType, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents, sentence = FAULTS[fault]
    raw = raw_folder(files, tmp_path / "raw")
    path = raw / "S9" / PLACE / "walk 1.cdf"
    pose = np.load(path)
    if isinstance(contents, bytes):
        path.write_bytes(contents)
    elif isinstance(contents, float):  # a factor of the good one, or how far it is moved
        save(path, pose / 1000 if contents > 0 else pose + np.tile([0, contents * 2, 0], 32))
    else:
        save(path, contents)
    assert script.main([str(raw), "-o", str(tmp_path / "out"), "--partial"]) == 2
    printed = capsys.readouterr()
    assert (
        printed.out == ""
        and printed.err.startswith(f"h36m_cdf: {path}: ")
        and printed.err.count("\n") == 1
    )
    assert re.search(sentence, printed.err)
    assert not (tmp_path / "out").exists()


def test_an_incomplete_archive_says_what_is_missing(
    script: ModuleType, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = raw_folder(files, tmp_path / "raw")
    assert script.main([str(raw)]) == 2
    assert (
        f"has 2 files S1/{PLACE}/*.cdf, expected 30; --partial takes what is there"
        in capsys.readouterr().err
    )
    (tmp_path / "nothing").mkdir()
    assert script.main([str(tmp_path / "nothing"), "--partial"]) == 2
    assert f"has no file S*/{PLACE}/*.cdf" in capsys.readouterr().err


def test_without_cdflib_the_sentence_says_what_to_install(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cdflib", None)
    with pytest.raises(
        DataError, match="reading a CDF file needs cdflib, run `pip install cdflib`"
    ):
        script.read_positions(tmp_path / "Walking.cdf")


def test_a_real_cdf_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: Files) -> None:
    writer = pytest.importorskip("cdflib.cdfwrite")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = importlib.import_module("h36m_cdf")
    world = files.npz(WORLD)["positions_3d"]["S9"]["walk 1"]
    made = writer.CDF(
        str(tmp_path / "Walking.cdf"), cdf_spec={"Majority": "row_major", "Encoding": 6}
    )
    spec = {
        "Variable": "Pose",
        "Data_Type": 44,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": [len(world), 96],
    }
    made.write_var(spec, var_data=(world.reshape(1, -1, 96) * 1000).astype(np.float32))
    made.close()
    np.testing.assert_allclose(script.read_positions(tmp_path / "Walking.cdf"), world, atol=1e-6)
