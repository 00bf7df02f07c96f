"""Layouts formed from the rig: weights that make points, trees that fit the joints, and stores
that say which joints they hold.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.data import prepare
from m2v_lib.data.clips import evaluation_clips, training_clips
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.data.sources.packs import PACK_FILE, RIG_FILE, Clip, Pack, read_pack, write_pack
from m2v_lib.data.sources.rig import form_pack, layouts_table, whole_stretches
from m2v_lib.data.sources.rig_layouts import (
    RIG_H36M17,
    RIG_JOINTS,
    layout_names,
    rig_layout,
)
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, open_store
from m2v_lib.skeletons import H36M17
from m2v_lib.skeletons.known import RIG38

TEST = ("SYN_3",)


def rig_of(pack: Pack) -> Pack:
    """A pack of the rig whose 17 joints are those of a pack, the others a hand's breadth away
    from the joint they hang on.
    """
    clips = []
    for clip in pack.clips:
        points = np.zeros((len(clip.positions), 38, 3), np.float32)
        points[:, list(RIG_H36M17)] = clip.positions
        for child, parent in enumerate(RIG38.parents):
            if child not in RIG_H36M17:
                points[:, child] = points[:, parent] + np.array([0, 60, 50 + child])
        clips.append(replace(clip, positions=points))
    return Pack(tuple(clips), pack.fps, skeleton=RIG38)


SMALL = rig_of(make_pack(Plan(n_train=2, n_test=1, n_frames=60, styles=("walk",))))


@pytest.fixture
def rig_file(tmp_path: Path) -> Path:
    return write_pack(tmp_path / RIG_FILE, SMALL)


@pytest.mark.parametrize("name", layout_names())
def test_a_layout_is_a_tree_of_points_with_sides(name: str) -> None:
    layout = rig_layout(name)
    skeleton = layout.skeleton
    assert layout.weights.shape == (len(skeleton), 38) and len(layout.quality) == len(skeleton)
    np.testing.assert_allclose(layout.weights.sum(1), 1, atol=1e-5)
    assert set(layout.quality) <= {"exact", "approximated"}

    for right, left in skeleton.flip_pairs:
        mirrored = layout.weights[right][list(RIG38.flip_order)]
        np.testing.assert_allclose(layout.weights[left], mirrored, atol=1e-6)
    sided = {j for j, name in enumerate(skeleton.joints) if name.startswith(("left ", "right "))}
    assert sided == {*skeleton.right, *skeleton.left}


@pytest.mark.parametrize("name", ["coco17", "halpe26", "body25", "mediapipe33"])
def test_layouts_name_the_detectors_keypoints_in_their_order(name: str) -> None:
    """The words differ here and there (big toe, foot index, mid hip); the order may not."""
    theirs = [key.replace("_", " ") for key in LAYOUTS[name].keypoints]
    ours = list(rig_layout(name).skeleton.joints)
    theirs = [key for key in theirs if not key.endswith("pinky")]
    same = [a for a, b in zip(theirs, ours, strict=True) if a == b]
    assert len(same) > len(theirs) // 2
    for a, b in zip(theirs, ours, strict=True):
        assert ("left" in a.split(), "right" in a.split()) == (
            "left" in b.split(),
            "right" in b.split(),
        )


def test_joints_are_formed_by_hand() -> None:
    points = np.random.default_rng(0).normal(size=(5, 38, 3)).astype(np.float32)
    at = {name: points[:, j] for j, name in enumerate(RIG_JOINTS)}
    alike = rig_layout("h36m17_alike").form(points)
    np.testing.assert_array_equal(rig_layout("h36m17").form(points), points[:, list(RIG_H36M17)])
    np.testing.assert_array_equal(alike[:, 8], at["lowerneck"])
    np.testing.assert_allclose(alike[:, 7], (at["lowerback"] + at["upperback"]) / 2, atol=1e-6)
    np.testing.assert_array_equal(rig_layout("rig38").form(points), points)
    neck = rig_layout("body25").form(points)[:, 1]
    np.testing.assert_allclose(neck, (at["lshoulder"] + at["rshoulder"]) / 2, atol=1e-6)


def test_absent_joints_are_said_and_unknown_layouts_refused() -> None:
    assert rig_layout("mediapipe33").absent == ("left pinky", "right pinky")
    assert len(rig_layout("mediapipe33").skeleton) == 31
    with pytest.raises(DataError, match="joints must be one of h36m17, .*nearest is 'body25'"):
        rig_layout("body_25")


def test_suspect_points_cost_the_layouts_that_use_them() -> None:
    suspect = np.zeros((60, 38), bool)
    suspect[3:5, RIG_JOINTS.index("lthumb")] = True
    suspect[57, RIG_JOINTS.index("lthumb")] = True
    clip = SMALL.clips[0]
    pack = replace(SMALL, clips=(clip,), extra={"suspect": suspect})
    assert [c.name for c in whole_stretches(pack, rig_layout("body25"))] == [clip.name]
    (left,) = whole_stretches(pack, rig_layout("rig38"))
    assert left.name == f"{clip.name}@5"
    np.testing.assert_array_equal(left.positions, clip.positions[5:57])


def test_a_store_of_the_rig_is_alike_by_default_and_says_so(rig_file: Path, tmp_path: Path) -> None:
    for joints in (None, "h36m17", "body25", "mediapipe33"):
        prepare(str(joints), root=tmp_path, source=rig_file, test_subjects=TEST, joints=joints)
    meta = open_store("None", tmp_path).meta
    assert meta.protocol.endswith("; joints h36m17_alike") and meta.skeleton == "h36m17"
    assert open_store("h36m17", tmp_path).meta.protocol.endswith("; joints h36m17")
    body = open_store("body25", tmp_path)
    assert (body.meta.skeleton, body.meta.n_joints) == ("body25", 25)
    own = open_store("mediapipe33", tmp_path)
    assert own.meta.joints == rig_layout("mediapipe33").skeleton and own.meta.skeleton_definition

    # labels are relative to the skeleton's own root, in depth as in millimetres
    for store in (body, own):
        split, root = store.split("train"), store.meta.joints.root
        np.testing.assert_array_equal(split.label_px[:, root, 2], 0)
        assert split.label_px.shape[1] == store.meta.n_joints
        sizes = {"input_2d": "detected", "device": "cpu"}
        clips = training_clips(store, 9, 9, validation=False, **sizes)  # type: ignore[arg-type]
        assert clips.skeleton == store.meta.joints
        evaluation_clips(store, "test", 9, 9, **sizes)  # type: ignore[arg-type]


def test_a_pack_of_17_joints_says_that_it_has_no_others(tmp_path: Path) -> None:
    pack = make_pack(Plan(n_train=2, n_test=1, n_frames=12, styles=("walk",)))
    file = write_pack(tmp_path / "x.npz", pack)
    with pytest.raises(DataError, match="joints=body25 needs a pack of the rig with its 38 joints"):
        prepare("x", root=tmp_path, source=file, test_subjects=TEST, joints="body25")
    prepare("x", root=tmp_path, source=file, test_subjects=TEST)
    said = open_store("x", tmp_path).meta.protocol
    assert said.endswith("joints h36m17 of a 17-joint pack")

    of_cmu = replace(pack, clips=tuple(_called(clip, "CMU_1") for clip in pack.clips))
    assert form_pack(of_cmu)[1].endswith("whose spine and neck lie below Human3.6M's")


def _called(clip: Clip, subject: str) -> Clip:
    return replace(clip, subject=subject)


def test_a_pack_comes_back_with_its_skeleton(rig_file: Path, tmp_path: Path) -> None:
    back = read_pack(rig_file)
    assert back.skeleton == RIG38 and back.extra["joint_names"].tolist() == list(RIG_JOINTS)
    body = form_pack(back, "body25")[0]
    with pytest.raises(DataError, match="a pack must hold h36m17 or rig38, got body25"):
        write_pack(tmp_path / "y.npz", body)


def _data() -> Path:
    folder = Path(os.environ.get("M2V_DATA", "none")) / "cmu_mocap"
    if not (folder / RIG_FILE).is_file():
        pytest.skip("M2V_DATA holds no pack of the rig")
    return folder


def test_the_published_layouts_are_these() -> None:
    """Names and weights against the table that came with the rig's pack."""
    file = _data() / "cmu_mocap_rig_formats.json"
    if not file.is_file():
        pytest.skip("no table of formats beside the pack")
    formats = json.loads(file.read_text())["formats"]
    assert set(formats) | {"rig38", "vocabulary"} == set(layout_names())
    for name, keypoints in formats.items():
        there = [key["weights"] for key in keypoints if key["weights"]]
        expected = np.zeros((len(there), 38))
        for row, weights in zip(expected, there, strict=True):
            row[[int(j) for j in weights]] = list(weights.values())
        np.testing.assert_array_equal(rig_layout(name).weights, expected)


def test_the_rigs_17_joints_are_the_17_joint_pack() -> None:
    data = _data()
    pack, _ = form_pack(read_pack(data / RIG_FILE), "h36m17")
    for clip, same in zip(pack.clips, read_pack(data / PACK_FILE).clips, strict=True):
        assert clip.name == same.name
        np.testing.assert_array_equal(clip.positions, same.positions)
    assert pack.skeleton == H36M17


def test_the_page_of_layouts_is_what_they_are() -> None:
    page = Path(__file__).parents[3] / "docs" / "motion_capture_joints.md"
    assert layouts_table() in page.read_text(encoding="utf-8")
