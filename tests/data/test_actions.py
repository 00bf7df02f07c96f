"""Action data by name, and the round trip: a store exported as NTU's file and read back is the
store read directly.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.data.actions import actions_of, h36m_to_coco, ntu_layout, open_actions
from m2v_lib.data.checks import DataError
from m2v_lib.data.export.ntu import export
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.data.sources.ntu import prepare_ntu60, read_ntu60
from m2v_lib.data.store import Store, list_stores, open_store, write_store
from m2v_lib.data.store.action_store import (
    TEST,
    TRAIN,
    ActionMeta,
    is_action_store,
    list_action_stores,
    open_action_store,
    write_actions,
)
from m2v_lib.skeletons.h36m import JOINTS


@pytest.fixture
def acted(write_acted_store: Callable[..., Path], tmp_path: Path) -> Store:
    write_acted_store(tmp_path / "stores")
    return open_store("acted", tmp_path / "stores")


def test_a_lifting_store_serves_as_action_data(acted: Store) -> None:
    data = actions_of(acted)
    assert data.classes == ("big", "small")  # a group called "other" is no action
    assert len(data) == 4 * 2 * 2 and set(data.n_persons) == {1}
    videos = {
        f"{v.subject}.{v.action}.{v.camera}": v
        for part in ("train", "test")
        for v in acted.split(part).videos
    }
    subjects = ("S1", "S2", "S3", "S9")
    for i, name in enumerate(data.names):
        setup, camera, subject, take, label = (int(name[at : at + 3]) for at in (1, 5, 9, 13, 17))
        video = videos[f"{subjects[subject - 1]}.{data.classes[label - 1]}.cam{camera}"]
        assert (setup, take, label - 1) == (1, 1, data.label[i])
        assert (data.n_frames[i], data.width[i], data.height[i]) == (
            video.n_frames,
            video.width,
            video.height,
        )
        assert data.xsub[i] == (TEST if subject == 4 else TRAIN)
        assert data.xview[i] == (TEST if camera == 1 else TRAIN)
        split = acted.split("test" if subject == 4 else "train")
        joints, confidence = data.sample(i)
        frames = slice(video.start, video.start + video.n_frames)
        limbs = [
            j for j, name in enumerate(JOINTS) if name not in ("root", "spine", "neck", "head")
        ]
        np.testing.assert_array_equal(joints[0][:, limbs], split.joint_2d[frames][:, limbs])
        np.testing.assert_array_equal(confidence[0][:, limbs], split.confidence[frames][:, limbs])
        np.testing.assert_allclose(
            joints[0][:, JOINTS.index("head")], split.joint_2d[frames][:, 10], atol=1e-3
        )


def test_there_and_back_gives_the_same_arrays(acted: Store, tmp_path: Path) -> None:
    files = export(acted, tmp_path / "out")
    assert [file.name for file in files] == ["ntu60_hrnet.pkl", "label_map.txt"]
    back, direct = read_ntu60(files[0]), actions_of(acted)
    assert (back.names, back.classes) == (direct.names, direct.classes)
    for key in ("label", "n_frames", "n_persons", "width", "height", "xsub", "xview"):
        np.testing.assert_array_equal(getattr(back, key), getattr(direct, key), err_msg=key)
    half = (
        2.0**-11
    )  # relative rounding of the file's float16; derived joints are means of rounded ones
    np.testing.assert_allclose(
        back.joint_2d, direct.joint_2d, rtol=0, atol=half * np.abs(direct.joint_2d).max()
    )
    np.testing.assert_allclose(back.confidence, direct.confidence, rtol=0, atol=half)
    np.testing.assert_allclose(back.coco_score, direct.coco_score, rtol=0, atol=half)


def test_the_file_is_the_published_layout_to_the_type(acted: Store, tmp_path: Path) -> None:
    content = pickle.loads(export(acted, tmp_path)[0].read_bytes())
    assert list(content) == ["split", "annotations"]
    assert list(content["split"]) == ["xsub_train", "xsub_val", "xview_train", "xview_val"]
    names = [a["frame_dir"] for a in content["annotations"]]
    for protocol in ("xsub", "xview"):
        assert sorted(
            content["split"][f"{protocol}_train"] + content["split"][f"{protocol}_val"]
        ) == sorted(names)
    for annotation in content["annotations"]:
        assert set(annotation) == {
            "frame_dir",
            "label",
            "img_shape",
            "original_shape",
            "total_frames",
            "keypoint",
            "keypoint_score",
        }
        n = annotation["total_frames"]
        assert annotation["img_shape"] == annotation["original_shape"] == (900, 1000)
        assert (
            annotation["keypoint"].shape == (1, n, 17, 2)
            and annotation["keypoint"].dtype == np.float16
        )
        assert (
            annotation["keypoint_score"].shape == (1, n, 17)
            and annotation["keypoint_score"].dtype == np.float16
        )
        assert type(annotation["label"]) is int and type(n) is int


def test_takes_of_one_person_and_action_are_counted(acted: Store, tmp_path: Path) -> None:
    train, test = acted.split("train"), acted.split("test")
    again = replace(train, videos=tuple(replace(v, action="big") for v in train.videos))
    write_store(tmp_path / "again", acted.meta, again, test)
    content, _ = ntu_layout(open_store("acted", tmp_path / "again"))
    mine = [a["frame_dir"] for a in content["annotations"] if "C001P001" in a["frame_dir"]]
    assert mine == ["S001C001P001R001A001", "S001C001P001R002A001", "S001C001P001R003A001"]


def test_a_face_is_placed_around_the_head() -> None:
    joints = np.zeros((1, 17, 2), np.float32)
    joints[0, JOINTS.index("head")] = 500, 100
    joints[0, JOINTS.index("left shoulder")], joints[0, JOINTS.index("right shoulder")] = (
        (600, 200),
        (400, 200),
    )
    confidence = np.linspace(0.1, 0.9, 17, dtype=np.float32)[None]
    coco, score = h36m_to_coco(joints, confidence)
    at = dict(
        zip(
            LAYOUTS["coco17"].keypoints,
            zip(coco[0].tolist(), score[0].tolist(), strict=True),
            strict=True,
        )
    )
    head = float(confidence[0, JOINTS.index("head")])
    assert at["left_eye"] == ([518, 100], head) and at["right_eye"] == ([482, 100], head)
    assert at["left_ear"] == ([540, 100], head) and at["right_ear"] == ([460, 100], head)
    assert at["nose"][1] == float(confidence[0, JOINTS.index("nose")])
    assert at["left_wrist"][1] == float(confidence[0, JOINTS.index("left wrist")])


@pytest.mark.parametrize(
    ("videos", "said"),
    [
        (lambda v: replace(v, action="other"), "no video shows an action"),
        (
            lambda v: replace(v, camera="cam1"),
            "all videos are of camera cam1, expected a second one",
        ),
    ],
)
def test_a_store_that_cannot_serve_says_why(
    videos: Callable, said: str, acted: Store, tmp_path: Path
) -> None:
    splits = [acted.split(part) for part in ("train", "test")]
    write_store(
        tmp_path, acted.meta, *(replace(s, videos=tuple(map(videos, s.videos))) for s in splits)
    )
    with pytest.raises(DataError, match=said):
        actions_of(open_store("acted", tmp_path))


def test_both_kinds_open_by_name(acted: Store, tmp_path: Path) -> None:
    root = tmp_path / "stores"
    prepare_ntu60(root, "copy", [export(acted, tmp_path)[0]], recipe="")
    direct, copy = open_actions("acted", root), open_actions("copy", root)
    assert (
        direct.fingerprint == acted.meta.fingerprint
        and copy.fingerprint == open_action_store("copy", root).meta.fingerprint
    )
    assert is_action_store("copy", root) and not is_action_store("acted", root)
    assert [store.meta.name for store in list_action_stores(root)] == ["copy"]
    assert [store.meta.name for store in list_stores(root)] == ["acted"]
    np.testing.assert_array_equal(direct.data.label, copy.data.label)
    assert "but other" in direct.protocol
    with pytest.raises(DataError, match="m2v data prepare none"):
        open_actions("none", root)
    with pytest.raises(DataError, match="copy: holds action data, which `m2v action` uses"):
        open_store("copy", root)


def test_action_data_do_not_replace_a_lifting_store(acted: Store) -> None:
    data = actions_of(acted)
    with pytest.raises(DataError, match="is a store of another kind"):
        write_actions(acted.path.parent, ActionMeta(name="acted", protocol="", source=""), data)
    open_store("acted", acted.path.parent).verify()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"label": np.zeros(3, np.int64)},
            r"mine: label has shape \(3,\), expected one of 16 samples",
        ),
        (
            {"n_frames": np.zeros(16, np.int64)},
            "mine: n_frames is not positive in sample S001C001P001R001A001",
        ),
        ({"label": np.full(16, 2)}, "mine: label is not one of 2 classes in sample"),
        (
            {"confidence": np.zeros((5, 17), np.float32)},
            r"mine: confidence has shape \(5, 17\), expected",
        ),
        ({"names": ()}, "mine: holds no sample"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_data_are_not_written(change: dict, said: str, acted: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        write_actions(
            tmp_path / "new",
            ActionMeta(name="mine", protocol="", source=""),
            replace(actions_of(acted), **change),
        )
    assert not (tmp_path / "new").exists()


def test_a_damaged_store_says_what_is_wrong(acted: Store, tmp_path: Path) -> None:
    root = tmp_path / "stores"
    folder = prepare_ntu60(root, "mine", [export(acted, tmp_path)[0]], recipe="")
    whole = (folder / "actions.safetensors").read_bytes()
    (folder / "actions.safetensors").write_bytes(whole[:-8])
    with pytest.raises(DataError, match="truncated"):
        open_action_store("mine", root).data()
    (folder / "actions.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="contents have sha256"):
        open_action_store("mine", root).verify()
    for text in ("{", "{}", '{"meta": {}, "classes": [], "names": []}', "[]"):
        (folder / "actions.json").write_text(text)
        with pytest.raises(DataError, match=r"actions\.json") as caught:
            open_action_store("mine", root)
        assert "\n" not in str(caught.value)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="no action data 'mine' here"):
        open_action_store("mine", root)


def test_a_protocol_without_samples_says_so(acted: Store) -> None:
    data = actions_of(acted)
    only = replace(data, xview=np.full(len(data), TRAIN))
    with pytest.raises(DataError, match="protocol xview has no test sample among 16"):
        only.part("xview", "test")
