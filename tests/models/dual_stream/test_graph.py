"""Graph convolution against dense matrices and loops: adjacency, aggregation, batch norm on
either axis.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from m2v_lib.models.dual_stream.graph import (
    ChainAggregation,
    GraphConv,
    SimilarityAggregation,
    SpatialAggregation,
    chain_adjacency,
    normalise_adjacency,
    similarity_adjacency,
)
from m2v_lib.skeletons import Skeleton
from m2v_lib.skeletons.h36m import bone_adjacency, released_3dhp_adjacency, released_adjacency

# B batch, T frames, J joints, D features
B, T, J, D = 2, 5, 17, 4


def tokens(seed: int = 1, joints: int = J) -> Tensor:
    return torch.randn(
        B, T, joints, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def normalised_by_hand(adjacency: np.ndarray) -> np.ndarray:
    n = len(adjacency)
    out = np.zeros((n, n))
    for i in range(n):
        for k in range(n):
            out[i, k] = (
                adjacency[i, k] / math.sqrt(adjacency[i].sum()) / math.sqrt(adjacency[k].sum())
            )
    return out


def chain_by_hand(n: int, previous: bool) -> np.ndarray:
    adjacency = np.zeros((n, n))
    for t in range(n):
        adjacency[t, t] = 1
        neighbour = t - 1 if previous else t + 1
        if 0 <= neighbour < n:
            adjacency[t, neighbour] = 1
    return adjacency


def similar_by_hand(nodes: np.ndarray, k: int) -> np.ndarray:
    """Row t: 1 where the dot product is at least the k-th largest of the row."""
    n = len(nodes)
    adjacency = np.zeros((n, n))
    for t in range(n):
        products = [float(np.dot(nodes[t], nodes[s])) for s in range(n)]
        limit = sorted(products, reverse=True)[k - 1]
        for s in range(n):
            adjacency[t, s] = products[s] >= limit
    return adjacency


@pytest.mark.parametrize("graph", [bone_adjacency(), released_adjacency(), chain_by_hand(6, True)])
def test_degrees_are_row_sums_on_both_sides(graph: np.ndarray) -> None:
    ours = normalise_adjacency(torch.from_numpy(graph))
    np.testing.assert_allclose(ours.numpy(), normalised_by_hand(graph))


def test_symmetric_graph_has_spectral_radius_one_and_stays_symmetric() -> None:
    ours = normalise_adjacency(torch.from_numpy(bone_adjacency())).numpy()
    np.testing.assert_allclose(ours, ours.T)
    assert np.linalg.eigvalsh(ours).max() == pytest.approx(1)


def test_paper_chain_sees_the_frame_before() -> None:
    chain = chain_adjacency(243)
    np.testing.assert_array_equal(chain.numpy(), chain_by_hand(243, previous=True))
    assert chain[7].nonzero().flatten().tolist() == [6, 7]
    assert chain[0].nonzero().flatten().tolist() == [0]


def test_released_fixed_sees_the_frame_after_and_its_last_rows_do_not_sum_to_one() -> None:
    chain = chain_adjacency(243, previous=False)
    np.testing.assert_array_equal(chain.numpy(), chain_by_hand(243, previous=False))
    rows = normalise_adjacency(chain).sum(-1)
    assert (
        rows[241].item() == pytest.approx(0.5 + 1 / math.sqrt(2))
        and round(rows[241].item(), 3) == 1.207
    )
    assert rows[0].item() == pytest.approx(1) and rows[242].item() == pytest.approx(1)


@pytest.mark.parametrize("previous", [True, False])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_chain_aggregation_is_the_dense_product(previous: bool, n: int) -> None:
    x = tokens()[:, :n]
    ours = ChainAggregation(n, previous=previous).double()(x, torch.zeros_like(x))
    dense = normalised_by_hand(chain_by_hand(n, previous))
    np.testing.assert_allclose(
        ours.numpy(), np.einsum("ts,bsjd->btjd", dense, x.numpy()), atol=1e-6
    )


@pytest.mark.parametrize(
    ("graph", "adjacency"),
    [
        ("bones", bone_adjacency()),
        ("released", released_adjacency()),
        ("released-3dhp", released_3dhp_adjacency()),
    ],
)
def test_spatial_aggregation_is_the_dense_product(graph: str, adjacency: np.ndarray) -> None:
    x = tokens()
    ours = SpatialAggregation(graph).double()(x, torch.zeros_like(x))
    dense = normalised_by_hand(adjacency)
    np.testing.assert_allclose(
        ours.numpy(), np.einsum("ik,btkd->btid", dense, x.numpy()), atol=1e-6
    )


def test_a_released_graph_is_of_17_joints_alone() -> None:
    two = Skeleton("two", ("a", "b"), (-1, 0))
    assert SpatialAggregation("bones", two).adjacency_JJ.values.shape == (2, 2)
    with pytest.raises(ValueError, match="released graph has 17 joints, two 2"):
        SpatialAggregation("released", two)


@pytest.mark.parametrize("previous", [True, False])
def test_a_chain_of_any_length_is_the_chain_of_that_length(previous: bool) -> None:
    made_for_8 = ChainAggregation(8, previous=previous)
    for n in (1, 2, 8, 13):
        x = torch.zeros(1, n, 1, 1, dtype=torch.float64)
        expected = normalise_adjacency(chain_adjacency(n, previous=previous).double())
        torch.testing.assert_close(made_for_8.adjacency(x), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_similarity_graph_by_hand(k: int) -> None:
    nodes = tokens()[0].transpose(0, 1)  # (J, T, D)
    ours = similarity_adjacency(nodes, k)
    for j in range(J):
        np.testing.assert_array_equal(ours[j].numpy(), similar_by_hand(nodes[j].numpy(), k))
    assert (ours.sum(-1) == k).all()


def test_equal_frames_tie_and_the_graph_is_complete() -> None:
    """Audit C2: with constant input every frame is every other's nearest."""
    assert (similarity_adjacency(torch.ones(5, 3, dtype=torch.float64), 2) == 1).all()


def test_of_normed_frames_each_is_its_own_nearest() -> None:
    normed = nn.functional.layer_norm(
        torch.randn(9, 16, generator=torch.Generator().manual_seed(0)), (16,)
    )
    assert (similarity_adjacency(normed, 2).diagonal() == 1).all()


def test_similarity_aggregation_spans_the_graph_of_each_joint() -> None:
    x, u = tokens(1, joints=3), tokens(2, joints=3)
    ours = SimilarityAggregation(2)(x, u)
    for b in range(B):
        for j in range(3):
            dense = normalised_by_hand(similar_by_hand(u[b, :, j].numpy(), 2))
            np.testing.assert_allclose(ours[b, :, j].numpy(), dense @ x[b, :, j].numpy())


def test_no_gradient_flows_through_the_similarity_graph() -> None:
    x, u = tokens(1, joints=3), tokens(2, joints=3).requires_grad_()
    out = SimilarityAggregation(2)(x.requires_grad_(), u)
    assert torch.autograd.grad(out.sum(), u, allow_unused=True) == (None,)


# The whole layer: (axis, aggregation, dense graph of one clip's groups).

CASES = {
    "bones": ("spatial", lambda: SpatialAggregation("bones")),
    "chain": ("temporal", lambda: ChainAggregation(T, previous=True)),
    "similarity": ("temporal", lambda: SimilarityAggregation(2)),
}


def make(case: str, bn_axis: str, seed: int = 0) -> GraphConv:
    axis, aggregation = CASES[case]
    torch.manual_seed(seed)
    layer = GraphConv(D, J if axis == "spatial" else T, axis, aggregation(), bn_axis).double()
    nn.init.normal_(layer.batch_norm.weight)
    nn.init.normal_(layer.batch_norm.bias)
    layer.batch_norm.running_mean.normal_()  # type: ignore[union-attr]
    layer.batch_norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return layer


def mixed_by_hand(case: str, layer: GraphConv, u: np.ndarray) -> np.ndarray:
    """A_hat V(u) + U(u) with a dense matrix for every group of nodes."""
    weight = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    neighbours = u @ weight["V.weight"].T + weight["V.bias"]
    out = u @ weight["U.weight"].T + weight["U.bias"]
    for b in range(B):
        if case == "bones":
            for t in range(T):
                out[b, t] += normalised_by_hand(bone_adjacency()) @ neighbours[b, t]
        else:
            for j in range(J):
                graph = (
                    chain_by_hand(T, True) if case == "chain" else similar_by_hand(u[b, :, j], 2)
                )
                out[b, :, j] += normalised_by_hand(graph) @ neighbours[b, :, j]
    return out


def batch_norm_by_hand(
    layer: GraphConv, x: np.ndarray, training: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised x and the new running mean and variance, one channel (feature, joint or frame)
    at a time.
    """
    norm = layer.batch_norm
    axis = 3 if layer.bn_axis == "channels" else {"spatial": 2, "temporal": 1}[layer.axis]
    mean, var = norm.running_mean.numpy().copy(), norm.running_var.numpy().copy()  # type: ignore[union-attr]
    gamma, beta = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    out = np.empty_like(x)
    for c in range(x.shape[axis]):
        values = np.take(x, c, axis)
        m, v = (values.mean(), values.var()) if training else (mean[c], var[c])
        index = tuple(c if a == axis else slice(None) for a in range(4))
        out[index] = (values - m) / np.sqrt(v + 1e-5) * gamma[c] + beta[c]
        if training:
            mean[c] += 0.1 * (values.mean() - mean[c])
            var[c] += 0.1 * (values.var(ddof=1) - var[c])
    return out, mean, var


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bn_axis", ["channels", "nodes"])
@pytest.mark.parametrize("case", CASES)
def test_layer_by_hand(case: str, bn_axis: str, training: bool) -> None:
    """ReLU(u + BN(A_hat V(u) + U(u))), eq. (7), in training and in evaluation."""
    layer, u = make(case, bn_axis), tokens()
    normed, mean, var = batch_norm_by_hand(layer, mixed_by_hand(case, layer, u.numpy()), training)
    with torch.no_grad():
        ours = layer.train(training)(u)
    np.testing.assert_allclose(ours.numpy(), np.maximum(u.numpy() + normed, 0), atol=1e-5)
    np.testing.assert_allclose(layer.batch_norm.running_mean.numpy(), mean, atol=1e-6)  # type: ignore[union-attr]
    np.testing.assert_allclose(layer.batch_norm.running_var.numpy(), var, rtol=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize("bn_axis", ["channels", "nodes"])
@pytest.mark.parametrize("case", CASES)
def test_gradients(case: str, bn_axis: str) -> None:
    layer = make(case, bn_axis)
    n = 2 if case == "bones" else T
    u = tokens()[:1, :n].clone()
    layer.batch_norm.track_running_stats = False
    assert gradcheck(lambda x: layer(x)[:, :, ::4], u.requires_grad_())


def test_weights_start_with_variance_two_over_d() -> None:
    layer = GraphConv(256, J, "spatial", SpatialAggregation("bones"), "channels")
    for linear in (layer.U, layer.V):
        assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)
        assert abs(linear.weight.mean().item()) < 1e-3 and linear.bias is not None


def test_batch_norm_per_node_has_an_entry_a_node_and_per_channel_an_entry_a_feature() -> None:
    sizes = {axis: make("chain", axis).batch_norm.num_features for axis in ("channels", "nodes")}
    assert sizes == {"channels": D, "nodes": T}
