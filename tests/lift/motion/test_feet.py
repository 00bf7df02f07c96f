"""Feet that stand stay where they are, by the body's path first and then by the leg."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.walking import camera_world, person, seen_from, walk

from m2v_lib.lift.camera import bone_lengths
from m2v_lib.lift.motion import stance
from m2v_lib.lift.motion.anatomy import Leg, legs
from m2v_lib.lift.motion.feet import REACH, _bend, _depth_correction, plant_feet
from m2v_lib.skeletons import H36M17

WORLD = camera_world(10, 0)
LEGS = legs(H36M17)


def slide(joints: np.ndarray, truth: np.ndarray) -> float:
    """Mean mm a frame of ankles that in truth stand."""
    step, still = (np.linalg.norm(np.diff(x[:, [3, 6]], axis=0), axis=-1) for x in (joints, truth))
    return float(step[still < 1].mean())


def test_a_body_that_drifts_in_depth_is_held_by_its_feet() -> None:
    truth = seen_from(WORLD, walk(400))
    wave = 60 * np.sin(2 * np.pi * 0.4 * np.arange(400) / 50)
    drifting = truth + np.stack([0 * wave, 0 * wave, wave], axis=-1)[:, None]
    one = person(drifting)
    plant_feet(one, LEGS, WORLD.up, 50.0)
    assert slide(drifting, truth) > 1.8 and slide(one.joints_mm, truth) < 1.0
    off = np.linalg.norm(one.root_mm - truth[:, 0], axis=-1).mean()
    assert off < np.abs(wave).mean(), "and is nearer to its true path"
    np.testing.assert_allclose(one.root_mm[:, :2], drifting[:, 0, :2], atol=1e-3)


def test_two_feet_that_drift_together_are_held_together() -> None:
    """Both are sure: the body is moved by what they drift, not by a share of it."""
    wave = 10 * np.sin(2 * np.pi * np.arange(400) / 50)
    paths = np.zeros((400, 2, 3), np.float32)
    paths[..., 2] = wave[:, None]
    for ankles in (paths, paths[:, :1]):
        correction = _depth_correction(ankles, WORLD.up, 50.0)
        assert correction @ wave / (wave @ wave) == pytest.approx(-1, abs=0.1)


def test_a_foot_that_trembles_alone_is_held_by_its_leg() -> None:
    truth = seen_from(WORLD, walk(400))
    wave = 12 * np.sin(2 * np.pi * 1.1 * np.arange(400) / 50)
    joints = truth.copy()
    joints[:, 3, 0] += wave
    joints[:, 6, 0] -= wave  # so that moving the body helps neither
    one = person(joints)
    before = bone_lengths(one.pose_mm)
    plant_feet(one, LEGS, WORLD.up, 50.0)
    assert slide(one.joints_mm, truth) < 0.6 * slide(joints, truth)
    np.testing.assert_allclose(bone_lengths(one.pose_mm), before, atol=0.1)
    others = [joint for joint in range(17) if joint not in (2, 3, 5, 6)]
    np.testing.assert_allclose(
        one.pose_mm[:, others], (joints - joints[:, :1])[:, others], atol=1e-3
    )


def test_no_leg_reaches_further_than_it_may() -> None:
    truth = seen_from(WORLD, walk(400))
    joints = truth.copy()
    joints[:, 3, 0] += 150 * np.sin(2 * np.pi * 0.5 * np.arange(400) / 50)
    one = person(joints)
    plant_feet(one, LEGS, WORLD.up, 50.0)
    moved = np.linalg.norm(one.pose_mm - (joints - joints[:, :1]), axis=-1)[:, 3]
    assert 10 < moved.max() < REACH + 0.1


def test_true_motion_stays_as_it_is() -> None:
    truth = seen_from(WORLD, walk(300))
    one = person(truth)
    plant_feet(one, LEGS, WORLD.up, 50.0)
    assert np.linalg.norm(one.joints_mm - truth, axis=-1).mean() < 6


def test_without_feet_nothing_moves() -> None:
    truth = seen_from(WORLD, walk(60))
    for of_legs, n in (((), 60), (LEGS, 2)):
        one = person(truth[:n])
        plant_feet(one, of_legs, WORLD.up, 50.0)
        np.testing.assert_allclose(one.joints_mm, truth[:n], atol=1e-2)


def test_a_straight_leg_bends_and_a_short_one_stops() -> None:
    pose = np.zeros((2, 4, 3))
    pose[:, 1, 1], pose[:, 2, 1], pose[:, 3] = 400, 800, (0, 850, 100)
    pose[:, 3, 1] = 850
    _bend(pose, Leg(0, 1, 2, (3,)), np.array([[0, -100.0, 0], [0, 100, 0]]))
    np.testing.assert_allclose(np.linalg.norm(pose[:, 1], axis=-1), 400, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(pose[:, 2] - pose[:, 1], axis=-1), 400, atol=1e-6)
    np.testing.assert_allclose(pose[:, 2], [[0, 700, 0], [0, 800, 0]], atol=0.01)
    np.testing.assert_allclose(pose[:, 3] - pose[:, 2], [[0, 50, 100]] * 2, atol=1e-6)


def test_stance_is_surer_the_slower() -> None:
    paths = np.zeros((3, 1, 3), np.float32)
    for speed, expected in ((100, 1), (500, 0.5), (900, 0)):
        paths[:, 0, 0] = np.arange(3) * speed / 50
        found = stance.stance_weight(paths, WORLD.up, 50.0)
        np.testing.assert_allclose(found, expected, atol=1e-4)
