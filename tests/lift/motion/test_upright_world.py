"""The upright world: of a level camera as before, of a tilted one with up and floor where they
are.
"""

from __future__ import annotations

import numpy as np
import pytest
from fakes.lifting import CAMERA, body

from m2v_lib.lift.camera import Y_UP
from m2v_lib.lift.motion.world import LEVEL, level_world, upright_world
from m2v_lib.lift.people import Lifted, Motion


def motion(joints: np.ndarray, absent: tuple[int, ...] = ()) -> Motion:
    n, root = len(joints), joints[:, 0]
    empty = np.zeros((n, 17))
    person = Lifted(
        "1", 0, joints - root[:, None], root, np.zeros((n, 17, 2)), empty, empty.astype(bool)
    )
    return Motion("made", 25.0, n, CAMERA, (person,), {}, absent=absent)


def test_without_more_the_camera_is_level_and_the_lowest_point_on_the_floor() -> None:
    joints = body(30)
    world = motion(joints).world
    found = world.to_world(joints)
    lowest = joints[..., 1].max()
    np.testing.assert_allclose(found, joints * Y_UP + (0, lowest, 0), atol=1e-6)
    assert found[..., 1].min() == pytest.approx(0) and world.how == LEVEL
    assert world.camera_height == pytest.approx(lowest)
    assert world.pitch == pytest.approx(0) and world.roll == pytest.approx(0)


def test_absent_joints_do_not_hold_up_the_body() -> None:
    joints = body(30)
    joints[:, 3, 1] += 5000
    assert (
        motion(joints, absent=(3,)).world.camera_height < 3000 < motion(joints).world.camera_height
    )


@pytest.mark.parametrize(("pitch", "roll"), [(20, 0), (-10, 15), (40, -30), (89.99, 0)])
def test_a_tilted_camera(pitch: float, roll: float) -> None:
    p, r = np.radians([pitch, roll])
    up = np.array([-np.cos(p) * np.sin(r), -np.cos(p) * np.cos(r), -np.sin(p)])
    world = upright_world(2 * up, 1500.0, "said")
    np.testing.assert_allclose(world.rotation @ world.rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(world.rotation) == pytest.approx(1)
    assert world.pitch == pytest.approx(pitch) and world.camera_height == pytest.approx(1500)
    np.testing.assert_allclose(world.to_world(np.zeros(3)), (0, 1500, 0), atol=1e-9)
    np.testing.assert_allclose(world.to_world(-1500 * up), (0, 0, 0), atol=1e-9)
    points = np.random.default_rng(0).normal(0, 1000, (5, 17, 3))
    np.testing.assert_allclose(world.to_camera(world.to_world(points)), points, atol=1e-6)
    if pitch < 80:
        assert world.roll == pytest.approx(roll)
        assert world.to_world(np.array([0, 0, 4000.0]))[2] < 0, (
            "what is further away has a smaller z"
        )
        right = world.to_world(np.array([1.0, 0, 0])) - world.to_world(np.zeros(3))
        assert right[0] > 0.8, "right stays right"


def test_nobody_has_a_floor_too() -> None:
    assert level_world([]).camera_height == 0
