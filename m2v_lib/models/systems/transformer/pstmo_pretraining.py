"""P-STMO's stage I: 2D sequences are completed of which whole frames, and joints, are hidden."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ConfigError
from m2v_lib.models.layers.strided_transformer import (
    LayerSizes,
    StdNorm,
    VanillaTransformer,
    positions,
)
from m2v_lib.models.pretraining import Pretraining, share_of
from m2v_lib.models.systems.transformer.pstmo import PoseEncoder, Settings, layer_sizes
from m2v_lib.models.two_output_lifter import head, poses

# B batch, T frames (V of them visible), J joints, D features, E features of the decoder

N_MASKABLE = 16  # the released code never hides joint 16


class MaskedPoseModel(Pretraining):
    """Complete 2D sequences of which whole frames, and joints of the rest, are hidden.

    The lifter's encoder and attention see the visible frames alone; a decoder of half the width
    and one layer less adds the hidden ones. `settings` are the lifter's; names of tensors are
    those of the authors' files of stage I.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        check_masks(settings)
        sizes = layer_sizes(settings)
        # as many heads as the lifter, or, where half its width is no multiple of them, as divide both
        n_heads = math.gcd(sizes.dim // 2, sizes.n_heads)
        narrow = LayerSizes(sizes.dim // 2, sizes.dim_ff // 2, n_heads, sizes.dropout)

        self.encoder = PoseEncoder(sizes.dim, sizes.dim_ff, sizes.dropout)
        self.Transformer = VanillaTransformer(settings.n_layers, sizes, settings.n_frames)
        self.encoder_LN = StdNorm(sizes.dim)
        self.encoder_to_decoder = nn.Linear(sizes.dim, narrow.dim, bias=False)
        self.Transformer_dec = VanillaTransformer(settings.n_layers - 1, narrow)
        self.fcn_dec = head(narrow.dim, 17 * 2)

        self.dec_pos_embedding = positions(settings.n_frames, narrow.dim)
        self.mask_token = nn.Parameter(torch.randn(1, 1, narrow.dim))
        self.spatial_mask_token = nn.Parameter(torch.randn(1, 1, 2))

        self.n_hidden_frames = int(settings.n_frames * settings.hidden_frames)
        self.n_hidden_joints = settings.hidden_joints
        for stack in (self.Transformer, self.Transformer_dec):
            stack.model.norm.requires_grad_(False)  # in the files, and never used

    def draw(
        self,
        shape_BTJ: tuple[int, int, int],
        generator: torch.Generator,
        own: slice = slice(None),
        present_BT: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """One step's masks, the same for all clips of the batch: `order` (T,), the numbers of the
        visible frames in time and then of the hidden ones, and the hidden joints `hidden` (T, 17).
        """
        B, T, _ = shape_BTJ
        device = generator.device
        shuffled_T = torch.rand(T, generator=generator, device=device).argsort()
        n_seen = T - self.n_hidden_frames
        order_T = torch.cat([shuffled_T[:n_seen].sort().values, shuffled_T[n_seen:].sort().values])

        first_TK = torch.rand(T, N_MASKABLE, generator=generator, device=device).argsort(dim=1)
        hidden_TJ = torch.zeros(T, 17, dtype=torch.bool, device=device)
        hidden_TJ.scatter_(1, first_TK[:, : self.n_hidden_joints], True)

        return {"order": order_T, "hidden": hidden_TJ, "share": share_of(B, own, device)}

    def forward(self, x_BTJ3: Tensor, drawn: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean 2D distance of all joints of all frames, hidden or not; confidence is not read."""
        x_BTJ2, order_T = x_BTJ3[..., :2], drawn["order"]
        completed_BTJ2 = self.complete(x_BTJ2, order_T, drawn["hidden"])
        distance_BTJ = (completed_BTJ2 - x_BTJ2[:, order_T]).norm(dim=-1)

        hidden = distance_BTJ[:, self.n_seen(order_T) :].detach()
        # of a short window no frame may be hidden
        shown = {"hidden_frames_error": hidden.mean()} if hidden.shape[1] else {}
        return drawn["share"] * distance_BTJ.mean(), shown

    def complete(self, x_BTJ2: Tensor, order_T: Tensor, hidden_TJ: Tensor) -> Tensor:
        """Completed 2D (B, T, 17, 2), frames in the given order: the visible, then the hidden."""
        x_BTJ2 = torch.where(hidden_TJ[..., None], self.spatial_mask_token, x_BTJ2)
        features_BTD = self.encoder(x_BTJ2.flatten(2).transpose(1, 2)).transpose(1, 2)
        seen_BVD = self.Transformer(features_BTD, order_T[: self.n_seen(order_T)])

        seen_BVE = self.encoder_to_decoder(self.encoder_LN(seen_BVD))
        blank_BHE = self.mask_token.expand(len(x_BTJ2), self.n_hidden_frames, -1)
        tokens_BTE = torch.cat([seen_BVE, blank_BHE], dim=1)

        places_1TE = self.dec_pos_embedding[:, order_T]
        return poses(self.fcn_dec, self.Transformer_dec(tokens_BTE + places_1TE))

    def n_seen(self, order_T: Tensor) -> int:
        return len(order_T) - self.n_hidden_frames


def check_masks(settings: Any) -> None:
    """Raises ConfigError where nothing would be left to see."""
    if not 0 <= settings.hidden_frames < 1:
        raise ConfigError(
            f"model.hidden_frames must lie in 0..1, less than 1, got {settings.hidden_frames:g}"
        )
    if not 0 <= settings.hidden_joints <= N_MASKABLE:
        raise ConfigError(
            f"model.hidden_joints must lie in 0..{N_MASKABLE}, got {settings.hidden_joints}"
        )


PRETRAINING = MaskedPoseModel
