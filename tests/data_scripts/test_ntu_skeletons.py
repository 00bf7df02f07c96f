"""The Kinect's own text files become the published layout: joints by hand, and one sentence for
every broken file.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from m2v_lib.data.checks import DataError
from m2v_lib.data.sources.ntu import prepare_ntu60
from m2v_lib.data.store.action_store import TEST, TRAIN, open_action_store

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"
Body = tuple[str, np.ndarray, np.ndarray]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("ntu_skeletons")


def body(number: str = "72057594037931101", shift: float = 0.0, state: float = 2) -> Body:
    """A body whose joint k is seen at (800 + 10 k, 300 + 20 k)."""
    k = np.arange(25.0)
    return number, np.stack([800 + 10 * k + shift, 300 + 20 * k], -1), np.full(25, state)


def write(folder: Path, name: str, frames: Sequence[Sequence[Body]]) -> Path:
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for number, at, state in bodies:
            lines += [f"{number} 0 1 1 1 1 0 0.02 -0.01 2", "25"]
            lines += [
                f"0.1 0.2 3.0 200.5 180.5 {x} {y} 0.1 0.2 0.3 0.4 {int(s)}"
                for (x, y), s in zip(at, state, strict=True)
            ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.skeleton"
    path.write_text("\r\n".join(lines) + "\r\n")
    return path


def test_joints_by_hand(script: ModuleType, tmp_path: Path) -> None:
    points, score = script.read_skeleton(
        write(tmp_path, "S001C002P001R001A001", [[body()], [body(shift=5)]])
    )
    assert points.shape == (1, 2, 17, 2) and score.shape == (1, 2, 17) and (score == 1).all()
    # Kinect's order: 3 head, 4-6 left arm, 8-10 right arm, 12-14 left leg, 16-18 right leg
    expected = {
        0: 3,
        5: 4,
        7: 5,
        9: 6,
        6: 8,
        8: 9,
        10: 10,
        11: 12,
        13: 13,
        15: 14,
        12: 16,
        14: 17,
        16: 18,
    }
    for coco, kinect in expected.items():
        assert points[0, 0, coco].tolist() == [800 + 10 * kinect, 300 + 20 * kinect]
        assert points[0, 1, coco].tolist() == [805 + 10 * kinect, 300 + 20 * kinect]
    np.testing.assert_allclose(
        points[0, :, 1:3].mean(1), points[0, :, 0]
    )  # the eyes' middle is the Kinect's head
    np.testing.assert_allclose(points[0, :, 3:5].mean(1), points[0, :, 0])


def test_scores_say_how_well_a_joint_is_tracked(script: ModuleType, tmp_path: Path) -> None:
    number, at, state = body()
    at[4], at[5], at[6] = (np.nan, np.nan), (1950, 300), (-3, 300)
    state[8], state[9] = 1, 0
    points, score = script.read_skeleton(
        write(tmp_path, "S001C002P001R001A001", [[(number, at, state)]])
    )
    assert score[0, 0, [5, 7, 9]].tolist() == [0, 0, 0] and points[0, 0, 5].tolist() == [0, 0]
    assert score[0, 0, [6, 8, 10]].tolist() == [0.5, 0, 1]


def test_people_are_told_apart_by_number_and_furniture_is_left_out(
    script: ModuleType, tmp_path: Path
) -> None:
    a, b, chair = body("1"), body("2", 200), body("3", 400)
    frames = [[a], [b, a], [a, b], [b, a, chair], []]
    points, score = script.read_skeleton(write(tmp_path, "S001C002P001R001A050", frames))
    assert len(points) == 2
    assert score[:, :, 0].tolist() == [[1, 1, 1, 1, 0], [0, 1, 1, 1, 0]]
    assert points[0, :4, 0, 0].tolist() == [830] * 4 and points[1, 1:4, 0, 0].tolist() == [1030] * 3
    assert np.abs(points[1, [0, 4]]).max() == 0
    points, _ = script.read_skeleton(
        write(tmp_path, "S001C002P001R001A001", [[a], [a], [a, chair]])
    )
    assert len(points) == 1


def test_a_folder_becomes_a_file_that_the_reader_takes(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "raw"
    write(raw / "deep", "S001C002P001R001A001", [[body()]] * 3)  # person 1 trains
    write(
        raw, "S001C001P003R001A060", [[body("1"), body("2", 100)]] * 2
    )  # person 3 and camera 1 test
    write(raw, "S001C003P002R001A007", [[], []])  # nobody
    write(raw, "S018C001P001R001A061", [[body()]])  # NTU RGB+D 120
    out = tmp_path / "ntu60_kinect.pkl"
    assert script.main([str(raw), "-o", str(raw)]) == 2
    assert "could not be saved (Is a directory)" in capsys.readouterr().err
    assert script.main([str(raw), "-o", str(out)]) == 0
    assert (
        "2 samples; left out 1 files without a body and 1 of actions beyond the 60"
        in capsys.readouterr().out
    )
    prepare_ntu60(tmp_path / "stores", "kinect", [out], recipe="")
    data = open_action_store("kinect", tmp_path / "stores").data()
    assert data.names == (
        "S001C001P003R001A060",
        "S001C002P001R001A001",
    ) and data.label.tolist() == [59, 0]
    assert data.xsub.tolist() == [
        TEST,
        TRAIN,
    ] == data.xview.tolist() and data.n_persons.tolist() == [2, 1]
    joints, confidence = data.sample(1)
    assert joints[0, 0, 13].tolist() == [860, 420] and confidence.min() == 1


def _cut(text: str) -> str:
    return "\n".join(text.splitlines()[:20])


FAULTS: dict[str, tuple[Callable[[str], str], str]] = {
    "truncated": (_cut, "line 21 holds the end of the file, expected a joint of 12 numbers"),
    "empty": (lambda text: "", "line 1 holds the end of the file, expected the number of frames"),
    "frames in words": (
        lambda text: text.replace("2", "two", 1),
        "line 1 says 'two', expected the number of frames",
    ),
    "20 joints": (
        lambda text: text.replace("\n25\n", "\n20\n", 1),
        "line 4 says 20 joints, expected 25",
    ),
    "short joint": (
        lambda text: text.replace(" 200.5", "", 1),
        "line 5 holds 11 numbers, expected a joint of 12",
    ),
    "not a number": (
        lambda text: text.replace("200.5", "x", 1),
        "before line 30 a joint is not 12 numbers",
    ),
    "more than it says": (
        lambda text: text.replace("2", "1", 1),
        "line 30 comes after the last of the frames",
    ),
    "body line": (
        lambda text: text.replace(" 0.02 -0.01", "", 1),
        "line 3 holds 8 numbers, expected a body of 10",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_one_sentence(fault: str, script: ModuleType, tmp_path: Path) -> None:
    edit, sentence = FAULTS[fault]
    path = write(tmp_path, "S001C002P001R001A001", [[body()], [body()]])
    path.write_text(edit(path.read_text()))
    with pytest.raises(DataError, match=sentence) as caught:
        script.read_skeleton(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_foreign_names_bytes_and_folders(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pkl"
    (tmp_path / "raw").mkdir()
    assert script.main([str(tmp_path / "raw"), "-o", str(out)]) == 2
    assert "holds no .skeleton file" in capsys.readouterr().err
    (tmp_path / "raw/mine.skeleton").write_bytes(b"\xff\xfe")
    assert script.main([str(tmp_path / "raw"), "-o", str(out)]) == 2
    assert "mine.skeleton: is not named as NTU names its files" in capsys.readouterr().err
    (tmp_path / "raw/mine.skeleton").rename(tmp_path / "raw/S001C002P001R001A001.skeleton")
    assert script.main([str(tmp_path / "raw"), "-o", str(out)]) == 2
    assert "cannot be read as text" in capsys.readouterr().err
    assert not out.exists()
