"""P-STMO (Shan et al., ECCV 2022): 2D poses with gaps are completed first, then lifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.errors import InputError
from m2v_lib.models.layers.exact import ExactConv1d
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.strided_transformer import (
    LayerSizes,
    StdNorm,
    VanillaTransformer,
    positions,
    strides_for,
)
from m2v_lib.models.two_output_lifter import TwoOutputLifter, head, poses

# B batch, T frames (V of them visible), J joints, D features, E features of the decoder

#: Of the window lengths in the released code.
STRIDES = {
    9: (1, 3, 3),
    27: (3, 3, 3),
    81: (3, 3, 3, 3),
    243: (3, 3, 3, 3, 3),
    351: (3, 9, 13),
}
N_MASKABLE = 16  # the released code never hides joint 16


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("pstmo", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames the model reads; it predicts the centre one")
    strides: str = setting("", "frames kept by each last layer, as 3,3,3; empty: those released")
    n_layers: int = setting(4, "attention layers over all frames; 3 in the small model")
    dim: int = setting(256, "features of a frame")
    dim_ff: int = setting(512, "hidden features, of the pose encoder too")
    n_heads: int = setting(8, "attention heads")
    dropout: float = setting(0.1, "share dropped in training, attention weights too")

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim": 16, "dim_ff": 32, "n_heads": 4},
        "small": {"dim": 52, "dim_ff": 104, "n_heads": 4},
        "compact": {"dim": 84, "dim_ff": 168, "n_heads": 4},
    }


class PoseEncoder(nn.Module):
    """Features of each frame by itself: (B, 34, T) -> (B, D, T), with one residual block."""

    def __init__(self, dim: int, dim_ff: int, dropout: float) -> None:
        super().__init__()
        self.fc_1 = ExactConv1d(17 * 2, dim_ff, 1)
        self.bn_1 = BatchNorm(dim_ff)
        self.layers = nn.ModuleList([PoseBlock(dim_ff, dropout)])
        self.fc_2 = nn.Conv1d(dim_ff, dim, 1)
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
        self.w1 = nn.Conv1d(dim_ff, dim_ff, 1)
        self.batch_norm1 = BatchNorm(dim_ff)
        self.w2 = nn.Conv1d(dim_ff, dim_ff, 1)
        self.batch_norm2 = BatchNorm(dim_ff)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BFT: Tensor) -> Tensor:
        h_BFT = self.dropout(leaky_relu(self.batch_norm1(self.w1(x_BFT)), 0.2))
        return self.dropout(leaky_relu(self.batch_norm2(self.w2(h_BFT)), 0.2))


class PStmo(TwoOutputLifter):
    """Stage II, the lifter: 2D (B, T, 17, 2) -> 3D of the centre frame (B, 1, 17, 3).

    Published windows take every second frame of Human3.6M; that is the data's matter. The
    refined figures of the paper come from `layers.depth_refinement`, which reads the true root
    depth.
    """

    published_sizes = {
        "base": {},
        "s": {"n_layers": 3},
        "s-3dhp": {"n_layers": 3, "n_frames": 81},
    }
    # P-STMO-S starts at 7e-4 on detected 2D. Stage I is the same at 1e-4, with `frame_rate` 0.6
    # and `n_hidden_joints` 3 (P-STMO), 0.8 and 2 (S). The root counts as 0 at test.
    own_recipe = {
        "optim.algorithm": "adam-amsgrad",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.lr_decay": 0.97,
        "finetune.epochs": 79,
        "finetune.batch_size": 160,
        "data.train_stride": 1,
        "data.validation": False,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        encoder = PoseEncoder(settings.dim, settings.dim_ff, settings.dropout)
        strides = strides_for(settings.n_frames, settings.strides, STRIDES)
        super().__init__(settings, encoder, settings.n_layers, strides, layer_sizes(settings))

    @torch.no_grad()
    def start_from(self, pretrained: Mapping[str, Tensor]) -> None:
        """Take over what stage I (`MaskedPoseModel`) has learnt: the encoder and the attention.

        Raises InputError where a part is missing from the weights.
        """
        own = self.state_dict()
        shared = [name for name in own if name.startswith(("encoder.", "Transformer."))]
        missing = [name for name in shared if name not in pretrained]
        if missing:
            raise InputError(f"not weights of stage I: no {missing[0]!r}")
        self.load_state_dict({**own, **{name: pretrained[name] for name in shared}})

    @classmethod
    def read_authors_file(
        cls, content: Any, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """Of stage II, a bare state dict. Say `n_heads` and `strides` where they are not theirs."""
        weights = weights_in(content, None, "encoder.fc_1.weight")
        if "Transformer_reduce.model.pos_embedding_1" not in weights:
            raise InputError("weights of stage I: no lifter; see PStmo.start_from")

        sizes = {
            "n_frames": weights["Transformer.pos_embedding"].shape[1],
            "n_layers": n_numbered(weights, "Transformer.model.layers."),
            "dim": weights["encoder.fc_2.weight"].shape[0],
            "dim_ff": weights["encoder.fc_1.weight"].shape[0],
        }
        return Settings(**{**sizes, **settings}), weights


class MaskedPoseModel(nn.Module):
    """Stage I: complete 2D sequences of which whole frames, and joints of the rest, are hidden.

    The lifter's encoder and attention see the visible frames alone; a decoder of half the width
    and one layer less adds the hidden ones. `settings` are the lifter's.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        sizes = layer_sizes(settings)
        narrow = LayerSizes(sizes.dim // 2, sizes.dim_ff // 2, sizes.n_heads, sizes.dropout)

        self.encoder = PoseEncoder(sizes.dim, sizes.dim_ff, sizes.dropout)
        self.Transformer = VanillaTransformer(settings.n_layers, sizes, settings.n_frames)
        self.encoder_LN = StdNorm(sizes.dim)
        self.encoder_to_decoder = nn.Linear(sizes.dim, narrow.dim, bias=False)
        self.Transformer_dec = VanillaTransformer(settings.n_layers - 1, narrow)
        self.fcn_dec = head(narrow.dim, 17 * 2)

        self.dec_pos_embedding = positions(settings.n_frames, narrow.dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, narrow.dim))
        self.spatial_mask_token = nn.Parameter(torch.randn(1, 1, 2))

    def forward(self, x_BTJ2: Tensor, hidden_T: Tensor, hidden_TJ: Tensor) -> Tensor:
        """Completed 2D (B, T, 17, 2), visible frames first, then the hidden: see `frame_order`."""
        x_BTJ2 = torch.where(hidden_TJ[..., None], self.spatial_mask_token, x_BTJ2)
        features_BTD = self.encoder(x_BTJ2.flatten(2).transpose(1, 2)).transpose(1, 2)
        seen_BVD = self.Transformer(features_BTD, ~hidden_T)

        seen_BVE = self.encoder_to_decoder(self.encoder_LN(seen_BVD))
        hidden_E = self.mask_token.expand(len(x_BTJ2), int(hidden_T.sum()), -1)
        tokens_BTE = torch.cat([seen_BVE, hidden_E], dim=1)

        places_1TE = self.dec_pos_embedding[:, frame_order(hidden_T)]
        return poses(self.fcn_dec, self.Transformer_dec(tokens_BTE + places_1TE))

    def loss(self, x_BTJ2: Tensor, hidden_T: Tensor, hidden_TJ: Tensor) -> Tensor:
        """Mean 2D distance of all joints of all frames, hidden or not."""
        target_BTJ2 = x_BTJ2[:, frame_order(hidden_T)]
        return (self(x_BTJ2, hidden_T, hidden_TJ) - target_BTJ2).norm(dim=-1).mean()


def frame_order(hidden_T: Tensor) -> Tensor:
    """Indices (T,): visible frames in time, then the hidden ones in time."""
    return torch.cat([(~hidden_T).nonzero(), hidden_T.nonzero()]).flatten()


def draw_masks(
    n_frames: int, frame_rate: float, n_hidden_joints: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One step's masks for the whole batch: hidden frames (T,), hidden joints (T, 17)."""
    n_hidden = int(n_frames * frame_rate)
    hidden_T = torch.zeros(n_frames, dtype=torch.bool)
    hidden_T[torch.randperm(n_frames, generator=generator)[:n_hidden]] = True

    order_TJ = torch.rand(n_frames, N_MASKABLE, generator=generator).argsort(dim=1)
    hidden_TJ = torch.zeros(n_frames, 17, dtype=torch.bool)
    hidden_TJ.scatter_(1, order_TJ[:, :n_hidden_joints], True)
    return hidden_T, hidden_TJ


def layer_sizes(settings: Settings) -> LayerSizes:
    return LayerSizes(settings.dim, settings.dim_ff, settings.n_heads, settings.dropout)


PStmo.Settings = Settings
MODEL = PStmo
