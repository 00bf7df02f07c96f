"""From pixels to millimetres: a body of known bones before a known camera is found where it is."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.lifting import CAMERA, body, seen

from m2v_lib.lift.camera import (
    FOCAL,
    STATURE,
    Camera,
    _smooth,
    assumed_camera,
    bone_lengths,
    mm_per_px,
    place,
)
from m2v_lib.skeletons.h36m import BONES


def image_and_depth(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a perfect lifter gives: pixels and depth behind the root in the root's pixel scale,
    and the root's pixel.
    """
    factor = joints[:, 0, 2] / CAMERA.focal
    px = seen(joints)
    depth = (joints[..., 2] - joints[:, :1, 2]) / factor[:, None]
    pose = np.concatenate([px - px[:, :1], depth[..., None]], axis=-1)
    return pose, px


def test_body_and_path_are_found_to_the_centimetre() -> None:
    joints = body(100)
    pose_px, px = image_and_depth(joints)
    pose, root = place(pose_px, px, np.ones(px.shape[:2]), CAMERA, fps=50)
    np.testing.assert_allclose(pose, joints - joints[:, :1], atol=12)
    assert (
        np.abs(root - joints[:, 0])[:, 2].mean() < 15
    )  # smoothing cuts the ends of a path that goes away
    np.testing.assert_allclose(root, joints[:, 0], atol=60)


def test_a_body_that_stays_is_found_exactly() -> None:
    joints = np.repeat(body(1), 30, axis=0)
    pose_px, px = image_and_depth(joints)
    pose, root = place(pose_px, px, np.ones(px.shape[:2]), CAMERA, fps=50)
    np.testing.assert_allclose(pose, joints - joints[:, :1], atol=0.5)
    np.testing.assert_allclose(root, joints[:, 0], atol=3)


def test_stature_and_focal_length_set_the_scale() -> None:
    joints = np.repeat(body(1), 5, axis=0)
    pose_px, px = image_and_depth(joints)
    confidence = np.ones(px.shape[:2])
    pose, root = place(pose_px, px, confidence, CAMERA, 50, stature=2 * STATURE)
    np.testing.assert_allclose(pose, 2 * (joints - joints[:, :1]), atol=1)
    np.testing.assert_allclose(root, 2 * joints[:, 0], atol=6)
    _, far = place(pose_px, px, confidence, Camera(2000.0, 1280, 720), 50)
    assert far[0, 2] == pytest.approx(2 * joints[0, 0, 2], rel=0.02), (
        "twice the focal length is twice the distance"
    )


def test_joints_the_detector_missed_do_not_move_the_root() -> None:
    joints = body(20)
    pose_px, px = image_and_depth(joints)
    confidence = np.ones(px.shape[:2])
    expected = place(pose_px, px, confidence, CAMERA, 50)[1]
    px[:, 13], confidence[:, 13] = 0, 0
    np.testing.assert_allclose(place(pose_px, px, confidence, CAMERA, 50)[1], expected, atol=1)


def test_a_size_that_trembles_makes_no_path_that_does() -> None:
    joints = np.repeat(body(1), 200, axis=0)
    pose_px, px = image_and_depth(joints)
    pose_px *= np.random.default_rng(0).normal(1, 0.03, (200, 1, 1))
    depth = place(pose_px, px, np.ones(px.shape[:2]), CAMERA, 50)[1][:, 2]
    assert depth.std() < 0.008 * joints[0, 0, 2] and np.abs(np.diff(depth)).max() < 10


def test_the_ratio_of_lengths_is_the_factor() -> None:
    pose = body(7)
    np.testing.assert_allclose(mm_per_px(pose / 3.5, STATURE), 3.5)
    np.testing.assert_allclose(bone_lengths(pose)[0], bone_lengths(pose)[-1])


def test_the_assumed_camera_sees_as_wide_as_those_of_training() -> None:
    wide, tall = assumed_camera(1280, 720), assumed_camera(720, 1280)
    assert wide.focal == tall.focal == pytest.approx(FOCAL * 1280)
    assert assumed_camera(1280, 720, 900.0).focal == 900 and wide.middle.tolist() == [640, 360]


def test_the_size_is_that_of_all_bones_together_and_of_the_seen_ones() -> None:
    """A bone of twice its length in one that is scaled by 3 counts by its share, not alone."""
    pose = np.repeat(body(1), 2, axis=0)
    pose[1, 3] += pose[1, 3] - pose[1, 2]  # the last bone of a leg
    bones = bone_lengths(pose[:1])[0]
    longer = bones.sum() + bones[BONES.index((2, 3))]
    np.testing.assert_allclose(mm_per_px(pose, STATURE), [1, bones.sum() / longer], rtol=1e-6)
    others = [i for i in range(len(BONES)) if BONES[i] != (2, 3)]
    np.testing.assert_allclose(mm_per_px(pose, STATURE, others), 1, rtol=1e-6)


@pytest.mark.parametrize("fps", [10, 50])
def test_the_size_is_averaged_over_half_a_second_to_either_side(fps: int) -> None:
    """A single frame in which somebody seems larger spreads over a triangle and stays a hundredth."""
    values = np.ones(4 * fps)
    values[2 * fps] = 2.0
    smoothed = _smooth(values, fps) - 1
    reach = round(0.5 * fps)
    assert np.flatnonzero(smoothed > 1e-9).tolist() == list(
        range(2 * fps - reach, 2 * fps + reach + 1)
    )
    assert smoothed.sum() == pytest.approx(1) and smoothed[2 * fps] == pytest.approx(
        1 / (reach + 1)
    )
