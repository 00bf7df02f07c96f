"""The vocabulary of joints: skeletons as choices of it."""

from __future__ import annotations

import numpy as np
import pytest

from m2v_lib.data.sources.rig_layouts import layout_names, rig_layout
from m2v_lib.skeletons import H36M17, KNOWN, VOCABULARY, Skeleton, SkeletonError, choose
from m2v_lib.skeletons.vocabulary import rows_of


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_known_skeleton_is_a_choice_of_the_vocabulary(name: str) -> None:
    skeleton = KNOWN[name]
    words = [VOCABULARY.joints[row] for row in rows_of(skeleton)]

    assert words == [*skeleton.vocabulary]
    assert choose(words).flip_order == skeleton.flip_order


@pytest.mark.parametrize("name", ["h36m17", "mpi_inf_3dhp17", "vocabulary"])
def test_contracted_bones_are_the_skeletons_own(name: str) -> None:
    chosen = choose(KNOWN[name].vocabulary)

    assert chosen.parents == KNOWN[name].parents
    assert chosen.root == KNOWN[name].root


def test_layouts_of_the_rig_are_choices_of_its_vocabulary_at_the_same_points() -> None:
    whole = rig_layout("vocabulary")
    for name in layout_names():
        if name in ("h36m17", "mediapipe33"):  # older places; eyes' corners and a mouth
            continue
        layout = rig_layout(name)
        chosen = whole.weights[list(rows_of(layout.skeleton))]
        np.testing.assert_array_equal(chosen, layout.weights, err_msg=name)


def test_bones_through_joints_left_out_are_contracted() -> None:
    arms = ("left wrist", "left shoulder", "right wrist", "right shoulder")
    chosen = choose(("root", *arms, "crown"))

    parents = [chosen.joints[parent] for parent in chosen.parents[1:]]
    assert chosen.parents[0] == -1
    assert parents == ["left shoulder", "root", "right shoulder", "root", "root"]


def test_without_the_root_a_joint_of_the_trunk_stands_for_it() -> None:
    chosen = choose(("right shoulder", "left shoulder", "nose"))

    assert chosen.joints[chosen.root] == "nose"
    assert chosen.parents == (2, 2, -1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("root",), "at least 2 joints"),
        (("root", "tail"), "'tail'"),
        (("root", "right hip"), "right hip must have a twin"),
        (("root", "nose", "nose"), "'nose' twice"),
    ],
)
def test_a_bad_choice_is_one_sentence(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(SkeletonError, match=said):
        choose(words)


BAD_FILES = {
    "a circle": (
        [
            {"name": "root", "parent": None},
            {"name": "a", "parent": "b"},
            {"name": "b", "parent": "a"},
        ],
        "circle",
    ),
    "two roots": (
        [{"name": "root", "parent": None}, {"name": "nose", "parent": None}],
        "one root",
    ),
    "unknown parent": (
        [{"name": "root", "parent": None}, {"name": "nose", "parent": "neck"}],
        "unknown joint under 'parent'",
    ),
    "side without its twin": (
        [{"name": "root", "parent": None}, {"name": "right hip", "parent": "root"}],
        "right hip must have a twin",
    ),
    "two joints of one word": (
        [
            {"name": "root", "parent": None},
            {"name": "a", "parent": "root", "word": "nose"},
            {"name": "nose", "parent": "root"},
        ],
        "one word",
    ),
    "a word that is a number": (
        [{"name": "root", "parent": None}, {"name": "a", "parent": "root", "word": 3}],
        "root|word",
    ),
}


@pytest.mark.parametrize("kind", sorted(BAD_FILES))
def test_a_bad_skeleton_file_is_one_sentence(kind: str) -> None:
    joints, said = BAD_FILES[kind]

    with pytest.raises(SkeletonError, match=said) as caught:
        Skeleton.from_dict({"name": "mine", "joints": joints}, "mine.yaml")

    assert "\n" not in str(caught.value)


def test_a_joint_outside_the_vocabulary_names_the_nearest_word() -> None:
    mine = Skeleton("mine", ("root", "nosee"), (-1, 0))

    with pytest.raises(SkeletonError, match="nosee is not in the vocabulary.*'nose'"):
        rows_of(mine)


def test_a_word_travels_through_a_file() -> None:
    joints = [{"name": "root", "parent": None}, {"name": "top", "parent": "root", "word": "crown"}]
    mine = Skeleton.from_dict({"name": "mine", "joints": joints})

    assert mine.vocabulary == ("root", "crown")
    assert Skeleton.from_dict(mine.to_dict()) == mine
    assert Skeleton.from_dict(H36M17.to_dict()) == H36M17
