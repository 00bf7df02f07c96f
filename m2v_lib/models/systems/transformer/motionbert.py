"""MotionBERT's network, DSTformer (Zhu et al., ICCV 2023): two streams, weighed token by token.

One stream looks over joints first and over frames then, the other the other way round. Written
from a description of the published system (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, new_setting, setting
from m2v_lib.errors import InputError
from m2v_lib.models.base import IMAGE_UNITS, Lifter, Unit
from m2v_lib.models.layers.exact import ExactLinear, full_precision
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.transformer import (
    NORM_EPS,
    Mlp,
    SelfAttention,
    over_frames,
    over_joints,
)
from m2v_lib.models.losses import pose_loss
from m2v_lib.skeletons.h36m import N_JOINTS

# B batch, T frames, J joints, C features, R features of the representation

#: Weights of the training loss next to the mean joint distance.
W_SCALE = 0.5
W_VELOCITY = 20.0


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("motionbert", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "most frames the model reads at once; fewer may come in")
    dim: int = setting(512, "features of a token (a joint in a frame)")
    n_layers: int = setting(5, "layers, each of two blocks side by side")
    n_heads: int = setting(8, "attention heads of a block")
    mlp_ratio: int = setting(2, "width of a block's hidden layers, in multiples of dim")
    dim_rep: int = setting(512, "features of the representation that the heads read")
    hidden_frames: float = new_setting(
        0.1, "share of frames that pre-training hides, the same of all clips of a batch"
    )
    hidden_joints: float = new_setting(0.05, "share of joints that pre-training hides in a clip")

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim": 16, "n_heads": 4, "dim_rep": 32},
        "small": {"n_layers": 2, "dim": 60, "n_heads": 4, "dim_rep": 120},
        "compact": {"n_layers": 2, "dim": 60, "n_heads": 4, "dim_rep": 120},
    }


class MotionBERT(Lifter):
    """The pose network; `encode` is the representation that its action recognition reads too."""

    output = "all"
    reads_confidence = True
    n_joints_required = N_JOINTS
    fixed_length = False
    has_encoder = True
    published_sizes = {"base": {}, "lite": {"dim": 256, "mlp_ratio": 4}}
    own_recipe = {
        "data.train_stride": 81,
        "data.validation": False,
        "optim.algorithm": "adamw",
        "optim.lr": 2e-4,  # lite: 5e-4
        "optim.weight_decay": 0.01,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.99,
        "pretrain.lr": 5e-4,
        "pretrain.epochs": 90,
        "pretrain.batch_size": 64,
        "finetune.epochs": 120,  # 60 after pre-training
        "finetune.batch_size": 32,
        "finetune.w_scale": 0.5,
        "finetune.w_velocity": 20.0,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        s = settings
        self.joints_embed = ExactLinear(3, s.dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, N_JOINTS, s.dim))
        self.temp_embed = nn.Parameter(torch.zeros(1, s.n_frames, 1, s.dim))

        self.blocks_st = nn.ModuleList(SpaceTime(s, "joints first") for _ in range(s.n_layers))
        self.blocks_ts = nn.ModuleList(SpaceTime(s, "frames first") for _ in range(s.n_layers))
        self.ts_attn = nn.ModuleList(nn.Linear(2 * s.dim, 2) for _ in range(s.n_layers))

        self.norm = nn.LayerNorm(s.dim, eps=NORM_EPS)
        self.pre_logits = nn.ModuleDict({"fc": ExactLinear(s.dim, s.dim_rep)})
        self.head = ExactLinear(s.dim_rep, 3)
        self.init_weights()

    def init_weights(self) -> None:
        """Normal weights of spread 0.02, biases of 0; both streams count alike at first."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)  # cut at +-2
                nn.init.zeros_(module.bias)

        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.temp_embed, std=0.02)

        for fusion in self.ts_attn:
            assert isinstance(fusion, nn.Linear)
            nn.init.zeros_(fusion.weight)
            nn.init.constant_(fusion.bias, 0.5)

    def forward(self, x_BTJ3: Tensor) -> Tensor:
        return self.head(self.encode(x_BTJ3))

    def decode(self, rep_BTJR: Tensor) -> Tensor:
        return self.head(rep_BTJR)

    def encode(self, x_BTJ3: Tensor) -> Tensor:
        """The representation (B, T, J, dim_rep), each feature in -1..1."""
        n_frames = self.check_input(x_BTJ3).shape[1]
        x = self.joints_embed(x_BTJ3) + self.pos_embed + self.temp_embed[:, :n_frames]

        for joints_first, frames_first, fusion in zip(
            self.blocks_st, self.blocks_ts, self.ts_attn, strict=True
        ):
            x = fused(joints_first(x), frames_first(x), fusion)

        return self.pre_logits["fc"](self.norm(x)).tanh()

    def check_input(self, x_BTJC: Tensor) -> Tensor:
        x_BTJ3 = super().check_input(x_BTJC)
        if x_BTJ3.shape[1] > self.settings.n_frames:
            longest = self.settings.n_frames
            raise InputError(f"motionbert: reads {longest} frames at most, got {x_BTJ3.shape[1]}")
        return x_BTJ3

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """MPJPE + 0.5 N-MPJPE + 20 velocity."""
        return pose_loss(self(x_BTJC), target_BTJ3, W_SCALE, W_VELOCITY)

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        weights = weights_in(content, "model_pos", "temp_embed")
        dim = len(weights["norm.weight"])
        sizes = {
            "n_frames": weights["temp_embed"].shape[1],
            "dim": dim,
            "n_layers": n_numbered(weights, "blocks_st."),
            "mlp_ratio": len(weights["blocks_st.0.mlp_s.fc1.bias"]) // dim,
            "dim_rep": len(weights["pre_logits.fc.bias"]),
        }
        return Settings(**{**sizes, **settings}), weights

    @classmethod
    def authors_unit(cls, settings: ModelSettings) -> Unit:
        return IMAGE_UNITS


class SpaceTime(nn.Module):
    """Attention and MLP over the joints of a frame and over the frames of a joint, in an order."""

    def __init__(self, settings: Settings, order: str) -> None:
        super().__init__()
        self.joints_first = order == "joints first"
        dim = settings.dim

        self.norm1_s = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn_s = SelfAttention(dim, settings.n_heads)
        self.norm2_s = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp_s = Mlp(dim, settings.mlp_ratio)

        self.norm1_t = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn_t = SelfAttention(dim, settings.n_heads)
        self.norm2_t = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp_t = Mlp(dim, settings.mlp_ratio)

    def forward(self, x_BTJC: Tensor) -> Tensor:
        if self.joints_first:
            return self.temporal(self.spatial(x_BTJC))
        return self.spatial(self.temporal(x_BTJC))

    def spatial(self, x_BTJC: Tensor) -> Tensor:
        x = x_BTJC + over_joints(self.attn_s, self.norm1_s(x_BTJC))
        return x + self.mlp_s(self.norm2_s(x))

    def temporal(self, x_BTJC: Tensor) -> Tensor:
        x = x_BTJC + over_frames(self.attn_t, self.norm1_t(x_BTJC))
        return x + self.mlp_t(self.norm2_t(x))


def fused(a_BTJC: Tensor, b_BTJC: Tensor, fusion: nn.Module) -> Tensor:
    """alpha a + (1 - alpha) b, where each token weighs its two streams by a softmax."""
    with full_precision(a_BTJC):
        both_BTJ2C = torch.cat([a_BTJC, b_BTJC], dim=-1)
        alpha_BTJ2 = fusion(both_BTJ2C).softmax(dim=-1)
        return alpha_BTJ2[..., :1] * a_BTJC + alpha_BTJ2[..., 1:] * b_BTJC


MotionBERT.Settings = Settings
MODEL = MotionBERT
