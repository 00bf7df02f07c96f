"""SRNet (Zeng et al., ECCV 2020): temporal convolutions by body part, joined by a weak signal."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.constants import Places
from m2v_lib.models.layers.convolution import convolve
from m2v_lib.models.layers.exact import full_precision
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.temporal_conv import window_plan, written

# B batch, T frames in, V frames out, J joints, C channels, N taps of a kernel, O channels of
# others

#: Where each part begins among the joints 0..16; all but the first get the root in front.
PART_STARTS = {"5": (0, 4, 7, 11, 14), "3": (0, 7, 11), "2": (0, 8)}


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("srnet", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames that one output frame depends on: product of the widths")
    filter_widths: str = setting("", "equal odd widths of the convolutions; empty: all threes")
    form: str = setting(
        "either",
        "dilated: any video; strided: one window; either: whichever fits",
        "dilated",
        "strided",
    )
    causal: bool = setting(False, "predict the newest frame of a window, not its centre")
    parts: str = setting("5", "body parts with convolutions of their own", "3", "2")
    recombine: str = setting(
        "multiply", "how a part's input takes the signal of the others", "add", "concat"
    )
    dim: int = setting(1024, "channels of every layer, of all parts together", least=6)
    dropout: float = setting(0.0, "share of the activations dropped in training", below=1)

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"dim": 64},
        "small": {"dim": 1096},
        "compact": {"dim": 2208},
    }


class SRNet(Lifter):
    """2D (B, T, 17, 2) -> 3D (B, V, 17, 3) of the V = T - n_frames + 1 frames with a full
    window.

    VideoPose3D's net with every convolution split by body part; what a part learns of the others
    is one number a tap.
    """

    output = "centre"
    reads_confidence = False
    root_in_figure = "as predicted"
    n_joints_required = 17
    fixed_length = False  # but in strided form
    published_sizes = {
        "243": {},
        "1": {"n_frames": 1, "filter_widths": "1,1,1"},
        "1 add": {"n_frames": 1, "filter_widths": "1,1,1,1", "recombine": "add"},
        "1 concat": {"n_frames": 1, "filter_widths": "1,1,1,1", "recombine": "concat"},
        "243 3 parts": {"parts": "3"},
        "243 2 parts": {"parts": "2"},
    }
    # BatchNorm's momentum falls as VideoPose3D's, but that of the signals stays 0.1.
    own_recipe = {
        "optim.algorithm": "adam-amsgrad",
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.95,
        "finetune.epochs": 60,
        "finetune.batch_size": 1024,
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.validation": False,
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.plan = window_plan(settings.filter_widths, settings.n_frames, settings.causal)
        width = self.plan.widths[0]
        if set(self.plan.widths) != {width}:
            raise InputError(f"srnet: filter widths must be equal, got {settings.filter_widths}")

        self.form = settings.form
        self.joints = joints_of_parts(settings.parts)

        read = [2 * len(part) for part in self.joints]
        hidden = shares(read, settings.dim)
        needed = [3 * len(part) for part in self.joints]
        written_out = [*needed[:-1], needed[-1] + 1]  # one more than is used, as in the files
        self.by_part = Places([joint for part in self.joints for joint in part])
        self.kept_outputs = Places(kept_outputs(needed))

        def layer(sizes_in: list[int], sizes_out: list[int], n_taps: int) -> PartConv:
            return PartConv(sizes_in, sizes_out, n_taps, settings.recombine)

        self.expand_conv = layer(read, hidden, width)
        self.expand_bn = BatchNorm(settings.dim)
        taps = [width, 1] * self.plan.n_blocks
        self.layers_conv = nn.ModuleList(layer(hidden, hidden, n_taps) for n_taps in taps)
        self.layers_bn = nn.ModuleList(BatchNorm(settings.dim) for _ in taps)
        self.final_layer = layer(hidden, written_out, 1)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """Poses (B, V, 17, 3) of all frames with a full window."""
        x_BTJ2 = self.check_input(x_BTJC)
        self.plan.check_length(x_BTJ2.shape[1], exactly=self.form == "strided")
        one_window = x_BTJ2.shape[1] == self.plan.receptive_field
        strided = self.form == "strided" or (self.form == "either" and one_window)

        h_BCT = self.by_part.of(x_BTJ2, 2).flatten(2).transpose(1, 2)
        with full_precision(h_BCT):  # reads coordinates
            h_BCT = self.expand_conv(h_BCT, *self.steps(0, strided))

        h_BCT = self.activated(self.expand_bn, h_BCT)
        for block in range(1, len(self.plan.widths)):
            h_BCT = self.plan.kept(h_BCT, block, strided) + self.block(h_BCT, block, strided)

        with full_precision(h_BCT):
            y_BCV = self.final_layer(h_BCT.to(x_BTJ2.dtype))

        y_BCV = self.kept_outputs.of(y_BCV, 1)
        return y_BCV.transpose(1, 2).unflatten(-1, (17, 3))

    def block(self, x_BCT: Tensor, block: int, strided: bool) -> Tensor:
        """What a residual block adds."""
        i = 2 * block - 2
        h_BCT = self.layers_conv[i](x_BCT, *self.steps(block, strided))
        h_BCT = self.layers_conv[i + 1](self.activated(self.layers_bn[i], h_BCT))
        return self.activated(self.layers_bn[i + 1], h_BCT)

    def steps(self, block: int, strided: bool) -> tuple[int, int]:
        """Frames between outputs, frames between taps."""
        return (self.plan.widths[block], 1) if strided else (1, self.plan.dilation(block))

    def activated(self, norm: nn.Module, x_BCT: Tensor) -> Tensor:
        return self.dropout(F.leaky_relu(norm(x_BCT), 0.01))

    def output_frames(self, target_BTJ3: Tensor) -> Tensor:
        return self.plan.output_frames(target_BTJ3)

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean absolute error of all coordinates."""
        value = (self(x_BTJC) - self.output_frames(target_BTJ3)).abs().mean()
        return value, {"absolute": value.detach()}

    @classmethod
    def read_authors_file(
        cls, content: Any, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """Say `causal=True` where so."""
        weights = weights_in(content, "model_pos", "expand_conv.group_conv.0.weight")
        n_parts = n_numbered(weights, "expand_conv.group_conv.")
        _, n_channels, width = weights["expand_conv.group_conv.0.weight"].shape
        widths = [width] * (n_numbered(weights, "layers_conv.") // 2 + 1)

        # whose signal is one channel more
        recombine = "add" if n_channels % 2 == 0 else "concat"
        if "expand_conv.get_part_info.layers_bn.0.weight" in weights:
            recombine = "multiply"

        sizes = {
            "n_frames": width ** len(widths),
            "filter_widths": written(widths),
            "parts": str(n_parts),
            "recombine": recombine,
            "dim": weights["expand_bn.weight"].shape[0],
        }
        return Settings(**{**sizes, **settings}), weights


class PartConv(nn.Module):
    """A convolution of each part's channels, which the signal of all others enters.

    Of the N taps of a kernel each has its own number of the signal. A module's convolutions only
    hold the weights.
    """

    def __init__(
        self, sizes_in: list[int], sizes_out: list[int], n_taps: int, recombine: str
    ) -> None:
        super().__init__()
        ends = [sum(sizes_in[: g + 1]) for g in range(len(sizes_in))]
        self.ranges = list(pairwise([0, *ends]))
        self.recombine = recombine
        self.n_taps = n_taps

        n_more = 1 if recombine == "concat" else 0
        self.group_conv = nn.ModuleList(
            nn.Conv1d(n_in + n_more, n_out, n_taps, bias=False)
            for n_in, n_out in zip(sizes_in, sizes_out, strict=True)
        )
        others = [sum(sizes_in) - n_in for n_in in sizes_in]
        self.get_part_info = PartInfo(others, n_taps, normed=recombine == "multiply")

    def forward(self, x_BCT: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
        """(B, C, T) -> (B, C', V) for V places of the kernel."""
        outputs = []
        for part, (start, end) in enumerate(self.ranges):
            others_BOT = torch.cat([x_BCT[:, :start], x_BCT[:, end:]], dim=1)
            signal_BNV = self.get_part_info(part, others_BOT, stride, dilation)
            taps_BCNV = self.taps(x_BCT[:, start:end], signal_BNV.shape[2], stride, dilation)
            joined_BCNV = self.joined(taps_BCNV, signal_BNV)

            weight_OCN = self.group_conv[part].weight
            assert isinstance(weight_OCN, Tensor)
            weight_OC1 = weight_OCN.flatten(1)[..., None]
            outputs.append(convolve(joined_BCNV.flatten(1, 2), weight_OC1, None))

        return torch.cat(outputs, dim=1)

    def taps(self, x_BCT: Tensor, n_places: int, stride: int, dilation: int) -> Tensor:
        """What each tap sees at each place: (B, C, N, V)."""
        reach = stride * (n_places - 1) + 1
        starts = [dilation * n for n in range(self.n_taps)]
        return torch.stack([x_BCT[:, :, s : s + reach : stride] for s in starts], dim=2)

    def joined(self, taps_BCNV: Tensor, signal_BNV: Tensor) -> Tensor:
        """A part's input with the signal in it."""
        if self.recombine == "multiply":
            return taps_BCNV * signal_BNV.sigmoid()[:, None]

        signal_BNV = F.leaky_relu(signal_BNV, 0.01)
        if self.recombine == "add":
            return taps_BCNV + signal_BNV[:, None]

        # The released code reads the memory of (N, V) as (V, N): right for one tap or place
        # only, so a net trained strided evaluates differently when dilated. Kept for parity.
        B, N, V = signal_BNV.shape
        channel_B1NV = signal_BNV.reshape(B, 1, V, N).transpose(2, 3)
        return torch.cat([taps_BCNV, channel_B1NV], dim=1)


class PartInfo(nn.Module):
    """The signal of all other parts' channels: one number for each of N taps, at each place."""

    def __init__(self, n_others: list[int], n_taps: int, normed: bool) -> None:
        super().__init__()
        self.m_conv = nn.ModuleList(nn.Conv1d(n, n_taps, n_taps) for n in n_others)
        self.layers_bn = nn.ModuleList(BatchNorm(n_taps) for _ in n_others if normed)
        for conv in self.m_conv:
            assert isinstance(conv, nn.Conv1d)
            nn.init.zeros_(conv.weight)

    def forward(self, part: int, others_BOT: Tensor, stride: int, dilation: int) -> Tensor:
        conv = self.m_conv[part]
        assert isinstance(conv, nn.Conv1d)
        form = {"stride": stride, "dilation": dilation}
        z_BNV = convolve(others_BOT, conv.weight, conv.bias, **form)
        return self.layers_bn[part](z_BNV) if self.layers_bn else z_BNV


def joints_of_parts(parts: str) -> list[list[int]]:
    """Joints of each part; all parts see the root."""
    starts = PART_STARTS[parts]
    alone = [list(range(start, end)) for start, end in pairwise([*starts, 17])]
    return [alone[0], *([0, *part] for part in alone[1:])]


def shares(sizes: list[int], total: int) -> list[int]:
    """`total` channels in proportion to `sizes`, rounded down; the last part gets the rest."""
    first = [size * total // sum(sizes) for size in sizes[:-1]]
    return [*first, total - sum(first)]


def kept_outputs(needed: list[int]) -> list[int]:
    """Channels that are the 17 joints: no copies of the root, and not the surplus last one."""
    kept, start = [], 0
    for part, size in enumerate(needed):
        kept += list(range(start + (3 if part else 0), start + size))
        start += size
    return kept


SRNet.Settings = Settings
MODEL = SRNet
