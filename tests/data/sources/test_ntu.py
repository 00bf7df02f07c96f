"""NTU RGB+D 60's file: joints by hand, two people followed, and one sentence for every way a
file can be broken.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data.checks import DataError
from m2v_lib.data.sources.ntu import (
    CLASSES,
    TRAIN_SUBJECTS,
    follow,
    looks_like,
    prepare_ntu60,
    read_ntu60,
)
from m2v_lib.data.store.action_store import NEITHER, TEST, TRAIN, open_action_store

Content = dict[str, Any]


def person(seed: int, n_frames: int, centre: tuple[float, float] = (900.0, 500.0)) -> np.ndarray:
    """Keypoints (1,T,17,2) px of someone near `centre` who moves a little."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-100, 100, (17, 2)) + centre
    return (body + 5 * np.sin(np.arange(n_frames) / 5)[:, None, None])[None]


def sample(name: str, label: int, people: np.ndarray, seed: int = 0) -> dict[str, Any]:
    score = np.random.default_rng(seed).uniform(0.4, 1, people.shape[:3])
    return {
        "frame_dir": name,
        "label": label,
        "total_frames": people.shape[1],
        "img_shape": (1080, 1920),
        "original_shape": (1080, 1920),
        "keypoint": people.astype(np.float16),
        "keypoint_score": score.astype(np.float16),
    }


@pytest.fixture
def content() -> Content:
    two = np.concatenate([person(2, 6), person(3, 6, (300, 500))])
    names = [
        "S001C002P001R001A001",
        "S001C003P001R001A002",
        "S001C001P003R001A001",
        "S001C002P001R002A050",
    ]
    people = [person(0, 9), person(1, 4), person(4, 7), two]
    samples = [
        sample(n, int(n[-3:]) - 1, p, i) for i, (n, p) in enumerate(zip(names, people, strict=True))
    ]
    split = {
        "xsub_train": [names[0], names[1], names[3]],
        "xsub_val": [names[2]],
        "xview_train": [names[0], names[1]],
        "xview_val": [names[2]],
    }
    return {"split": split, "annotations": samples}


def write(content: Any, folder: Path) -> Path:
    path = folder / "ntu60_hrnet.pkl"
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


def test_joints_are_the_specs_means_of_coco_keypoints(content: Content, tmp_path: Path) -> None:
    data = read_ntu60(write(content, tmp_path))
    joints, confidence = data.sample(0)
    coco, score = (
        np.asarray(content["annotations"][0][key], np.float32)
        for key in ("keypoint", "keypoint_score")
    )
    # Spec section 7, written out: 0 root, 7 spine, 8 neck and 10 head are means, the rest are
    # keypoints.
    expected = {
        1: 12,
        2: 14,
        3: 16,
        4: 11,
        5: 13,
        6: 15,
        9: 0,
        11: 5,
        12: 7,
        13: 9,
        14: 6,
        15: 8,
        16: 10,
    }
    for ours, theirs in expected.items():
        np.testing.assert_array_equal(joints[:, :, ours], coco[:, :, theirs])
        np.testing.assert_array_equal(confidence[:, :, ours], score[:, :, theirs])
    for value, source in ((joints, coco), (confidence, score)):
        root, neck = (
            (source[:, :, 11] + source[:, :, 12]) / 2,
            (source[:, :, 5] + source[:, :, 6]) / 2,
        )
        head = (source[:, :, 1] + source[:, :, 2]) / 2
        for ours, mean in ((0, root), (8, neck), (7, (root + neck) / 2), (10, head)):
            np.testing.assert_allclose(value[:, :, ours], mean, rtol=1e-5)
    np.testing.assert_array_equal(data.coco_score[:9], score[0])


def test_samples_labels_sizes_and_splits(content: Content, tmp_path: Path) -> None:
    data = read_ntu60(write(content, tmp_path))
    assert (
        data.classes == CLASSES
        and len(CLASSES) == len(set(CLASSES)) == 60
        and CLASSES[49] == "punch"
    )
    assert data.label.tolist() == [0, 1, 0, 49] and data.n_frames.tolist() == [9, 4, 7, 6]
    assert data.n_persons.tolist() == [1, 1, 1, 2] and data.starts.tolist() == [0, 9, 13, 20, 32]
    assert set(data.width) == {1920} and set(data.height) == {1080}
    assert data.xsub.tolist() == [TRAIN, TRAIN, TEST, TRAIN] and data.xview.tolist() == [
        TRAIN,
        TRAIN,
        TEST,
        NEITHER,
    ]
    assert data.part("xview", "train").tolist() == [0, 1] and data.part(
        "xsub", "test"
    ).tolist() == [2]
    assert len(TRAIN_SUBJECTS) == 20


def test_a_label_map_beside_the_file_names_its_classes(content: Content, tmp_path: Path) -> None:
    for i, annotation in enumerate(content["annotations"]):
        annotation["label"] = i % 2
    (tmp_path / "label_map.txt").write_text("walk\n\njump/hop\n")
    assert read_ntu60(write(content, tmp_path)).classes == ("walk", "jump/hop")
    (tmp_path / "label_map.txt").write_text("walk\n")
    with pytest.raises(DataError, match="label must be a whole number from 0 to 0, got 1"):
        read_ntu60(tmp_path / "ntu60_hrnet.pkl")
    (tmp_path / "label_map.txt").write_text("\n")
    with pytest.raises(DataError, match="label_map.txt: is empty"):
        read_ntu60(tmp_path / "ntu60_hrnet.pkl")


def test_people_who_change_places_are_put_back() -> None:
    walk = np.stack(
        [np.linspace(100, 300, 40), np.linspace(500, 350, 40)]
    )  # towards each other, not past
    body = np.random.default_rng(0).uniform(-30, 30, (2, 1, 17, 2))
    points = body + np.stack([walk, np.full_like(walk, 200)], -1)[:, :, None]
    score = np.broadcast_to(np.array([0.5, 0.9])[:, None, None], (2, 40, 17))
    listed = np.random.default_rng(1).integers(2, size=40)
    listed[0] = 0
    order, frames = np.stack([listed, 1 - listed]), np.arange(40)
    found, found_score = follow(points[order, frames], score[order, frames])
    np.testing.assert_array_equal(found, points)
    np.testing.assert_array_equal(found_score, score)


def test_someone_left_alone_stays_who_he_was() -> None:
    """The second is out of sight for some frames; the first is then listed in either place."""
    points = np.concatenate([person(0, 12, (200, 200)), person(1, 12, (700, 200))])
    score = np.full((2, 12, 17), 0.8)
    points[1, 4:9] = score[1, 4:9] = 0
    listed = np.array([0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0, 0])
    order, frames = np.stack([listed, 1 - listed]), np.arange(12)
    found, found_score = follow(points[order, frames], score[order, frames])
    np.testing.assert_array_equal(found, points)
    np.testing.assert_array_equal(found_score, score)


def test_someone_out_of_sight_is_where_he_was_last_seen_not_in_the_corner() -> None:
    """Zeros stand for the missing; the first walks towards the image's corner, where they lie."""
    points, score = np.zeros((2, 4, 17, 2)), np.ones((2, 4, 17))
    points[0] = np.array([100, 60, 20, 10])[:, None, None]
    points[1, :1] = 700
    score[1, 1:] = 0
    np.testing.assert_array_equal(follow(points, score)[0], points)


def test_one_person_and_two_who_keep_their_places_come_back_as_given() -> None:
    one = person(0, 5)
    two = np.concatenate([person(0, 5, (100, 100)), person(1, 5, (800, 100))])
    for points in (one, two):
        score = np.ones(points.shape[:3])
        np.testing.assert_array_equal(follow(points, score)[0], points)


def test_confidences_follow_their_people_and_the_files_order_is_kept_beside(
    content: Content, tmp_path: Path
) -> None:
    two = content["annotations"][3]
    for key in ("keypoint", "keypoint_score"):
        two[key][:, 3:] = two[key][::-1, 3:].copy()
    data = read_ntu60(write(content, tmp_path))
    joints, confidence = data.sample(3)
    assert np.abs(np.diff(joints, axis=1)).max() < 20, "somebody jumped"
    np.testing.assert_array_equal(confidence[0, 3:, 9], two["keypoint_score"][1, 3:, 0])
    np.testing.assert_array_equal(
        data.coco_score[data.starts[3] :].reshape(2, 6, 17), two["keypoint_score"]
    )


def test_of_a_crowd_the_two_surest_are_kept(content: Content, tmp_path: Path) -> None:
    three = np.concatenate([person(i, 5, (300 + 300 * i, 500)) for i in range(3)])
    crowd = sample("S001C002P001R002A050", 49, three)
    crowd["keypoint_score"][:] = np.array([0.9, 0.2, 0.8])[:, None, None]
    content["annotations"][3] = crowd
    joints, _ = read_ntu60(write(content, tmp_path)).sample(3)
    np.testing.assert_array_equal(joints[:, :, 9], crowd["keypoint"][[0, 2], :, 0])


def _set(i: int, **changes: Any) -> Callable[[Content], object]:
    return lambda content: content["annotations"][i].update(changes)


def _points(i: int, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Content], object]:
    return lambda content: content["annotations"][i].update(
        keypoint=edit(content["annotations"][i]["keypoint"])
    )


def _score(i: int, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Content], object]:
    return lambda c: c["annotations"][i].update(
        keypoint_score=edit(c["annotations"][i]["keypoint_score"])
    )


def _nan(points: np.ndarray) -> np.ndarray:
    points[0, 2, 5, 1] = np.nan
    return points


def _exchanged(content: Content) -> None:
    for annotation in content["annotations"]:
        annotation["img_shape"] = (1920, 1080)
        annotation["keypoint"] = annotation["keypoint"] + np.float16(600)


def _normalised(content: Content) -> None:
    for annotation in content["annotations"]:
        annotation["keypoint"] = annotation["keypoint"] / np.float16(960) - np.float16(1)


FAULTS: dict[str, tuple[Callable[[Content], object], str]] = {
    "no annotations": (
        lambda c: c.pop("annotations"),
        "holds split, expected a dict with split and",
    ),
    "empty": (
        lambda c: c.update(annotations=[]),
        "annotations is no list of samples, expected at least one",
    ),
    "not a dict": (
        lambda c: c["annotations"].insert(0, "x"),
        "annotation 0 must be an object of named values, got text",
    ),
    "no score": (
        lambda c: c["annotations"][1].pop("keypoint_score"),
        "annotation 1 .*A002.* no key 'keypoint_score'",
    ),
    "3D skeletons": (
        _points(1, lambda p: np.zeros((1, 4, 25, 3), np.float16)),
        r"shape \(1, 4, 25, 3\), expected",
    ),
    "16 joints": (
        _points(0, lambda p: p[:, :, :16]),
        r"annotation 0 .*keypoint has shape \(1, 9, 16, 2\)",
    ),
    "zero frames": (_points(0, lambda p: p[:, :0]), r"keypoint has shape \(1, 0, 17, 2\)"),
    "nobody": (_points(0, lambda p: p[:0]), r"keypoint has shape \(0, 9, 17, 2\)"),
    "integers": (
        _points(0, lambda p: p.astype(np.int64)),
        "keypoint must be an array of floats, got an array of int64",
    ),
    "ragged": (
        _score(0, lambda s: s[:, :8]),
        r"keypoint_score has shape \(1, 8, 17\), expected \(1, 9, 17\)",
    ),
    "frame count": (_set(1, total_frames=5), "total_frames says 5, keypoint has 4 frames"),
    "nan": (
        _points(0, _nan),
        "annotation 0 .*: person 0, frame 2 holds a number that is not finite",
    ),
    "negative confidence": (
        _score(1, lambda s: -s),
        "keypoint_score runs from -.* expected 0 to 1",
    ),
    "confidence in percent": (
        _score(1, lambda s: 100 * s),
        "keypoint_score runs from .* expected 0 to 1",
    ),
    "image size": (
        _set(2, img_shape=(1080, 1920, 3)),
        r"img_shape has 3 numbers, expected height and width",
    ),
    "no image": (
        _set(2, img_shape=(0, 1920)),
        r"img_shape \(height, width\) must be a whole number",
    ),
    "width and height exchanged": (_exchanged, "lie inside img_shape and .* if it were exchanged"),
    "metres or units": (_normalised, "keypoint runs to .* only, expected pixels"),
    "label": (_set(0, label=60), "label must be a whole number from 0 to 59, got 60"),
    "label counted from 1": (
        _set(0, label=-1),
        "label must be a whole number from 0 to 59, got -1",
    ),
    "label as text": (
        _set(0, label="A001"),
        "label must be a whole number from 0 to 59, got 'A001'",
    ),
    "twice": (
        _set(1, frame_dir="S001C002P001R001A001"),
        "frame_dir 'S001C002P001R001A001' occurs twice",
    ),
    "no test split": (
        lambda c: c["split"].pop("xsub_val"),
        "split has no 'xsub_val', expected xsub_train, xsub_val",
    ),
    "split is a list": (
        lambda c: c.update(split=[]),
        "split must be an object of named values, got a list",
    ),
    "empty split": (lambda c: c["split"].update(xview_val=[]), "split xview_val is empty"),
    "unknown name": (
        lambda c: c["split"]["xsub_train"].append("S999"),
        "split xsub_train names 'S999', which no ann",
    ),
    "trains and tests": (
        lambda c: c["split"]["xsub_val"].append(c["split"]["xsub_train"][0]),
        "in both splits of x",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_file_is_one_sentence_and_leaves_nothing(
    fault: str, content: Content, tmp_path: Path
) -> None:
    edit, sentence = FAULTS[fault]
    edit(content := copy.deepcopy(content))
    path = write(content, tmp_path)
    with pytest.raises(DataError, match=sentence) as caught:
        prepare_ntu60(tmp_path / "stores", "ntu60", [path], recipe="")
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert not (tmp_path / "stores").exists()


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)

    def __init__(self, marker: Path) -> None:
        self.marker = marker


def test_hostile_truncated_missing_and_foreign_files(content: Content, tmp_path: Path) -> None:
    hostile = write({**content, "annotations": [_Hostile(tmp_path / "ran")]}, tmp_path)
    with pytest.raises(DataError, match="system"):
        read_ntu60(hostile)
    assert not (tmp_path / "ran").exists()
    whole = write(content, tmp_path).read_bytes()
    for name, contents in (
        ("cut.pkl", whole[: len(whole) // 2]),
        ("text.pkl", b"not a pickle"),
        ("list.pkl", pickle.dumps([1])),
    ):
        (tmp_path / name).write_bytes(contents)
        with pytest.raises(DataError, match=name) as caught:
            read_ntu60(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"none\.pkl: no such file"):
        read_ntu60(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="got 2 files, expected one"):
        prepare_ntu60(tmp_path, "ntu60", [hostile, hostile], recipe="")


def test_prepared_data_come_back_from_disk(content: Content, tmp_path: Path) -> None:
    path = write(content, tmp_path)
    assert (
        prepare_ntu60(tmp_path / "stores", "mine", [path], recipe="r")
        == tmp_path / "stores" / "mine"
    )
    store, direct = open_action_store("mine", tmp_path / "stores"), read_ntu60(path)
    store.verify()
    data = store.data()
    assert (data.names, data.classes) == (direct.names, direct.classes) and store.meta.recipe == "r"
    for key in (
        "joint_2d",
        "confidence",
        "coco_score",
        "label",
        "n_frames",
        "n_persons",
        "width",
        "xsub",
        "xview",
    ):
        np.testing.assert_array_equal(getattr(data, key), getattr(direct, key), err_msg=key)


def test_the_layout_is_known_by_content(content: Content, tmp_path: Path) -> None:
    path = write(content, tmp_path)
    assert looks_like(path.rename(tmp_path / "any.name"))
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"train": {"joint_2d": [1]}}))
    (tmp_path / "text").write_text("xsub_train")
    assert not any(looks_like(tmp_path / name) for name in ("other.pkl", "text", "none"))
