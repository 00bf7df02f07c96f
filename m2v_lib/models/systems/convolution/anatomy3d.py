"""Anatomy3D (Chen et al., TCSVT 2021): bone directions of a frame, bone lengths of a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.bones import BONES, PAIRS, bone_loss, bone_vectors, pooled, unit
from m2v_lib.models.layers.convolution import PointwiseConv
from m2v_lib.models.layers.exact import ExactLinear, ExactPointwiseConv
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.models.layers.temporal_conv import window_plan

# B batch, T frames in, V frames out, R frames to read lengths from, J joints, C channels, S
# bones D directions: 3 S numbers, bone by bone

TEMPERATURE = 10.0
N_CAUSAL = 50  # frames behind the newest that a causal net reads lengths from


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("anatomy3d", "which model: a file of m2v_lib/models")
    n_frames: int = setting(
        243, "frames that a frame's bone directions depend on: a power of 3", least=9
    )
    causal: bool = setting(False, "predict the newest frame of a window, not its centre")
    dim: int = setting(1024, "channels of every layer")
    dropout: float = setting(0.25, "share of the activations dropped in training", below=1)
    length_frames: str = setting(
        "inner", "bone lengths from the frames that come out, or from all that are given", "all"
    )
    n_random: int = setting(50, "frames of a window that lengths are learnt from")
    w_direction: float = setting(0.3, "loss weight of the bones' directions")
    w_length: float = setting(
        100.0, "loss weight of the squared bone lengths, as published for metres"
    )
    w_shift: float = setting(2.0, "loss weight of the vectors between joints that no bone joins")

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"dim": 32, "length_frames": "all"},
        "small": {"dim": 152, "length_frames": "all"},
        "compact": {"dim": 340, "length_frames": "all"},
    }


class Anatomy3D(Lifter):
    """2D with visibility (B, T, 17, 3) -> 3D (B, V, 17, 3) of the T - n_frames + 1 full windows.

    Lengths are one set for all frames given: a frame's pose depends on all of them, so a video
    at once is not its windows one by one. The pose is learnt from directions and lengths, not
    built from them.
    """

    output = "centre"
    reads_confidence = True  # their visibility score
    root_in_figure = "as predicted"
    n_joints_required = 17
    fixed_length = False
    published_sizes = {"243": {}, "81": {"n_frames": 81}, "27": {"n_frames": 27}}
    # BatchNorm's momentum falls as VideoPose3D's, but in expand_bn and layers_bn alone. Lengths
    # are also learnt from lengthened copies of other frames of the video, which takes its
    # camera: `training_outputs` reads them, `loss` alone has none and draws frames from the
    # window.
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

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.plan = window_plan("", settings.n_frames, settings.causal)
        self.dropout = nn.Dropout(settings.dropout)
        self.make_length_net(settings.dim)
        self.make_direction_nets(settings.dim)
        self.make_heads(settings.dim)

    def make_length_net(self, dim: int) -> None:
        """An MLP of each frame, and the attention that weighs frames."""
        n_linear = 2 * len(self.plan.widths)
        sizes = [17 * 2, *[dim] * (n_linear - 1), 17 * 3]
        self.layers_convbone = nn.ModuleList(
            ExactLinear(sizes[i], sizes[i + 1]) for i in range(n_linear)
        )
        self.layers_bnbone = nn.ModuleList(BatchNorm(dim) for _ in range(n_linear - 1))
        self.boneatt = ExactLinear(17 * 3 * 2, len(BONES))

    def make_direction_nets(self, dim: int) -> None:
        """Two nets of residual blocks; the second reads what the first saw once more."""
        first, *others = self.plan.widths
        self.expand_conv = nn.Conv1d(17 * 2, dim, first, bias=False)
        self.expand_convscore = nn.Conv1d(17, dim, first, bias=False)
        self.expand_bn = BatchNorm(dim)
        self.expand_bnscore = BatchNorm(dim)

        self.layers_conv, self.layers_conv1 = nn.ModuleList(), nn.ModuleList()
        for block, width in enumerate(others):
            n_in = dim if block else 2 * dim
            self.layers_conv.append(nn.Conv1d(n_in, dim, width, bias=False))
            self.layers_conv.append(PointwiseConv(dim, dim, bias=False))
            self.layers_conv1.append(nn.Conv1d(2 * dim, dim, width, bias=False))
            self.layers_conv1.append(PointwiseConv(dim, dim, bias=False))

        self.layers_bn = nn.ModuleList(BatchNorm(dim) for _ in self.layers_conv)
        self.layers_bn1 = nn.ModuleList(BatchNorm(dim) for _ in self.layers_conv1)

    def make_heads(self, dim: int) -> None:
        """Joints from directions and lengths; those numbered 1 and 2 serve training alone."""
        n_directions = 3 * len(BONES)
        for number, n_outputs in {"": 17 * 3, "_1": 3 * len(PAIRS), "_2": 3 * len(PAIRS)}.items():
            self.add_module(f"lengthlinear{number}", ExactLinear(len(BONES), dim))
            self.add_module(f"directlinear{number}", ExactPointwiseConv(n_directions, dim))
            name = f"shrink_js{number}" if number else "shrink"
            self.add_module(name, ExactPointwiseConv(dim, n_outputs))
        self.shrink_direct_1 = ExactPointwiseConv(dim, n_directions)
        self.shrink_direct_2 = ExactPointwiseConv(dim, n_directions)

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """Poses (B, V, 17, 3) of all frames with a full window."""
        x_BTJC = self.check_input(x_BTJC)
        n_frames = x_BTJC.shape[1]
        self.plan.check_length(n_frames, exactly=False)
        strided = n_frames == self.plan.receptive_field

        seen, feature_BCV = self.first_net(x_BTJC, strided)

        directions = []
        for v in range(feature_BCV.shape[2]):
            looked_up = seen if strided else self.of_window(seen, v)
            directions.append(self.second_net(feature_BCV[:, :, v : v + 1], looked_up))

        length_BVS = self.video_lengths(x_BTJC[..., :2])
        return self.joints("", torch.cat(directions, dim=2), length_BVS, 17)

    def first_net(self, x_BTJC: Tensor, strided: bool) -> tuple[list[Tensor], Tensor]:
        """What every block put out, for the second net, and the last of it (B, C, V)."""
        xy_BCT = x_BTJC[..., :2].flatten(2).transpose(1, 2)
        score_BCT = x_BTJC[..., 2].transpose(1, 2)
        xy_BCT = self.plan.convolve(self.expand_conv, xy_BCT, 0, strided)
        score_BCT = self.plan.convolve(self.expand_convscore, score_BCT, 0, strided)
        xy_BCT = self.activated(self.expand_bn, xy_BCT)
        score_BCT = self.activated(self.expand_bnscore, score_BCT)

        seen, n_channels = [xy_BCT], xy_BCT.shape[1]
        h_BCT = torch.cat([xy_BCT, score_BCT * xy_BCT], dim=1)

        for block in range(1, len(self.plan.widths)):
            passed_BCT = self.plan.kept(h_BCT[:, :n_channels], block, strided)
            h_BCT = passed_BCT + self.block(self.layers_conv, self.layers_bn, h_BCT, block, strided)
            seen.append(h_BCT)

        return seen[:-1], h_BCT

    def of_window(self, seen: Sequence[Tensor], v: int) -> list[Tensor]:
        """Of a video's outputs those that the v-th window's strided net would have had."""
        looked_up = []
        for block, h_BCT in enumerate(seen, start=1):
            step = self.plan.dilation(block)
            looked_up.append(h_BCT[:, :, v : v + self.plan.receptive_field : step])
        return looked_up

    def second_net(self, feature_BC1: Tensor, seen: Sequence[Tensor]) -> Tensor:
        """Unit bone directions (B, D, 1) of one window."""
        h_BCT = feature_BC1.expand(-1, -1, seen[0].shape[2])
        for block, seen_BCT in enumerate(seen, start=1):
            both_BCT = torch.cat([h_BCT, seen_BCT], dim=1)
            branch_BCT = self.block(self.layers_conv1, self.layers_bn1, both_BCT, block, True)
            h_BCT = self.plan.kept(h_BCT, block, True) + branch_BCT
        return unit(self.shrink_direct_2(h_BCT))

    def block(
        self, convs: nn.ModuleList, norms: nn.ModuleList, x_BCT: Tensor, block: int, strided: bool
    ) -> Tensor:
        """What a residual block adds."""
        over_time, within_frame = convs[2 * block - 2], convs[2 * block - 1]
        assert isinstance(over_time, nn.Conv1d)
        h_BCT = self.plan.convolve(over_time, x_BCT, block, strided)
        h_BCT = within_frame(self.activated(norms[2 * block - 2], h_BCT))
        return self.activated(norms[2 * block - 1], h_BCT)

    def activated(self, norm: nn.Module, x: Tensor) -> Tensor:
        return self.dropout(torch.relu(norm(x)))

    def frame_poses(self, x_BRJ2: Tensor) -> Tensor:
        """A pose of each frame by itself (B, R, 17, 3): what lengths are read from."""
        h_NC = x_BRJ2.flatten(2).flatten(0, 1)
        *hidden, last = self.layers_convbone
        h_NC = self.activated(self.layers_bnbone[0], hidden[0](h_NC))

        for i in range(1, len(hidden), 2):
            inner_NC = self.activated(self.layers_bnbone[i], hidden[i](h_NC))
            h_NC = h_NC + self.activated(self.layers_bnbone[i + 1], hidden[i + 1](inner_NC))
        return last(h_NC).reshape(*x_BRJ2.shape[:2], 17, 3)

    def weighed_lengths(self, pose_BRJ3: Tensor) -> tuple[Tensor, Tensor]:
        """Each frame's bone lengths and the logits of their weights, both (B, R, S)."""
        pose_BRC = pose_BRJ3.flatten(2)
        logits_BRS = TEMPERATURE * self.boneatt(torch.cat([pose_BRC, pose_BRC.abs()], dim=-1))
        return bone_vectors(pose_BRJ3).norm(dim=-1), logits_BRS

    def video_lengths(self, x_BTJ2: Tensor) -> Tensor:
        """Bone lengths of all frames together (B, 1, S) or, causal, up to each frame (B, V, S).

        The released causal net draws 50 of the frames before at random; here it is the newest
        50, so that an evaluation can be repeated.
        """
        n_out = x_BTJ2.shape[1] - self.plan.receptive_field + 1
        if self.settings.length_frames == "inner":
            x_BTJ2 = self.plan.output_frames(x_BTJ2)
        lengths_BRS, logits_BRS = self.weighed_lengths(self.frame_poses(x_BTJ2))
        if not self.plan.causal:
            return pooled(lengths_BRS, logits_BRS)[:, None]

        up_to = range(lengths_BRS.shape[1] - n_out + 1, lengths_BRS.shape[1] + 1)
        recent = [slice(max(0, end - N_CAUSAL), end) for end in up_to]
        return torch.stack([pooled(lengths_BRS[:, r], logits_BRS[:, r]) for r in recent], dim=1)

    def joints(self, number: str, direction_BDV: Tensor, length_BVS: Tensor, n_out: int) -> Tensor:
        """`n_out` points or vectors (B, V, n_out, 3) by linear layers of directions and lengths."""
        length_BCV = self.get_submodule(f"lengthlinear{number}")(length_BVS).transpose(1, 2)
        feature_BCV = self.get_submodule(f"directlinear{number}")(direction_BDV) * length_BCV
        shrink = self.get_submodule(f"shrink_js{number}" if number else "shrink")
        return shrink(feature_BCV).transpose(1, 2).unflatten(-1, (n_out, 3))

    def output_frames(self, target_BTJ3: Tensor) -> Tensor:
        return self.plan.output_frames(target_BTJ3)

    def training_outputs(
        self, x_BTJC: Tensor, rand_BRJ2: Tensor, aug_BRJ2: Tensor | None = None
    ) -> dict[str, Tensor]:
        """All that is trained, of one window and the 2D of R frames, true and lengthened.

        Gradients are cut between the parts: the second net does not train the first, nor the
        pose what directions and lengths come from.
        """
        x_BTJC = self.check_input(x_BTJC)
        self.plan.check_length(x_BTJC.shape[1], exactly=True)
        seen, feature_BC1 = self.first_net(x_BTJC, strided=True)
        first_BD1 = unit(self.shrink_direct_1(feature_BC1))
        second_BD1 = self.second_net(feature_BC1.detach(), [h.detach() for h in seen])

        rand_pose = self.frame_poses(rand_BRJ2)
        length = pooled(*self.weighed_lengths(rand_pose.detach()))
        fixed_B1S = length.detach()[:, None]
        outputs = {
            "pose": self.joints("", second_BD1.detach(), fixed_B1S, 17),
            "length": length,
            "rand_pose": rand_pose,
        }

        if aug_BRJ2 is not None:
            aug_pose = self.frame_poses(aug_BRJ2)
            outputs["length_aug"] = pooled(*self.weighed_lengths(aug_pose.detach()))
            outputs["aug_pose"] = aug_pose

        directions = {"direction_2": second_BD1, "direction_1": first_BD1}
        shifts = {
            "shift_2": self.joints("_2", second_BD1, fixed_B1S, len(PAIRS)),
            "shift_1": self.joints("_1", first_BD1, fixed_B1S, len(PAIRS)),
        }
        return {**outputs, **directions, **shifts}

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Of one window; lengths are learnt from frames drawn from it, without replacement."""
        B, T = x_BTJC.shape[:2]
        n_drawn = min(self.settings.n_random, T)
        drawn_BR = torch.rand(B, T, device=x_BTJC.device).argsort(dim=1)[:, :n_drawn]
        clip_B1 = torch.arange(B, device=x_BTJC.device)[:, None]

        outputs = self.training_outputs(x_BTJC, x_BTJC[clip_B1, drawn_BR, :, :2])
        parts = bone_loss(
            outputs,
            target_BTJ3,
            self.output_frames(target_BTJ3),
            target_BTJ3[clip_B1, drawn_BR],
            r=0,  # in a random order already
            w_length=self.settings.w_length,
            w_direction=self.settings.w_direction,
            w_shift=self.settings.w_shift,
        )

        value = torch.stack(list(parts.values())).sum()
        return value, {name: part.detach() for name, part in parts.items()}

    @classmethod
    def read_authors_file(
        cls, content: Any, **settings: Any
    ) -> tuple[ModelSettings, dict[str, Tensor]]:
        """Say `causal=True` where so."""
        weights = weights_in(content, "model_pos", "expand_convscore.weight")
        n_widths = n_numbered(weights, "layers_convbone.") // 2
        sizes = {"n_frames": 3**n_widths, "dim": weights["expand_conv.weight"].shape[0]}
        return Settings(**{**sizes, **settings}), weights


Anatomy3D.Settings = Settings
MODEL = Anatomy3D
