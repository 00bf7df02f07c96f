"""SimpleBaseline (Martinez et al., ICCV 2017): a residual MLP that lifts each frame by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ModelSettings, setting
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter, Unit
from m2v_lib.models.layers.constants import Places
from m2v_lib.models.layers.exact import ExactLinear
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in

# B batch, T frames, J joints (I in, O out), N frames of all clips, D features

#: Joints read and predicted; as published without the nose, and without the root, which is 0.
JOINT_SETS = {
    "all": (range(17), range(17)),
    "published": ([j for j in range(17) if j != 9], range(1, 17)),
}


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("simplebaseline", "which model: a file of m2v_lib/models")
    n_frames: int = setting(1, "frames handed over at once; each is lifted by itself")
    joint_set: str = setting(
        "all", "17 joints in and out, or 16 in (no nose) and 16 out (no root)", "published"
    )
    dim: int = setting(1024, "width of the hidden layers")
    n_stages: int = setting(2, "residual blocks of two linear layers each")
    dropout: float = setting(0.5, "share of the activations dropped in training", below=1)

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"dim": 32},
        "small": {"dim": 1032},
        "compact": {"dim": 1016},
    }


class SimpleBaseline(Lifter):
    """Linear, then residual blocks of two linear layers, then Linear, frame by frame.

    The network works on z-scores. The statistics of both sides are buffers, 0 and 1 until
    `fit_statistics` sets them; outputs leave `forward` in the unit of the targets.
    """

    output = "all"
    reads_confidence = False
    n_joints_required = 17
    fixed_length = False
    not_in_authors_file = ("input_mean", "input_std", "output_mean", "output_std")
    published_sizes = {"published": {"joint_set": "published"}, "17 joints": {}}
    # Their rate falls by 4 % in 100,000 steps: 1 % an epoch of Human3.6M's 1,559,752 frames. The
    # port clips the gradient's norm, as here; the first program each weight matrix's instead.
    own_recipe = {
        "optim.algorithm": "adam-amsgrad",  # theirs is plain Adam
        "optim.lr": 1e-3,
        "optim.weight_decay": 0.0,
        "optim.schedule": "decay",
        "optim.lr_decay": 0.99,
        "optim.max_grad_norm": 1.0,
        "finetune.epochs": 200,
        "finetune.batch_size": 64,
        "finetune.flip_test": False,
        "data.flip_train": False,
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.validation": False,
        "finetune.select": "best-on-test",
    }

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        joints_in, joints_out = JOINT_SETS[settings.joint_set]
        self.joints_in, self.joints_out = Places(joints_in), Places(joints_out)
        place = {joint: i for i, joint in enumerate(joints_out, 1)}
        self.from_zero_and_out = Places([place.get(joint, 0) for joint in range(17)])
        n_in, n_out, dim = 2 * len(self.joints_in), 3 * len(self.joints_out), settings.dim

        self.w1 = ExactLinear(n_in, dim)
        self.batch_norm1 = BatchNorm(dim)
        self.linear_stages = nn.ModuleList(
            Stage(dim, settings.dropout) for _ in range(settings.n_stages)
        )
        self.w2 = ExactLinear(dim, n_out)
        self.dropout = nn.Dropout(settings.dropout)

        for name, value in unit_statistics(n_in, n_out).items():
            self.register_buffer(name, value)

        self.apply(init_kaiming)

    @property
    def receptive_field(self) -> int:
        return 1

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """2D (B, T, 17, 2) -> 3D (B, T, 17, 3); joints that are not predicted are 0."""
        z_BTO3 = self.z_scores(x_BTJC) * self.output_std + self.output_mean

        z_BTO3 = z_BTO3.unflatten(-1, (-1, 3)).to(x_BTJC.dtype)
        return self.from_zero_and_out.of(torch.cat([0 * z_BTO3[:, :, :1], z_BTO3], dim=2), 2)

    def z_scores(self, x_BTJC: Tensor) -> Tensor:
        """The network itself: z-scored 3D (B, T, 3 O) of the frames' 2D."""
        x_BTI2 = self.joints_in.of(self.check_input(x_BTJC), 2)
        x_ND = (x_BTI2.flatten(2).flatten(0, 1) - self.input_mean) / self.input_std

        h_ND = self.dropout(torch.relu(self.batch_norm1(self.w1(x_ND))))
        for stage in self.linear_stages:
            h_ND = h_ND + stage(h_ND)
        return self.w2(h_ND).unflatten(0, x_BTJC.shape[:2])

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the z-scores (their training)."""
        target_BTD = (
            self.joints_out.of(target_BTJ3, 2).flatten(2) - self.output_mean
        ) / self.output_std
        value = (self.z_scores(x_BTJC) - target_BTD).square().mean()
        return value, {"squared": value.detach()}

    def prepare(self, x_NJC: Tensor, pose_NJ3: Tensor) -> None:
        self.fit_statistics(x_NJC, pose_NJ3)

    @torch.no_grad()
    def fit_statistics(self, x_NJ2: Tensor, pose_NJ3: Tensor) -> None:
        """Take mean and population std of training frames; what never moves keeps a std of 1."""
        sides = {
            "input": self.joints_in.of(x_NJ2[..., :2], 1),
            "output": self.joints_out.of(pose_NJ3, 1),
        }
        for side, values in sides.items():
            std, mean = torch.std_mean(values.flatten(1), dim=0, correction=0)
            getattr(self, f"{side}_mean").copy_(mean)
            getattr(self, f"{side}_std").copy_(torch.where(std > 0, std, 1.0))

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        """Of the PyTorch port. Its statistics are another file: without them inputs and outputs are
        z-scores.
        """
        weights = weights_in(content, "state_dict", "w1.weight")
        dim, n_in = weights["w1.weight"].shape
        n_out = weights["w2.weight"].shape[0]

        sizes: dict[str, Any] = {
            "joint_set": _joint_set(n_in, n_out),
            "dim": dim,
            "n_stages": n_numbered(weights, "linear_stages."),
        }
        return Settings(**{**sizes, **settings}), weights

    @classmethod
    def authors_unit(cls, settings: ModelSettings) -> Unit:
        return "z-scores"


class Stage(nn.Module):
    """dropout(ReLU(BatchNorm(Linear))), twice: what a residual block adds."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, dim)
        self.batch_norm1 = BatchNorm(dim)
        self.w2 = nn.Linear(dim, dim)
        self.batch_norm2 = BatchNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_ND: Tensor) -> Tensor:
        y_ND = self.dropout(torch.relu(self.batch_norm1(self.w1(x_ND))))
        return self.dropout(torch.relu(self.batch_norm2(self.w2(y_ND))))


def unit_statistics(n_in: int, n_out: int) -> dict[str, Tensor]:
    """Mean 0 and spread 1 of all inputs and outputs."""
    return {
        "input_mean": torch.zeros(n_in),
        "input_std": torch.ones(n_in),
        "output_mean": torch.zeros(n_out),
        "output_std": torch.ones(n_out),
    }


def init_kaiming(module: nn.Module) -> None:
    """Normal weights of variance 2 / inputs in every linear layer, as in the port."""
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def _joint_set(n_in: int, n_out: int) -> str:
    def n_values(sets: tuple[Sequence[int], Sequence[int]]) -> tuple[int, int]:
        return 2 * len(sets[0]), 3 * len(sets[1])

    for name, sets in JOINT_SETS.items():
        if n_values(sets) == (n_in, n_out):
            return name
    raise InputError(f"no joint set with {n_in} inputs and {n_out} outputs")


SimpleBaseline.Settings = Settings
MODEL = SimpleBaseline
