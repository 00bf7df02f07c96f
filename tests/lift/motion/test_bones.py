"""Bones keep one length through the recording and their directions; so does what .bvh shows."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.lifting import body
from fakes.walking import person

from m2v_lib.lift.camera import BONES_MM, bone_lengths
from m2v_lib.lift.motion import bones
from m2v_lib.lift.motion.treatment import treat
from m2v_lib.lift.output.bvh import make_rig
from m2v_lib.lift.people import Lifted
from m2v_lib.skeletons import H36M17, KNOWN


def breathing(n: int = 80) -> np.ndarray:
    """A body whose joints tremble by some centimetres, with one arm longer than the other."""
    joints = body(n)
    joints[:, 13] += 0.2 * (joints[:, 13] - joints[:, 12])
    return joints + np.random.default_rng(1).normal(0, 20, joints.shape)


def treated(joints: np.ndarray, absent: tuple[int, ...] = ()) -> Lifted:
    one = person(joints)
    treat([one], H36M17, 50.0, absent, cutoff=None)
    return one


def test_every_bone_has_one_length_on_both_sides() -> None:
    length = bone_lengths(treated(breathing()).pose_mm)
    assert (length.std(0) < 0.01).all()
    for right, left in H36M17.flip_pairs:
        of = [H36M17.bones.index((H36M17.parents[joint], joint)) for joint in (right, left)]
        assert length[0, of[0]] == pytest.approx(length[0, of[1]], abs=0.01)


def test_directions_and_the_root_stay() -> None:
    joints = breathing()
    found = treated(joints)
    parents, children = np.array(H36M17.bones).T
    before, after = (x[:, children] - x[:, parents] for x in (joints, found.joints_mm))
    before, after = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (before, after))
    assert (before * after).sum(-1).min() > 0.9999
    np.testing.assert_allclose(found.root_mm, joints[:, 0], atol=1e-3)


def test_lengths_lie_half_way_to_a_body_of_that_size() -> None:
    joints = body(30)
    joints[:, 3] += 0.4 * (joints[:, 3] - joints[:, 2])  # both shanks are too long
    joints[:, 6] += 0.4 * (joints[:, 6] - joints[:, 5])
    length = bone_lengths(treated(joints).pose_mm)[0]
    shank = H36M17.bones.index((2, 3))
    scale = (sum(BONES_MM) + 2 * 0.4 * BONES_MM[shank]) / sum(BONES_MM)
    assert length[shank] == pytest.approx(BONES_MM[shank] * (1.4 + scale) / 2, rel=0.01)
    np.testing.assert_allclose(bone_lengths(treated(body(30)).pose_mm)[0], BONES_MM, rtol=0.01)


def test_pieces_of_one_person_share_their_bones() -> None:
    joints = breathing()
    two = [person(joints[:40]), person(1.1 * joints[40:], start=60)]
    treat(two, H36M17, 50.0, cutoff=None)
    first, second = (bone_lengths(piece.pose_mm)[0] for piece in two)
    np.testing.assert_allclose(first, second, atol=0.01)


def test_a_single_frame_stays_as_it_is() -> None:
    joints = breathing(2)
    np.testing.assert_allclose(treated(joints).joints_mm, joints, atol=1e-3)


def test_what_was_filled_in_does_not_say_lengths() -> None:
    joints = body(60)
    one = person(joints)
    one.pose_mm[:40, 3] += 200 * (one.pose_mm[:40, 3] - one.pose_mm[:40, 2]) / 400
    one.filled[:40, 3] = True
    links = bones.bone_links(H36M17)
    expected = bones.bone_targets([person(joints)], H36M17, links)
    np.testing.assert_allclose(bones.bone_targets([one], H36M17, links), expected, rtol=0.01)


def test_a_joint_that_the_layout_lacks_hangs_on() -> None:
    joints = breathing()
    found = treated(joints, absent=(7,)).pose_mm
    trunk = np.linalg.norm(found[:, 8] - found[:, 0], axis=-1)
    assert trunk.std() < 0.01, "the bone beyond it is the constant one"
    offset = joints[:, 7] - joints[:, 0]
    np.testing.assert_allclose(found[:, 7] - found[:, 0], offset, atol=0.01)


def test_the_rig_of_a_bvh_is_the_motion_itself() -> None:
    found = treated(breathing()).joints_mm
    assert np.linalg.norm(make_rig(found).joints - found, axis=-1).max() < 1


def test_other_skeletons_too() -> None:
    skeleton = KNOWN["coco17"] if "coco17" in KNOWN else KNOWN["body25"]
    joints = np.random.default_rng(0).normal(0, 300, (20, len(skeleton), 3)) + (0, 0, 4000)
    one = person(joints)
    treat([one], skeleton, 50.0, (3,))
    links = [link for link in bones.bone_links(skeleton, (3,)) if 3 not in link]
    parents, children = np.array(links).T
    length = np.linalg.norm(one.pose_mm[:, children] - one.pose_mm[:, parents], axis=-1)
    assert np.isfinite(one.joints_mm).all() and (length.std(0) / length.mean(0) < 0.02).all()
