"""Up and the floor of people who walk before a tilted camera, and what is said where none is
found.
"""

from __future__ import annotations

import numpy as np
import pytest
from fakes.walking import ANKLE, camera_world, person, seen_from, walk

from m2v_lib.lift.motion import stance
from m2v_lib.lift.motion.anatomy import legs, named, trunk
from m2v_lib.lift.motion.gravity import LEVEL_DEGREES, _best_up, find_world
from m2v_lib.lift.motion.world import LEVEL_UP
from m2v_lib.skeletons import H36M17, KNOWN


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (25, 0), (-15, 10), (10, -30)])
def test_a_walk_says_where_up_is(pitch: float, roll: float) -> None:
    true = camera_world(pitch, roll)
    joints = seen_from(true, walk(400))
    joints += np.random.default_rng(0).normal(0, 12, joints.shape)
    found = find_world([person(joints)], H36M17, 50.0, smoothed=False)
    assert found.world is not None
    assert angle(found.world.up, true.up) < 2
    assert found.world.camera_height == pytest.approx(true.camera_height - ANKLE, abs=60)
    assert found.world.pitch == pytest.approx(pitch, abs=2)
    assert "stances of feet" in found.world.how and max(found.sure) < 8


def test_somebody_who_stands_still_says_where_up_is() -> None:
    """Two stances are no floor; the straight body is what tells."""
    true = camera_world(20, 0)
    still = np.repeat(seen_from(true, walk(1)), 100, axis=0)
    found = find_world([person(still)], H36M17, 50.0)
    assert found.world is not None and "2.0 s of straight posture" in found.world.how
    assert angle(found.world.up, true.up) < 8 < angle(np.array(LEVEL_UP), true.up)


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (30, 0), (-25, 15)])
def test_with_nothing_seen_up_is_the_images(pitch: float, roll: float) -> None:
    """From any start, in one step; and unsure as a level camera is."""
    up, sure = _best_up(camera_world(pitch, roll).up, None, [])
    np.testing.assert_allclose(up, LEVEL_UP, atol=1e-9)
    np.testing.assert_allclose(sure, LEVEL_DEGREES, rtol=1e-6)


def test_feet_correct_a_body_that_leans() -> None:
    """A network that tilts people by 12 degrees: their floor is where they walk."""
    true = camera_world(10, 0)
    joints = seen_from(true, walk(800))
    lean = np.radians(12)
    turn = np.array([[1, 0, 0], [0, np.cos(lean), -np.sin(lean)], [0, np.sin(lean), np.cos(lean)]])
    feet = joints[:, [3, 6]].mean(1, keepdims=True)
    leaning = feet + (joints - feet) @ turn.T
    leaning[:, [3, 6]] = joints[:, [3, 6]]
    found = find_world([person(leaning)], H36M17, 50.0, smoothed=False)
    assert found.world is not None
    posture = leaning[:, 8] - leaning[:, 0]
    assert angle((posture / np.linalg.norm(posture, axis=-1, keepdims=True)).mean(0), true.up) > 11
    assert angle(found.world.up, true.up) < 6


def test_two_people_of_unknown_size_have_one_floor() -> None:
    true = camera_world(20, 5)
    near, far = seen_from(true, walk(400)), seen_from(true, walk(400), away=7000)
    found = find_world([person(near), person(1.15 * far, "2")], H36M17, 50.0, smoothed=False)
    assert found.world is not None and angle(found.world.up, true.up) < 2


def test_nobody_who_stands_gives_no_world() -> None:
    lying = seen_from(camera_world(0, 0), walk(100))[:, :, [1, 0, 2]]
    lying[:, [3, 6]] += 40 * np.arange(100)[:, None, None]  # and slides
    found = find_world([person(lying)], H36M17, 50.0)
    assert found.world is None and "nobody stands straight" in found.reason
    assert find_world([person(lying)], H36M17, 50.0, absent=(3, 6)).reason == (
        "the layout has no ankles"
    )


def test_toes_stand_on_the_floor_too() -> None:
    """Of a skeleton with feet the floor goes through their lowest joints."""
    skeleton = KNOWN["body25"]
    assert all(leg.below for leg in legs(skeleton))
    true, walking = camera_world(15, 0), walk(300)
    joints = np.repeat(walking[:, :1], len(skeleton), axis=1)
    for joint, word in enumerate(skeleton.vocabulary):
        other = named(H36M17, word)
        if other >= 0:
            joints[:, joint] = walking[:, other]
    for leg in legs(skeleton):
        joints[:, leg.below] = joints[:, [leg.ankle]] - (0, 75, 0)
    found = find_world([person(seen_from(true, joints))], skeleton, 50.0, smoothed=False)
    assert found.world is not None
    assert found.world.camera_height == pytest.approx(true.camera_height - ANKLE + 75, abs=40)


def test_feet_stand_when_they_do() -> None:
    true = camera_world(0, 0)
    paths = stance.ankle_paths(person(seen_from(true, walk(300))), legs(H36M17))
    stands = stance.standing(paths, true.up, 50.0)
    still = np.linalg.norm(np.gradient(paths, axis=0), axis=-1) < 1
    assert stands[still].mean() > 0.99 and 0.4 < stands.mean() < 0.75
    raised = paths[:50].copy()
    raised[:] = raised[0] + np.array([[0, 0, 0], [0, -400, 0]])
    assert stance.standing(raised, true.up, 50.0).tolist() == [[True, False]] * 50
    assert stance.stance_weight(raised, true.up, 50.0).tolist() == [[1, 0]] * 50
    spans = stance.runs(stands[:, 0], 50.0)
    assert 4 <= len(spans) <= 6 and min(stop - first for first, stop in spans) >= 5
    assert stance.runs(np.array([True, True, False, True]), 50.0) == []


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_parts_are_found_in_every_skeleton(name: str) -> None:
    skeleton = KNOWN[name]
    found = legs(skeleton)
    if any("ankle" in word for word in skeleton.vocabulary):
        assert len(found) == 2 and all(leg.knee >= 0 and leg.hip >= 0 for leg in found)
        assert trunk(skeleton).top and trunk(skeleton).bottom
    else:
        assert found == ()
