"""PoseFormer (Zheng et al., ICCV 2021): attention over the joints of a frame, then over frames.

Only the window's centre frame gets a pose. Written from a description of the published system,
whose code has no licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.exact import ExactLinear, full_precision
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.stochastic_depth import rising_rates
from m2v_lib.models.layers.transformer import NORM_EPS, Block, over_joints
from m2v_lib.skeletons.h36m import N_JOINTS

# B batch, T frames, J joints, C features of a joint, D = J C features of a frame


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("poseformer", "which model: a file of m2v_lib/models")
    n_frames: int = setting(81, "frames the model reads for their centre's pose")
    dim_per_joint: int = setting(32, "features of a joint; a frame's token has 17 times as many")
    n_layers: int = setting(4, "blocks over joints, and again over frames")
    n_heads: int = setting(8, "attention heads of a block")
    mlp_ratio: int = setting(2, "width of a block's hidden layer, in multiples of its features")
    drop_path: float = setting(
        0.1, "share of residual branches left out in training, last layer", below=1
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim_per_joint": 4, "n_heads": 2},
        "small": {"n_layers": 1, "dim_per_joint": 8, "n_heads": 4},
        "compact": {"n_layers": 3, "dim_per_joint": 8, "n_heads": 4},
    }


class PoseFormer(Lifter):
    """Frames one by one through the spatial blocks, then their tokens through the temporal ones."""

    output = "centre"
    reads_confidence = False
    root_in_figure = "as predicted"
    n_joints_required = N_JOINTS
    fixed_length = True
    published_sizes = {"81": {}, "27": {"n_frames": 27}, "9": {"n_frames": 9}}
    own_recipe = {
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.validation": False,
        "optim.algorithm": "adamw",
        "optim.lr": 4e-5,  # on detected 2D; 4e-4 on the true projection
        "optim.weight_decay": 0.1,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.99,
        "finetune.epochs": 200,
        "finetune.batch_size": 512,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        s, C, D = settings, settings.dim_per_joint, N_JOINTS * settings.dim_per_joint
        rates = rising_rates(s.drop_path, s.n_layers)

        self.Spatial_patch_to_embedding = ExactLinear(2, C)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, N_JOINTS, C))
        self.Spatial_blocks = nn.Sequential(*(Block(C, s.n_heads, s.mlp_ratio, p) for p in rates))
        self.Spatial_norm = nn.LayerNorm(C, eps=NORM_EPS)

        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, s.n_frames, D))
        self.blocks = nn.Sequential(*(Block(D, s.n_heads, s.mlp_ratio, p) for p in rates))
        self.Temporal_norm = nn.LayerNorm(D, eps=NORM_EPS)

        self.weighted_mean = nn.Conv1d(s.n_frames, 1, kernel_size=1)
        # The head's norm alone has torch's default eps of 1e-5.
        self.head = nn.Sequential(nn.LayerNorm(D), ExactLinear(D, 3 * N_JOINTS))

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """(B, T, 17, 2) -> (B, 1, 17, 3)."""
        frames_BTD = self.frame_tokens(self.check_input(x_BTJC))
        mixed_BTD = self.Temporal_norm(self.blocks(frames_BTD + self.Temporal_pos_embed))

        with full_precision(mixed_BTD):
            pose_B1P = self.head(self.weighted_mean(mixed_BTD))  # P: joints times 3
        return pose_B1P.unflatten(-1, (N_JOINTS, 3))

    def frame_tokens(self, x_BTJ2: Tensor) -> Tensor:
        """The features (B, T, D) of each frame; they do not depend on the other frames."""
        x_BTJC = self.Spatial_patch_to_embedding(x_BTJ2) + self.Spatial_pos_embed
        return self.Spatial_norm(over_joints(self.Spatial_blocks, x_BTJC)).flatten(2)

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        weights = weights_in(content, "model_pos", "Spatial_pos_embed")
        dim_per_joint = len(weights["Spatial_norm.weight"])
        sizes = {
            "n_frames": weights["Temporal_pos_embed"].shape[1],
            "dim_per_joint": dim_per_joint,
            "n_layers": n_numbered(weights, "Spatial_blocks."),
            "mlp_ratio": len(weights["Spatial_blocks.0.mlp.fc1.bias"]) // dim_per_joint,
        }
        return Settings(**{**sizes, **settings}), weights


PoseFormer.Settings = Settings
MODEL = PoseFormer
