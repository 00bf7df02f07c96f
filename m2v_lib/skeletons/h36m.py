"""Human3.6M's 17 joints, the skeleton of the paper, and the released code's graphs over them
(spec section 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from m2v_lib.skeletons.skeleton import Skeleton

if TYPE_CHECKING:
    import numpy as np

#: Direction at rest of the bone that ends in a joint, of its left side: x to the person's left, y
#: up, z to the front; and mean bone lengths (mm) of the training subjects of motion capture, of
#: spine, neck and shoulder where a store of `h36m17_alike` has them.
_REST: Final = {
    "hip": ((1.0, 0.0, 0.0), 89.7),
    "knee": ((0.0, -1.0, 0.0), 395.7),
    "ankle": ((0.0, -1.0, 0.0), 429.4),
    "spine": ((0.0, 1.0, 0.0), 272.9),
    "neck": ((0.0, 1.0, 0.0), 272.5),
    "nose": ((0.0, 0.85, 0.53), 97.4),
    "head": ((0.0, 0.85, -0.53), 98.8),
    "shoulder": ((0.98, 0.2, 0.0), 186.9),
    "elbow": ((0.0, -1.0, 0.0), 293.5),
    "wrist": ((0.0, -1.0, 0.0), 276.8),
}


def _rest_direction(joint: str) -> tuple[float, float, float]:
    (x, y, z), _ = _REST[joint.split()[-1]]
    return (-x if joint.startswith("right") else x, y, z)


_JOINTS: Final = (
    "root",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "spine",
    "neck",
    "nose",
    "head",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right shoulder",
    "right elbow",
    "right wrist",
)
H36M17: Final = Skeleton(
    name="h36m17",
    joints=_JOINTS,
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    flip_pairs=((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13)),
    rest_direction={joint: _rest_direction(joint) for joint in _JOINTS[1:]},
    reference_mm={joint: _REST[joint.split()[-1]][1] for joint in _JOINTS[1:]},
    words={"neck": "lower neck", "nose": "upper neck"},
)

#: The same as plain names, for readers of files that hold these joints and no others.
JOINTS: Final = H36M17.joints
N_JOINTS: Final = H36M17.n_joints
BONES: Final = H36M17.bones
PARENTS: Final = H36M17.parents
RIGHT: Final = H36M17.right
LEFT: Final = H36M17.left
FLIP_PAIRS: Final = H36M17.flip_pairs
FLIP_ORDER: Final = H36M17.flip_order
ROOT: Final = H36M17.root

#: ``pose[..., H36M_FROM_MPI, :]`` brings joints in MPI-INF-3DHP's order (spec 6.2, root 14) into
#: Human3.6M's.
H36M_FROM_MPI: Final = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)

#: Directed edges the released spatial graph forgets; their reverses exist (audit B10).
RELEASED_MISSING_EDGES: Final = ((0, 4), (8, 11), (8, 14))


def bone_adjacency(*, self_loops: bool = True) -> np.ndarray:
    """Adjacency (J, J) of Human3.6M's bones in both directions, plus the identity."""
    return H36M17.adjacency(self_loops=self_loops)


def released_adjacency() -> np.ndarray:
    """The authors' directed spatial graph (J, J): 29 edges, no self-loops (audit B10)."""
    adjacency = bone_adjacency(self_loops=False)
    for source, target in RELEASED_MISSING_EDGES:
        adjacency[source, target] = 0.0
    return adjacency


def released_3dhp_adjacency() -> np.ndarray:
    """The graph (J, J) of the authors' 3DHP model, which laid Human3.6M's edges over 3DHP's order
    (audit C6).

    Its joints are brought into Human3.6M's order here, so on our poses it connects what theirs
    connected on theirs.
    """
    order = list(H36M_FROM_MPI)
    return released_adjacency()[order][:, order]
