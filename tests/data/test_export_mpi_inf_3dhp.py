"""A store written in MPI-INF-3DHP's layout: the files to the last type, and the way back to the
same arrays.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.config import Experiment
from m2v_lib.data.clips import evaluation_clips, make_clips, normalise_screen
from m2v_lib.data.detector_noise import DetectorModel
from m2v_lib.data.export.mpi_inf_3dhp import export, takes
from m2v_lib.data.sources.mocap import Pack, prepare_mocap
from m2v_lib.data.sources.mpi_inf_3dhp import prepare_3dhp, to_split
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, Split, Store, open_store
from m2v_lib.evaluation import metrics
from m2v_lib.evaluation.protocols import evaluate_3dhp, evaluate_3dhp_predictions
from m2v_lib.models.registry import build_model

THEIRS = [
    10,
    8,
    14,
    15,
    16,
    11,
    12,
    13,
    1,
    2,
    3,
    4,
    5,
    6,
    0,
    7,
    9,
]  # our joint in each place of their order


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A motion store of three subjects, the last of them tested, seen by four cameras."""
    root = tmp_path_factory.mktemp("stores")
    made = make_pack(Plan()).clips
    clips = [
        clip
        for subject in ("SYN_1", "SYN_2", "SYN_7")
        for clip in [c for c in made if c.subject == subject][:2]
    ]
    pack = Pack(tuple(clips), 50.0)
    prepare_mocap(
        root,
        "motion",
        pack,
        source="test",
        test_subjects=["SYN_7"],
        val_subjects=["SYN_2"],
        detector=DetectorModel(),
    )
    return open_store("motion", root)


def normalised(split: Split, joint_2d: np.ndarray) -> np.ndarray:
    """What a network is given: spec 5.2."""
    sizes = [
        np.repeat([getattr(v, side) for v in split.videos], [v.n_frames for v in split.videos])
        for side in ("width", "height")
    ]
    return normalise_screen(np.asarray(joint_2d, np.float64), *sizes)


def test_the_layout_to_the_last_type(store: Store, tmp_path: Path) -> None:
    files = export(store, tmp_path / "out", valid_every=3)
    assert [file.name for file in files] == ["data_train_3dhp.npz", "data_test_3dhp.npz"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        file.name for file in files
    )
    raw = [np.load(file, allow_pickle=True) for file in files]
    assert [list(file) for file in raw] == [["data"], ["data"]]
    assert all(file["data"].dtype == object and file["data"].shape == () for file in raw)
    train, test = (file["data"].item() for file in raw)
    assert list(train) == ["S1 Seq1", "S1 Seq2", "S2 Seq1", "S2 Seq2"]
    assert list(test) == [f"TS{i}" for i in range(1, 9)]
    for entry in train.values():
        assert type(entry) is list and type(entry[1]) is int and entry[1] == 50
        assert list(entry[0]) == ["0", "1", "2", "4"]
    given = store.split("train").videos[1]  # the first recording's second camera
    second = train["S1 Seq1"][0]["1"]
    assert list(second) == ["data_2d", "data_3d"]
    assert second["data_2d"].shape == (given.n_frames, 17, 2) and second["data_3d"].shape == (
        given.n_frames,
        17,
        3,
    )
    assert second["data_2d"].dtype == second["data_3d"].dtype == np.float64
    frames = slice(given.start, given.start + given.n_frames)
    np.testing.assert_array_equal(
        second["data_3d"], store.split("train").truth_mm[frames][:, THEIRS]
    )
    true_px = store.split("train").label_px[frames][:, THEIRS, :2].astype(float)
    by_hand = (true_px - (given.width / 2, given.height / 2)) * 2048 / given.width + 1024
    np.testing.assert_allclose(second["data_2d"], by_hand, rtol=1e-6)
    for name, entry in test.items():
        assert list(entry) == ["data_2d", "data_3d", "valid"]
        n = len(entry["data_3d"])
        assert entry["valid"].shape == (n,) and np.flatnonzero(entry["valid"]).tolist() == list(
            range(0, n, 3)
        )
        middle = (960, 540) if name in ("TS5", "TS6") else (1024, 1024)
        assert np.abs(np.median(entry["data_2d"], axis=(0, 1)) - middle).max() < 400


@pytest.mark.parametrize("input_2d", ["gt", "detected"])
@pytest.mark.parametrize("scale", ["paper", "released"])
def test_reading_gives_what_was_written(
    store: Store, tmp_path: Path, input_2d: str, scale: str
) -> None:
    """Against the direct path bit for bit, against the first store to float32's rounding."""
    export(store, tmp_path / "files", input_2d=input_2d)
    prepare_3dhp(tmp_path, "back", [tmp_path / "files"], scale=scale)
    back = open_store("back", tmp_path)
    direct = [to_split(each, scale) for each in takes(store, input_2d=input_2d)]
    for name, ours in zip(("train", "test"), direct, strict=True):
        read, first = back.split(name), store.split(name)  # type: ignore[arg-type]
        for key in ("joint_2d", "confidence", "label_px", "truth_mm", "factor"):
            np.testing.assert_array_equal(getattr(read, key), getattr(ours, key), err_msg=key)
        assert read.videos == ours.videos
        np.testing.assert_array_equal(read.truth_mm, first.truth_mm)
        seen = first.joint_2d if input_2d == "detected" else first.label_px[..., :2]
        np.testing.assert_allclose(
            normalised(read, read.joint_2d), normalised(first, seen), atol=2e-7
        )
    assert back.meta.input_is_truth


def test_scores_are_those_of_the_direct_path(store: Store, tmp_path: Path) -> None:
    """A network on the store read back and on takes that were never written; and predictions of
    the first store.
    """
    export(store, tmp_path / "files", valid_every=20)
    prepare_3dhp(tmp_path, "back", [tmp_path / "files"])
    read = evaluation_clips(
        open_store("back", tmp_path), "test", 27, 27, input_2d="detected", device="cpu"
    )
    direct = make_clips(to_split(takes(store, valid_every=20)[1]), 27, 1, windows="centred")
    model = build_model(Experiment.preset("smoke").model, seed=0)
    errors = evaluate_3dhp(model, read)
    assert errors == evaluate_3dhp(model, direct) and errors["n_frames"] == len(read) > 50

    truth = np.asarray(store.split("test").truth_mm)[read.index_CT[:, 13]]
    truth = truth - truth[:, :1]
    pred = truth + np.random.default_rng(0).normal(0, 60, truth.shape)
    official = [j for j in range(17) if j not in (0, 7, 9)]
    scored = evaluate_3dhp_predictions(pred, read)
    assert scored["mpjpe"] == pytest.approx(metrics.mpjpe(pred, truth), rel=1e-6)
    assert scored["pck"] == metrics.pck(pred[:, official], truth[:, official])
    assert scored["auc"] == metrics.auc(pred[:, official], truth[:, official])


def test_a_store_of_the_data_set_keeps_its_2d_and_its_valid_frames(
    store: Store, tmp_path: Path
) -> None:
    """There x, y of the label are millimetres: `gt` must still be the projection. Twice there is
    nothing lost.
    """
    opened = store
    for number, every in enumerate((5, 1, 2)):
        export(opened, tmp_path / str(number), valid_every=every)
        prepare_3dhp(tmp_path, f"mpi-{number}", [tmp_path / str(number)])
        opened = open_store(f"mpi-{number}", tmp_path)
    first, second, third = (open_store(f"mpi-{i}", tmp_path).split("test") for i in range(3))
    np.testing.assert_allclose(second.joint_2d, first.joint_2d, atol=1e-3)
    np.testing.assert_array_equal(second.truth_mm, first.truth_mm)
    assert first.valid is not None and third.valid is not None
    np.testing.assert_array_equal(second.valid, first.valid)
    for video in first.videos:
        frames = slice(video.start, video.start + video.n_frames)
        assert (
            np.flatnonzero(third.valid[frames]).tolist()
            == np.flatnonzero(first.valid[frames])[::2].tolist()
        )


def test_a_few_videos_of_each_split(store: Store, tmp_path: Path) -> None:
    train, test = takes(store, videos=3)
    given = [store.split(name).videos for name in ("train", "test")]
    assert [t.sequence for t in test] == ["TS1", "TS2", "TS3"]
    assert [(t.sequence, t.camera) for t in train] == [
        ("S1 Seq1", "0"),
        ("S2 Seq1", "0"),
        ("S2 Seq2", "0"),
    ]
    for made, videos in zip((train, test), given, strict=True):
        picked = [videos[0], videos[round((len(videos) - 1) / 2)], videos[-1]]
        assert [len(t.joints_mm) for t in made] == [v.n_frames for v in picked]
    assert len(takes(store, videos=1000)[1]) == len(given[1])


def test_wishes_that_cannot_be_met(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="input_2d is 'truth', expected one of gt, detected"):
        export(store, tmp_path / "no", input_2d="truth")
    with pytest.raises(DataError, match="valid_every is 0, expected 1 or more"):
        export(store, tmp_path / "no", valid_every=0)
    with pytest.raises(
        DataError, match="videos is -1, expected 0 for all, or how many of each split"
    ):
        export(store, tmp_path / "no", videos=-1)
    camera_space = replace(store.meta, detector={"model": "cpn", "labels": "camera space"})
    with pytest.raises(
        DataError, match="detected 2D without the true projection, set input_2d=detected"
    ):
        export(Store(store.path, camera_space), tmp_path / "no")
    assert takes(Store(store.path, camera_space), input_2d="detected", videos=1)
    with pytest.raises(DataError, match="holds 2D alone, expected a store with 3D"):
        export(Store(store.path, replace(store.meta, units="px")), tmp_path / "no")
    (tmp_path / "data_train_3dhp.npz").mkdir()
    with pytest.raises(
        OSError, match=r"data_train_3dhp.npz: could not be saved \(Is a directory\)"
    ):
        export(store, tmp_path)
    assert not (tmp_path / "no").exists() and not list(tmp_path.glob(".*"))
