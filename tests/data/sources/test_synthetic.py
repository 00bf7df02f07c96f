"""Synthetic people keep their bones, stay on the floor, move smoothly and can be made again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.data import prepare
from m2v_lib.data.detector_noise import video_generator
from m2v_lib.data.sources.styles import STYLES
from m2v_lib.data.sources.synthetic import (
    FEET,
    SHARE_MM,
    Plan,
    make_body,
    make_pack,
    make_take,
    stand_on_floor,
)
from m2v_lib.data.store import open_store
from m2v_lib.geometry.cameras import load_cameras, to_image_and_depth
from m2v_lib.geometry.kinematics import axis_rotation, forward
from m2v_lib.skeletons.h36m import BONES, FLIP_PAIRS, JOINTS

PACK = make_pack(Plan(n_train=2, n_test=1, n_frames=200))
AIRBORNE = ("run", "jump")


def bones(joints: np.ndarray) -> np.ndarray:
    parents, children = np.array(BONES).T
    return np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)


def ankle(subject: str) -> float:
    return make_body(video_generator(0, subject)).ankle_height


def test_rotations_turn_the_right_way() -> None:
    x, y, z = np.eye(3)
    quarter = np.array([90.0])
    np.testing.assert_allclose(axis_rotation(0, quarter)[0] @ y, z, atol=1e-15)
    np.testing.assert_allclose(axis_rotation(1, quarter)[0] @ z, x, atol=1e-15)
    np.testing.assert_allclose(axis_rotation(2, quarter)[0] @ x, y, atol=1e-15)


def test_forward_kinematics_of_two_links_by_hand() -> None:
    local = np.stack(
        [axis_rotation(2, np.array([90.0])), axis_rotation(2, np.array([-90.0]))] * 2, axis=1
    )[:, :3]
    offsets = np.array([[0.0, 0, 0], [2, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(
        forward(local, offsets, (-1, 0, 1))[0], [[0, 0, 0], [0, 2, 0], [1, 2, 0]], atol=1e-15
    )


def test_bones_never_change_and_people_differ() -> None:
    for clip in PACK.clips:
        length = bones(clip.positions)
        assert np.ptp(length, axis=0).max() < 1e-9
        np.testing.assert_allclose(length[0], make_body(video_generator(0, clip.subject)).bones)
    first, second = (bones(clip.positions[:1])[0] for clip in (PACK.clips[0], PACK.clips[-1]))
    assert abs(first / second - 1).min() > 1e-4 and 200 < np.median(first) < 350


@pytest.mark.parametrize("style", STYLES)
def test_the_lowest_foot_is_on_the_floor(style: str) -> None:
    for clip in (c for c in PACK.clips if c.action_class == style):
        lowest = clip.positions[:, FEET, 2].min(1)
        assert lowest.min() == pytest.approx(ankle(clip.subject))
        if style in AIRBORNE:
            assert lowest.max() > lowest.min() + 40
        else:
            assert lowest.max() < lowest.min() + SHARE_MM / 4 + 1e-6


def test_a_foot_that_carries_stays_where_it_is() -> None:
    clip = next(c for c in PACK.clips if c.action_class == "walk")
    right, left = (clip.positions[:, foot] for foot in FEET)
    carries = (left[:, 2] - right[:, 2])[1:] > SHARE_MM
    carries &= (left[:, 2] - right[:, 2])[:-1] > SHARE_MM
    assert carries.sum() > 20
    assert np.linalg.norm(np.diff(right, axis=0)[carries], axis=-1).max() < 1e-6


def test_equal_feet_share_the_weight() -> None:
    joints = np.zeros((3, 17, 3))
    joints[:, FEET, 2] = -900
    joints[:, FEET[0], 0] = [0, 10, 20]
    placed = stand_on_floor(joints, 80.0)
    np.testing.assert_allclose(placed[:, FEET, 2], 80)
    np.testing.assert_allclose(np.diff(placed[:, 0, 0]), -5)


@pytest.mark.parametrize("style", STYLES)
def test_motion_is_smooth_and_human(style: str) -> None:
    for clip in (c for c in PACK.clips if c.action_class == style):
        metres = clip.positions / 1000
        speed = np.linalg.norm(np.diff(metres, axis=0), axis=-1) * 50
        acceleration = np.linalg.norm(np.diff(metres, 2, axis=0), axis=-1) * 2500
        assert 0.2 < speed.max() < 8 and acceleration.max() < 120


def test_what_the_styles_are_called_is_what_they_do() -> None:
    take = {c.action_class: c.positions for c in PACK.clips if c.subject == "SYN_1"}
    heights = {name: p[:, 0, 2] for name, p in take.items()}
    path = {
        name: np.linalg.norm(np.diff(p[:, 0, :2], axis=0), axis=-1).mean() * 50
        for name, p in take.items()
    }
    assert path["run"] > 1.4 * path["walk"] > 5 * path["wave"]
    assert (
        np.ptp(heights["squat"]) > 200
        and np.ptp(heights["sit-down"]) > 150
        and np.ptp(heights["jump"]) > 250
    )
    hands = take["wave"][:, [13, 16], 2].max(1)
    assert (hands > take["wave"][:, 8, 2]).any()


def test_left_and_right_are_alike_at_rest() -> None:
    body = make_body(np.random.default_rng(0))
    for right, left in FLIP_PAIRS:
        np.testing.assert_array_equal(body.offsets[right] * (-1, 1, 1), body.offsets[left])
    assert body.offsets[JOINTS.index("right hip"), 0] > 0


def test_seeded_and_each_take_alone() -> None:
    again = make_pack(Plan(n_train=2, n_test=1, n_frames=200))
    other = make_pack(Plan(n_train=2, n_test=1, n_frames=200, seed=1))
    for a, b, c in zip(PACK.clips, again.clips, other.clips, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        assert not np.allclose(a.positions, c.positions)
    alone = make_take(
        make_body(video_generator(0, "SYN_2")),
        "squat",
        200,
        50.0,
        video_generator(0, "SYN_2_squat#0"),
    )
    np.testing.assert_array_equal(
        alone, next(c for c in PACK.clips if c.name == "SYN_2_squat#0").positions
    )


def test_everyone_is_in_the_picture() -> None:
    for clip in PACK.clips:
        for camera in load_cameras().values():
            xy = to_image_and_depth(clip.positions, camera)[0][..., :2]
            assert ((xy > 0) & (xy < 1000)).all(), (clip.name, camera.name)


def test_the_default_store(tmp_path: Path) -> None:
    begin = time.perf_counter()
    prepare("synthetic", root=tmp_path)
    assert time.perf_counter() - begin < 10
    store = open_store("synthetic", tmp_path)
    train, test = store.split("train"), store.split("test")
    assert store.meta.val_subjects == ("SYN_6",)
    assert {v.subject for v in train.videos} == {f"SYN_{i}" for i in range(1, 7)}
    assert {v.subject for v in test.videos} == {"SYN_7", "SYN_8"}
    assert {v.action for v in test.videos} == set(STYLES) and {
        v.n_frames for v in train.videos
    } == {300}
    assert replace(store.meta, name="").protocol.startswith("split by subject, test SYN_7 SYN_8")
