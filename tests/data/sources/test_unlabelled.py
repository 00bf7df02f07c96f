"""Keypoint files as 2D-only data: what is in the store, that stage 1 learns from it and stage 2
refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.config import Experiment
from m2v_lib.data import prepare
from m2v_lib.data.checks import DataError
from m2v_lib.data.export.keypoints import write_keypoints
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.data.sources.unlabelled import looks_like, parse_size
from m2v_lib.data.store import Store, open_store


def recording(
    n: int = 60, fps: float | None = 25.0, *, size: tuple[int, int] | None = (640, 480)
) -> Tracks:
    """Two people who sway; one is unseen for 5 frames and later for 20 (longer than half a
    second).
    """
    t = np.arange(n)[:, None]
    rest = np.random.default_rng(3).uniform(-80, 80, (17, 2))
    one = rest + np.stack([200 + 2.0 * t, 240 + 9 * np.sin(t / 5)], axis=-1)
    two = rest[::-1] + np.stack([400 - 1.0 * t, 230 + 0.0 * t], axis=-1)
    kept = np.array([i for i in range(n) if i < 10 or 15 <= i < 30 or i >= 50])
    people = (
        Person("1", np.arange(n), one.astype(np.float32), np.full((n, 17), 0.9, np.float32)),
        Person("2", kept, two[kept].astype(np.float32), np.full((len(kept), 17), 0.6, np.float32)),
    )
    width, height = size or (None, None)
    return Tracks("made", "", "h36m17", people, n, width, height, fps)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As PoseTrack18 lies on a disk (and says neither size nor rate), beside a file that says
    both.
    """
    root = tmp_path / "annotations"
    for part, n in (("train", 3), ("val", 1)):
        (root / part).mkdir(parents=True)
        for i in range(n):
            write_keypoints(
                recording(80, size=None), root / part / f"{i:06d}_made.json", "posetrack18"
            )
    write_keypoints(recording(80), root / "more.csv", "csv")
    return root


@pytest.fixture
def store(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    prepare("extra", kind="keypoints", source=folder, fps=25)
    return open_store("extra")


def test_people_become_videos_at_50_frames_a_second_cut_at_long_gaps(store: Store) -> None:
    train, test = store.split("train"), store.split("test")
    assert not store.meta.labelled and store.meta.fps == 50
    assert [v.n_frames for v in test.videos] == [
        159,
        59,
        59,
    ]  # 80 frames; 30 before the gap and 30 after it
    assert len(train.videos) == 12 and train.n_frames == 4 * (159 + 59 + 59)
    by_name = {v.source: v for v in train.videos}
    whole = by_name["annotations/more.csv#1@0"]
    assert (whole.width, whole.height) == (640, 480)
    original = recording(80).people[0]
    here = slice(whole.start, whole.start + 159, 2)
    np.testing.assert_allclose(train.joint_2d[here], original.xy, atol=1e-3)
    np.testing.assert_allclose(train.confidence[here], 0.9, atol=1e-5)
    second = by_name["annotations/more.csv#2@0"]
    unseen = train.confidence[second.start + 20 : second.start + 29]
    assert (unseen < 0.55).all() and (unseen > 0).all(), "filled in, and not trusted"
    store.verify()


def test_without_an_image_size_a_square_twice_the_person_is_the_frame(store: Store) -> None:
    split = store.split("test")
    video = split.videos[0]
    xy = split.joint_2d[video.start : video.start + video.n_frames].reshape(-1, 2)
    side = np.ptp(xy, axis=0).max() * 2
    assert video.width == video.height == pytest.approx(side, abs=1)
    np.testing.assert_allclose((xy.max(0) + xy.min(0)) / 2, video.width / 2, atol=1.5)


def test_labels_are_absent_and_take_no_room(store: Store) -> None:
    split = store.split("train")
    assert (
        np.isnan(split.label_px).all()
        and np.isnan(split.truth_mm).all()
        and np.isnan(split.factor).all()
    )
    assert (store.path / "train.safetensors").stat().st_size < split.n_frames * 17 * 3 * 4 + 1000


def test_prepared_once_and_again_when_a_file_changes(store: Store, folder: Path) -> None:
    stamp = (store.path / "meta.json").stat().st_mtime_ns
    prepare("extra", kind="keypoints", source=folder, fps=25)
    assert (store.path / "meta.json").stat().st_mtime_ns == stamp
    (folder / "more.csv").unlink()
    prepare("extra", source=folder, fps=25)
    assert len(open_store("extra").split("train").videos) == 9


def test_faults_are_one_sentence(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    with pytest.raises(
        DataError, match="train/000000_made.json: does not say its frames a second; give them"
    ):
        prepare("extra", kind="keypoints", source=folder / "train")
    with pytest.raises(
        DataError, match=r"nobody is seen for 0.5 s in 1 recordings outside val and test"
    ):
        write_keypoints(recording(8), tmp_path / "short.csv", "csv")
        prepare("extra", kind="keypoints", source=tmp_path / "short.csv")
    (folder / "train" / "x.json").write_text("{")
    with pytest.raises(DataError, match="x.json: not valid JSON"):
        prepare("extra", kind="keypoints", source=folder, fps=25)
    with pytest.raises(DataError, match="size '640' is not WIDTHxHEIGHT"):
        parse_size("640")
    assert not (tmp_path / "stores").exists() and parse_size("640x480") == parse_size(
        [640, 480]
    ) == (640, 480)


def test_poorly_seen_people_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    made = recording(60)
    hidden = made.people[1].confidence.copy()
    hidden[:, 3:] = 0
    write_keypoints(
        replace(made, people=(made.people[0], replace(made.people[1], confidence=hidden))),
        tmp_path / "x.csv",
        "csv",
    )
    prepare("extra", kind="keypoints", source=tmp_path / "x.csv")
    assert len(open_store("extra").split("train").videos) == 1
    assert open_store("extra").split("test").n_frames == 0


def test_keypoints_are_known_by_content(folder: Path, tmp_path: Path) -> None:
    assert looks_like(folder) and looks_like(folder / "more.csv")
    np.savez(tmp_path / "pack.npz", positions=np.zeros((2, 17, 3)))
    (tmp_path / "note.json").write_text(json.dumps({"a": 1}))
    assert not looks_like(tmp_path / "pack.npz") and not looks_like(tmp_path / "note.json")


Make = Callable[..., Experiment]


def test_stage_1_learns_from_it_alone_and_beside_another(
    store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from m2v_lib.training.pretrain import pretrain

    alone = pretrain(tiny_experiment("paper", {"data.name": "extra"}), tmp_path / "runs")
    result = json.loads((alone / "result.json").read_text())
    assert (
        np.isfinite(result["final"]["loss"])
        and result["data"]["fingerprint"] == store.meta.fingerprint
    )
    released = tiny_experiment("paper", {"data.name": "extra", "pretrain.splits": "train+test"})
    assert pretrain(released, tmp_path / "runs") != alone


def test_stage_2_refuses_it_and_starts_from_what_learnt_beside_it(
    tiny_store: Store, folder: Path, tiny_experiment: Make, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    import torch

    from m2v_lib.training.finetune import finetune
    from m2v_lib.training.pretrain import pretrain, unlabelled_clips

    prepare("extra", kind="keypoints", source=folder, fps=25)
    with pytest.raises(
        DataError, match="extra: split train: holds detected 2D alone, which `m2v pretrain` can use"
    ):
        finetune(tiny_experiment("paper", {"data.name": "extra"}))
    both = tiny_experiment("paper", {"pretrain.extra_2d": "extra", "finetune.init": "pretrained"})
    without = tiny_experiment("paper", {"finetune.init": "pretrained"})
    assert both.digest("pretrain") != without.digest("pretrain") and both.digest(
        "finetune"
    ) != without.digest("finetune")
    clips, fewer = (
        unlabelled_clips(exp, open_store("tiny"), torch.device("cpu")) for exp in (both, without)
    )
    added = open_store("extra").split("train").joint_2d
    assert len(clips) > len(fewer) and len(clips.input_nJ3) == len(fewer.input_nJ3) + len(added)
    assert (clips.index_CT[len(fewer) :] >= len(fewer.input_nJ3)).all()
    run = pretrain(both)
    data = json.loads((run / "result.json").read_text())["data"]
    assert (
        data["extra_2d"] == "extra" and data["fingerprint"] != open_store("tiny").meta.fingerprint
    )
    assert json.loads((finetune(both) / "result.json").read_text())["init"] == run.name
    (folder / "more.csv").unlink()
    prepare("extra", kind="keypoints", source=folder, fps=25)
    with pytest.raises(ValueError, match="was trained on data with fingerprint"):
        pretrain(both)
