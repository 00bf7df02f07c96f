"""The dual-stream Transformer-GCN encoder with its pose head (paper section III-A, spec section
2).
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor, nn

from m2v_lib.config import DualStreamSettings
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter
from m2v_lib.models.dual_stream import fast
from m2v_lib.models.dual_stream.attention import Attention
from m2v_lib.models.dual_stream.fusion import AdaptiveFusion, MeanFusion
from m2v_lib.models.dual_stream.graph import (
    ChainAggregation,
    GraphConv,
    SimilarityAggregation,
    SpatialAggregation,
)
from m2v_lib.models.dual_stream.mlp import Mlp, layer_scale, scaled
from m2v_lib.models.dual_stream.padded import through
from m2v_lib.skeletons import VOCABULARY, Skeleton
from m2v_lib.skeletons.vocabulary import rows_of

# B batch, T frames, J joints, D features, R features of the representation, N blocks

PATHS = ("reference", "fast")
#: Layers that read the encoder's last block.
HEADS = ("rep_logit", "head")

# Parameter names are those of the authors' checkpoint files, so that loading one needs no table
# of names.


class AttentionBlock(nn.Module):
    """x + attention(LN(x)), then x + MLP(LN(x)) (eq. 6); LayerScale on both branches where the
    recipe has it.
    """

    def __init__(self, cfg: DualStreamSettings, axis: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(cfg.dim)
        self.mixer = Attention(cfg.dim, cfg.n_heads, axis, cfg.qk_scale)
        self.norm2 = nn.LayerNorm(cfg.dim)
        self.mlp = Mlp(cfg.dim, cfg.mlp_ratio)
        self.layer_scale_1 = layer_scale(cfg.dim, cfg.layer_scale)
        self.layer_scale_2 = layer_scale(cfg.dim, cfg.layer_scale)

    def forward(self, x_BTJD: Tensor) -> Tensor:
        x = x_BTJD + scaled(self.mixer(self.norm1(x_BTJD)), self.layer_scale_1)
        return x + scaled(self.mlp(self.norm2(x)), self.layer_scale_2)

    def fast(self, x_BTJD: Tensor) -> Tensor:
        """`forward` by the fast path."""
        x = fast.add_residual_(
            x_BTJD, fast.attention(self.mixer, self.norm1(x_BTJD), self.layer_scale_1)
        )
        return fast.add_residual_(x, fast.mlp(self.mlp, self.norm2(x), self.layer_scale_2))


class GraphBlock(nn.Module):
    """Graph convolution (eq. 7), then x + MLP(LN(x)) (eq. 8).

    ``literal`` follows the equations: the convolution takes x itself and its ReLU is the new x.
    ``prenorm`` is the released form: the convolution takes LN(x) and is added to x (audit B7).
    """

    def __init__(self, cfg: DualStreamSettings, axis: str) -> None:
        super().__init__()
        self.literal = cfg.gcn_block == "literal"
        n_nodes = cfg.n_joints if axis == "spatial" else cfg.n_frames

        if not self.literal:
            self.norm1 = nn.LayerNorm(cfg.dim)
            self.layer_scale_1 = layer_scale(cfg.dim, cfg.layer_scale)

        self.mixer = GraphConv(cfg.dim, n_nodes, axis, _aggregation(cfg, axis), cfg.bn_axis)
        self.norm2 = nn.LayerNorm(cfg.dim)
        self.mlp = Mlp(cfg.dim, cfg.mlp_ratio)
        self.layer_scale_2 = layer_scale(cfg.dim, cfg.layer_scale)

    def forward(self, x_BTJD: Tensor) -> Tensor:
        x = self.mixer(x_BTJD) if self.literal else self.convolve_normed(x_BTJD)
        return x + scaled(self.mlp(self.norm2(x)), self.layer_scale_2)

    def convolve_normed(self, x_BTJD: Tensor) -> Tensor:
        return x_BTJD + scaled(self.mixer(self.norm1(x_BTJD)), self.layer_scale_1)

    def fast(self, x_BTJD: Tensor) -> Tensor:
        """`forward` by the fast path."""
        u = x_BTJD if self.literal else self.norm1(x_BTJD)
        x = fast.graph_convolution(self.mixer, u)
        if not self.literal:
            x = x_BTJD + scaled(x, self.layer_scale_1)
        return fast.add_residual_(x, fast.mlp(self.mlp, self.norm2(x), self.layer_scale_2))


def _aggregation(cfg: DualStreamSettings, axis: str) -> nn.Module:
    if axis == "spatial":
        return SpatialAggregation(cfg.spatial_graph, cfg.joints)
    if cfg.temporal_graph == "similarity":
        return SimilarityAggregation(cfg.n_neighbours)
    return ChainAggregation(cfg.n_frames, previous=cfg.temporal_graph == "chain")


class DualStreamBlock(nn.Module):
    """Both streams read the same x, each spatial then temporal; their outputs are fused (eq.
    1-2, audit B1, B3).

    `path` says how it is computed, to the same numbers: "reference" by the equations as written,
    "fast" for training.
    """

    path = "reference"

    def __init__(self, cfg: DualStreamSettings) -> None:
        super().__init__()
        self.streams = cfg.streams

        if cfg.streams != "gcn":
            self.att_spatial = AttentionBlock(cfg, "spatial")
            self.att_temporal = AttentionBlock(cfg, "temporal")

        if cfg.streams != "transformer":
            self.graph_spatial = GraphBlock(cfg, "spatial")
            self.graph_temporal = GraphBlock(cfg, "temporal")

        if cfg.streams == "both":
            self.fusion = AdaptiveFusion(cfg.dim) if cfg.fusion == "adaptive" else MeanFusion()

    def forward(self, x_BTJD: Tensor) -> Tensor:
        if self.path == "fast":
            return self.fast(x_BTJD)
        streams = []
        if self.streams != "gcn":
            streams.append(self.att_temporal(self.att_spatial(x_BTJD)))
        if self.streams != "transformer":
            streams.append(self.graph_temporal(self.graph_spatial(x_BTJD)))
        return self.fusion(*streams) if self.streams == "both" else streams[0]

    def fast(self, x_BTJD: Tensor) -> Tensor:
        """`forward` by the fast path."""
        streams = []
        if self.streams != "gcn":
            streams.append(self.att_temporal.fast(self.att_spatial.fast(x_BTJD)))
        if self.streams != "transformer":
            streams.append(self.graph_temporal.fast(self.graph_spatial.fast(x_BTJD)))
        if self.streams != "both":
            return streams[0]

        return (
            fast.fuse(self.fusion, *streams)
            if isinstance(self.fusion, AdaptiveFusion)
            else self.fusion(*streams)
        )


class DualStreamModel(Lifter):
    """2D sequence (B, T, J, 3) of x, y, confidence -> 3D sequence (B, T, J, 3), both in
    normalised units.

    With embeddings and batch norm that are not bound to frames (recipe `paper`) any T may come
    in, and clips padded to one length: `present_BT` says which frames are there. With
    `joint_embedding=name` any skeleton may come in, see `use_skeleton`. Raises InputError for an
    input of another number of frames, joints or channels.
    """

    has_encoder = True
    fresh_after_pretraining = ("rep_logit.", "head.")  # audit D7

    def __init__(self, cfg: DualStreamSettings) -> None:
        super().__init__(cfg)
        self.cfg = cfg
        #: Whether the encoder stays as it is, see `freeze_encoder`.
        self.frozen = False
        self.fixed_length = cfg.temporal_pos or cfg.bn_axis == "nodes"
        self.joints_embed = nn.Linear(3, cfg.dim)
        self.any_skeleton = cfg.joint_embedding == "name"
        if cfg.spatial_pos:
            n_rows = len(VOCABULARY) if self.any_skeleton else cfg.n_joints
            self.pos_embed = nn.Parameter(torch.zeros(1, n_rows, cfg.dim))
        if cfg.temporal_pos:
            self.temporal_pos_embed = nn.Parameter(torch.zeros(1, cfg.n_frames, 1, cfg.dim))
        self.layers = nn.ModuleList(DualStreamBlock(cfg) for _ in range(cfg.n_layers))
        self.norm = nn.LayerNorm(cfg.dim)
        self.rep_logit = nn.Sequential(
            OrderedDict(fc=nn.Linear(cfg.dim, cfg.dim_rep), act=nn.Tanh())
        )
        self.head = nn.Linear(cfg.dim_rep, 3)

        if cfg.pos_init_std:  # drawn last, so that it changes nothing else
            for name in ("pos_embed", "temporal_pos_embed"):
                if hasattr(self, name):
                    nn.init.normal_(getattr(self, name), std=cfg.pos_init_std)

    def forward(self, x_BTJ3: Tensor, present_BT: Tensor | None = None) -> Tensor:
        return self.decode(self.encode(x_BTJ3, present_BT))

    def encode(self, x_BTJ3: Tensor, present_BT: Tensor | None = None) -> Tensor:
        """The representation (B, T, J, dim_rep) that the pose and action heads read."""
        self.check_input(x_BTJ3)
        if present_BT is not None:
            x_BTJ3 = self.without_padding(x_BTJ3, present_BT)

        x = self.add_positions(self.embed(x_BTJ3))
        for block in self.layers:
            x = through(block, x, present_BT)
        with full_precision(x):
            return self.rep_logit(self.norm(x))

    def without_padding(self, x_BTJ3: Tensor, present_BT: Tensor) -> Tensor:
        """The input with zeros where no frame is, whatever stands there."""
        if self.fixed_length:
            raise InputError(
                f"{self.settings.name}: padded clips need weights that are not bound to "
                f"{self.settings.n_frames} frames (recipe paper)"
            )
        return x_BTJ3.masked_fill(~present_BT[..., None, None], 0.0)

    def decode(self, rep_BTJR: Tensor) -> Tensor:
        """The pose head on a representation (B, T, J, 3).

        Where any skeleton may come in, joints are predicted in a frame of the network's own choice
        and taken relative to the skeleton's root here: which joint that is, nothing in the input
        tells.
        """
        with full_precision(rep_BTJR):
            pose_BTJ3 = self.head(rep_BTJR)
        if not self.any_skeleton:
            return pose_BTJ3
        root = self.skeleton.root
        return pose_BTJ3 - pose_BTJ3[:, :, root : root + 1]

    def embed(self, x_BTJ3: Tensor) -> Tensor:
        """The joints embedding (B, T, J, D)."""
        with full_precision(x_BTJ3):
            scaled_input = x_BTJ3 if self.cfg.input_scale == 1 else self.cfg.input_scale * x_BTJ3
            return self.joints_embed(scaled_input)

    def joint_positions(self) -> Tensor:
        """The embedding of each joint's place in the body (1, J, D)."""
        if not self.any_skeleton:
            return self.pos_embed
        return self.pos_embed[:, row_numbers(self.skeleton, self.pos_embed.device)]

    def use_skeleton(self, skeleton: Skeleton) -> DualStreamModel:
        super().use_skeleton(skeleton)
        if self.any_skeleton:
            rows_of(skeleton)
            use_bones(self.layers, skeleton)
        return self

    def freeze_encoder(self) -> None:
        """Leave all but the heads as they are: no gradient, batch norm reads its buffers."""
        for name, part in self.named_children():
            part.requires_grad_(name in HEADS)
        for name in ("pos_embed", "temporal_pos_embed"):
            if hasattr(self, name):
                getattr(self, name).requires_grad_(False)
        self.frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> DualStreamModel:
        super().train(mode)
        if self.frozen:
            self.layers.eval()
        return self

    def use(self, path: str) -> DualStreamModel:
        """Compute the blocks by "fast" or, e.g. to hook into a layer, by "reference"; the
        numbers are the same.
        """
        if path not in PATHS:
            raise InputError(f"path must be {' or '.join(PATHS)}, got {path!r}")
        for block in self.layers:
            block.path = path  # type: ignore[assignment]
        return self

    def add_positions(self, x_BTJD: Tensor) -> Tensor:
        """Add the position embeddings in use (paper III-A; Table VIII, SPE and TPE)."""
        if self.cfg.spatial_pos:
            x_BTJD = x_BTJD + self.joint_positions()
        if self.cfg.temporal_pos:
            x_BTJD = x_BTJD + self.temporal_pos_embed
        return x_BTJD


def use_bones(blocks: nn.Module, skeleton: Skeleton) -> None:
    """Let all graph convolutions over joints inside `blocks` run along a skeleton's bones."""
    for part in blocks.modules():
        if isinstance(part, SpatialAggregation):
            part.use_bones(skeleton)


@lru_cache(256)
def row_numbers(skeleton: Skeleton, device: torch.device) -> Tensor:
    """Rows of the vocabulary's embedding (J,), kept on the device."""
    return torch.as_tensor(rows_of(skeleton), device=device)


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """No autocast where coordinates go in and come out: bfloat16 has three digits, a pose needs
    four.
    """
    return (
        nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)
    )
