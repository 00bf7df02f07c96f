"""PAA (Xue et al., TIP 2022): body parts attend over time and to a dictionary of poses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.exact import ExactLinear
from m2v_lib.models.layers.part_attention import WINDOW, DictionaryLayer, ShiftedWindows
from m2v_lib.models.layers.state_dicts import weights_in
from m2v_lib.models.layers.transformer import NORM_EPS, Block

# B batch, T frames (F where fewer are left), J joints, C features of a joint, D of all, S poses


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("paa", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames the model reads: 9, 27, 81, 243 or 729; one comes out")
    bias: str = setting("full", "attention bias of two frames, or of their distance alone", "table")
    dim: int = setting(32, "features of a joint")
    n_heads: int = setting(8, "attention heads")
    n_poses: int = setting(1024, "poses of the dictionary")
    dictionary: str = setting(
        "learned", "poses learnt as weights, or given ones that training renews", "poses"
    )

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"n_poses": 16, "dim": 4, "n_heads": 2},
        "small": {"n_poses": 184, "dim": 4, "n_heads": 2},
        "compact": {"n_poses": 80, "dim": 6, "n_heads": 2},
    }


class PAA(Lifter):
    """2D (B, T, 17, 2) -> 3D of the centre frame (B, 1, 17, 3).

    Every part attends in shifted windows of nine frames; means of three frames shorten the
    window to nine. Then it asks a dictionary of poses, and the joints of the frames' mean attend
    to each other. What a frame finds in the dictionary depends on all frames of its window.
    """

    output = "centre"
    reads_confidence = False
    root_in_figure = "as predicted"
    n_joints_required = 17
    tensors_beside_file = ("dictionary",)
    published_sizes = {
        "243": {},
        "243 ground truth": {"bias": "table"},
        "81": {"n_frames": 81, "bias": "table"},
    }
    # No training code is public: this is PoseFormer's recipe on detected 2D (4e-4 on true 2D),
    # our choice. Only the loss, of the centre frame, and the dictionary's renewal are the
    # authors'.
    own_recipe = {
        "model.dictionary": "poses",
        "optim.algorithm": "adamw",
        "optim.lr": 4e-5,
        "optim.weight_decay": 0.1,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.99,
        "finetune.epochs": 200,
        "finetune.batch_size": 512,
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.validation": False,
    }

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.n_means = n_means(settings.n_frames)
        C, n_heads = settings.dim, settings.n_heads

        self.patch_to_embedding = ExactLinear(2, C)
        self.blocks = nn.ModuleList(ShiftedWindows(C, n_heads, settings.bias) for _ in range(2))
        self.Temporal_norm = nn.LayerNorm(17 * C, eps=NORM_EPS)

        is_learned = settings.dictionary == "learned"
        self.seed = nn.Parameter(torch.empty(settings.n_poses, 17, 3), requires_grad=is_learned)
        nn.init.trunc_normal_(self.seed, mean=0.02)
        self.seed_embed = ExactLinear(3, C)
        self.ext_blocks = nn.ModuleList(DictionaryLayer(C, n_heads) for _ in range(2))
        self.Ext_norm = nn.LayerNorm(17 * C, eps=NORM_EPS)

        self.weighted_mean = nn.Conv1d(WINDOW, 1, 1)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, 17, C))
        self.Spatial_blocks = nn.ModuleList(Block(C, n_heads, 2) for _ in range(2))
        self.Spatial_norm = nn.LayerNorm(C, eps=NORM_EPS)
        self.head = nn.Sequential(nn.LayerNorm(17 * C, eps=1e-5), ExactLinear(17 * C, 17 * 3))

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """The centre frame's pose (B, 1, 17, 3)."""
        return self.lift(self.check_input(x_BTJC))[0]

    def lift(self, x_BTJ2: Tensor) -> tuple[Tensor, Tensor]:
        """The pose (B, 1, 17, 3), and how much each pose of the dictionary was attended to (S,)."""
        x_BFD = self.patch_to_embedding(x_BTJ2).flatten(2)
        for i, windows in enumerate(self.blocks):
            x_BFD = shortened(windows(x_BFD), i < self.n_means)

        x_BFD = self.Temporal_norm(x_BFD)

        # A copy: `renew` changes the poses after this and before the gradients are made.
        poses_SJ3 = self.seed if self.seed.requires_grad else self.seed.clone()
        poses_SD = self.seed_embed(poses_SJ3).flatten(1)

        attended = []
        for i, layer in enumerate(self.ext_blocks, start=len(self.blocks)):
            x_BFD, attended_S = layer(x_BFD, poses_SD)
            x_BFD = shortened(x_BFD, i < self.n_means)
            attended.append(attended_S)

        x_B1D = self.weighted_mean(self.Ext_norm(x_BFD))
        return self.head(self.joints_among_each_other(x_B1D)).unflatten(-1, (17, 3)), (
            torch.stack(attended).mean(dim=0)
        )

    def joints_among_each_other(self, x_B1D: Tensor) -> Tensor:
        """Attention of the joints of one frame, (B, 1, D) -> (B, 1, D)."""
        x_BJC = x_B1D[:, 0].unflatten(-1, (17, -1)) + self.Spatial_pos_embed
        for block in self.Spatial_blocks:
            x_BJC = block(x_BJC)
        return self.Spatial_norm(x_BJC).flatten(1)[:, None]

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean joint distance of the centre frame. A dictionary of poses is renewed from it."""
        pose_B1J3, attended_S = self.lift(self.check_input(x_BTJC))
        target_B1J3 = self.output_frames(target_BTJ3)
        value = (pose_B1J3 - target_B1J3).norm(dim=-1).mean()

        if self.settings.dictionary == "poses" and self.training:
            self.renew(attended_S, target_B1J3[:, 0])
        return value, {"mpjpe": value.detach()}

    @torch.no_grad()
    def renew(self, attended_S: Tensor, poses_BJ3: Tensor) -> None:
        """The hundredth of the dictionary (one at least) that was attended to least becomes poses of
        the batch.
        """
        n = min(max(1, len(attended_S) // 100), len(poses_BJ3))
        least = attended_S.argsort()[:n]
        self.seed[least] = poses_BJ3[:n].to(self.seed.dtype)

    def prepare(self, x_NJC: Tensor, pose_NJ3: Tensor) -> None:
        """A dictionary of poses: frames spread evenly over the training data."""
        if self.settings.dictionary == "poses":
            spread_S = torch.linspace(0, len(pose_NJ3) - 1, len(self.seed), dtype=torch.float64)
            self.set_dictionary(pose_NJ3[spread_S.long().to(pose_NJ3.device)])

    @torch.no_grad()
    def set_dictionary(self, poses_SJ3: Tensor) -> None:
        """Poses of the training data, root-relative: theirs are 16 runs of 64 frames."""
        self.seed.copy_(poses_SJ3)

    @classmethod
    def read_authors_file(
        cls, content: Any, *, dictionary: Tensor | None = None, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """Say `n_frames` where not 243: no tensor tells. The `dictionary`, poses (S, 17, 3) in
        metres with the root at 0, is for a file without `seed`, and for no other.
        """
        first = "blocks.0.attn.attn.0.attn.B"
        weights = weights_in(content, "model_pos", first)
        if dictionary is not None:
            if "seed" in weights:
                raise InputError("the file has a dictionary of its own, so none can be given")
            if dictionary.shape[1:] != (17, 3):
                raise InputError(f"dictionary must be (S, 17, 3), got {tuple(dictionary.shape)}")
            weights["seed"] = dictionary
        if "seed" not in weights:
            raise InputError("no dictionary in the file: give one, dictionary=poses (1024, 17, 3)")

        sizes = {
            "bias": "full" if weights[first].ndim == 4 else "table",
            "dim": weights["patch_to_embedding.weight"].shape[0],
            "n_poses": weights["seed"].shape[0],
            "dictionary": "poses",
        }
        return Settings(**{**sizes, **settings}), weights


def n_means(n_frames: int) -> int:
    """How many of the four layers shorten the window by 3, so that nine frames are left."""
    for n in range(5):
        if n_frames == WINDOW * 3**n:
            return n
    raise InputError(f"paa reads 9, 27, 81, 243 or 729 frames, not {n_frames}")


def shortened(x_BFD: Tensor, by_three: bool) -> Tensor:
    return x_BFD.unflatten(1, (-1, 3)).mean(dim=2) if by_three else x_BFD


PAA.Settings = Settings
MODEL = PAA
