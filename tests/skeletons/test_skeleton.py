"""The skeleton against spec section 1, and both spatial graphs against audit B10."""

from __future__ import annotations

import numpy as np

from m2v_lib.skeletons.h36m import (
    BONES,
    FLIP_ORDER,
    FLIP_PAIRS,
    H36M_FROM_MPI,
    JOINTS,
    LEFT,
    N_JOINTS,
    PARENTS,
    RIGHT,
    ROOT,
    bone_adjacency,
    released_3dhp_adjacency,
    released_adjacency,
)

#: spec 6.2 and 6.3: names in MPI-INF-3DHP's order, parent of each joint in it
MPI_JOINTS = (
    "head top",
    "neck",
    "right shoulder",
    "right elbow",
    "right wrist",
    "left shoulder",
    "left elbow",
    "left wrist",
    "right hip",
    "right knee",
    "right ankle",
    "left hip",
    "left knee",
    "left ankle",
    "pelvis",
    "spine",
    "head",
)
MPI_PARENTS = (1, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, 14, 14, 1)


def test_the_list_of_the_specification() -> None:
    assert BONES == (
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
    assert set(FLIP_PAIRS) == {(1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13)}
    assert (N_JOINTS, ROOT, JOINTS[ROOT]) == (17, 0, "root")


def test_names_agree_with_sides() -> None:
    for right, left in FLIP_PAIRS:
        assert JOINTS[right].split() == ["right", JOINTS[left].split()[1]] and JOINTS[
            left
        ].startswith("left")
    middle = set(range(N_JOINTS)) - set(LEFT) - set(RIGHT)
    assert not any(JOINTS[j].startswith(("left", "right")) for j in middle)


def test_bones_are_a_tree_with_parents_first() -> None:
    assert sorted(child for _, child in BONES) == list(range(1, N_JOINTS))
    for child in range(1, N_JOINTS):
        assert (PARENTS[child], child) in BONES and PARENTS[child] < child
    assert PARENTS[ROOT] == -1


def test_mirror_is_its_own_inverse_and_maps_bones_to_bones() -> None:
    order = np.array(FLIP_ORDER)
    assert (order[order] == np.arange(N_JOINTS)).all() and order[ROOT] == ROOT
    assert {(order[p], order[c]) for p, c in BONES} == set(BONES)


def test_paper_graph_has_bones_both_ways_and_self_loops() -> None:
    expected = np.eye(17)
    for parent, child in BONES:
        expected[parent, child] = expected[child, parent] = 1
    np.testing.assert_array_equal(bone_adjacency(), expected)
    assert bone_adjacency(self_loops=False).sum() == 32


def test_released_graph_lacks_three_directed_edges() -> None:
    graph = released_adjacency()
    assert graph.sum() == 29 and not graph.diagonal().any()
    assert graph.sum(1).astype(int).tolist() == [2, 2, 2, 1, 2, 2, 1, 2, 2, 2, 1, 2, 2, 1, 2, 2, 1]
    for there, back in ((0, 4), (8, 11), (8, 14)):
        assert graph[there, back] == 0 and graph[back, there] == 1


def test_the_order_of_mpi_inf_3dhp_name_by_name_and_bone_by_bone() -> None:
    """Both orders name the limbs alike; the five joints of the trunk and head have other names
    there.
    """
    trunk = {"root": "pelvis", "spine": "spine", "neck": "neck", "nose": "head", "head": "head top"}
    assert [MPI_JOINTS[j] for j in H36M_FROM_MPI] == [trunk.get(name, name) for name in JOINTS]
    ours = {frozenset((H36M_FROM_MPI[p], H36M_FROM_MPI[c])) for p, c in BONES}
    theirs = {frozenset((j, p)) for j, p in enumerate(MPI_PARENTS) if j != p}
    # there the head's two joints hang at the neck both; ours chain neck, nose, head
    assert theirs - ours == {frozenset((0, 1))} and ours - theirs == {frozenset((0, 16))}


def test_released_3dhp_graph_is_the_released_one_on_the_other_order() -> None:
    graph, released = released_3dhp_adjacency(), released_adjacency()
    assert graph.sum() == 29
    position = {name: i for i, name in enumerate(JOINTS)}
    # Human3.6M's edge 0-1 falls on head top and neck, 3-2 on elbow and shoulder, 0-4 on head top
    # and a wrist
    assert (
        graph[position["head"], position["neck"]] == graph[position["neck"], position["head"]] == 1
    )
    assert graph[position["right elbow"], position["right shoulder"]] == 1
    wrist, head = position["right wrist"], position["head"]
    assert graph[wrist, head] == 1 and graph[head, wrist] == 0
    x = np.random.default_rng(0).normal(size=(17, 3))  # a pose in 3DHP's order
    np.testing.assert_allclose((released @ x)[list(H36M_FROM_MPI)], graph @ x[list(H36M_FROM_MPI)])
