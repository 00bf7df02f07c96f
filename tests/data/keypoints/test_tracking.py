"""Telling people apart: the assignment against scipy, two people who cross, gaps, and who comes
and goes.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import linear_sum_assignment

from m2v_lib.data.keypoints.identity import _same, first_of_duplicates
from m2v_lib.data.keypoints.tracking import Tracker, _distances, _sizes, _Track, assign, link

SHAPE = np.array(
    [
        (0, 0),
        (-9, 0),
        (-10, 45),
        (-10, 88),
        (9, 0),
        (10, 45),
        (10, 88),
        (0, -25),
        (0, -50),
        (0, -60),
        (0, -70),
        (17, -48),
        (22, -20),
        (22, 5),
        (-17, -48),
        (-22, -20),
        (-22, 5),
    ],
    float,
)


def test_assignment_has_the_smallest_sum() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        cost = rng.random(rng.integers(1, 7, 2)).round(
            int(rng.integers(1, 4))
        )  # rounding makes ties
        pairs = assign(cost)
        rows, columns = linear_sum_assignment(cost)
        assert (
            len(pairs)
            == len({a for a, _ in pairs})
            == len({b for _, b in pairs})
            == min(cost.shape)
        )
        assert np.isclose(sum(cost[pair] for pair in pairs), cost[rows, columns].sum())


def people(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections of people at x (frames, people) px, NaN where nobody is seen, in a random order
    within each frame.

    Each joint is off by 1.5 px, each body as a whole by 3. Every second person turns the other
    way.
    """
    rng = np.random.default_rng(1)
    frame, joints, who = [], [], []
    for t, places in enumerate(x):
        for person in rng.permutation(len(places)):
            if np.isfinite(places[person]):
                shape = SHAPE * (1 - 2 * (person % 2), 1) + (places[person], 200)
                shape += rng.normal(0, 1.5, SHAPE.shape) + rng.normal(0, 3, 2)
                frame.append(t)
                joints.append(shape)
                who.append(person)
    return np.array(frame), np.array(joints), np.array(who)


def names(x: np.ndarray, confidence: float = 0.9) -> list[set[int]]:
    """The track numbers each person got."""
    frame, joints, who = people(x)
    found = link(frame, joints, np.full(joints.shape[:2], confidence), fps=25)
    return [set(found[who == person].tolist()) for person in range(x.shape[1])]


def test_two_people_who_cross_keep_their_names() -> None:
    t = np.arange(80.0)
    one, other = names(np.stack([100 + 5 * t, 500 - 5 * t], axis=1))
    assert len(one) == len(other) == 1 and one != other


def test_the_hidden_one_of_two_who_cross_keeps_the_name() -> None:
    t = np.arange(80.0)
    x = np.stack([100 + 5 * t, 500 - 5 * t], axis=1)
    x[36:45, 1] = np.nan  # behind the other
    one, other = names(x)
    assert len(one) == len(other) == 1 and one != other


def test_a_short_gap_keeps_the_name_and_a_long_one_does_not() -> None:
    t = np.arange(120.0)
    x = np.stack([100 + 2 * t, np.full(120, 700.0)], axis=1)
    x[40:55, 0] = np.nan
    x[30:80, 1] = np.nan
    walker, stander = names(x)
    assert len(walker) == 1 and len(stander) == 2


def test_who_walks_on_unseen_is_met_where_the_walk_leads() -> None:
    x = (
        100 + 8 * np.arange(80.0)[:, None].repeat(8, axis=1) + 2000 * np.arange(8)
    )  # eight walkers far apart
    x[40:60] = np.nan
    assert [len(found) for found in names(x)] == [1] * 8


def test_upper_and_lower_body_in_turns_are_one_person() -> None:
    frame, joints, _ = people(np.full((20, 1), 100.0))
    upper = SHAPE[:, 1] < -20
    confidence = np.where(frame[:, None] % 2 == 0, upper, ~upper).astype(float)
    confidence[0] = 1
    assert set(link(frame, joints, confidence).tolist()) == {0}


def test_who_stands_far_away_is_somebody_else() -> None:
    x = np.full((20, 2), np.nan)
    x[:10, 0], x[10:, 1] = 100, 400
    one, other = names(x)
    assert one != other


def test_missing_joints_do_not_lose_a_person() -> None:
    frame, joints, _ = people(
        np.stack([100 + 3 * np.arange(50.0), 400 - 1 * np.arange(50.0)], axis=1)
    )
    confidence = np.full(joints.shape[:2], 0.9)
    confidence[np.random.default_rng(2).random(confidence.shape) < 0.6] = 0
    confidence[:, 0] = np.maximum(confidence[:, 0], 0.1)
    assert set(link(frame, joints, confidence).tolist()) == {0, 1}


def test_numbers_follow_the_order_of_appearance() -> None:
    frame, joints, _ = people(np.full((3, 1), 100.0))
    assert link(frame[::-1].copy(), joints, np.ones(joints.shape[:2])).tolist() == [0, 0, 0]


def crowd(n_people: int, n_frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, places and scores of people who stand about, a fifth of their joints missing."""
    rng = np.random.default_rng(0)
    base = SHAPE + rng.uniform(0, 4000, (n_people, 1, 2))
    xy = np.concatenate([base + rng.normal(0, 1, base.shape) + t for t in range(n_frames)])
    score = rng.uniform(0, 1, xy.shape[:2])
    return np.repeat(np.arange(n_frames), n_people), xy, np.where(score < 0.2, 0, score)


def test_distances_and_doubles_are_those_of_joint_after_joint() -> None:
    """Against one pair and one joint at a time."""
    _, xy, score = crowd(12, 1)
    xy[3] = xy[2] + 0.5
    score[5, :] = [0.5] * 3 + [0.0] * 14
    score[6, :3] = 0  # no joint in common with detection 5
    score[6, 3:] = np.maximum(score[6, 3:], 0.1) * (np.arange(14) > 10)
    seen = score > 0

    def box(points: np.ndarray) -> float:
        return float(np.hypot(*(points.max(0) - points.min(0))))

    for one in range(12):
        track = _Track(0, 0, xy[one], seen[one], np.zeros(2))
        found = _distances(track, 1, xy, seen, _sizes(xy, seen))
        same = _same(xy, seen, one, np.arange(12))
        for other in range(12):
            both = [j for j in range(17) if seen[one, j] and seen[other, j]]
            size = max(box(xy[one][seen[one]]), box(xy[other][seen[other]]), 1.0)
            apart = [np.hypot(*(xy[one, j] - xy[other, j])) for j in both]
            middles = (xy[i][seen[i]].mean(0) for i in (one, other))
            between = np.hypot(*np.subtract(*middles))
            expected = np.mean(apart) if both else between
            np.testing.assert_allclose(found[other], expected / size, atol=1e-12)
            alike = len(both) >= 4 and np.mean(apart) <= 0.05 * box(xy[one][both])
            assert same[other] == alike
    assert _same(xy, seen, 2, np.array([3])).all()


def test_a_crowd_is_told_apart_in_seconds() -> None:
    frame, xy, score = crowd(150, 4)
    start = time.process_time()
    assert first_of_duplicates(frame, xy, score).all()
    np.testing.assert_array_equal(link(frame, xy, score, 25.0), np.tile(np.arange(150), 4))
    assert time.process_time() - start < 4, "150 people in 4 frames"


def test_a_track_ends_after_a_second() -> None:
    for unseen, n in ((25, 1), (26, 2)):
        frames = np.array([0, 1, 1 + unseen])
        names = link(frames, np.stack([SHAPE] * 3), np.ones((3, 17)), fps=25.0)
        assert len(set(names.tolist())) == n


def test_velocity_is_by_frame_also_where_frames_are_left_out() -> None:
    tracker, seen = Tracker(25.0), np.ones((1, 17))
    for frame in range(0, 80, 4):
        tracker.step(frame, SHAPE[None] + (5.0 * frame, 0), seen)
    (track,) = tracker.tracks
    np.testing.assert_allclose(track.velocity, (5, 0), atol=0.02)
