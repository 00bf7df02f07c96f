"""Clips: the cutting rule of spec 5.3 walked frame by frame, normalisation by hand, who is left
out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from m2v_lib.data.clips import (
    centre_of,
    centred_index,
    clip_index,
    clip_index_3dhp,
    evaluation_clips,
    make_clips,
    normalise_screen,
    resample,
    select_labelled_recordings,
    training_clips,
)
from m2v_lib.data.store import DataError, Split, Store


def walk(lengths: Sequence[int], n_frames: int, stride: int) -> list[tuple[str, int, int]]:
    """The released walk over a list of sources, one frame at a time; resampled clips as
    ("short", start, length).
    """
    sources = [video for video, length in enumerate(lengths) for _ in range(length)]
    out: list[tuple[str, int, int]] = []
    done: set[int] = set()
    start = 0
    for i in range(1, len(sources) + 1):
        if i - start == n_frames:
            out.append(("whole", start, n_frames))
            done.add(sources[i - 1])
            start += stride
        if i == len(sources):
            break
        if sources[i] != sources[i - 1]:
            if sources[i - 1] not in done:
                out.append(("short", start, i - start))
            start = i
    return out


def spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    starts = np.cumsum([0, *lengths[:-1]])
    return [(int(start), length) for start, length in zip(starts, lengths, strict=True)]


def assert_walked(index: np.ndarray, lengths: Sequence[int], n_frames: int, stride: int) -> None:
    expected = walk(lengths, n_frames, stride)
    assert index.shape == (len(expected), n_frames)
    for row, (kind, start, length) in zip(index, expected, strict=True):
        if kind == "whole":
            np.testing.assert_array_equal(row, np.arange(start, start + n_frames))
        else:
            even = np.linspace(0, length, n_frames, endpoint=False)
            assert (
                row.min() >= start and row.max() <= start + length - 1 and (np.diff(row) >= 0).all()
            )
            assert (np.abs(row - start - even) < 1).all()


def test_the_example_of_the_specification() -> None:
    index = clip_index(spans([600, 100, 300, 100]), 243, 243)
    assert_walked(index, [600, 100, 300, 100], 243, 243)
    assert [(row[0], row[-1]) for row in index[[0, 1, 3]]] == [(0, 242), (243, 485), (700, 942)]
    assert len(index) == 4 and set(index[2]) <= set(range(600, 700)) and len(set(index[2])) > 85


@pytest.mark.parametrize("stride", [81, 243, 27, 300])
def test_random_lengths_against_the_walk(stride: int) -> None:
    rng = np.random.default_rng(stride)
    for _ in range(6):
        lengths = [int(n) for n in rng.integers(1, 800, rng.integers(1, 9))]
        assert_walked(clip_index(spans(lengths), 243, stride), lengths, 243, stride)


@pytest.mark.parametrize("lengths", [[243], [242], [243, 1], [1, 243], [244, 242, 242]])
def test_lengths_at_the_edge(lengths: list[int]) -> None:
    assert_walked(clip_index(spans(lengths), 243, 243), lengths, 243, 243)


def test_resampling_draws_floor_or_ceiling_and_can_be_replayed() -> None:
    one, same, other = (resample(100, 243, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any() and one.dtype == np.int64
    even = np.linspace(0, 100, 243, endpoint=False)
    fractional = even % 1 > 0
    low = np.mean([resample(100, 243, np.random.default_rng(s)).sum() for s in range(200)])
    assert low == pytest.approx(np.floor(even).sum() + 0.5 * fractional.sum(), rel=2e-3)
    assert resample(1, 9, np.random.default_rng(0)).tolist() == [0] * 9


def test_evaluation_and_training_cut_alike() -> None:
    """Slicing for input and for evaluation must give the same frames (spec 5.3)."""
    lengths = [300, 50, 20, 300]
    np.testing.assert_array_equal(
        clip_index(spans(lengths), 81, 27), clip_index(spans(lengths), 81, 27)
    )


def test_normalisation_by_hand() -> None:
    points = np.array(
        [[[0.0, 0.0, 10.0], [1000.0, 1002.0, -500.0]], [[960.0, 540.0, 0.0], [0.0, 1080.0, 96.0]]]
    )
    ours = normalise_screen(points, np.array([1000.0, 1920.0]), np.array([1002.0, 1080.0]))
    np.testing.assert_allclose(ours[0], [[-1.0, -1.002, 0.02], [1.0, 1.002, -1.0]])
    np.testing.assert_allclose(ours[1], [[0.0, 0.0, 0.0], [-1.0, 0.5625, 0.1]], atol=1e-12)
    assert points[0, 0, 2] == 10.0  # the caller's array is left alone
    flat = normalise_screen(points[..., :2], np.array([1000.0, 1920.0]), np.array([1002.0, 1080.0]))
    np.testing.assert_allclose(flat, ours[..., :2])


VIDEOS = (
    ("a", "S1", "walk", 20, 1000, 1002),
    ("b", "S1", "sit", 15, 1920, 1080),
    ("c", "S2", "walk", 12, 1000, 1000),
)


@pytest.fixture
def split(make_people: Callable[..., Split]) -> Split:
    return make_people(VIDEOS, seed=4)


def test_tensors_of_clips_by_hand(split: Split) -> None:
    clips = make_clips(split, 9, 9)
    sizes = [video[4:] for video in VIDEOS for _ in range(video[3])]
    for frame in (0, 19, 20, 34, 35, 46):
        w, h = sizes[frame]
        xy = split.joint_2d[frame] / w * 2 - np.array([1, h / w])
        np.testing.assert_allclose(clips.input_nJ3[frame, :, :2], xy, atol=1e-5)
        np.testing.assert_allclose(clips.input_nJ3[frame, :, 2], split.confidence[frame])
        label = (split.label_px[frame] - split.label_px[frame, :1]) / w * 2
        np.testing.assert_allclose(clips.label_nJ3[frame], label, atol=1e-5)
        truth = split.truth_mm[frame] - split.truth_mm[frame, 0]
        np.testing.assert_allclose(clips.truth_nJ3[frame], truth, atol=1e-3)
        # A perfect prediction is the truth: the label in normalised units times mm per unit.
        mm = clips.label_nJ3[frame].numpy() * clips.mm_per_unit_n[frame]
        np.testing.assert_allclose(mm, truth, atol=0.05)
    assert clips.actions == ("sit", "walk") and clips.action_n[[0, 20, 46]].tolist() == [1, 0, 1]
    assert not clips.label_nJ3[:, 0].any()


def test_ground_truth_input_is_the_projection_with_full_confidence(split: Split) -> None:
    clips = make_clips(split, 9, 9, input_2d="gt")
    np.testing.assert_allclose(
        clips.input_nJ3[0, :, :2], split.label_px[0, :, :2] / 500 - (1, 1.002), atol=1e-5
    )
    assert (clips.input_nJ3[..., 2] == 1).all()


def test_a_batch_gathers_frames(split: Split) -> None:
    clips = make_clips(split, 9, 4)
    x, y = clips.batch(torch.tensor([2, 0]))
    assert x.shape == y.shape == (2, 9, 17, 3) and len(clips) == len(walk([20, 15, 12], 9, 4))
    for row, clip in enumerate((2, 0)):
        for t in range(9):
            frame = int(clips.index_CT[clip, t])
            assert torch.equal(x[row, t], clips.input_nJ3[frame]) and torch.equal(
                y[row, t], clips.label_nJ3[frame]
            )


def frames_of(clips_index: torch.Tensor) -> set[int]:
    return set(clips_index.flatten().tolist())


def test_subjects_are_chosen_and_left_out(split: Split) -> None:
    assert frames_of(make_clips(split, 9, 9, subjects=("S2",)).index_CT) <= set(range(35, 47))
    assert frames_of(make_clips(split, 9, 9, without=("S2",)).index_CT) <= set(range(35))


def test_blocked_videos_leave_the_other_clips_as_they_are(
    make_people: Callable[..., Split],
) -> None:
    """Spec 5.5.4: blocked clips are skipped after cutting, so a short video before a blocked
    last one keeps one.
    """
    videos = [
        ("a", "S1", "walk", 20, 1000, 1000),
        ("b", "S1", "sit", 5, 1000, 1000),
        ("c", "S1", "sit", 6, 1000, 1000),
        ("d", "S1", "walk", 18, 1000, 1000),
    ]
    split = make_people(videos)
    everything = make_clips(split, 9, 9).index_CT
    kept = make_clips(split, 9, 9, blocked=("b", "d")).index_CT
    assert torch.equal(kept, everything[[0, 1, 3]])
    assert set(range(20)) | set(range(25, 31)) >= frames_of(kept)


def test_a_blocked_recording_is_left_out_for_every_camera(
    make_people: Callable[..., Split],
) -> None:
    names = (
        "s_09_act_05_subact_02_ca_01",
        "s_09_act_05_subact_02_ca_03",
        "s_09_act_05_subact_01_ca_01",
        "s_09_act_05_subact_021_ca_01",
        "CMU_05#0.cam",
        "CMU_05#01.cam",
    )
    split = make_people([(name, "S9", "sit", 10, 1000, 1000) for name in names])
    kept = make_clips(split, 9, 9, blocked=("s_09_act_05_subact_02", "CMU_05#0")).index_CT
    assert kept[:, 0].tolist() == [20, 30, 50]


def test_frames_that_do_not_count_are_passed_on(split: Split) -> None:
    assert make_clips(split, 9, 9).valid_n.tolist() == [True] * 47
    valid = np.arange(47) % 3 > 0
    np.testing.assert_array_equal(make_clips(replace(split, valid=valid), 9, 9).valid_n, valid)


def test_no_clip_is_one_sentence(split: Split) -> None:
    for kwargs in (
        {"subjects": ("S7",)},
        {"blocked": ("a", "b", "c")},
        {"subjects": ("S2",), "n_frames": 27},
    ):
        arguments = {"n_frames": 9, "stride": 9, "what": "here: split test", **kwargs}
        with pytest.raises(DataError, match="here: split test: no clip of"):
            make_clips(split, **arguments)  # type: ignore[arg-type]


def test_validation_subjects_are_held_out_of_training_only_when_asked(tiny_store: Store) -> None:
    def train(validation: bool) -> set[int]:
        clips = training_clips(
            tiny_store, 9, 4, input_2d="detected", validation=validation, device="cpu"
        )
        return frames_of(clips.index_CT)

    val = evaluation_clips(tiny_store, "val", 9, 9, input_2d="detected", device="cpu")
    videos = [v for v in tiny_store.split("train").videos if v.subject == "S5"]
    held = {frame for v in videos for frame in range(v.start, v.start + v.n_frames)}
    assert frames_of(val.index_CT) <= held and len(val) == 2 + 2
    assert not train(True) & held and train(False) & held


def test_test_clips_skip_blocked_sources(tiny_store: Store) -> None:
    clips = evaluation_clips(tiny_store, "test", 9, 9, input_2d="detected", device="cpu")
    blocked = next(v for v in tiny_store.split("test").videos if v.source == "test.blocked")
    assert not frames_of(clips.index_CT) & set(
        range(blocked.start, blocked.start + blocked.n_frames)
    )
    assert len(clips) == 3 + 1 + 2 + 1


def test_a_store_without_validation_subjects_says_what_to_set(tiny_store: Store) -> None:
    bare = replace(tiny_store, meta=replace(tiny_store.meta, val_subjects=()))
    with pytest.raises(DataError, match=r"names no validation subjects; set data.validation=false"):
        evaluation_clips(bare, "val", 9, 9, input_2d="detected", device="cpu")


def test_3dhp_clips_begin_every_stride_and_tails_are_spread() -> None:
    """Spec 6.4 with the released resampling: floor of an even spacing, over whatever is left of
    the video.
    """
    lengths = [20, 5, 1]
    rows, start = [], 0
    for length in lengths:
        for first in range(0, length, 3):
            part = list(range(start + first, start + min(first + 8, length)))
            even = np.linspace(0, len(part), num=8, endpoint=False)
            rows.append([part[int(np.floor(at))] for at in even])
        start += length
    ours = clip_index_3dhp(spans(lengths), 8, 3)
    np.testing.assert_array_equal(ours, rows)
    assert ours[4].tolist() == list(range(12, 20)) and ours[5].tolist() == [
        15,
        15,
        16,
        16,
        17,
        18,
        18,
        19,
    ]
    assert ours[-1].tolist() == [25] * 8
    assert len(clip_index_3dhp(spans([243]), 81, 9)) == 27


def test_windows_stand_about_the_chosen_frames_and_repeat_the_ends() -> None:
    chosen = np.zeros(30, bool)
    chosen[[0, 9, 11, 25, 29]] = True
    ours = centred_index(spans([10, 15, 5]), 5, chosen)
    assert ours.tolist() == [
        [0, 0, 0, 1, 2],
        [7, 8, 9, 9, 9],
        [10, 10, 11, 12, 13],
        [25, 25, 25, 26, 27],
        [27, 28, 29, 29, 29],
    ]
    assert centre_of(81) == 40 and ours[:, centre_of(5)].tolist() == [0, 9, 11, 25, 29]
    assert centred_index(spans([10]), 81, chosen[:10])[:, 40].tolist() == [0, 9]
    assert centred_index(spans([10]), 81, np.zeros(10, bool)).shape == (0, 81)


def test_the_protocol_of_a_store_decides_how_it_is_cut(
    tiny_store: Store, as_3dhp: Callable[..., Store]
) -> None:
    store = as_3dhp(tiny_store, valid=[0, 31, 50])
    train = training_clips(store, 9, 4, input_2d="detected", validation=True, device="cpu")
    videos = [v for v in store.split("train").videos if v.subject != "S5"]
    np.testing.assert_array_equal(
        train.index_CT, clip_index_3dhp([(v.start, v.n_frames) for v in videos], 9, 4)
    )
    test = evaluation_clips(store, "test", 9, 50, input_2d="detected", device="cpu")
    assert test.centred and not train.centred
    assert test.index_CT[:, 4].tolist() == [0, 31, 50]  # every valid frame, whatever the stride
    assert test.index_CT[0].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4]
    assert test.index_CT[1].tolist() == [
        30,
        30,
        30,
        30,
        31,
        32,
        33,
        34,
        34,
    ]  # a video of frames 30 to 34
    val = evaluation_clips(store, "val", 9, 10, input_2d="detected", device="cpu")
    held = [
        f
        for v in store.split("train").videos
        if v.subject == "S5"
        for f in range(v.start, v.start + v.n_frames)
    ]
    assert set(val.index_CT[:, 4].tolist()) == {f for f in held if f % 10 == 0}
    assert not evaluation_clips(
        tiny_store, "test", 9, 50, input_2d="detected", device="cpu"
    ).centred


def test_where_2d_is_the_truth_gt_does_not_read_the_label(
    tiny_store: Store, as_3dhp: Callable[..., Store]
) -> None:
    """Otherwise the network would be given x and y of the answer."""
    store = as_3dhp(tiny_store)
    for which in ("train", "test"):
        inputs = [
            training_clips(store, 9, 4, input_2d=kind, validation=False, device="cpu").input_nJ3
            if which == "train"
            else evaluation_clips(store, which, 9, 4, input_2d=kind, device="cpu").input_nJ3
            for kind in ("gt", "detected")
        ]
        torch.testing.assert_close(*inputs)


def test_a_share_of_the_labels_is_whole_recordings_whatever_their_order() -> None:
    names = [name for name, n in (("a", 30), ("b", 20), ("c", 25), ("d", 25)) for _ in range(n)]
    kept = {
        fraction: select_labelled_recordings(names, fraction) for fraction in (0.1, 0.3, 0.6, 1.0)
    }
    of = {
        fraction: {name for name, chosen in zip(names, mask, strict=True) if chosen}
        for fraction, mask in kept.items()
    }
    assert len(of[0.1]) == 1 and of[0.1] < of[0.6] < of[1.0] == set("abcd")
    for fraction, mask in kept.items():
        assert [name in of[fraction] for name in names] == mask.tolist(), (
            "a recording is in or out as a whole"
        )
        assert fraction <= mask.mean() < fraction + 0.3, (
            "the last recording may reach over the share"
        )
    shuffled = names[50:] + names[:50]
    assert select_labelled_recordings(shuffled, 0.6).tolist() == [
        name in of[0.6] for name in shuffled
    ]


def test_fewer_labels_are_fewer_recordings_seen_by_every_camera(
    make_people: Callable[..., Split],
) -> None:
    """Cameras of one take see the same poses: one of them must not bring in the labels of
    another.
    """
    videos = [
        (f"take{take}.{camera}", "S1", "walk", 20, 1000, 1000)
        for take in range(6)
        for camera in ("cam", "eye")
    ]
    split = make_people(videos)
    split = replace(split, videos=tuple(replace(v, camera=v.source[-3:]) for v in split.videos))
    every, some = (make_clips(split, 9, 4, label_fraction=fraction) for fraction in (1.0, 0.5))
    assert (len(every), len(some)) == (36, 18)
    kept = {int(first) // 20 for first in some.index_CT[:, 0]}
    assert kept == {2 * (video // 2) + camera for video in kept for camera in (0, 1)}
    assert {tuple(row) for row in some.index_CT.tolist()} < {
        tuple(row) for row in every.index_CT.tolist()
    }
