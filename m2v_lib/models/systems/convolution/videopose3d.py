"""VideoPose3D (Pavllo et al., CVPR 2019): dilated convolutions over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.convolution import PointwiseConv
from m2v_lib.models.layers.exact import ExactPointwiseConv
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.temporal_conv import window_plan, written

# B batch, T frames in, V frames out (those with a full window), J joints, C channels


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("videopose3d", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames that one output frame depends on: product of the widths")
    filter_widths: str = setting("", "odd widths of the convolutions, as 3,5,3; empty: all threes")
    form: str = setting(
        "either",
        "dilated: any video; strided: one window; either: whichever fits; dense: full kernels",
        "dilated",
        "strided",
        "dense",
    )
    causal: bool = setting(False, "predict the newest frame of a window, not its centre")
    part: str = setting("pose", "pose, or the root's path in camera space", "trajectory")
    dim: int = setting(1024, "channels of every convolution")
    dropout: float = setting(0.25, "share of the activations dropped in training", below=1)

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"dim": 32},
        "small": {"dim": 488},
        "compact": {"dim": 984},
    }


class VideoPose3D(Lifter):
    """2D (B, T, 17, 2) -> 3D (B, V, 17, 3) of the V = T - n_frames + 1 frames with a full
    window.

    Where T is one window, V is 1: its centre or, causal, its last frame. The trajectory has one
    joint, (B, V, 1, 3).
    """

    output = "centre"
    reads_confidence = False
    root_in_figure = "as predicted"
    n_joints_required = 17
    fixed_length = False  # but in strided form
    published_sizes = {
        "243": {},
        "81": {"n_frames": 81},
        "27": {"n_frames": 27},
        "1": {"n_frames": 1, "filter_widths": "1,1,1"},
    }
    # BatchNorm's momentum falls from 0.1 to 0.001 over the epochs, as 0.1 * 100 ** (-e / E); no
    # setting says that. The default of their program is 60 epochs, the published run took 80.
    own_recipe = {
        "optim.algorithm": "adam-amsgrad",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.95,
        "finetune.epochs": 80,
        "finetune.batch_size": 1024,
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.validation": False,
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.plan = window_plan(settings.filter_widths, settings.n_frames, settings.causal)
        self.form = settings.form
        self.n_joints_out = 17 if settings.part == "pose" else 1
        dim = settings.dim

        self.expand_conv = nn.Conv1d(17 * 2, dim, self.plan.widths[0], bias=False)
        self.expand_bn = BatchNorm(dim)
        self.layers_conv = nn.ModuleList(self.convolutions(dim))
        self.layers_bn = nn.ModuleList(BatchNorm(dim) for _ in self.layers_conv)
        self.shrink = ExactPointwiseConv(dim, self.n_joints_out * 3)
        self.dropout = nn.Dropout(settings.dropout)

    def convolutions(self, dim: int) -> list[nn.Conv1d]:
        """Two a block: one over time, one within the frame."""
        convolutions = []
        for block in range(1, len(self.plan.widths)):
            width = self.plan.widths[block]
            kernel = 2 * self.plan.half_width(block) + 1 if self.form == "dense" else width
            convolutions.append(nn.Conv1d(dim, dim, kernel, bias=False))
            convolutions.append(PointwiseConv(dim, dim, bias=False))
        return convolutions

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """2D (B, T, 17, 2) -> 3D (B, V, 17, 3), or (B, V, 1, 3) of the trajectory."""
        x_BTJ2 = self.check_input(x_BTJC)
        self.plan.check_length(x_BTJ2.shape[1], exactly=self.form == "strided")
        one_window = x_BTJ2.shape[1] == self.plan.receptive_field
        strided = self.form == "strided" or (self.form == "either" and one_window)

        x_BCT = x_BTJ2.flatten(2).transpose(1, 2)
        expanded_BCT = self.plan.convolve(self.expand_conv, x_BCT, 0, strided)
        h_BCT = self.activated(self.expand_bn, expanded_BCT)
        for block in range(1, len(self.plan.widths)):
            h_BCT = self.plan.kept(h_BCT, block, strided) + self.block(h_BCT, block, strided)

        return self.shrink(h_BCT).transpose(1, 2).unflatten(-1, (self.n_joints_out, 3))

    def block(self, x_BCT: Tensor, block: int, strided: bool) -> Tensor:
        """What a residual block adds."""
        i = 2 * block - 2
        h_BCT = self.activated(self.layers_bn[i], self.over_time(x_BCT, block, strided))
        return self.activated(self.layers_bn[i + 1], self.layers_conv[i + 1](h_BCT))

    def over_time(self, x_BCT: Tensor, block: int, strided: bool) -> Tensor:
        conv = self.layers_conv[2 * block - 2]
        assert isinstance(conv, nn.Conv1d)
        if self.form == "dense":
            return conv(x_BCT)
        return self.plan.convolve(conv, x_BCT, block, strided)

    def activated(self, norm: nn.Module, x_BCT: Tensor) -> Tensor:
        return self.dropout(torch.relu(norm(x_BCT)))

    def output_frames(self, target_BTJ3: Tensor) -> Tensor:
        return self.plan.output_frames(target_BTJ3)

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean joint distance; of a trajectory (B, T, 1, 3), each frame by 1 / depth."""
        if self.n_joints_out == 17:
            return super().loss(x_BTJC, target_BTJ3)
        if target_BTJ3.shape[2] != 1:
            raise InputError(f"a trajectory is (B, T, 1, 3), got {tuple(target_BTJ3.shape)}")

        target_BV13 = self.output_frames(target_BTJ3)
        distance_BV1 = (self(x_BTJC) - target_BV13).norm(dim=-1)

        value = (distance_BV1 / target_BV13[..., 2]).mean()
        return value, {"trajectory": value.detach()}

    @classmethod
    def read_authors_file(
        cls, content: Any, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """Say `form="dense"`, `causal=True` and `part="trajectory"` (their second net) where so.

        Kernels such as 3, 7, 19 are those of two nets, and refused until `form` says which.
        """
        entry = "model_traj" if settings.get("part") == "trajectory" else "model_pos"
        weights = weights_in(content, entry, "expand_conv.weight")
        dim, n_channels, width = weights["expand_conv.weight"].shape
        if n_channels != 34:
            raise InputError(
                f"17 joints of x and y are read, the file's net has {n_channels} inputs"
            )

        kernels = [
            weights[f"layers_conv.{i}.weight"].shape[2]
            for i in range(0, n_numbered(weights, "layers_conv."), 2)
        ]
        widths, dense = [width, *kernels], dense_widths(width, kernels)
        if settings.get("form") == "dense":
            if not dense:
                raise InputError(f"kernels {widths} are no dense net's")
            widths = dense
        elif "form" not in settings and dense not in ([], widths):
            raise InputError(
                f"kernels {widths} are a dense net's of widths {dense}, or another's of their own "
                f"widths: form must be said, dense or either"
            )

        sizes = {"n_frames": math.prod(widths), "filter_widths": written(widths), "dim": dim}
        return Settings(**{**sizes, **settings}), weights


def dense_widths(first: int, kernels: list[int]) -> list[int]:
    """Widths of the dense net with these kernels, [] where none has them: a kernel covers all
    frames between the taps of the dilated one.
    """
    widths = [first]
    for kernel in kernels:
        width, rest = divmod(kernel - 1, math.prod(widths))
        if rest or width % 2:
            return []
        widths.append(width + 1)

    return widths


VideoPose3D.Settings = Settings
MODEL = VideoPose3D
