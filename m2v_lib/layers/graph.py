"""Graph convolution over the skeleton or over time (paper eq. 7; audit B7-B12, C2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from m2v_lib.skeleton import bone_adjacency, released_adjacency

# B batch, T frames, J joints, D features, K nodes (J or T)


def normalise_adjacency(adjacency: Tensor) -> Tensor:
    """D^-1/2 A D^-1/2 with the row sums of A as degrees (..., K, K); rows of a directed A need not sum to 1."""
    inverse_root = adjacency.sum(-1).rsqrt()
    return inverse_root.unsqueeze(-1) * adjacency * inverse_root.unsqueeze(-2)


def chain_adjacency(n_frames: int, *, previous: bool = True) -> Tensor:
    """Temporal graph (T, T): each frame sees itself and the one before (paper III-A.2) or, released-fixed, after."""
    eye = torch.eye(n_frames)
    neighbour = torch.diag(torch.ones(n_frames - 1), -1 if previous else 1)
    return eye + neighbour


def similarity_adjacency(nodes_KD: Tensor, n_neighbours: int) -> Tensor:
    """Directed graph (..., K, K) to each node's nearest by dot product, ties kept (audit C2); carries no gradient."""
    with torch.no_grad():
        similarity = nodes_KD @ nodes_KD.transpose(-1, -2)
        threshold = similarity.topk(n_neighbours, dim=-1).values[..., -1:]
        return (similarity >= threshold).to(nodes_KD.dtype)


class SpatialAggregation(nn.Module):
    """A_hat x over the joints of each frame, for the bones or the released graph."""

    adjacency_JJ: Tensor

    def __init__(self, graph: str, n_joints: int) -> None:
        super().__init__()
        adjacency = torch.as_tensor(bone_adjacency() if graph == "bones" else released_adjacency(), dtype=torch.float32)
        if adjacency.shape[0] != n_joints:
            raise ValueError(f"the skeleton graph has {adjacency.shape[0]} joints, the model {n_joints}")
        self.register_buffer("adjacency_JJ", normalise_adjacency(adjacency), persistent=False)

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        return self.adjacency_JJ.to(x_BTJD.dtype) @ x_BTJD


class ChainAggregation(nn.Module):
    """A_hat x over time for a graph of each frame and its neighbour: two scaled copies, no T x T product."""

    self_T11: Tensor
    neighbour_T11: Tensor

    def __init__(self, n_frames: int, *, previous: bool) -> None:
        super().__init__()
        self.previous = previous
        adjacency = normalise_adjacency(chain_adjacency(n_frames, previous=previous))
        self.register_buffer("self_T11", adjacency.diagonal().clone().view(-1, 1, 1), persistent=False)
        off = adjacency.diagonal(-1 if previous else 1).clone()
        self.register_buffer("neighbour_T11", off.view(-1, 1, 1), persistent=False)

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        own = x_BTJD * self.self_T11
        pad = (0, 0, 0, 0, 1, 0) if self.previous else (0, 0, 0, 0, 0, 1)
        source = x_BTJD[:, :-1] if self.previous else x_BTJD[:, 1:]
        return own + nn.functional.pad(source * self.neighbour_T11, pad)


class SimilarityAggregation(nn.Module):
    """A_hat x over time where each joint's frames see their nearest frames in feature space (released)."""

    def __init__(self, n_neighbours: int) -> None:
        super().__init__()
        self.n_neighbours = n_neighbours

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        """Aggregate ``x`` along the graph that the mixer's input ``u`` spans."""
        adjacency_BJTT = normalise_adjacency(similarity_adjacency(u_BTJD.transpose(1, 2), self.n_neighbours))
        return (adjacency_BJTT @ x_BTJD.transpose(1, 2)).transpose(1, 2)


class GraphConv(nn.Module):
    """ReLU(u + BN(A_hat V(u) + U(u))), eq. (7) with V = W1 (neighbours) and U = W2 (self).

    ``bn_axis="channels"`` normalises each feature over all tokens (paper); ``"nodes"`` each joint or frame over
    batch and features, which ties the weights to J or T (released, audit B9).
    """

    def __init__(self, dim: int, n_nodes: int, axis: str, aggregation: nn.Module, bn_axis: str) -> None:
        super().__init__()
        self.axis = axis
        self.bn_axis = bn_axis
        self.aggregation = aggregation
        self.U = nn.Linear(dim, dim)
        self.V = nn.Linear(dim, dim)
        self.batch_norm = nn.BatchNorm1d(dim if bn_axis == "channels" else n_nodes)
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
