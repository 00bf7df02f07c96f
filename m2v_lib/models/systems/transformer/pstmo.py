"""P-STMO (Shan et al., ECCV 2022): 2D poses with gaps are completed first, then lifted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from m2v_lib.config.fields import ModelSettings, new_setting, setting
from m2v_lib.errors import InputError
from m2v_lib.models.base import Unit
from m2v_lib.models.layers.convolution import PointwiseConv
from m2v_lib.models.layers.exact import ExactPointwiseConv
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.strided_transformer import (
    LayerSizes,
    strides_for,
)
from m2v_lib.models.two_output_lifter import TwoOutputLifter

# B batch, T frames, J joints, C channels, D features, F hidden features

#: Window of their MPI-INF-3DHP files; those of Human3.6M have 243 frames.
FRAMES_3DHP = 81

#: Of the window lengths in the released code.
STRIDES = {
    9: (1, 3, 3),
    27: (3, 3, 3),
    81: (3, 3, 3, 3),
    243: (3, 3, 3, 3, 3),
    351: (3, 9, 13),
}


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("pstmo", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames the model reads; it predicts the centre one")
    strides: str = setting("", "frames kept by each last layer, as 3,3,3; empty: those released")
    n_layers: int = setting(4, "attention layers over all frames; 3 in the small model")
    dim: int = setting(256, "features of a frame")
    dim_ff: int = setting(512, "hidden features, of the pose encoder too")
    n_heads: int = setting(8, "attention heads")
    dropout: float = setting(0.1, "share dropped in training, attention weights too", below=1)
    hidden_frames: float = new_setting(
        0.6, "share of frames that pre-training hides, the same of all clips of a batch"
    )
    hidden_joints: int = new_setting(
        3,
        "joints that pre-training hides in each frame; never joint 16, as released",
        least=0,
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim": 16, "dim_ff": 32, "n_heads": 4},
        "small": {"dim": 52, "dim_ff": 104, "n_heads": 4},
        "compact": {"dim": 84, "dim_ff": 168, "n_heads": 4},
    }


class PoseEncoder(nn.Module):
    """Features of each frame by itself: (B, 34, T) -> (B, D, T), with one residual block."""

    def __init__(self, dim: int, dim_ff: int, dropout: float) -> None:
        super().__init__()
        self.fc_1 = ExactPointwiseConv(17 * 2, dim_ff)
        self.bn_1 = BatchNorm(dim_ff)
        self.layers = nn.ModuleList([PoseBlock(dim_ff, dropout)])
        self.fc_2 = PointwiseConv(dim_ff, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BCT: Tensor) -> Tensor:
        h_BFT = self.dropout(leaky_relu(self.bn_1(self.fc_1(x_BCT)), 0.2))
        for block in self.layers:
            h_BFT = h_BFT + block(h_BFT)
        return self.fc_2(h_BFT)


class PoseBlock(nn.Module):
    """What the residual block adds."""

    def __init__(self, dim_ff: int, dropout: float) -> None:
        super().__init__()
        self.w1 = PointwiseConv(dim_ff, dim_ff)
        self.batch_norm1 = BatchNorm(dim_ff)
        self.w2 = PointwiseConv(dim_ff, dim_ff)
        self.batch_norm2 = BatchNorm(dim_ff)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BFT: Tensor) -> Tensor:
        h_BFT = self.dropout(leaky_relu(self.batch_norm1(self.w1(x_BFT)), 0.2))
        return self.dropout(leaky_relu(self.batch_norm2(self.w2(h_BFT)), 0.2))


class PStmo(TwoOutputLifter):
    """Stage II, the lifter: 2D (B, T, 17, 2) -> 3D of the centre frame (B, 1, 17, 3).

    The refined figures of the paper come from `layers.depth_refinement`, which reads the true root
    depth.
    """

    published_sizes = {
        "base": {},
        "s": {"n_layers": 3, "hidden_frames": 0.8, "hidden_joints": 2},
        "s-3dhp": {"n_layers": 3, "n_frames": 81, "hidden_frames": 0.7, "hidden_joints": 2},
    }
    #: What stage I (`pstmo_pretraining`) does not train.
    fresh_after_pretraining = ("Transformer_reduce.", "fcn.", "fcn_1.")
    # P-STMO-S starts at 7e-4 on detected 2D, and hides 7 joints of true 2D. The root counts as 0
    # at test.
    own_recipe = {
        "optim.algorithm": "adam-amsgrad",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.97,
        "pretrain.lr": 1e-4,
        "pretrain.epochs": 79,
        "pretrain.batch_size": 160,
        "finetune.epochs": 79,
        "finetune.batch_size": 160,
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.frame_step": 2,
        "data.validation": False,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        encoder = PoseEncoder(settings.dim, settings.dim_ff, settings.dropout)
        strides = strides_for(settings.n_frames, settings.strides, STRIDES)
        super().__init__(settings, encoder, settings.n_layers, strides, layer_sizes(settings))

    @classmethod
    def read_authors_file(
        cls, content: Any, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """Of stage II, a bare state dict. Say `n_heads` and `strides` where they are not theirs.

        The released files of 81 frames are of MPI-INF-3DHP: in millimetres, and in its joint order.
        """
        weights = weights_in(content, None, "encoder.fc_1.weight")
        if "Transformer_reduce.model.pos_embedding_1" not in weights:
            raise InputError(
                "weights of stage I, which are no lifter: a file of stage II is needed"
            )

        sizes = {
            "n_frames": weights["Transformer.pos_embedding"].shape[1],
            "n_layers": n_numbered(weights, "Transformer.model.layers."),
            "dim": weights["encoder.fc_2.weight"].shape[0],
            "dim_ff": weights["encoder.fc_1.weight"].shape[0],
        }
        return Settings(**{**sizes, **settings}), weights

    @classmethod
    def authors_unit(cls, settings: ModelSettings) -> Unit:
        return "millimetres" if settings.n_frames == FRAMES_3DHP else "metres"


def layer_sizes(settings: Settings) -> LayerSizes:
    return LayerSizes(settings.dim, settings.dim_ff, settings.n_heads, settings.dropout)


PStmo.Settings = Settings
MODEL = PStmo
