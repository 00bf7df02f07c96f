"""COCO-WholeBody with depth: its own names and counts, one projected onto the other, read again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.lifting import CAMERA, body, seen

from m2v_lib.data.keypoints import read_keypoints
from m2v_lib.lift import save
from m2v_lib.lift.motion.world import upright_world
from m2v_lib.lift.output.coco import KEYPOINTS, SKELETON
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.skeletons import KNOWN

WORLD = upright_world(np.array([0.1, -0.9, -0.4]), 1400.0, "said")


def motion() -> Motion:
    """Two people, one of them from frame 4 on, a left wrist filled in."""
    people = []
    for name, start, n, aside in (("1", 0, 12, 0), ("b", 4, 8, 700)):
        joints = body(n, 25) + (aside, 0, 0)
        filled = np.zeros((n, 17), bool)
        filled[2, 13] = True
        root = joints[:, 0]
        people.append(
            Lifted(name, start, joints - root[:, None], root, seen(joints), ~filled * 1.0, filled)
        )
    return Motion("made", 25.0, 12, CAMERA, tuple(people), {}, found_world=WORLD)


def test_what_is_there_and_what_is_absent(tmp_path: Path) -> None:
    made = motion()
    assert save(made, tmp_path / "x.coco.json") == [tmp_path / "x.coco.json"]
    file = json.loads((tmp_path / "x.coco.json").read_text())
    category = file["categories"][0]
    assert len(category["keypoints"]) == len(set(category["keypoints"])) == 133
    assert category["keypoints"][17:23] == [
        "left_big_toe", "left_small_toe", "left_heel",
        "right_big_toe", "right_small_toe", "right_heel"]  # fmt: skip
    assert category["keypoints"][91] == "left_hand_root" and category["keypoints"][23] == "face-0"
    assert max(max(bone) for bone in category["skeleton"]) == 23
    assert len(file["images"]) == 12 and file["images"][7]["time"] == 0.28
    assert file["info"]["units"] == "mm" and file["info"]["package"].startswith("m2v_lib")

    rows = [row for row in file["annotations"] if row["track_id"] == 2]
    assert [row["image_id"] for row in rows] == list(range(4, 12))
    deep = np.reshape(rows[2]["keypoints_3d"], (133, 4))
    flat = np.reshape(rows[2]["keypoints"], (133, 3))
    given = np.flatnonzero(deep[:, 3])
    assert given.tolist() == list(range(5, 17)) and rows[2]["num_keypoints"] == 12
    wrist = KEYPOINTS.index("left_wrist")
    assert deep[wrist, 3] == flat[wrist, 2] == 1 and set(np.delete(deep[5:17, 3], 4)) == {2}
    assert not deep[:5].any() and not deep[17:].any()
    np.testing.assert_allclose(deep[wrist, :3], made.people[1].joints_mm[2, 13], atol=0.051)

    camera = file["images"][0]["cam_param"]
    projected = deep[given, :2] / deep[given, 2:3] * camera["focal"] + camera["princpt"]
    np.testing.assert_allclose(projected, flat[given, :2], atol=0.2)
    world = (deep[given, :3] - camera["t"]) @ np.array(camera["R"])
    joint = made.world.to_world(made.people[1].joints_mm[2])
    np.testing.assert_allclose(world[4], joint[13], atol=0.1)
    left, top, width, height = rows[2]["bbox"]
    np.testing.assert_allclose(flat[given, :2].min(0), (left, top), atol=0.11)
    np.testing.assert_allclose(flat[given, :2].max(0), (left + width, top + height), atol=0.21)


def test_the_keypoints_are_read_again(tmp_path: Path) -> None:
    save(motion(), tmp_path / "x.coco.json")
    read = read_keypoints(tmp_path / "x.coco.json", size=(1280, 720), fps=25)
    assert len(read.people) == 2 and read.people[1].frames.tolist() == list(range(4, 12))
    np.testing.assert_allclose(
        read.people[0].xy[5, 12], motion().people[0].seen_px[5, 12], atol=0.11
    )


@pytest.mark.parametrize(("name", "n"), [("body25", 23), ("halpe26", 23), ("coco17", 17)])
def test_feet_and_faces_where_the_skeleton_has_them(tmp_path: Path, name: str, n: int) -> None:
    skeleton, one = KNOWN[name], motion().people[0]
    shape = (2, len(skeleton))
    person = replace(
        one,
        pose_mm=np.ones((*shape, 3)),
        root_mm=one.root_mm[:2],
        seen_px=np.ones((*shape, 2)),
        filled=np.zeros(shape, bool),
    )
    made = replace(motion(), skeleton=skeleton, people=(person,))
    save(made, tmp_path / "x.coco.json")
    rows = json.loads((tmp_path / "x.coco.json").read_text())["annotations"]
    assert rows[0]["num_keypoints"] == n
    absent = replace(made, absent=(skeleton.index("nose"),))
    save(absent, tmp_path / "x.coco.json")
    rows = json.loads((tmp_path / "x.coco.json").read_text())["annotations"]
    assert rows[0]["num_keypoints"] == n - 1 and rows[0]["keypoints_3d"][:4] == [0, 0, 0, 0]


def test_the_bones_of_the_category_are_those_of_a_body() -> None:
    """Each names two keypoints; their mirror images are bones too; limbs go joint by joint."""
    named = {frozenset(KEYPOINTS[n - 1] for n in bone) for bone in SKELETON}
    other = {"left": "right", "right": "left"}
    mirrored = {
        frozenset("_".join(other.get(word, word) for word in name.split("_")) for name in bone)
        for bone in named
    }
    assert len(named) == len(SKELETON) == 25 and mirrored == named
    chains = (
        *(["ankle", "knee", "hip"], ["shoulder", "elbow", "wrist"], ["hip", "shoulder"]),
        *(["ankle", "big_toe"], ["ankle", "small_toe"], ["ankle", "heel"]),
        *(["eye", "ear"], ["ear", "shoulder"]),
    )
    for chain in chains:
        for pair in zip(chain, chain[1:], strict=False):
            assert frozenset(f"left_{joint}" for joint in pair) in named, pair
