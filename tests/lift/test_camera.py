"""From pixels to millimetres: a body of known bones before a known camera is found where it is."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.lifting import CAMERA, body, seen

from m2v_lib.lift.camera import (
    FOCAL,
    STATURE,
    Camera,
    assumed_camera,
    bone_lengths,
    mm_per_px,
    place,
)


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
