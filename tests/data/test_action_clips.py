"""From action data to batches: which rows make a sample, in which units, with which third
channel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from m2v_lib.data.action_clips import for_testing, for_training, frames_of, make_samples
from m2v_lib.data.augment import crop_scale
from m2v_lib.data.checks import DataError
from m2v_lib.data.store.action_store import NEITHER, TEST, TRAIN, ActionData

FRAMES, PEOPLE = (5, 12, 4, 9), (1, 2, 2, 1)


@pytest.fixture
def data() -> ActionData:
    rng = np.random.default_rng(0)
    n = sum(t * m for t, m in zip(FRAMES, PEOPLE, strict=True))
    return ActionData(
        joint_2d=rng.uniform(0, 1000, (n, 17, 2)).astype(np.float32),
        confidence=rng.uniform(0.1, 1, (n, 17)).astype(np.float32),
        coco_score=rng.uniform(0.1, 1, (n, 17)).astype(np.float32),
        label=np.array([2, 0, 1, 0]),
        n_frames=np.array(FRAMES),
        n_persons=np.array(PEOPLE),
        width=np.array([1920, 1000, 800, 1000]),
        height=np.array([1080, 900, 1000, 1000]),
        xsub=np.array([TRAIN, TRAIN, TEST, TEST]),
        xview=np.array([TEST, TRAIN, TRAIN, NEITHER]),
        names=("a", "b", "c", "d"),
        classes=("x", "y", "z"),
    )


def test_a_batch_by_hand(data: ActionData) -> None:
    test = make_samples(data, "xsub", n_frames=6, n_persons=2)["test"]
    x, label = test.batch(torch.tensor([1, 0]))
    assert x.shape == (2, 2, 6, 17, 3) and label.tolist() == [0, 1]
    for got, i in zip(x, (3, 2), strict=True):
        joints, confidence = data.sample(i)
        size = max(data.width[i], data.height[i])
        for m in range(2):
            for t in range(6):
                at = t * FRAMES[i] // 6  # evenly spaced, rounded down
                if m >= PEOPLE[i]:
                    assert got[m, t].abs().max() == 0
                    continue
                np.testing.assert_allclose(
                    got[m, t, :, :2], joints[m, at] / size * 2 - 1, atol=1e-6
                )
                np.testing.assert_array_equal(got[m, t, :, 2], confidence[m, at])


def test_parts_share_their_frames_and_are_apart(data: ActionData) -> None:
    for protocol, train, test in (("xsub", [2, 0], [1, 0]), ("xview", [0, 1], [2])):
        samples = make_samples(data, protocol, n_frames=6, n_persons=1)
        assert (
            samples["train"].label_S.tolist() == train and samples["test"].label_S.tolist() == test
        )
        assert samples["train"].frames_nJ3 is samples["test"].frames_nJ3
        rows = [set(s.index_SMT.unique().tolist()) for s in samples.values()]
        assert rows[0].isdisjoint(rows[1])
    with pytest.raises(DataError, match="protocol xview has no test sample"):
        make_samples(replace(data, xview=np.full(4, TRAIN)), "xview", n_frames=6, n_persons=1)


def test_one_person_is_enough_where_one_is_asked_for(data: ActionData) -> None:
    one, two = (
        make_samples(data, "xsub", n_frames=6, n_persons=m)["train"].batch(torch.arange(2))[0]
        for m in (1, 2)
    )
    assert one.shape[1] == 1 and torch.equal(one, two[:, :1]) and two[1, 1].abs().max() > 0


def test_the_released_third_channel_is_of_other_joints(data: ActionData) -> None:
    chosen = torch.arange(2)
    paper, released = (
        make_samples(data, "xsub", n_frames=6, n_persons=2, confidence=kind)["test"].batch(chosen)[
            0
        ]
        for kind in ("remapped", "coco-order")
    )
    assert torch.equal(paper[..., :2], released[..., :2]) and not torch.equal(
        paper[..., 2], released[..., 2]
    )
    swapped = make_samples(
        replace(data, confidence=data.coco_score), "xsub", n_frames=6, n_persons=2
    )["test"]
    assert torch.equal(swapped.batch(chosen)[0], released)


@pytest.mark.parametrize(
    ("length", "n_frames"), [(5, 5), (100, 7), (3, 10), (1, 4), (243, 243), (80, 243)]
)
def test_which_frames_stand_for_a_sample(length: int, n_frames: int) -> None:
    even = frames_of(length, n_frames, None)
    assert even.tolist() == [t * length // n_frames for t in range(n_frames)]
    drawn = [frames_of(length, n_frames, np.random.default_rng(seed)) for seed in range(20)]
    for frames in drawn:
        assert (
            frames.shape == (n_frames,)
            and (np.diff(frames) >= 0).all()
            and 0 <= frames[0] <= frames[-1] < length
        )
        assert (
            np.abs(frames - np.arange(n_frames) * length / n_frames) <= max(1, length / n_frames)
        ).all()
    if length not in (1, n_frames):
        assert len({tuple(frames) for frames in drawn}) > 1


def test_a_short_sample_is_resampled_as_short_videos_are() -> None:
    drawn = np.array([frames_of(3, 10, np.random.default_rng(seed)) for seed in range(200)])
    even = np.arange(10) * 3 / 10
    expected = (
        np.floor(even) + np.ceil(even).clip(0, 2)
    ) / 2  # floor or ceiling, evenly often; sorting keeps the sum
    assert drawn.mean(0).sum() == pytest.approx(expected.sum(), abs=0.4)


def test_training_samples_are_drawn_once_by_seed(data: ActionData) -> None:
    a, b, c = (make_samples(data, "xsub", n_frames=6, n_persons=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(a["train"].index_SMT, b["train"].index_SMT)
    assert not torch.equal(a["train"].index_SMT, c["train"].index_SMT)
    assert torch.equal(a["test"].index_SMT, c["test"].index_SMT)


def test_what_training_and_testing_see(data: ActionData) -> None:
    x = make_samples(data, "xsub", n_frames=6, n_persons=2)["train"].batch(torch.arange(2))[0]
    torch.testing.assert_close(for_testing(x), crop_scale(x, torch.tensor([2.0, 2.0])))
    first, again, other = (for_training(x, torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    seen = x[0][x[0, ..., 2] != 0]
    spans = []
    for seed in range(40):
        xy = for_training(x, torch.Generator().manual_seed(seed))[0][x[0, ..., 2] != 0][:, :2]
        assert xy.abs().max() <= 1
        spans.append(float((xy.amax(0) - xy.amin(0)).max()) / 2)
    assert len(seen) and 1 / 3 - 0.01 < min(spans) < 0.45 and 0.8 < max(spans) <= 1
