"""Graph convolution over the skeleton or over time (paper eq. 7; audit B7-B12, C2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from m2v_lib.models.dual_stream.norm import BatchNorm
from m2v_lib.skeletons.h36m import bone_adjacency, released_3dhp_adjacency, released_adjacency

# B batch, T frames, J joints, D features, K nodes (J or T)


def normalise_adjacency(adjacency: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 with the row sums of A as degrees (..., K, K); rows of a directed A need
    not sum to 1.
    """
    inverse_root = adjacency.sum(-1).rsqrt()
    return inverse_root.unsqueeze(-1) * adjacency * inverse_root.unsqueeze(-2)


def chain_adjacency(n_frames: int, *, previous: bool = True) -> Tensor:
    """Temporal graph (T, T): each frame sees itself and the one before (paper III-A.2) or,
    released-fixed, after.
    """
    eye = torch.eye(n_frames)
    neighbour = torch.diag(torch.ones(n_frames - 1), -1 if previous else 1)
    return eye + neighbour


@torch.no_grad()
def similar_frames(nodes_KD: Tensor, n_neighbours: int) -> Tensor:
    """Boolean (..., K, K): row k marks the nodes nearest to k by dot product, ties kept (audit
    C2); no gradient.
    """
    similarity = nodes_KD @ nodes_KD.transpose(-1, -2)
    threshold = similarity.topk(n_neighbours, dim=-1).values[..., -1:]
    return similarity >= threshold


def similarity_adjacency(nodes_KD: Tensor, n_neighbours: int) -> Tensor:
    """The directed graph of `similar_frames` in the nodes' dtype."""
    return similar_frames(nodes_KD, n_neighbours).to(nodes_KD.dtype)


class SpatialAggregation(nn.Module):
    """A_hat x over the joints of each frame, for the bones or a released graph."""

    adjacency_JJ: Tensor

    def __init__(self, graph: str, n_joints: int) -> None:
        super().__init__()
        made_by = {
            "bones": bone_adjacency,
            "released": released_adjacency,
            "released-3dhp": released_3dhp_adjacency,
        }
        adjacency = torch.as_tensor(made_by[graph](), dtype=torch.float64)
        if adjacency.shape[0] != n_joints:
            raise ValueError(
                f"the skeleton graph has {adjacency.shape[0]} joints, the model {n_joints}"
            )
        self.register_buffer(
            "adjacency_JJ", normalise_adjacency(adjacency).float(), persistent=False
        )

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        return self.adjacency_JJ.to(x_BTJD.dtype) @ x_BTJD


class ChainAggregation(nn.Module):
    """A_hat x over time for a graph of each frame and one neighbour; only the two diagonals of
    A_hat are kept.
    """

    own_T: Tensor
    neighbour_T: Tensor

    def __init__(self, n_frames: int, *, previous: bool) -> None:
        super().__init__()
        self.previous = previous
        degree = torch.full((n_frames,), 2.0, dtype=torch.float64)
        degree[0 if previous else -1] = 1.0
        root = degree.rsqrt()
        self.register_buffer("own_T", (root * root).float(), persistent=False)
        self.register_buffer("neighbour_T", (root[1:] * root[:-1]).float(), persistent=False)

    def adjacency(self, dtype: torch.dtype) -> Tensor:
        """The normalised graph (T, T)."""
        own, neighbour = self.own_T.to(dtype), self.neighbour_T.to(dtype)
        return torch.diag(own) + torch.diag(neighbour, -1 if self.previous else 1)

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        adjacency_TT = self.adjacency(x_BTJD.dtype)
        return (adjacency_TT @ x_BTJD.transpose(1, 2)).transpose(1, 2)


class SimilarityAggregation(nn.Module):
    """A_hat x over time where each joint's frames see their nearest frames in feature space
    (released).
    """

    def __init__(self, n_neighbours: int) -> None:
        super().__init__()
        self.n_neighbours = n_neighbours

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        """Aggregate ``x`` along the graph that the mixer's input ``u`` spans."""
        adjacency_BJTT = normalise_adjacency(
            similarity_adjacency(u_BTJD.transpose(1, 2), self.n_neighbours)
        )
        return (adjacency_BJTT @ x_BTJD.transpose(1, 2)).transpose(1, 2)


class GraphConv(nn.Module):
    """ReLU(u + BN(A_hat V(u) + U(u))), eq. (7) with V = W1 (neighbours) and U = W2 (self).

    ``bn_axis="channels"`` normalises each feature over all tokens (paper); ``"nodes"`` each
    joint or frame over batch and features, which ties the weights to J or T (released, audit
    B9).
    """

    def __init__(
        self, dim: int, n_nodes: int, axis: str, aggregation: nn.Module, bn_axis: str
    ) -> None:
        super().__init__()
        self.axis = axis
        self.bn_axis = bn_axis
        self.aggregation = aggregation
        self.U = nn.Linear(dim, dim)
        self.V = nn.Linear(dim, dim)
        self.batch_norm = BatchNorm(dim if bn_axis == "channels" else n_nodes)
        for linear in (self.U, self.V):
            nn.init.normal_(linear.weight, std=math.sqrt(2.0 / dim))

    def forward(self, u_BTJD: Tensor) -> Tensor:
        mixed = self.aggregation(self.V(u_BTJD), u_BTJD) + self.U(u_BTJD)
        return torch.relu(u_BTJD + self.normalise(mixed))

    def normalise(self, x_BTJD: Tensor) -> Tensor:
        """Batch normalisation with dimension 1 of a view as the channel: no transposed copy."""
        B, T, J, D = x_BTJD.shape
        if self.bn_axis == "channels":
            view = x_BTJD.reshape(B * T * J, D)
        elif self.axis == "spatial":
            view = x_BTJD.reshape(B * T, J, D)
        else:
            view = x_BTJD.reshape(B, T, J * D)
        return self.batch_norm(view).view(B, T, J, D)
