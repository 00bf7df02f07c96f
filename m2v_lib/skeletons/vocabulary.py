"""The vocabulary of named joints: every point of the body that some skeleton has, once, under one
name, and skeletons as choices of them.

A network whose position embedding has a row for each of these names lifts any choice
(`model.joint_embedding=name`).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from m2v_lib.skeletons.skeleton import Skeleton, SkeletonError, from_links

#: Joints of the legs with their parents, as the rig of motion capture has them too.
LEGS: Final = (
    ("right hip", "root"),
    ("right knee", "right hip"),
    ("right ankle", "right knee"),
    ("right heel", "right ankle"),
    ("right ball", "right ankle"),
    ("right toe", "right ball"),
    ("right small toe", "right ball"),
    ("left hip", "root"),
    ("left knee", "left hip"),
    ("left ankle", "left knee"),
    ("left heel", "left ankle"),
    ("left ball", "left ankle"),
    ("left toe", "left ball"),
    ("left small toe", "left ball"),
)

#: `root` is the middle of the hips, `pelvis` the sacrum, `spine` half way between lower and upper
#: back; `ball` is the toes' base and `toe` their end, `hand` its middle and `fingers` the knuckles.
#: Necks from below: `thorax`, `shoulder middle` (OpenPose's neck), `lower neck` (Human3.6M's and
#: MPI-INF-3DHP's), `mid neck` (PoseTrack's), `upper neck` (Human3.6M's nose).
VOCABULARY: Final = from_links(
    "vocabulary",
    ("root", ""),
    *LEGS,
    ("pelvis", "root"),
    ("lower back", "pelvis"),
    ("spine", "lower back"),
    ("upper back", "spine"),
    ("thorax", "upper back"),
    ("shoulder middle", "thorax"),
    ("lower neck", "shoulder middle"),
    ("mid neck", "lower neck"),
    ("upper neck", "mid neck"),
    ("head", "upper neck"),
    ("crown", "head"),
    ("nose", "head"),
    ("left eye", "nose"),
    ("right eye", "nose"),
    ("left ear", "head"),
    ("right ear", "head"),
    ("left shoulder", "lower neck"),
    ("left elbow", "left shoulder"),
    ("left wrist", "left elbow"),
    ("left hand", "left wrist"),
    ("left fingers", "left hand"),
    ("left thumb", "left wrist"),
    ("right shoulder", "lower neck"),
    ("right elbow", "right shoulder"),
    ("right wrist", "right elbow"),
    ("right hand", "right wrist"),
    ("right fingers", "right hand"),
    ("right thumb", "right wrist"),
)

#: Which joint is the root of a choice that lacks the vocabulary's: the first of these that it has.
ROOTS: Final = ("root", "pelvis", "shoulder middle", "lower neck", "mid neck", "nose")


def rows_of(skeleton: Skeleton) -> tuple[int, ...]:
    """Number of each joint in the vocabulary. Raises SkeletonError that names the nearest word.

    >>> from m2v_lib.skeletons import H36M17
    >>> rows_of(H36M17)[:3]
    (0, 1, 2)
    """
    rows = []
    for joint, word in zip(skeleton.joints, skeleton.vocabulary, strict=True):
        if word not in VOCABULARY.joints:
            nearest = difflib.get_close_matches(word, VOCABULARY.joints, n=1, cutoff=0.0)[0]
            raise SkeletonError(
                f"{skeleton.name}: {joint} is not in the vocabulary of joints; the nearest is "
                f"{nearest!r} (its entry may say word: {nearest})"
            )
        rows.append(VOCABULARY.joints.index(word))

    return tuple(rows)


def choose(words: Sequence[str], name: str = "chosen") -> Skeleton:
    """A skeleton of these joints of the vocabulary, in this order: bones through joints that are
    left out are contracted along the tree. Raises SkeletonError for an unknown word, or fewer
    than two.

    >>> choose(("root", "right hip", "left hip", "nose")).parents
    (-1, 0, 0, 0)
    """
    if len(words) < 2:
        raise SkeletonError(f"{name}: must have at least 2 joints, got {len(words)}")
    kept = [VOCABULARY.index(word) for word in words]

    root = next(word for word in (*ROOTS, *words) if word in words)
    links = []
    for word, joint in zip(words, kept, strict=True):
        parent = VOCABULARY.parent_among(joint, kept)
        above = VOCABULARY.joints[parent] if parent >= 0 else root
        links.append((word, "" if word == root else above))

    return from_links(name, *links)
