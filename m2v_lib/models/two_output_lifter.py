"""A lifter of the centre frame that learns from all frames: Strided Transformer, P-STMO."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.depth_refinement import PoseRefinement
from m2v_lib.models.layers.exact import ExactPointwiseConv
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.strided_transformer import (
    LayerSizes,
    StridedTransformer,
    VanillaTransformer,
)

# B batch, T frames, J joints, C channels of the input, D features


class TwoOutputLifter(Lifter):
    """Pose of the centre frame; in training also a pose of every frame, read half-way.

    `encoder` makes features of each frame by itself, (B, 34, T) -> (B, D, T).
    """

    output = "centre"
    reads_confidence = False
    n_joints_required = 17

    def __init__(
        self,
        settings: ModelSettings,
        encoder: nn.Module,
        n_layers: int,
        strides: Sequence[int],
        sizes: LayerSizes,
    ) -> None:
        super().__init__(settings)
        self.encoder = encoder
        self.Transformer = VanillaTransformer(n_layers, sizes, settings.n_frames)
        self.Transformer_reduce = StridedTransformer(strides, sizes, settings.n_frames)
        self.fcn = head(sizes.dim, 17 * 3)
        self.fcn_1 = head(sizes.dim, 17 * 3)
        #: The authors' second stage, where one was loaded (`load_baseline(..., refine=FILE)`).
        self.refinement: PoseRefinement | None = None

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """2D (B, T, 17, 2) -> 3D of the centre frame (B, 1, 17, 3)."""
        return poses(self.fcn, self.Transformer_reduce(self.features(x_BTJC)))

    def features(self, x_BTJC: Tensor) -> Tensor:
        """(B, T, D), before any frame is dropped."""
        x_BCT = self.check_input(x_BTJC).flatten(2).transpose(1, 2)
        return self.Transformer(self.encoder(x_BCT).transpose(1, 2))

    def training_outputs(self, x_BTJC: Tensor) -> dict[str, Tensor]:
        """`pose` (B, 1, 17, 3) of the centre frame and `sequence` (B, T, 17, 3) of all."""
        features_BTD = self.features(x_BTJC)
        return {
            "pose": poses(self.fcn, self.Transformer_reduce(features_BTD)),
            "sequence": poses(self.fcn_1, features_BTD),
        }

    def refined(self, pose_B1J3: Tensor, projected_B1J3: Tensor) -> Tensor:
        """The pose with x and y anew, from it and its `depth_refinement.back_projected`."""
        if self.refinement is None:
            raise InputError(f"{self.settings.name}: refined needs load_baseline(..., refine=FILE)")
        return self.refinement(pose_B1J3, projected_B1J3)

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean joint distance of the centre frame plus that of all frames."""
        outputs = self.training_outputs(x_BTJC)
        pose = (outputs["pose"] - self.output_frames(target_BTJ3)).norm(dim=-1).mean()
        sequence = (outputs["sequence"] - target_BTJ3).norm(dim=-1).mean()
        return pose + sequence, {"pose": pose.detach(), "sequence": sequence.detach()}


def head(dim: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(BatchNorm(dim), ExactPointwiseConv(dim, n_outputs))


def poses(head: nn.Module, x_BTD: Tensor) -> Tensor:
    """(B, T, 17, 2 or 3) from features."""
    return head(x_BTD.transpose(1, 2)).transpose(1, 2).unflatten(-1, (17, -1))
