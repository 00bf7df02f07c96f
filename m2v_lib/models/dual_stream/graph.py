"""Graph convolution over the skeleton or over time (paper eq. 7; audit B7-B12, C2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from m2v_lib.errors import InputError
from m2v_lib.models.layers.constants import Constant
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons.h36m import released_3dhp_adjacency, released_adjacency

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


@lru_cache(256)
def bone_graph(skeleton: Skeleton) -> Constant:
    """A_hat (J, J) of a skeleton's bones, shared by all layers that use it."""
    return Constant(lambda: normalise_adjacency(torch.as_tensor(skeleton.adjacency())))


class SpatialAggregation(nn.Module):
    """A_hat x over the joints of each frame, for the bones of a skeleton or a released graph."""

    def __init__(self, graph: str, skeleton: Skeleton = H36M17) -> None:
        super().__init__()
        made_by: dict[str, Callable[[], np.ndarray]] = {
            "bones": skeleton.adjacency,
            "released": released_adjacency,
            "released-3dhp": released_3dhp_adjacency,
        }
        edges = made_by[graph]()
        if len(edges) != len(skeleton):
            raise InputError(
                f"the {graph} graph has {len(edges)} joints, {skeleton.name} {len(skeleton)}"
            )

        self.adjacency_JJ = Constant(lambda: normalise_adjacency(torch.as_tensor(edges)))

    def use_bones(self, skeleton: Skeleton) -> None:
        """Aggregate over the bones of another skeleton from now on."""
        self.adjacency_JJ = bone_graph(skeleton)

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        return self.adjacency_JJ.like(x_BTJD) @ x_BTJD


class ChainAggregation(nn.Module):
    """A_hat x over time for a graph of each frame and one neighbour, the one before or after.

    Only the two diagonals of A_hat are kept: 1/2 everywhere but at the end that lacks a
    neighbour, so a chain of any length T has them.
    """

    def __init__(self, n_frames: int, *, previous: bool) -> None:
        super().__init__()
        self.previous = previous
        self.diagonals = self._make_diagonals(n_frames)

    def _make_diagonals(self, n_frames: int) -> Constant:
        """Own and neighbour's weight of each frame (2, T), the end without neighbour first."""

        def make() -> Tensor:
            degree = torch.full((n_frames,), 2.0, dtype=torch.float64)
            degree[0] = 1.0
            root = degree.rsqrt()
            before = torch.cat([root.new_zeros(1), root[1:] * root[:-1]])
            return torch.stack([root * root, before])

        return Constant(make)

    def weights(self, x_BTJD: Tensor) -> tuple[Tensor, Tensor]:
        """Of T frames, what each takes of itself (T,) and of its neighbour (T - 1,)."""
        n_frames = x_BTJD.shape[1]
        if n_frames > self.diagonals.values.shape[1]:
            self.diagonals = self._make_diagonals(n_frames)
        own_T, neighbour_T = self.diagonals.like(x_BTJD)[:, :n_frames]
        if self.previous:
            return own_T, neighbour_T[1:]
        return own_T.flip(0), neighbour_T[1:].flip(0)

    def adjacency(self, x_BTJD: Tensor) -> Tensor:
        """The normalised graph (T, T)."""
        own, neighbour = self.weights(x_BTJD)
        return torch.diag(own) + torch.diag(neighbour, -1 if self.previous else 1)

    def forward(self, x_BTJD: Tensor, u_BTJD: Tensor) -> Tensor:
        return (self.adjacency(x_BTJD) @ x_BTJD.transpose(1, 2)).transpose(1, 2)


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
