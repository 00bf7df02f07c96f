"""MPI-INF-3DHP's original MATLAB files, tiny and in both file versions, become the two published
files.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from m2v_lib.data.safe_pickle.reader import read_object_npz

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"
PICKED = [7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6]  # spec 6.1


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("convert_3dhp")
    monkeypatch.setattr(module, "SEQUENCES", {"S1 Seq1": (6, 25), "S2 Seq2": (4, 50)})
    monkeypatch.setattr(module, "VALID_FRAMES", {"TS1": 2, "TS5": 3})
    return module


def cells(arrays: list[np.ndarray]) -> np.ndarray:
    """MATLAB's cell array, a column."""
    out = np.empty((len(arrays), 1), object)
    for i, array in enumerate(arrays):
        out[i, 0] = array
    return out


def for_training(seed: int, n: int = 7) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    return {
        key: [rng.normal(size=(n, 28 * axes)) for _ in range(14)]
        for key, axes in (("annot2", 2), ("univ_annot3", 3))
    }


def for_testing(seed: int) -> dict[str, np.ndarray]:
    """In MATLAB's axis order: 2 x 17 x 1 x frames; a valid frame is 1."""
    rng = np.random.default_rng(seed)
    shapes = {"annot2": (2, 17, 1, 5), "univ_annot3": (3, 17, 1, 5)}
    arrays = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    return {**arrays, "valid_frame": np.array([[1.0], [0], [0], [1], [seed % 2]])}


def save_hdf5(path: Path, variables: dict[str, Any]) -> None:
    """As MATLAB 7.3 writes: axes reversed, cell arrays as references, and 512 bytes of its own
    before HDF5's.
    """
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            if isinstance(value, list):
                made = [
                    file.create_dataset(f"#refs#/{name}{i}", data=cell.T)
                    for i, cell in enumerate(value)
                ]
                file.create_dataset(
                    name, data=np.array([[m.ref for m in made]], dtype=h5py.ref_dtype)
                )
            else:
                file[name] = value.T
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))


def save_v5(path: Path, variables: dict[str, Any]) -> None:
    savemat(path, {k: cells(v) if isinstance(v, list) else v for k, v in variables.items()})


@pytest.fixture
def raw(tmp_path: Path) -> Callable[..., Path]:
    """`raw(save_train, save_test)` writes two training and two test sequences in the folders of
    the originals.
    """

    def write(save_train: Any = save_v5, save_test: Any = save_v5) -> Path:
        folder = tmp_path / "raw"
        for name, content, save in (
            ("S1/Seq1/annot.mat", for_training(1), save_train),
            ("S2/Seq2/annot.mat", for_training(2), save_train),
            ("mpi_inf_3dhp_test_set/TS1/annot_data.mat", for_testing(4), save_test),
            ("mpi_inf_3dhp_test_set/TS5/annot_data.mat", for_testing(5), save_test),
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            save(folder / name, content)
        return folder

    return write


@pytest.mark.parametrize(
    ("save_train", "save_test"), [(save_v5, save_v5), (save_v5, save_hdf5), (save_hdf5, save_hdf5)]
)
def test_both_versions_give_the_published_files(
    script: ModuleType, raw: Callable[..., Path], tmp_path: Path, save_train: Any, save_test: Any
) -> None:
    assert script.main([str(raw(save_train, save_test)), "-o", str(tmp_path / "out")]) == 0
    train = read_object_npz(tmp_path / "out" / "data_train_3dhp.npz")["data"]
    assert {name: entry[1] for name, entry in train.items()} == {"S1 Seq1": 25, "S2 Seq2": 50}
    for name, seed, n in (("S1 Seq1", 1, 6), ("S2 Seq2", 2, 4)):
        given = for_training(seed)
        assert list(train[name][0]) == ["0", "1", "2", "4", "5", "6", "7", "8"]
        for camera, poses in train[name][0].items():
            for key, source, axes in (("data_2d", "annot2", 2), ("data_3d", "univ_annot3", 3)):
                flat = given[source][int(camera)]
                by_hand = [[flat[t, axes * j : axes * j + axes] for j in PICKED] for t in range(n)]
                np.testing.assert_array_equal(poses[key], by_hand)
                assert poses[key].dtype == np.float64
    test = read_object_npz(tmp_path / "out" / "data_test_3dhp.npz")["data"]
    assert list(test) == ["TS1", "TS5"]
    for name, seed in (("TS1", 4), ("TS5", 5)):
        given_test = for_testing(seed)
        for t in range(5):
            for j in range(17):
                np.testing.assert_array_equal(
                    test[name]["data_2d"][t, j], given_test["annot2"][:, j, 0, t]
                )
                np.testing.assert_array_equal(
                    test[name]["data_3d"][t, j], given_test["univ_annot3"][:, j, 0, t]
                )
        assert test[name]["valid"].tolist() == [1, 0, 0, 1, seed % 2]


def refusal(script: ModuleType, folder: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert script.main([str(folder), "-o", str(out)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1 and not out.exists()
    return message


def change(path: Path, name: str, value: Any) -> None:
    content = {**for_training(1), name: value}
    save_v5(path, {k: v for k, v in content.items() if v is not None})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("annot2", None, r"annot.mat: has no variable 'annot2', expected annot2, univ_annot3"),
        ("annot2", np.zeros((7, 56)), r"annot.mat: data_2d is not a cell array of 14 cameras"),
        (
            "univ_annot3",
            [np.zeros((7, 51))] * 14,
            r"camera 0 has annotations \(7, 51\), expected \(frames, 28 joints",
        ),
        ("annot2", [np.zeros((5, 56))] * 14, r"camera 0 has 5 frames, S1 Seq1 has 6"),
    ],
    ids=["no 2D", "no cameras", "17 joints", "too short"],
)
def test_a_broken_training_file(
    script: ModuleType,
    raw: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: Any,
    said: str,
) -> None:
    folder = raw()
    change(folder / "S1/Seq1/annot.mat", name, value)
    message = refusal(script, folder, tmp_path / "out", capsys)
    assert re.search(said, message), message


def test_other_broken_files(
    script: ModuleType,
    raw: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, out = raw(), tmp_path / "out"
    ts5 = folder / "mpi_inf_3dhp_test_set/TS5/annot_data.mat"
    save_v5(ts5, {**for_testing(5), "annot2": np.zeros((5, 17, 2))})
    assert (
        "TS5/annot_data.mat: data_2d is (2, 17, 5) frames first, expected (frames, 1, 17, 2)"
        in refusal(script, folder, out, capsys)
    )
    ts5.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(600))
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "reading a MATLAB 7.3 file needs h5py, run `pip install h5py`" in refusal(
        script, folder, out, capsys
    )
    save_v5(ts5, for_testing(5))
    ts5.write_bytes(ts5.read_bytes()[:300])
    assert "TS5/annot_data.mat: cannot be read as a MATLAB file, truncated?" in refusal(
        script, folder, out, capsys
    )
    ts5.unlink()
    assert "raw: holds no annotations of TS5, expected S1/Seq1/annot.mat" in refusal(
        script, folder, out, capsys
    )
    assert "holds no annotations of S1 Seq1, S2 Seq2, TS1, TS5" in refusal(
        script, tmp_path / "none", out, capsys
    )
    assert script.main([str(folder), "-o", str(out), "--partial"]) == 0
    assert list(read_object_npz(out / "data_test_3dhp.npz")["data"]) == ["TS1"]


def test_other_numbers_of_valid_frames_are_noted(
    script: ModuleType,
    raw: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(script, "VALID_FRAMES", {"TS1": 2, "TS5": 276})
    (tmp_path / "file").touch()
    assert script.main([str(raw()), "-o", str(tmp_path / "file")]) == 1
    assert "File exists" in capsys.readouterr().err
    assert script.main([str(raw()), "-o", str(tmp_path)]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")] == [
        "note: TS5 has 3 valid frames, the published test set 276"
    ]
