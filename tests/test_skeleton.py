"""The skeleton against spec section 1, and both spatial graphs against audit B10."""

from __future__ import annotations

import numpy as np

from m2v_lib.skeleton import (
    BONES,
    FLIP_ORDER,
    FLIP_PAIRS,
    JOINTS,
    LEFT,
    N_JOINTS,
    PARENTS,
    RIGHT,
    ROOT,
    bone_adjacency,
    released_adjacency,
)


def test_the_list_of_the_specification() -> None:
    assert BONES == (
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (8, 11), (11, 12), (12, 13),
        (8, 14), (14, 15), (15, 16),
    )  # fmt: skip
    assert set(FLIP_PAIRS) == {(1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13)}
    assert (N_JOINTS, ROOT, JOINTS[ROOT]) == (17, 0, "root")


def test_names_agree_with_sides() -> None:
    for right, left in FLIP_PAIRS:
        assert JOINTS[right].split() == ["right", JOINTS[left].split()[1]] and JOINTS[left].startswith("left")
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
