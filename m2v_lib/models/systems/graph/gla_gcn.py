"""GLA-GCN (Yu et al., ICCV 2023): graph convolutions over joints, strided convolutions over
time.

The graph is the skeleton's plus a learnt one plus one found in each window. Written from a
description of the published system, whose code has no licence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ConfigError, ModelSettings, setting
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.constants import Constant
from m2v_lib.models.layers.convolution import PointwiseConv2d
from m2v_lib.models.layers.exact import full_precision
from m2v_lib.models.layers.norm import BatchNorm
from m2v_lib.models.layers.state_dicts import n_numbered, weights_in
from m2v_lib.skeletons.h36m import BONES, N_JOINTS

# B batch, T frames, J joints, C channels; S steps that each take every third frame
# K the three graphs: each joint alone, from parents to children, from children to parents

STRIDE = 3
KERNEL = 9  # frames of a convolution over time
#: In training a target is turned and its x and y scaled, one draw of each for a window.
TURNS = Constant(
    lambda: torch.tensor([-5.0, 0.0, 5.0], dtype=torch.float64)
)  # degrees in the image plane
SCALES = Constant(lambda: torch.tensor([0.95, 1.0, 1.05], dtype=torch.float64))


@dataclass(frozen=True)
class Settings(ModelSettings):
    name: str = setting("gla_gcn", "which model: a file of m2v_lib/models")
    n_frames: int = setting(243, "frames the model reads for their centre's pose, a power of 3")
    channels: int = setting(96, "features of a joint in a frame", least=4)
    dropout: float = setting(
        0.1, "dropout after each unit; inside a unit it is always 0.1", below=1
    )
    jitter_targets: bool = setting(True, "turn and scale training targets at random, as released")

    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {
        "smoke": {"channels": 8},
        "small": {"channels": 13},
        "compact": {"channels": 25},
    }


class GLAGCN(Lifter):
    """Pairs of graph units, the second of each thinning time by three, until one frame is left."""

    output = "centre"
    reads_confidence = False
    root_in_figure = "as predicted"
    n_joints_required = N_JOINTS
    fixed_length = True
    draws_in_loss = True
    published_sizes = {"243": {}, "81": {"n_frames": 81}, "27": {"n_frames": 27}}
    own_recipe = {  # less the Ranger optimiser and the falling momentum of batch norm
        "data.train_stride": 1,
        "data.test_stride": 1,
        "data.flip_train": False,
        "data.validation": False,
        "optim.algorithm": "adamw",
        "optim.lr": 0.01,
        "optim.weight_decay": 0.0,
        "optim.schedule": "cosine",
        "finetune.epochs": 80,
        "finetune.batch_size": 512,
        "finetune.select": "best-on-test",
    }

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        n_steps = round(math.log(settings.n_frames, STRIDE))
        if STRIDE**n_steps != settings.n_frames:
            raise ConfigError(f"gla_gcn: n_frames must be a power of 3, got {settings.n_frames}")

        C = settings.channels

        self.data_bn = BatchNorm(2 * N_JOINTS)
        self.expand_gcn = Unit(2, C, residual="convolution")

        self.layers_tcngcn = nn.ModuleList()
        for _ in range(n_steps):
            self.layers_tcngcn.append(Unit(C, C, residual="identity"))
            self.layers_tcngcn.append(Unit(C, C, stride=STRIDE, residual="none"))

        self.drop = nn.Dropout(settings.dropout)
        self.fc = nn.Conv1d(C, 3, kernel_size=1)
        self.jitter_targets = settings.jitter_targets

    def forward(self, x_BTJC: Tensor) -> Tensor:
        """(B, T, 17, 2) -> (B, 1, 17, 3)."""
        x_BTJ2 = self.check_input(x_BTJC)
        with full_precision(x_BTJ2):
            x_BCTJ = self.expand_gcn(self.normalised(x_BTJ2))

        for unit, thinning in zip(self.layers_tcngcn[::2], self.layers_tcngcn[1::2], strict=True):
            # The second of each three frames, though the convolution is centred on the first.
            kept = x_BCTJ[:, :, STRIDE // 2 :: STRIDE]
            x_BCTJ = kept + self.drop(thinning(self.drop(unit(x_BCTJ))))

        with full_precision(x_BCTJ):
            pose_B3J = self.fc(x_BCTJ.to(self.fc.weight.dtype).mean(dim=2))

        return pose_B3J.transpose(1, 2).unsqueeze(1)

    def normalised(self, x_BTJ2: Tensor) -> Tensor:
        """Each joint's coordinates normed over batch and time, channels first: (B, 2, T, J)."""
        x_BDT = self.data_bn(x_BTJ2.flatten(2).transpose(1, 2))
        return x_BDT.unflatten(1, (N_JOINTS, 2)).permute(0, 2, 3, 1)

    def loss(self, x_BTJC: Tensor, target_BTJ3: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The centre frame's mean joint distance, in training from a jittered target.

        The input is not jittered with it, so to the network this is noise of the labels.
        """
        target_B1J3 = self.output_frames(target_BTJ3)
        if self.training and self.jitter_targets:
            target_B1J3 = jittered(target_B1J3)

        value = (self(x_BTJC) - target_B1J3).norm(dim=-1).mean()
        return value, {"mpjpe": value.detach()}

    @classmethod
    def read_authors_file(cls, content: Any, **settings: Any) -> tuple[Settings, dict[str, Tensor]]:
        weights = weights_in(content, "model_pos", "expand_gcn.gcn1.PA")
        sizes = {
            "n_frames": STRIDE ** (n_numbered(weights, "layers_tcngcn.") // 2),
            "channels": weights["fc.weight"].shape[1],
        }
        return Settings(**{**sizes, **settings}), weights


class Unit(nn.Module):
    """ReLU(convolution over time(graph convolution(x)) + residual(x)), on (B, C, T, J)."""

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1, residual: str) -> None:
        super().__init__()
        self.gcn1 = GraphConv(n_in, n_out)
        self.tcn1 = TimeConv(n_out, n_out, KERNEL, stride)
        self.residual: nn.Module | None = None
        if residual == "convolution":
            self.residual = TimeConv(n_in, n_out, 1, stride)
        elif residual == "identity":
            self.residual = nn.Identity()

    def forward(self, x_BCTJ: Tensor) -> Tensor:
        y = self.tcn1(self.gcn1(x_BCTJ))
        if self.residual is not None:
            y = y + self.residual(x_BCTJ)
        return y.relu()


class TimeConv(nn.Module):
    """A convolution over time, the same for all joints, and batch norm; edges are padded by 0."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            n_in, n_out, kernel_size=(kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0)
        )
        self.bn = BatchNorm(n_out)
        init_kaiming(self.conv)

    def forward(self, x_BCTJ: Tensor) -> Tensor:
        return self.bn(self.conv(x_BCTJ))


class GraphConv(nn.Module):
    """ReLU(dropout(BN(sum over graphs k of W_k x G_k)) + down(x)), on (B, C, T, J).

    G_k is the skeleton's graph, plus the learnt `PA`, plus how alike the joints of this window
    are.
    """

    skeleton_KJJ: Tensor

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        n_alike = n_out // 4
        self.register_buffer("skeleton_KJJ", skeleton_graphs(), persistent=False)
        self.PA = nn.Parameter(torch.full((3, N_JOINTS, N_JOINTS), 1e-6))
        self.conv_a = nn.ModuleList(PointwiseConv2d(n_in, n_alike) for _ in range(3))
        self.conv_b = nn.ModuleList(PointwiseConv2d(n_in, n_alike) for _ in range(3))
        self.conv_d = nn.ModuleList(PointwiseConv2d(n_in, n_out) for _ in range(3))
        self.bn = BatchNorm(n_out)
        self.drop = nn.Dropout(0.1)
        self.down: nn.Module = nn.Identity()
        if n_in != n_out:
            self.down = nn.Sequential(PointwiseConv2d(n_in, n_out), BatchNorm(n_out))
        self.init_weights(n_in, n_out)

    def init_weights(self, n_in: int, n_out: int) -> None:
        """The graphs' sum starts closed: its batch norm's factor is next to 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init_kaiming(module)
        for convolution in self.conv_d:
            assert isinstance(convolution, nn.Conv2d)
            nn.init.normal_(convolution.weight, std=math.sqrt(2 / (n_out * n_in * 3)))
        nn.init.constant_(self.bn.weight, 1e-6)

    def forward(self, x_BCTJ: Tensor) -> Tensor:
        x_BNJ = x_BCTJ.flatten(1, 2)  # N: channels and frames
        mixed = [
            convolution((x_BNJ @ self.graph(x_BCTJ, k)).view_as(x_BCTJ))
            for k, convolution in enumerate(self.conv_d)
        ]
        y_BCTJ = self.bn(mixed[0] + mixed[1] + mixed[2])
        return (self.drop(y_BCTJ) + self.down(x_BCTJ)).relu()

    def graph(self, x_BCTJ: Tensor, k: int) -> Tensor:
        """G_k (B, J, J): what joint v (column) takes of joint u (row)."""
        a_BNJ = self.conv_a[k](x_BCTJ).flatten(1, 2)
        b_BNJ = self.conv_b[k](x_BCTJ).flatten(1, 2)
        alike_BJJ = (a_BNJ.transpose(1, 2) @ b_BNJ / a_BNJ.shape[1]).softmax(dim=1)
        return alike_BJJ + self.skeleton_KJJ[k] + self.PA[k]


def skeleton_graphs() -> Tensor:
    """(3, J, J): the identity, 1 from each parent to its child, and back a parent's share."""
    n_children = [sum(parent == joint for parent, _ in BONES) for joint in range(N_JOINTS)]
    graphs = torch.stack([torch.eye(N_JOINTS), *torch.zeros(2, N_JOINTS, N_JOINTS)])
    for parent, child in BONES:
        graphs[1, parent, child] = 1.0
        graphs[2, child, parent] = 1 / n_children[parent]
    return graphs


def jittered(target_B1J3: Tensor) -> Tensor:
    """Targets turned about the camera's axis and scaled in x and y, each by draws of its own."""
    B, device = len(target_B1J3), target_B1J3.device
    turn = TURNS.like(target_B1J3)[torch.randint(3, (B,), device=device)].deg2rad()
    scale = SCALES.like(target_B1J3)[torch.randint(3, (B,), device=device)]

    cos, sin = (part.view(B, 1, 1) for part in (scale * turn.cos(), scale * turn.sin()))
    x, y, z = target_B1J3.unbind(-1)
    return torch.stack([cos * x - sin * y, sin * x + cos * y, z], dim=-1)


def init_kaiming(convolution: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    assert convolution.bias is not None
    nn.init.zeros_(convolution.bias)


GLAGCN.Settings = Settings
MODEL = GLAGCN
