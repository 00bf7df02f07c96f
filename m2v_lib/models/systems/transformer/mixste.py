"""MixSTE (Zhang et al., CVPR 2022): attention over joints and over frames in turn.

Every frame of the window gets its pose. Written from a description of the published system,
whose code has no licence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.constants import Constant
from m2v_lib.models.layers.exact import ExactLinear
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.stochastic_depth import rising_rates
from m2v_lib.models.layers.transformer import NORM_EPS, Block, over_frames, over_joints
from m2v_lib.skeletons.h36m import N_JOINTS

# B batch, T frames, J joints, C features

#: How much a joint counts in the loss: the further from the trunk, the more (section 3.4).
JOINT_WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
WEIGHTS = Constant(lambda: torch.tensor(JOINT_WEIGHTS))
W_SMOOTHNESS = 0.5
W_VELOCITY = 2.0


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("mixste", "which model: a file of m2v_lib/models")
    n_frames: int = setting(
        243, "frames the model reads at once; every one of them gets its pose", least=2
    )
    dim: int = setting(512, "features of a token (a joint in a frame)")
    n_layers: int = setting(8, "pairs of a block over joints and a block over frames")
    n_heads: int = setting(8, "attention heads of a block")
    mlp_ratio: int = setting(2, "width of a block's hidden layer, in multiples of dim")
    drop_path: float = setting(
        0.1, "share of residual branches left out in training, last layer", below=1
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim": 16, "n_heads": 4},
        "small": {"n_layers": 2, "dim": 88, "n_heads": 4},
        "compact": {"n_layers": 2, "dim": 88, "n_heads": 4},
    }


class MixSTE(Lifter):
    """Alternating spatial and temporal transformer blocks.

    One layer norm after all spatial blocks and one after all temporal blocks are shared by the
    layers, and both act on the residual stream itself.
    """

    output = "all"
    reads_confidence = False
    root_in_figure = "as predicted"
    n_joints_required = N_JOINTS
    fixed_length = True
    has_encoder = True
    published_sizes = {"243": {}, "81": {"n_frames": 81}, "27": {"n_frames": 27}}
    own_recipe = {
        "data.train_stride": 243,
        "data.validation": False,
        "optim.algorithm": "adamw",
        "optim.lr": 4e-5,
        "optim.weight_decay": 0.1,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.99,
        "finetune.epochs": 120,
        "finetune.batch_size": 4,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings, n_inputs: int = 2) -> None:
        super().__init__(settings)
        s = settings
        self.Spatial_patch_to_embedding = ExactLinear(n_inputs, s.dim)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, N_JOINTS, s.dim))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, s.n_frames, s.dim))

        rates = rising_rates(s.drop_path, s.n_layers)
        self.STEblocks = nn.ModuleList(Block(s.dim, s.n_heads, s.mlp_ratio, p) for p in rates)
        self.TTEblocks = nn.ModuleList(Block(s.dim, s.n_heads, s.mlp_ratio, p) for p in rates)
        self.Spatial_norm = nn.LayerNorm(s.dim, eps=NORM_EPS)
        self.Temporal_norm = nn.LayerNorm(s.dim, eps=NORM_EPS)

        # The head's norm alone has torch's default eps of 1e-5.
        self.head = nn.Sequential(nn.LayerNorm(s.dim), ExactLinear(s.dim, 3))

    def forward(self, x_BTJC: Tensor) -> Tensor:
        return self.head(self.encode(x_BTJC))

    def decode(self, rep_BTJR: Tensor) -> Tensor:
        return self.head(rep_BTJR)

    def encode(self, x_BTJC: Tensor) -> Tensor:
        """What the head reads: the tokens (B, T, J, dim) after the last layer."""
        x_BTJ2 = self.check_input(x_BTJC)
        return self.mix(self.Spatial_patch_to_embedding(x_BTJ2) + self.Spatial_pos_embed)

    def mix(self, x_BTJC: Tensor) -> Tensor:
        """All layers; the first one learns which frame is which, after its spatial block."""
        for i, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            x_BTJC = self.Spatial_norm(over_joints(spatial, x_BTJC))

            if i == 0:
                x_BTJC = x_BTJC + self.Temporal_pos_embed.unsqueeze(2)
            x_BTJC = self.Temporal_norm(over_frames(temporal, x_BTJC))
        return x_BTJC

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Half the square of the weighted, the smoothness and the velocity term together.

        The authors' training multiplies the gradient by the loss's value: that is the gradient
        of the half square. Their unit is the metre; with another the smoothness term, a square,
        weighs differently against the rest.
        """
        parts = loss_terms(self(x_BTJC), target_BTJ3)
        steps = W_SMOOTHNESS * parts["smoothness"] + W_VELOCITY * parts["velocity"]
        total = parts["weighted"] + steps
        return total.square() / 2, {name: value.detach() for name, value in parts.items()}

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        weights = weights_in(content, "model_pos", "Temporal_pos_embed")
        dim = len(weights["Spatial_norm.weight"])
        sizes = {
            "n_frames": weights["Temporal_pos_embed"].shape[1],
            "dim": dim,
            "n_layers": n_numbered(weights, "STEblocks."),
            "mlp_ratio": len(weights["STEblocks.0.mlp.fc1.bias"]) // dim,
        }
        return Settings(**{**sizes, **settings}), weights


def loss_terms(prediction_BTJ3: Tensor, target_BTJ3: Tensor) -> dict[str, Tensor]:
    """The terms of the training loss (section 3.4), and the plain mean joint distance.

    `smoothness` holds the prediction's own steps small, without a target: each squared
    coordinate counts, weighted by joint.
    """
    weights_J = WEIGHTS.like(prediction_BTJ3)
    distance_BTJ = (prediction_BTJ3 - target_BTJ3).norm(dim=-1)

    step_BTJ3 = prediction_BTJ3.diff(dim=1)

    target_step_BTJ3 = target_BTJ3.diff(dim=1)
    return {
        "mpjpe": distance_BTJ.mean(),
        "weighted": (weights_J * distance_BTJ).mean(),
        "smoothness": (weights_J.unsqueeze(-1) * step_BTJ3.square()).mean(),
        "velocity": (step_BTJ3 - target_step_BTJ3).norm(dim=-1).mean(),
    }


MixSTE.Settings = Settings
MODEL = MixSTE
