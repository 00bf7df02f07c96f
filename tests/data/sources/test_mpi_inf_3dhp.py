"""MPI-INF-3DHP's two files: read by hand once more, both scales, and files that are broken in
thirty ways.
"""

from __future__ import annotations

import copy
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data.sources.mpi_inf_3dhp import (
    VALID_FRAMES,
    Take,
    image_size,
    is_3dhp,
    looks_like,
    prepare_3dhp,
    protocol,
    read_test,
    read_train,
    to_split,
)
from m2v_lib.data.sources.synthetic import make_body, make_take
from m2v_lib.data.store import DataError, Split, Store, open_store
from m2v_lib.geometry.cameras import load_cameras, project, world_to_camera

# joint of ours that is each joint of theirs, by name: head top, neck, right arm, left arm, right
# leg, left leg ...
OURS = [10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9]
#: what reading a file in Human3.6M's order as one in theirs amounts to
ORDER = [OURS.index(j) for j in range(17)]
Content = dict[str, Any]


def poses(sequence: str, camera: int, n: int, seed: int) -> dict[str, np.ndarray]:
    """A walk in front of one of Human3.6M's cameras: pixels of the sequence's image size, camera
    mm, in their order.
    """
    rng = np.random.default_rng(seed)
    lens = list(load_cameras().values())[camera]
    seen = world_to_camera(make_take(make_body(rng), "walk", n, 50.0, rng), lens)
    width, height = image_size(sequence)
    px = (project(seen, lens) - 500) * width / 1000 + np.array([width, height]) / 2
    return {"data_2d": px[:, OURS], "data_3d": seen[:, OURS]}


@pytest.fixture(scope="module")
def contents() -> tuple[Content, Content]:
    """What the two files hold: two subjects, three sequences, two cameras; TS1 and TS5, every
    fifth frame valid.
    """
    train = {
        f"S{s} Seq{q}": [{name: poses("S", i, 30 + q, s) for i, name in enumerate(("0", "4"))}, fps]
        for s, q, fps in ((1, 1, 25), (1, 2, 50), (2, 1, 25))
    }
    test: Content = {name: poses(name, 0, 40, i) for i, name in enumerate(("TS1", "TS5"), 8)}
    for entry in test.values():
        entry["valid"] = (np.arange(40) % 5 == 2).astype(float)
    return train, test


@pytest.fixture
def write(contents: tuple[Content, Content], tmp_path: Path) -> Callable[..., Path]:
    """`write(train=..., test=...)` writes the folder of both files; None leaves a file out."""

    def write(**changed: Any) -> Path:
        folder = tmp_path / "3dhp"
        folder.mkdir(exist_ok=True)
        for kind, content in {"train": contents[0], "test": contents[1], **changed}.items():
            if content is not None:
                np.savez_compressed(folder / f"data_{kind}_3dhp.npz", data=content)
        return folder

    return write


def prepared(folder: Path, tmp_path: Path, **options: Any) -> Store:
    prepare_3dhp(tmp_path / "stores", "mpi", [folder], **options)
    return open_store("mpi", tmp_path / "stores")


def test_what_the_store_holds(
    write: Callable[..., Path], contents: tuple[Content, Content], tmp_path: Path
) -> None:
    store = prepared(write(), tmp_path)
    train, test = store.split("train"), store.split("test")
    assert [v.source for v in train.videos] == [f"{q}.{c}" for q in contents[0] for c in ("0", "4")]
    assert {(v.subject, v.action, v.camera) for v in train.videos} >= {
        ("S1", "S1 Seq2", "4"),
        ("S2", "S2 Seq1", "0"),
    }
    assert [(v.source, v.width, v.height) for v in test.videos] == [
        ("TS1.0", 2048, 2048),
        ("TS5.0", 1920, 1080),
    ]
    assert all((v.width, v.height) == (2048, 2048) for v in train.videos)
    for split, given in (
        (train, [poses for entry in contents[0].values() for poses in entry[0].values()]),
        (test, list(contents[1].values())),
    ):
        for video, entry in zip(split.videos, given, strict=True):
            frames = slice(video.start, video.start + video.n_frames)
            for theirs, ours in enumerate(OURS):
                np.testing.assert_allclose(
                    split.joint_2d[frames, ours], entry["data_2d"][:, theirs], rtol=1e-6
                )
                np.testing.assert_allclose(
                    split.truth_mm[frames, ours], entry["data_3d"][:, theirs], rtol=1e-6
                )
        assert (split.confidence == 1).all()
    assert train.valid is None and test.valid is not None
    assert np.flatnonzero(test.valid).tolist() == [*range(2, 40, 5), *range(42, 80, 5)]
    assert store.meta.val_subjects == ("S2",) and store.meta.fps == 25 and store.meta.input_is_truth
    assert is_3dhp(store.meta) and store.meta.protocol.startswith(
        "other data in the layout of MPI-INF-3DHP"
    )


@pytest.mark.parametrize(("scale", "unit"), [("paper", 1024), ("released", 960)])
def test_the_unit_of_ts5_and_ts6(
    write: Callable[..., Path], tmp_path: Path, scale: str, unit: int
) -> None:
    """Predictions are multiplied by factor * width / 2; the label is what makes that the truth
    (audit D9).
    """
    store = prepared(write(), tmp_path, scale=scale)
    for split in (store.split("train"), store.split("test")):
        for video in split.videos:
            frames = slice(video.start, video.start + video.n_frames)
            expected = unit if video.source == "TS5.0" else 1024
            np.testing.assert_allclose(split.factor[frames] * video.width / 2, expected, rtol=1e-6)
        product = split.label_px * split.factor[:, None, None]
        np.testing.assert_allclose(product, split.truth_mm, rtol=1e-5)
    assert ("as released" in store.meta.protocol) == (scale == "released")


def test_only_the_published_sequences_and_valid_frames_are_called_the_data_set() -> None:
    def take(sequence: str, n_valid: int) -> Take:
        return Take(
            sequence,
            "0",
            25.0,
            np.zeros((1, 17, 2)),
            np.zeros((1, 17, 3)),
            np.arange(700) < n_valid,
        )

    train = [take(f"S{s} Seq{q}", 700) for s in range(1, 9) for q in (1, 2)]
    test = [take(name, n) for name, n in VALID_FRAMES.items()]
    assert sum(VALID_FRAMES.values()) == 2929
    assert protocol(train, test, "paper").startswith("MPI-INF-3DHP: S1-S8 train, TS1-TS6 test")
    for other in ((train[1:], test), (train, test[1:]), (train, [*test[1:], take("TS1", 604)])):
        assert protocol(*other, "paper").startswith("other data")


def test_files_are_known_by_what_they_hold(write: Callable[..., Path], tmp_path: Path) -> None:
    folder = write()
    train, test = folder / "data_train_3dhp.npz", folder / "data_test_3dhp.npz"
    assert looks_like(folder) and looks_like(train) and looks_like(test)
    np.savez(tmp_path / "plain.npz", positions=np.zeros(3))
    np.savez(tmp_path / "object.npz", data=np.array({"S1": 1}, object))
    assert not looks_like(tmp_path / "plain.npz") and not looks_like(tmp_path / "object.npz")
    (tmp_path / "text").write_text("S1 Seq1")
    assert (
        not looks_like(tmp_path / "text")
        and not looks_like(tmp_path / "nothing")
        and not looks_like(tmp_path)
    )
    renamed = [test.rename(tmp_path / "a.npz"), train.rename(tmp_path / "b.npz")]
    store = open_store("x", prepare_3dhp(tmp_path, "x", renamed).parent)
    assert len(store.split("train").videos) == 6 and store.meta.source == "b.npz, a.npz"


def test_what_a_user_has_against_what_is_published(
    write: Callable[..., Path],
    contents: tuple[Content, Content],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[3] / "data_scripts"))
    script = importlib.import_module("verify")
    lengths = {
        name: (len(entry[0]["0"]["data_3d"]), entry[1]) for name, entry in contents[0].items()
    }
    monkeypatch.setattr(script, "SEQUENCES_3DHP", lengths)
    monkeypatch.setattr("m2v_lib.data.sources.mpi_inf_3dhp.CAMERAS", ("0", "4"))
    monkeypatch.setattr("m2v_lib.data.sources.mpi_inf_3dhp.VALID_FRAMES", {"TS1": 8, "TS5": 8})
    assert script.main([str(write())]) == 0
    assert "all as published" in capsys.readouterr().out
    short = copy.deepcopy(contents[0])
    short["S1 Seq2"][0]["4"] = {key: array[:-2] for key, array in short["S1 Seq2"][0]["4"].items()}
    short["S2 Seq1"][1] = 50
    ahead = copy.deepcopy(contents[1])
    ahead["TS5"]["valid"][0] = 1
    assert script.main([str(write(train=short, test=ahead))]) == 1
    crosses = [
        " ".join(line.split())
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("✗")
    ]
    assert crosses == [
        "✗ train: of other length or rate S1 Seq2 camera 4 S2 Seq1 camera 0 S2 Seq1 camera 4 "
        "expected none",
        "✗ train: frames 186 expected 188",
        "✗ test: valid frames of TS5 9 expected 8",
        "✗ test: valid frames 17 expected 16",
    ]


def test_validation_subjects_can_be_chosen(write: Callable[..., Path], tmp_path: Path) -> None:
    assert prepared(write(), tmp_path, val_subjects=["S1"]).meta.val_subjects == ("S1",)
    assert prepared(write(), tmp_path, val_subjects=[]).meta.val_subjects == ()
    with pytest.raises(
        DataError, match=r"data_train_3dhp.npz: has no subject 'S7' to validate on, it has S1, S2"
    ):
        prepared(write(), tmp_path, val_subjects=["S7"])


def test_one_unit_shares_one_array_of_label_and_truth(
    contents: tuple[Content, Content], tmp_path: Path
) -> None:
    np.savez(tmp_path / "t.npz", data=np.array(contents[0], object))
    split: Split = to_split(read_train(tmp_path / "t.npz"))
    assert split.label_px is split.truth_mm and split.truth_mm.dtype == np.float32


class Calls:
    """Pickles as a call of `os.system`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def fault(
    kind: str, keys: tuple[Any, ...], change: Callable[[Any], Any]
) -> Callable[[Content, Content], Content]:
    """A copy of a file's content with the value at `keys` changed."""

    def broken(train: Content, test: Content) -> Content:
        content = copy.deepcopy(train if kind == "train" else test)
        inside: Any = content
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = change(inside[keys[-1]])
        return {kind: content}

    return broken


def with_nan(array: np.ndarray) -> np.ndarray:
    array[7, 3, 1] = np.nan
    return array


CAM = ("S1 Seq2", 0, "4")
BROKEN: dict[str, tuple[Callable[[Content, Content], Content], str]] = {
    "28 joints": (
        fault("train", (*CAM, "data_2d"), lambda a: np.repeat(a, 2, axis=1)[:, :28]),
        r"data_train_3dhp.npz: S1 Seq2, camera 4: data_2d is float64 \(32, 28, 2\), expected "
        r"numbers \(n, 17, 2\)",
    ),
    "2D where 3D belongs": (
        fault("test", ("TS5", "data_3d"), lambda a: a[..., :2]),
        r"data_test_3dhp.npz: TS5: data_3d is float64 \(40, 17, 2\), expected numbers \(n, 17, 3\)",
    ),
    "metres": (
        fault("train", (*CAM, "data_3d"), lambda a: a / 1000),
        r"S1 Seq2, camera 4: data_3d: the median bone is 0.\d+ long and looks like metres",
    ),
    "Human3.6M's joint order": (
        fault(
            "test",
            ("TS1",),
            lambda e: {**e, "data_2d": e["data_2d"][:, ORDER], "data_3d": e["data_3d"][:, ORDER]},
        ),
        r"TS1: data_3d: limbs of the two sides differ by \d+% in length, expected the joint order "
        r"head top, neck",
    ),
    "another joint order in 2D": (
        fault("train", (*CAM, "data_2d"), lambda a: a[:, ::-1]),
        r"camera 4: data_2d: its [xy] does not follow [xy] of the 3D joints \(cosine -?0.\d\d\)",
    ),
    "y up": (
        fault("train", (*CAM, "data_3d"), lambda a: a * (1, -1, 1)),
        r"camera 4: data_2d: its y does not follow y of the 3D joints \(cosine -.+\), expected "
        r"their projection",
    ),
    "x and y swapped": (
        fault("train", (*CAM, "data_2d"), lambda a: a[..., ::-1]),
        r"camera 4: data_2d: its [xy] does not follow [xy] of the 3D joints",
    ),
    "normalised 2D": (
        fault("test", ("TS1", "data_2d"), lambda a: a / 1024 - 1),
        r"TS1: data_2d stays within \d.?\d*, expected pixels and not normalised coordinates",
    ),
    "width and height swapped": (
        fault("test", ("TS5", "data_2d"), lambda a: a + (-420, 900)),
        r"data_test_3dhp.npz: data_2d of TS5: \d+% of the joints lie outside an image of 1920 x "
        r"1080 pixels",
    ),
    "NaN": (
        fault("train", (*CAM, "data_3d"), with_nan),
        r"S1 Seq2, camera 4: data_3d at frame 7 is not a finite number",
    ),
    "2D and 3D of different length": (
        fault("train", (*CAM, "data_3d"), lambda a: a[:-1]),
        r"camera 4: data_2d has 32 frames and data_3d 31, expected the same",
    ),
    "no frames": (
        fault("train", (*CAM, "data_2d"), lambda a: a[:0]),
        r"camera 4: data_2d has no frame",
    ),
    "text for numbers": (
        fault("train", (*CAM, "data_2d"), lambda a: a.astype("U8")),
        r"camera 4: data_2d is <U8 \(32, 17, 2\), expected numbers \(n, 17, 2\)",
    ),
    "ragged": (
        fault("train", (*CAM, "data_2d"), lambda a: np.array([a[0], a[1, :3]], dtype=object)),
        r"camera 4: data_2d is object \(2,\), expected numbers \(n, 17, 2\)",
    ),
    "a list for an array": (
        fault("train", (*CAM, "data_2d"), lambda a: a[:1].tolist()),
        r"camera 4 is a dict of data_2d, data_3d, expected the arrays data_2d, data_3d",
    ),
    "no 3D": (
        fault("train", CAM, lambda e: {"data_2d": e["data_2d"]}),
        r"camera 4 is a dict of data_2d, expected the arrays data_2d, data_3d",
    ),
    "no frame rate": (
        fault("train", ("S1 Seq2",), lambda e: e[:1]),
        r"S1 Seq2 is a list, expected a list of the cameras' poses and the frame rate",
    ),
    "no camera": (
        fault("train", ("S1 Seq2", 0), lambda e: {}),
        r"S1 Seq2 is a list, expected a list of the cameras' poses and the frame rate",
    ),
    "a frame rate of zero": (
        fault("train", ("S1 Seq2", 1), lambda e: 0),
        r"S1 Seq2: frame rate must be a number from 1 to 2000, got 0",
    ),
    "no valid": (
        fault("test", ("TS5",), lambda e: {"data_2d": e["data_2d"], "data_3d": e["data_3d"]}),
        r"TS5 is a dict of data_2d, data_3d, expected the arrays data_2d, data_3d, valid",
    ),
    "valid of another length": (
        fault("test", ("TS5", "valid"), lambda a: a[:-3]),
        r"TS5: valid is float64 \(37,\), expected 0 or 1 for each of 40 frames",
    ),
    "valid as frame numbers": (
        fault("test", ("TS5", "valid"), lambda a: np.arange(40)),
        r"TS5: valid is int64 \(40,\), expected 0 or 1 for each of 40 frames",
    ),
    "nothing valid": (
        fault("test", ("TS5", "valid"), lambda a: 0 * a),
        r"TS5: no frame is valid, expected at least one",
    ),
    "a foreign sequence": (
        lambda train, test: {"train": {**train, "walking": train["S1 Seq1"]}},
        r"'walking' is no sequence of the train file, expected names such as 'S1 Seq1'",
    ),
    "the test file twice": (
        lambda train, test: {"train": test},
        r"data_test_3dhp.npz: is a second test file beside .*data_train_3dhp.npz",
    ),
    "no sequence": (lambda train, test: {"test": {}}, r"data_test_3dhp.npz: holds no sequence"),
    "no dict": (
        lambda train, test: {"test": np.zeros((3, 17, 2))},
        r"data_test_3dhp.npz: has no dict of sequences under the key 'data'",
    ),
    "no test file": (
        lambda train, test: {"test": None},
        r"data_test_3dhp.npz: no such file, expected data_train_3dhp",
    ),
    "a call of os.system": (
        lambda train, test: {"test": {"TS1": Calls()}},
        r"data_test_3dhp.npz: .*'posix.system'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_sentence_and_leaves_nothing(
    name: str,
    write: Callable[..., Path],
    contents: tuple[Content, Content],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    broken, sentence = BROKEN[name]
    folder = write(**broken(*contents))
    with pytest.raises(DataError, match=sentence) as raised:
        prepared(folder, tmp_path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
    assert not (tmp_path / "stores").exists() and not (tmp_path / "executed").exists()


def test_a_truncated_file_and_a_split_that_was_not_named(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write()
    train, test = folder / "data_train_3dhp.npz", folder / "data_test_3dhp.npz"
    with pytest.raises(
        DataError,
        match=r"data_train_3dhp.npz: the test split is missing, name data_test_3dhp.npz too",
    ):
        prepare_3dhp(tmp_path / "stores", "mpi", [train])
    with pytest.raises(DataError, match=r"mpi: scale is 'metres', expected one of paper, released"):
        prepared(folder, tmp_path, scale="metres")
    test.write_bytes(test.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"data_test_3dhp.npz: is not a whole .npz file") as raised:
        prepared(folder, tmp_path)
    assert "\n" not in str(raised.value)
    test.write_bytes(b"")
    with pytest.raises(DataError, match=r"data_test_3dhp.npz: is not a whole .npz file"):
        read_test(test)
