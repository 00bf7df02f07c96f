"""STCFormer (Tang et al., CVPR 2023): half of the features attend over joints, half over frames.

No position is embedded over joints or time: order comes from small convolutions over (frame,
joint) and from an embedding of the body's five parts. Written from a description of the
published system, whose code has no licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from m2v_lib.config.fields import ConfigError, ModelSettings, setting
from m2v_lib.models.base import Lifter, OutputFrames
from m2v_lib.models.layers.exact import ExactLinear
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.stochastic_depth import StochasticDepth
from m2v_lib.models.layers.transformer import Mlp, attend
from m2v_lib.skeletons.h36m import N_JOINTS

# B batch, T frames, J joints, C features, H heads, E features of a head in one of the two groups

#: Of each joint: 0 trunk and head, 1 right leg, 2 left leg, 3 left arm, 4 right arm.
PART_OF_JOINT = (0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 3, 3, 3, 4, 4, 4)
#: How much of the parts' embedding goes into the group that attends over joints, over frames.
PART_SCALE = {"joints": 1e-4, "frames": 1e-9}


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("stcformer", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames of a window in training; the weights fit any number")
    dim: int = setting(256, "features of a token (a joint in a frame)")
    n_layers: int = setting(6, "blocks, each over joints and frames at once")
    n_heads: int = setting(8, "attention heads of each half of the features")
    mlp_ratio: int = setting(4, "width of a block's hidden layer, in multiples of dim")
    dropout: float = setting(0.1, "dropout in the blocks' MLP", below=1)
    drop_part: float = setting(0.5, "how often training leaves out a part embedding", below=1)
    frames_out: str = setting(
        "centre", "the centre frame, which the authors score, or all, which they train", "all"
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim": 16, "n_heads": 4, "frames_out": "all"},
        "small": {"n_layers": 2, "dim": 104, "n_heads": 4, "frames_out": "all"},
        "compact": {"n_layers": 2, "dim": 104, "n_heads": 4, "frames_out": "all"},
    }


class STCFormer(Lifter):
    """Blocks of spatio-temporal criss-cross attention.

    All frames of a window are trained; the result is the centre one, or all (`frames_out`).
    """

    output = "centre"
    reads_confidence = False
    n_joints_required = N_JOINTS
    fixed_length = False
    has_encoder = True
    pose_head = "regress_head"
    published_sizes = {
        "S": {},
        "S-81": {"n_frames": 81},
        "S-27": {"n_frames": 27},
        "L": {"dim": 512},
        "L-81": {"dim": 512, "n_frames": 81},
        "L-27": {"dim": 512, "n_frames": 27},
    }
    own_recipe = {
        "data.train_stride": 3,  # 3 of the frames below: one clip for every third frame
        "data.test_stride": 1,
        "data.frame_step": 3,
        "data.validation": False,
        "optim.algorithm": "adam-amsgrad",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.96,
        "finetune.epochs": 79,
        "finetune.batch_size": 42,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.pose_emb = ExactLinear(2, settings.dim, bias=False)
        blocks = nn.ModuleList(Block(settings) for _ in range(settings.n_layers))
        self.stcformer = nn.ModuleDict({"stc_block": blocks})
        self.regress_head = ExactLinear(settings.dim, 3, bias=False)

    @classmethod
    def output_under(cls, settings: ModelSettings) -> OutputFrames:
        return "all" if getattr(settings, "frames_out", "centre") == "all" else "centre"

    def forward(self, x_BTJC: Tensor) -> Tensor:
        return self.output_frames(self.all_poses(x_BTJC))

    def decode(self, rep_BTJR: Tensor) -> Tensor:
        return self.output_frames(self.regress_head(rep_BTJR))

    def all_poses(self, x_BTJC: Tensor) -> Tensor:
        """A pose for each frame, as training uses them."""
        return self.regress_head(self.encode(x_BTJC))

    def encode(self, x_BTJC: Tensor) -> Tensor:
        """What the head reads: the tokens (B, T, J, dim) after the last block, without a norm."""
        x = gelu(self.pose_emb(self.check_input(x_BTJC)))
        for block in self.stcformer["stc_block"]:  # type: ignore[attr-defined]
            x = block(x)
        return x

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean joint distance of all frames, the centre one's for comparison."""
        distance_BTJ = (self.all_poses(x_BTJC) - target_BTJ3).norm(dim=-1)
        centre = self.output_frames(distance_BTJ).mean().detach()
        return distance_BTJ.mean(), {"mpjpe": centre}

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        """The Human3.6M models; a file says nothing of `n_frames`. The 3DHP model is another."""
        weights = weights_in(content, None, "pose_emb.weight")
        dim = len(weights["pose_emb.weight"])
        first = "stcformer.stc_block.0"

        sizes = {
            "dim": dim,
            "n_layers": n_numbered(weights, "stcformer.stc_block."),
            "n_heads": dim // 2 // weights[f"{first}.stc_att.emb.weight"].shape[1],
            "mlp_ratio": len(weights[f"{first}.mlp.fc1.weight"]) // dim,
        }
        return Settings(**{**sizes, **settings}), weights


class Block(nn.Module):
    """The attention below, then x + MLP(LN(x))."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        dim, ratio = settings.dim, settings.mlp_ratio
        self.stc_att = CrissCrossAttention(dim, settings.n_heads, settings.drop_part)
        self.layer_norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, ratio, bias=False, dropout=settings.dropout)

    def forward(self, x_BTJC: Tensor) -> Tensor:
        x = self.stc_att(x_BTJC)
        return x + self.mlp(self.layer_norm(x))


class CrissCrossAttention(nn.Module):
    """x + proj(y): half of y's features attend over joints, half over frames.

    To each half the 3x3 convolution of its values over (frame, joint) is added, and a little of
    the parts' embedding.
    """

    part_of_joint_J: Tensor

    def __init__(self, dim: int, n_heads: int, drop_part: float) -> None:
        super().__init__()
        if dim % (2 * n_heads):
            raise ConfigError(f"model.dim={dim} is not divisible by twice model.n_heads={n_heads}")

        half = dim // 2
        self.n_heads = n_heads
        self.scale = half**-0.5  # of all heads together, not of one

        self.layer_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.sep2_s = nn.Conv2d(half, half, kernel_size=3, padding=1, groups=half)
        self.sep2_t = nn.Conv2d(half, half, kernel_size=3, padding=1, groups=half)
        self.emb = nn.Embedding(5, half // n_heads)
        self.drop_part = StochasticDepth(drop_part)
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("part_of_joint_J", torch.tensor(PART_OF_JOINT), persistent=False)

    def forward(self, x_BTJC: Tensor) -> Tensor:
        # Row 3 c + s of the projection is feature c of q, k or v (s).
        packed_BTJC3 = self.qkv(self.layer_norm(x_BTJC)).unflatten(-1, (-1, 3))
        of_joints, of_frames = packed_BTJC3.chunk(2, dim=3)

        y_joints = self.attended(of_joints, "joints", self.sep2_s)
        y_frames = self.attended(of_frames, "frames", self.sep2_t)

        # Heads of both groups are joined pair by pair.
        y_BTJC = torch.cat([y_joints, y_frames], dim=-1).flatten(-2)
        return x_BTJC + self.proj(y_BTJC)

    def attended(
        self, packed_BTJG3: Tensor, axis: Literal["joints", "frames"], convolution: nn.Module
    ) -> Tensor:
        """(B, T, J, H, E) of a group of H x E = G features."""

        def over_axis(part_BTJG: Tensor) -> Tensor:  # (B T, H, J, E) or (B J, H, T, E)
            heads_BTJHE = part_BTJG.unflatten(-1, (self.n_heads, -1))
            outer_inner = heads_BTJHE if axis == "joints" else heads_BTJHE.transpose(1, 2)
            return outer_inner.transpose(2, 3).flatten(0, 1)

        q, k, v = (over_axis(part) for part in packed_BTJG3.unbind(-1))
        mixed = (
            attend(q, k, v, self.scale).transpose(1, 2).unflatten(0, (packed_BTJG3.shape[0], -1))
        )
        y_BTJHE = mixed if axis == "joints" else mixed.transpose(1, 2)

        values_BGTJ = packed_BTJG3[..., 2].permute(0, 3, 1, 2)

        near_BTJG = convolution(values_BGTJ).permute(0, 2, 3, 1)

        return y_BTJHE + near_BTJG.unflatten(-1, (self.n_heads, -1)) + self.parts(axis)

    def parts(self, axis: str) -> Tensor:
        """What each joint's part adds, (J, 1, E); one draw decides for all joints and clips."""
        part_1JE = self.emb(self.part_of_joint_J).unsqueeze(0)
        return PART_SCALE[axis] * self.drop_part(part_1JE).transpose(0, 1)


STCFormer.Settings = Settings
MODEL = STCFormer
