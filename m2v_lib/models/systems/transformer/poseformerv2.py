"""PoseFormerV2 (Zhao et al., CVPR 2023): a few central frames, and a long window's low
frequencies.

Both become tokens of one transformer, so a long window costs little. Written from a description
of the published system (MIT).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ConfigError, ModelSettings, setting
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.exact import ExactLinear, full_precision
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.stochastic_depth import StochasticDepth, rising_rates
from m2v_lib.models.layers.transformer import NORM_EPS, Block, Mlp, SelfAttention, over_joints
from m2v_lib.skeletons.h36m import N_JOINTS

# B batch, T frames of the window, F central frames kept, K frequencies kept, N = K + F tokens
# J joints, C features of a joint, D = J C features of a token


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("poseformerv2", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames of the window whose centre gets a pose")
    n_kept_frames: int = setting(27, "central frames that become tokens, an odd number")
    n_kept_coeffs: int = setting(27, "lowest frequencies of the whole window that become tokens")
    dim_per_joint: int = setting(32, "features of a joint; a token has 17 times as many")
    n_layers: int = setting(4, "blocks over joints, and again over tokens")
    n_heads: int = setting(8, "attention heads of a block")
    mlp_ratio: int = setting(2, "width of a block's hidden layer, in multiples of its features")
    drop_path: float = setting(
        0.1, "share of residual branches left out in training, last layer", below=1
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {
            "n_kept_frames": 3,
            "n_kept_coeffs": 3,
            "n_layers": 1,
            "dim_per_joint": 4,
            "n_heads": 2,
        },
        "small": {
            "n_kept_frames": 3,
            "n_kept_coeffs": 3,
            "n_layers": 3,
            "dim_per_joint": 10,
            "n_heads": 2,
        },
        "compact": {
            "n_kept_frames": 3,
            "n_kept_coeffs": 3,
            "n_layers": 3,
            "dim_per_joint": 10,
            "n_heads": 2,
        },
    }


class PoseFormerV2(Lifter):
    """Tokens of frequencies and of frames, mixed, then averaged with learnt weights."""

    output = "centre"
    reads_confidence = False
    root_in_figure = "as predicted"
    n_joints_required = N_JOINTS
    fixed_length = True
    published_sizes = {
        "243-27-27": {},
        "81-9-9": {"n_frames": 81, "n_kept_frames": 9, "n_kept_coeffs": 9},
        "81-3-3": {"n_frames": 81, "n_kept_frames": 3, "n_kept_coeffs": 3},
        "81-1-3": {"n_frames": 81, "n_kept_frames": 1, "n_kept_coeffs": 3},
        "27-3-3": {"n_frames": 27, "n_kept_frames": 3, "n_kept_coeffs": 3},
        "27-1-3": {"n_frames": 27, "n_kept_frames": 1, "n_kept_coeffs": 3},
    }
    own_recipe = {
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.validation": False,
        "optim.algorithm": "adamw",
        "optim.lr": 1e-4,
        "optim.weight_decay": 0.1,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.99,
        "finetune.epochs": 200,
        "finetune.batch_size": 1024,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        _check(settings)
        s, C, D = settings, settings.dim_per_joint, N_JOINTS * settings.dim_per_joint
        F, K = s.n_kept_frames, s.n_kept_coeffs
        rates = rising_rates(s.drop_path, s.n_layers)

        self.Joint_embedding = ExactLinear(2, C)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, N_JOINTS, C))
        self.Spatial_blocks = nn.Sequential(*(Block(C, s.n_heads, s.mlp_ratio, p) for p in rates))
        self.Spatial_norm = nn.LayerNorm(C, eps=NORM_EPS)
        self.Freq_embedding = ExactLinear(2 * N_JOINTS, D)

        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, F, D))
        self.Temporal_pos_embed_ = nn.Parameter(torch.zeros(1, K, D))
        self.blocks = nn.Sequential(*(MixedBlock(D, s.n_heads, s.mlp_ratio, p) for p in rates))
        self.Temporal_norm = nn.LayerNorm(D, eps=NORM_EPS)

        self.weighted_mean = nn.Conv1d(K, 1, kernel_size=1)
        self.weighted_mean_ = nn.Conv1d(F, 1, kernel_size=1)
        # The head's norm alone has torch's default eps of 1e-5.
        self.head = nn.Sequential(nn.LayerNorm(2 * D), ExactLinear(2 * D, 3 * N_JOINTS))

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """(B, T, 17, 2) -> (B, 1, 17, 3)."""
        x_BTJ2 = self.check_input(x_BTJC)
        tokens_BND = torch.cat([self.frequency_tokens(x_BTJ2), self.frame_tokens(x_BTJ2)], dim=1)
        mixed_BND = self.Temporal_norm(self.blocks(tokens_BND))

        n_coeffs = self.Temporal_pos_embed_.shape[1]

        with full_precision(mixed_BND):
            of_frequencies_B1D = self.weighted_mean(mixed_BND[:, :n_coeffs])
            of_frames_B1D = self.weighted_mean_(mixed_BND[:, n_coeffs:])
            pose_B1P = self.head(torch.cat([of_frequencies_B1D, of_frames_B1D], dim=-1))

        return pose_B1P.unflatten(-1, (N_JOINTS, 3))

    def frame_tokens(self, x_BTJ2: Tensor) -> Tensor:
        """The central frames (B, F, D), each through the spatial blocks by itself."""
        n_kept = self.Temporal_pos_embed.shape[1]
        first = (x_BTJ2.shape[1] - 1) // 2 - n_kept // 2
        x_BFJC = self.Joint_embedding(x_BTJ2[:, first : first + n_kept]) + self.Spatial_pos_embed

        features_BFD = self.Spatial_norm(over_joints(self.Spatial_blocks, x_BFJC)).flatten(2)
        return features_BFD + self.Temporal_pos_embed

    def frequency_tokens(self, x_BTJ2: Tensor) -> Tensor:
        """The window's lowest frequencies (B, K, D): of each joint's coordinates over time."""
        n_coeffs = self.Temporal_pos_embed_.shape[1]
        with full_precision(x_BTJ2):
            coefficients_BKD = cosines(x_BTJ2.shape[1], x_BTJ2)[:n_coeffs] @ x_BTJ2.flatten(2)
        return self.Freq_embedding(coefficients_BKD) + self.Temporal_pos_embed_

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        """A file says nothing of `n_frames`."""
        weights = weights_in(content, "model_pos", "Temporal_pos_embed_")
        dim_per_joint = len(weights["Spatial_norm.weight"])
        sizes = {
            "n_kept_frames": weights["Temporal_pos_embed"].shape[1],
            "n_kept_coeffs": weights["Temporal_pos_embed_"].shape[1],
            "dim_per_joint": dim_per_joint,
            "n_layers": n_numbered(weights, "Spatial_blocks."),
            "mlp_ratio": len(weights["Spatial_blocks.0.mlp.fc1.bias"]) // dim_per_joint,
        }
        return Settings(**{**sizes, **settings}), weights


class MixedBlock(nn.Module):
    """Attention over all tokens; then an MLP for their first half, one in frequencies for the
    rest.

    The cut is at half of the tokens, wherever the frequencies' tokens end (as released).
    """

    def __init__(self, dim: int, n_heads: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = SelfAttention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp1 = Mlp(dim, mlp_ratio)
        self.norm3 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp2 = FrequencyMlp(dim, mlp_ratio)
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.drop_path(self.attn(self.norm1(x_BND)))

        half = x_BND.shape[1] // 2
        first, rest = x_BND[:, :half], x_BND[:, half:]
        first = first + self.drop_path(self.mlp1(self.norm2(first)))
        rest = rest + self.drop_path(self.mlp2(self.norm3(rest)))
        return torch.cat([first, rest], dim=1)


class FrequencyMlp(Mlp):
    """The MLP on the cosine transform over its tokens, transformed back."""

    def forward(self, x_BND: Tensor) -> Tensor:
        n_tokens = x_BND.shape[1]
        cosines_NN = cosines(n_tokens, x_BND)
        halved_first_N = torch.ones(n_tokens, device=x_BND.device, dtype=x_BND.dtype)
        halved_first_N[0].fill_(0.5)

        y_BND = super().forward(cosines_NN @ x_BND)
        return (cosines_NN.T * halved_first_N / (2 * n_tokens)) @ y_BND


def cosines(n: int, like: Tensor) -> Tensor:
    """The DCT of type II without normalisation: row k holds 2 cos(pi k (2 m + 1) / (2 n))."""
    k_N1 = torch.arange(n, device=like.device).unsqueeze(1)
    odd_N = 2 * torch.arange(n, device=like.device) + 1
    turns_NN = (k_N1 * odd_N) % (4 * n)  # whole turns off first: exact integers, small angles
    return 2 * (turns_NN.to(like.dtype) * (math.pi / (2 * n))).cos()


def _check(s: Settings) -> None:
    if s.n_kept_frames % 2 == 0 or not 0 < s.n_kept_frames <= s.n_frames:
        raise ConfigError(f"n_kept_frames must be odd and at most n_frames, got {s.n_kept_frames}")
    if not 0 < s.n_kept_coeffs <= s.n_frames:
        raise ConfigError(f"n_kept_coeffs must be at most n_frames, got {s.n_kept_coeffs}")


PoseFormerV2.Settings = Settings
MODEL = PoseFormerV2
