"""Choices of a store's joints, and what steps draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from m2v_lib.config import ConfigError, DataConfig, Experiment
from m2v_lib.data.clips import Clips
from m2v_lib.data.joint_patterns import (
    ALWAYS,
    choice_from,
    hide_joints,
    lengths_of,
    named_choices,
    patterns_of,
    pieces,
    random_choice,
)
from m2v_lib.skeletons import KNOWN, VOCABULARY, Skeleton

COCO = KNOWN["coco17"]
MODEL = Experiment.preset("small").model


def some_clips(n_joints: int) -> Clips:
    generator = torch.Generator().manual_seed(0)
    pose = torch.randn((8, n_joints, 3), generator=generator)
    relative = pose - pose[:, :1]
    return Clips(
        input_nJ3=pose,
        label_nJ3=relative,
        index_CT=torch.arange(8).view(2, 4),
        truth_nJ3=1000 * relative.numpy(),
        mm_per_unit_n=np.ones(8, np.float32),
        action_n=np.zeros(8, int),
        actions=("walking",),
        valid_n=np.ones(8, bool),
        video_n=np.zeros(8, int),
        recordings=("one",),
        skeleton=VOCABULARY,
    )


def test_a_choice_takes_its_joints_relative_to_its_own_root() -> None:
    clips = some_clips(len(VOCABULARY))
    chosen = choice_from(VOCABULARY, COCO, "here").clips(clips)

    nose, wrist = (VOCABULARY.index(name) for name in ("nose", "left wrist"))
    at = COCO.index("left wrist")
    torch.testing.assert_close(chosen.input_nJ3[:, at], clips.input_nJ3[:, wrist])
    expected = clips.label_nJ3[:, wrist] - clips.label_nJ3[:, nose]
    torch.testing.assert_close(chosen.label_nJ3[:, at], expected)
    np.testing.assert_allclose(chosen.truth_nJ3[:, at], 1000 * expected, atol=1e-3)
    assert chosen.skeleton == COCO
    assert not chosen.truth_nJ3[:, COCO.root].any()


def test_joints_that_are_not_chosen_cannot_leak() -> None:
    clips = some_clips(len(VOCABULARY))
    choice = choice_from(VOCABULARY, COCO, "here")
    others = [j for j in range(len(VOCABULARY)) if j not in choice.columns]
    poisoned = clips.input_nJ3.clone()
    poisoned[:, others] = torch.nan

    chosen = choice.clips(replace(clips, input_nJ3=poisoned))

    torch.testing.assert_close(chosen.input_nJ3, choice.clips(clips).input_nJ3, rtol=0, atol=0)


def test_all_joints_are_the_clips_as_they_are() -> None:
    clips = some_clips(len(VOCABULARY))

    assert choice_from(VOCABULARY, VOCABULARY, "here").clips(clips) is clips


def test_a_joint_that_the_store_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match="model.skeleton=body25: body25 has .*not among the 17"):
        choice_from(KNOWN["h36m17"], KNOWN["body25"], "model.skeleton=body25")


@pytest.mark.parametrize(
    ("skeletons", "said"),
    [
        ("h36m17,,coco17", "separated by commas"),
        ("h36m", "nearest is 'h36m17'"),
        ("random", "must name a skeleton beside random"),
        ("nothing.yaml", "nothing.yaml"),
    ],
)
def test_a_bad_list_of_skeletons_is_one_sentence(skeletons: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        named_choices(DataConfig(skeletons=skeletons), MODEL, VOCABULARY)


@pytest.mark.parametrize("lengths", ["9,28", "0", "9;27", "nine", "-9", "9,", "1e3"])
def test_a_bad_list_of_lengths_is_one_sentence(lengths: str) -> None:
    with pytest.raises(ConfigError, match=r"data.lengths must be"):
        lengths_of(DataConfig(lengths=lengths), 27)


def test_random_choices_are_whole_bodies_with_both_sides() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = []
    for _ in range(50):
        skeleton = random_choice(VOCABULARY, generator).skeleton
        sizes.append(len(skeleton))
        assert set(ALWAYS) <= set(skeleton.joints)
        assert skeleton.joints == tuple(j for j in VOCABULARY.joints if j in skeleton.joints)

    assert min(sizes) < 20 < max(sizes)
    assert np.mean(sizes) == pytest.approx(3 + 40 / 2, abs=2)


def test_a_random_choice_of_joints_without_a_root_keeps_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        skeleton = random_choice(COCO, generator).skeleton
        assert skeleton.joints[skeleton.root] == "nose"


def test_every_pattern_and_length_comes_up_equally_often_and_a_seed_decides() -> None:
    data = DataConfig(skeletons="h36m17,coco17,random", lengths="9,27")
    patterns = patterns_of(data, MODEL, VOCABULARY)
    assert patterns is not None

    def drawn(seed: int) -> list[tuple[str, int]]:
        generator = torch.Generator().manual_seed(seed)
        found = (patterns.draw(generator) for _ in range(600))
        return [(choice.skeleton.name, length) for choice, length in found]

    counts = Counter(drawn(0))
    assert len(counts) == 6
    assert min(counts.values()) > 70
    assert drawn(0) == drawn(0) != drawn(1)


def test_one_pattern_is_no_draw() -> None:
    assert patterns_of(DataConfig(), MODEL, KNOWN["h36m17"]) is None
    assert patterns_of(DataConfig(), MODEL, VOCABULARY) is None
    assert patterns_of(DataConfig(), MODEL, VOCABULARY, by_views=True) is not None


def test_pieces_keep_the_order_of_frames() -> None:
    frames = torch.arange(14).view(2, 7, 1, 1)

    assert pieces(frames, 3).flatten().tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]


def test_words_tell_joints_that_skeletons_call_the_same() -> None:
    mine = Skeleton("mine", ("root", "top"), (-1, 0), words={"top": "crown"})

    assert choice_from(VOCABULARY, mine, "here").columns == (0, VOCABULARY.index("crown"))


def test_hidden_joints_are_nothing_in_all_frames_of_a_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.ones(200, 4, 10, 3)

    hidden = hide_joints(x, 0.3, 2, generator)

    gone = (hidden == 0).all(-1)
    assert torch.equal(gone, (hidden == 0).any(-1))
    assert torch.equal(gone.all(1), gone.any(1))
    assert not gone[:, :, 2].any()
    assert gone.float().mean() == pytest.approx(0.3 * 9 / 10, abs=0.02)


def test_a_name_that_is_no_word_is_that_of_the_store() -> None:
    """Human3.6M's neck is no word of the vocabulary, so it can mean but one joint of that store; its
    nose is a word, of another point, and needs the word that is meant.
    """
    h36m = KNOWN["h36m17"]
    assert choice_from(h36m, Skeleton("mine", ("root", "neck"), (-1, 0)), "here").columns == (0, 8)
    with pytest.raises(ConfigError, match="mine has nose, which is not among"):
        choice_from(h36m, Skeleton("mine", ("root", "nose"), (-1, 0)), "here")
