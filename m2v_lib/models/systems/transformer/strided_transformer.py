"""Strided Transformer (Li et al., TMM 2022): attention over a window, then down to its centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.models.layers.exact import ExactPointwiseConv
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.strided_transformer import LayerSizes, strides_for
from m2v_lib.models.two_output_lifter import TwoOutputLifter

#: Released for 27 and 351 frames; those of 9, 81 and 243 are ours.
STRIDES = {9: (3, 3), 27: (3, 3, 3), 81: (3, 3, 9), 243: (3, 9, 9), 351: (3, 9, 13)}


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("strided_transformer", "which model: a file of m2v_lib/models")
    n_frames: int = setting(351, "frames the model reads; it predicts the centre one")
    strides: str = setting("", "frames kept by each last layer, as 3,9,13; empty: those known")
    n_layers: int = setting(3, "attention layers over all frames")
    dim: int = setting(256, "features of a frame")
    dim_ff: int = setting(512, "hidden features of the feed-forward layers")
    n_heads: int = setting(8, "attention heads")
    dropout: float = setting(0.1, "share dropped in training, attention weights too", below=1)
    encoder_dropout: float = setting(
        0.25, "share of a frame's first features dropped in training", below=1
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_layers": 1, "dim": 16, "dim_ff": 32, "n_heads": 4},
        "small": {"dim": 64, "dim_ff": 128, "n_heads": 4},
        "compact": {"dim": 116, "dim_ff": 232, "n_heads": 4},
    }


class StridedTransformer(TwoOutputLifter):
    """2D (B, T, 17, 2) -> 3D of the centre frame (B, 1, 17, 3).

    A frame's features, a vanilla encoder over all frames, and a strided one that ends in a
    single frame. In training the frames between the two are poses as well (`training_outputs`).
    The optional second stage is `layers.depth_refinement`.
    """

    published_sizes = {"351": {}, "27": {"n_frames": 27}}
    # Their rate is halved after every fifth epoch and falls by 5 % after the others: 0.836 an
    # epoch on average. The root counts as 0 at test.
    own_recipe = {
        "optim.algorithm": "adam-amsgrad",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.836,
        "finetune.epochs": 20,
        "finetune.batch_size": 256,
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.validation": False,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        encoder = nn.Sequential(
            ExactPointwiseConv(17 * 2, settings.dim),
            BatchNorm(settings.dim),
            nn.ReLU(),
            nn.Dropout(settings.encoder_dropout),
        )
        strides = strides_for(settings.n_frames, settings.strides, STRIDES)
        sizes = LayerSizes(settings.dim, settings.dim_ff, settings.n_heads, settings.dropout)
        super().__init__(settings, encoder, settings.n_layers, strides, sizes)

    @classmethod
    def read_authors_file(
        cls, content: Any, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """A bare state dict. Say `strides` where they are not the released ones of n_frames."""
        weights = weights_in(content, None, "Transformer_reduce.model.pos_embedding_1")
        feed_forward = weights["Transformer.model.layers.0.feed_forward.w_1.weight"]
        sizes = {
            "n_frames": weights["Transformer.pos_embedding"].shape[1],
            "n_layers": n_numbered(weights, "Transformer.model.layers."),
            "dim": feed_forward.shape[1],
            "dim_ff": feed_forward.shape[0],
        }
        return Settings(**{**sizes, **settings}), weights


StridedTransformer.Settings = Settings
MODEL = StridedTransformer
