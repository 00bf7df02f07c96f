"""The skeletons that have a name, and how a setting finds one: by name, or a YAML file."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Final

from m2v_lib.skeletons.h36m import H36M17, H36M_FROM_MPI
from m2v_lib.skeletons.skeleton import Skeleton, SkeletonError


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
    return Skeleton("mpi_inf_3dhp17", tuple(names), tuple(parents), pairs)


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

KNOWN: Final = {s.name: s for s in (H36M17, MPI_INF_3DHP17, COCO17)}


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
