"""Tracks to motion: rates, gaps, people and lengths, with a network that gives its input back
flat.

Whatever the depth, the joints must then project onto the keypoints they came from.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes.lifting import CAMERA, Counter, Flat, seen, tracks

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.lift import camera, people
from m2v_lib.lift.people import Lifted, lift_person, lift_tracks
from m2v_lib.lift.windows import Lifter

LIFTER = Lifter(Flat(), 27)


def lifted(made: Tracks) -> Lifted:
    """The first person as lifted, before the motion is treated."""
    return lift_person(made.people[0], LIFTER, float(made.fps or 0), CAMERA)


def reprojection(person: Lifted) -> np.ndarray:
    """Distance (n,17) px between the lifted joints as the camera sees them and the keypoints
    used.
    """
    return np.linalg.norm(seen(person.joints_mm) - person.seen_px, axis=-1)


@pytest.mark.parametrize("fps", [25, 29.97, 30, 50, 60, 120])
def test_joints_lie_on_the_keypoints_at_any_rate(fps: float) -> None:
    made = tracks(90, fps)
    motion = lift_tracks(made, LIFTER, focal=CAMERA.focal)
    assert motion.people[0].n_frames == 90 and motion.fps == fps
    assert reprojection(lifted(made)).max() < 1.2
    np.testing.assert_allclose(motion.people[0].seen_px, made.people[0].xy, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 10, 243, 1000])
def test_any_length(n: int) -> None:
    made = tracks(n, 50)
    assert lift_tracks(made, LIFTER).people[0].n_frames == n
    assert reprojection(lifted(made)).max() < (1.0 if n >= 27 else 25.0), (
        "fewer frames than a window are stretched"
    )


@pytest.mark.parametrize("fps", [25, 29.97, 50, 120])
@pytest.mark.parametrize("block", [1, 16, 59])
def test_blocks_give_what_one_piece_gives(
    fps: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tracks(150, fps)
    lifter = Lifter(Counter(), 27)
    whole = lift_tracks(made, lifter).people[0]
    monkeypatch.setattr(people, "BLOCK", block)
    monkeypatch.setattr(camera, "BLOCK", block)
    parts = lift_tracks(made, lifter).people[0]
    assert np.abs(whole.pose_mm[..., 2]).max() > 50, (
        "windows differ, so it matters which of them a block sees"
    )
    np.testing.assert_allclose(parts.pose_mm, whole.pose_mm, atol=0.01)
    np.testing.assert_allclose(parts.root_mm, whole.root_mm, atol=0.01)


def test_the_spread_is_millimetres_at_the_persons_distance() -> None:
    made = tracks(60, 50)
    lifter = Lifter(Counter(), 27)
    person = lift_person(made.people[0], lifter, 50.0, CAMERA)
    shown = np.concatenate([made.people[0].xy, made.people[0].confidence[..., None]], axis=-1)
    spread_px = lifter.part_and_spread(lambda a, b: shown[a:b], 60, 0, 60, (1280, 720))[..., 3]
    assert spread_px[:, 1:].max() > 5 and person.spread_mm is not None
    mm_per_px = person.root_mm[:, 2:] / CAMERA.focal
    np.testing.assert_allclose(person.spread_mm, spread_px * mm_per_px, rtol=1e-3, atol=0.01)


def test_a_fifth_of_the_joints_missing_is_filled_and_marked() -> None:
    made = tracks(120, 50)
    rng = np.random.default_rng(0)
    confidence = np.where(rng.random((120, 17)) < 0.2, 0, 0.9).astype(np.float32)
    person = replace(
        made.people[0], confidence=confidence, xy=made.people[0].xy * (confidence > 0)[..., None]
    )
    motion = lift_tracks(replace(made, people=(person,)), LIFTER, focal=CAMERA.focal)
    lifted = motion.people[0]
    np.testing.assert_array_equal(lifted.filled, confidence == 0)
    assert np.linalg.norm(lifted.seen_px - made.people[0].xy, axis=-1)[1:-1].max() < 12
    assert (lifted.confidence[lifted.filled] < 0.9).all()


def test_low_confidence_is_filled_too() -> None:
    made = tracks(60, 50)
    confidence = made.people[0].confidence.copy()
    confidence[20:24, 13] = 0.05
    xy = made.people[0].xy.copy()
    xy[20:24, 13] += 300
    person = replace(made.people[0], confidence=confidence, xy=xy)
    lifted = lift_tracks(replace(made, people=(person,)), LIFTER).people[0]
    assert np.argwhere(lifted.filled).tolist() == [[t, 13] for t in range(20, 24)]
    assert (
        np.linalg.norm(lifted.seen_px[20:24, 13] - made.people[0].xy[20:24, 13], axis=-1).max() < 2
    )


def test_short_gaps_are_bridged_and_long_ones_stay() -> None:
    made = tracks(200, 50)
    kept = np.r_[
        10:60, 75:120, 160:200
    ]  # 15 frames missing: bridged; 40: longer than half a second
    one = made.people[0]
    person = Person("7", kept, one.xy[kept], one.confidence[kept])
    motion = lift_tracks(replace(made, people=(person, replace(one, name="8"))), LIFTER)
    assert [(p.name, p.start, p.n_frames) for p in motion.people] == [
        ("7", 10, 110),
        ("7", 160, 40),
        ("8", 0, 200),
    ]
    assert motion.people[0].filled[50:65].all() and not motion.people[0].filled[:50].any()


def test_what_is_not_known_is_asked_for() -> None:
    made = tracks(30)
    with pytest.raises(
        DataError, match=r"made: does not say how large its image is; give it \(--size 1280x720\)"
    ):
        lift_tracks(replace(made, width=None), LIFTER)
    with pytest.raises(
        DataError, match=r"made: does not say its frames a second; give them \(--fps 25\)"
    ):
        lift_tracks(replace(made, fps=None), LIFTER)
    assert lift_tracks(replace(tracks(1), fps=None), LIFTER).people[0].n_frames == 1, (
        "a still has no rate"
    )


def test_the_motion_says_what_was_assumed() -> None:
    about = lift_tracks(tracks(30), LIFTER, stature=1.9).about
    assert (
        about["units"] == "mm"
        and about["stature_m"] == 1.9
        and about["focal_px"] == round(1.145 * 1280, 1)
    )
