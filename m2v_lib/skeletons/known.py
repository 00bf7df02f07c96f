"""The skeletons that have a name, and how a setting finds one: by name, or a YAML file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final

from m2v_lib.skeletons.h36m import H36M17, H36M_FROM_MPI
from m2v_lib.skeletons.skeleton import Skeleton, SkeletonError, from_links
from m2v_lib.skeletons.vocabulary import LEGS, VOCABULARY


def _mpi_inf_3dhp17() -> Skeleton:
    """MPI-INF-3DHP's 17 joints in the order of its test files (root 14, spec 6.2).

    Its head top and head joint stand where Human3.6M has head and nose.
    """
    names = [""] * len(H36M_FROM_MPI)
    parents = [-1] * len(H36M_FROM_MPI)

    for h36m, mpi in enumerate(H36M_FROM_MPI):
        names[mpi] = {"head": "head top", "nose": "head"}.get(
            H36M17.joints[h36m], H36M17.joints[h36m]
        )
        parent = H36M17.parents[h36m]
        parents[mpi] = H36M_FROM_MPI[parent] if parent >= 0 else -1

    pairs = tuple(
        sorted((H36M_FROM_MPI[right], H36M_FROM_MPI[left]) for right, left in H36M17.flip_pairs)
    )
    words = {"head top": "crown", "head": "upper neck", "neck": "lower neck"}
    return Skeleton("mpi_inf_3dhp17", tuple(names), tuple(parents), pairs, words=words)


#: COCO's 17 keypoints have no joint in the middle of the body: the nose is the root of the tree.
_COCO_JOINTS: Final = (
    "nose",
    "left eye",
    "right eye",
    "left ear",
    "right ear",
    "left shoulder",
    "right shoulder",
    "left elbow",
    "right elbow",
    "left wrist",
    "right wrist",
    "left hip",
    "right hip",
    "left knee",
    "right knee",
    "left ankle",
    "right ankle",
)
COCO17: Final = Skeleton(
    name="coco17",
    joints=_COCO_JOINTS,
    parents=(-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    flip_pairs=((2, 1), (4, 3), (6, 5), (8, 7), (10, 9), (12, 11), (14, 13), (16, 15)),
)
MPI_INF_3DHP17: Final = _mpi_inf_3dhp17()


#: OpenPose's BODY_25, whose root is the middle of the hips; toe is the big toe.
BODY25: Final = from_links(
    "body25",
    ("nose", "neck"),
    ("neck", "root"),
    ("right shoulder", "neck"),
    ("right elbow", "right shoulder"),
    ("right wrist", "right elbow"),
    ("left shoulder", "neck"),
    ("left elbow", "left shoulder"),
    ("left wrist", "left elbow"),
    ("root", ""),
    ("right hip", "root"),
    ("right knee", "right hip"),
    ("right ankle", "right knee"),
    ("left hip", "root"),
    ("left knee", "left hip"),
    ("left ankle", "left knee"),
    ("right eye", "nose"),
    ("left eye", "nose"),
    ("right ear", "right eye"),
    ("left ear", "left eye"),
    ("left toe", "left ankle"),
    ("left small toe", "left toe"),
    ("left heel", "left ankle"),
    ("right toe", "right ankle"),
    ("right small toe", "right toe"),
    ("right heel", "right ankle"),
    words={"neck": "shoulder middle"},
)

#: Halpe's 26: COCO's 17, then top of the head, neck, middle of the hips (the root) and feet.
HALPE26: Final = from_links(
    "halpe26",
    ("nose", "neck"),
    ("left eye", "nose"),
    ("right eye", "nose"),
    ("left ear", "left eye"),
    ("right ear", "right eye"),
    ("left shoulder", "neck"),
    ("right shoulder", "neck"),
    ("left elbow", "left shoulder"),
    ("right elbow", "right shoulder"),
    ("left wrist", "left elbow"),
    ("right wrist", "right elbow"),
    ("left hip", "root"),
    ("right hip", "root"),
    ("left knee", "left hip"),
    ("right knee", "right hip"),
    ("left ankle", "left knee"),
    ("right ankle", "right knee"),
    ("head", "nose"),
    ("neck", "root"),
    ("root", ""),
    ("left toe", "left ankle"),
    ("right toe", "right ankle"),
    ("left small toe", "left toe"),
    ("right small toe", "right toe"),
    ("left heel", "left ankle"),
    ("right heel", "right ankle"),
    words={"neck": "shoulder middle", "head": "crown"},
)

#: The rig of CMU's motion capture with heels, small toes, crown, nose and ears added: `root` is
#: the middle of the hips, `pelvis` the rig's own root by the sacrum; `ball` the toes' base, `toe`
#: their end, `hand` its middle, `fingers` the knuckles.
RIG38: Final = from_links(
    "rig38",
    ("root", ""),
    *LEGS,
    ("pelvis", "root"),
    ("lower back", "pelvis"),
    ("upper back", "lower back"),
    ("thorax", "upper back"),
    ("lower neck", "thorax"),
    ("upper neck", "lower neck"),
    ("head", "upper neck"),
    ("crown", "head"),
    ("nose", "head"),
    ("left ear", "head"),
    ("right ear", "head"),
    ("left shoulder", "thorax"),
    ("left elbow", "left shoulder"),
    ("left wrist", "left elbow"),
    ("left hand", "left wrist"),
    ("left fingers", "left hand"),
    ("left thumb", "left wrist"),
    ("right shoulder", "thorax"),
    ("right elbow", "right shoulder"),
    ("right wrist", "right elbow"),
    ("right hand", "right wrist"),
    ("right fingers", "right hand"),
    ("right thumb", "right wrist"),
)

KNOWN: Final = {
    s.name: s for s in (H36M17, MPI_INF_3DHP17, COCO17, BODY25, HALPE26, RIG38, VOCABULARY)
}


def skeleton_of(name: str) -> Skeleton:
    """A known skeleton, or the one in a YAML file. Raises SkeletonError naming the nearest.

    >>> skeleton_of("h36m17").joints[:2]
    ('root', 'right hip')
    """
    if name in KNOWN:
        return KNOWN[name]
    if name.endswith((".yaml", ".yml")):
        return Skeleton.from_yaml(Path(name))
    nearest = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.0)[0]
    raise SkeletonError(
        f"unknown skeleton {name[:80]!r}; the nearest is {nearest!r}, a file ends in .yaml"
    )
