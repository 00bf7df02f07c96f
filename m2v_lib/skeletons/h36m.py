"""The 17-joint Human3.6M skeleton: joint names, bones, sides and mirror pairs (spec section 1)."""

from __future__ import annotations

from typing import Final

import numpy as np

JOINTS: Final = (
    "root",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "belly",
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
N_JOINTS: Final = len(JOINTS)
ROOT: Final = 0

#: (parent, child), in the order of the child joint.
BONES: Final = (
    (0, 1),
    (1, 2),
    (2, 3),
    (0, 4),
    (4, 5),
    (5, 6),
    (0, 7),
    (7, 8),
    (8, 9),
    (9, 10),
    (8, 11),
    (11, 12),
    (12, 13),
    (8, 14),
    (14, 15),
    (15, 16),
)
PARENTS: Final = (-1, *(parent for parent, _ in BONES))
RIGHT: Final = (1, 2, 3, 14, 15, 16)
LEFT: Final = (4, 5, 6, 11, 12, 13)
FLIP_PAIRS: Final = tuple(zip(RIGHT, LEFT, strict=True))

H36M_FROM_MPI: Final = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)

#: Directed edges the released spatial graph forgets; their reverses exist (audit B10).
RELEASED_MISSING_EDGES: Final = ((0, 4), (8, 11), (8, 14))


def _flip_order() -> tuple[int, ...]:
    order = list(range(N_JOINTS))
    for right, left in FLIP_PAIRS:
        order[right], order[left] = left, right
    return tuple(order)


#: ``pose[..., FLIP_ORDER, :]`` swaps the two sides of the body.
FLIP_ORDER: Final = _flip_order()


def bone_adjacency(*, self_loops: bool = True) -> np.ndarray:
    """Adjacency (J, J) of the bones in both directions, plus the identity (paper III-A.2)."""
    adjacency = np.eye(N_JOINTS) if self_loops else np.zeros((N_JOINTS, N_JOINTS))
    for parent, child in BONES:
        adjacency[parent, child] = adjacency[child, parent] = 1.0
    return adjacency


def released_adjacency() -> np.ndarray:
    """The authors' directed spatial graph (J, J): 29 edges, no self-loops (audit B10)."""
    adjacency = bone_adjacency(self_loops=False)
    for source, target in RELEASED_MISSING_EDGES:
        adjacency[source, target] = 0.0
    return adjacency


def released_3dhp_adjacency() -> np.ndarray:
    """The graph (J, J) of the authors' 3DHP model, which laid Human3.6M's edges over 3DHP's
    order (audit C6).

    Its joints are brought into Human3.6M's order here, so on our poses it connects what theirs
    connected on theirs.
    """
    order = list(H36M_FROM_MPI)
    return released_adjacency()[np.ix_(order, order)]
