"""Attention within body parts: over windows of nine frames, and to a dictionary of poses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m2v_lib.models.layers.constants import Places
from m2v_lib.models.layers.transformer import NORM_EPS, Block, Mlp, SelfAttention

# N windows of all clips, F frames, W frames of a window (9), J joints, C features of a joint
# D features of a part or of all joints, H heads, K of a head, S poses

#: Joints of each part.
PARTS = ((1, 2, 3), (4, 5, 6), (0, 7, 8, 9, 10), (11, 12, 13), (14, 15, 16))
PART_ORDER = Places([joint for part in PARTS for joint in part])
BACK = Places([PART_ORDER.numbers.index(joint) for joint in range(17)])
WINDOW = 9


def split_parts(x_BFD: Tensor) -> list[Tensor]:
    """Features of all joints (B, F, 17 C) as one (B, F, D) a part."""
    x_BFJC = PART_ORDER.of(x_BFD.unflatten(-1, (17, -1)), 2)
    return [part.flatten(2) for part in x_BFJC.split([len(part) for part in PARTS], dim=2)]


def join_parts(parts: list[Tensor]) -> Tensor:
    """Inverse of `split_parts`."""
    by_joint = [p.unflatten(-1, (len(part), -1)) for p, part in zip(parts, PARTS, strict=True)]
    return BACK.of(torch.cat(by_joint, dim=2), 2).flatten(2)


class WindowAttention(SelfAttention):
    """softmax(q k / sqrt(K) + bias + mask) v.

    `bias` learns a number for each head and pair of frames of a window: `table` by their
    distance, `full` by both frames.
    """

    B_index: Tensor

    def __init__(self, dim: int, n_heads: int, bias: str) -> None:
        super().__init__(dim, n_heads)
        self.bias_form = bias
        if bias == "full":
            self.B = nn.Parameter(torch.randn(1, n_heads, WINDOW, WINDOW))
            return

        self.B = nn.Parameter(torch.empty(1, n_heads, 2 * WINDOW - 1))
        nn.init.trunc_normal_(self.B, std=0.02)
        i = torch.arange(WINDOW)
        self.register_buffer("B_index", i[:, None] - i[None] + WINDOW - 1)

    def forward(self, x_NWD: Tensor, mask_NWW: Tensor | None = None) -> Tensor:
        q_NHWK, k_NHWK, v_NHWK = self.heads(x_NWD)
        logits_NHWW = q_NHWK @ k_NHWK.transpose(-1, -2) * q_NHWK.shape[-1] ** -0.5
        bias_HWW = self.B if self.bias_form == "full" else self.B[:, :, self.B_index]
        logits_NHWW = logits_NHWW + bias_HWW
        if mask_NWW is not None:
            logits_NHWW = logits_NHWW + mask_NWW[:, None]

        return self.proj((logits_NHWW.softmax(dim=-1) @ v_NHWK).transpose(1, 2).flatten(2))


class WindowBlock(Block):
    """x + attention of the norm of x, then x + MLP of the norm of x, of one part."""

    def __init__(self, dim: int, n_heads: int, bias: str) -> None:
        super().__init__(dim, n_heads, 4, eps=1e-5, attention=WindowAttention(dim, n_heads, bias))

    def forward(self, x_NWD: Tensor, mask_NWW: Tensor | None = None) -> Tensor:
        x_NWD = x_NWD + self.attn(self.norm1(x_NWD), mask_NWW)
        return x_NWD + self.mlp(self.norm2(x_NWD))


class PartAttention(nn.Module):
    """A block of its own for each part, over the frames of a window."""

    def __init__(self, joint_dim: int, n_heads: int, bias: str) -> None:
        super().__init__()
        self.attn = nn.ModuleList(
            WindowBlock(len(part) * joint_dim, n_heads, bias) for part in PARTS
        )

    def forward(self, x_NWD: Tensor, mask_NWW: Tensor | None) -> Tensor:
        parts = split_parts(x_NWD)
        return join_parts([block(y, mask_NWW) for block, y in zip(self.attn, parts, strict=True)])


class JointMixing(nn.Module):
    """An MLP of each joint with a layer across joints in its middle."""

    def __init__(self, joint_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(joint_dim, 2 * joint_dim)
        self.fc_sep = nn.Linear(17, 17)
        self.fc2 = nn.Linear(2 * joint_dim, joint_dim)
        self.act = nn.GELU()

    def forward(self, x_NFD: Tensor) -> Tensor:
        h_NFJC = self.act(self.fc1(x_NFD.unflatten(-1, (17, -1))))
        h_NFJC = self.act(self.fc_sep(h_NFJC.transpose(2, 3)).transpose(2, 3))
        return self.fc2(h_NFJC).flatten(2)


class ShiftedWindows(nn.Module):
    """Part attention in windows of nine frames, three times, moved by three frames in between."""

    def __init__(self, joint_dim: int, n_heads: int, bias: str) -> None:
        super().__init__()
        for name in ("attn", "shift_attn1", "shift_attn2"):
            self.add_module(name, PartAttention(joint_dim, n_heads, bias))
        for name in ("mlp", "shift_mlp1", "shift_mlp2"):
            self.add_module(name, JointMixing(joint_dim))
        for i in range(1, 7):
            self.add_module(f"norm{i}", nn.LayerNorm(17 * joint_dim, eps=NORM_EPS))

    def forward(self, x_BFD: Tensor) -> Tensor:
        steps = (
            ("attn", "mlp", 1),
            ("shift_attn1", "shift_mlp1", 2),
            ("shift_attn2", "shift_mlp2", 3),
        )
        moves = x_BFD.shape[1] > WINDOW

        for attention, mlp, i in steps:
            shift = 3 * (i - 1) if moves else 0
            if shift:
                x_BFD = x_BFD.roll(-3, dims=1)
            mask_NWW = wrapped_mask(x_BFD, shift) if shift else None

            x_NWD = x_BFD.unflatten(1, (-1, WINDOW)).flatten(0, 1)
            normed_NWD = self.get_submodule(f"norm{i}")(x_NWD)
            x_NWD = x_NWD + self.get_submodule(attention)(normed_NWD, mask_NWW)
            normed_NWD = self.get_submodule(f"norm{i + 3}")(x_NWD)
            x_NWD = x_NWD + self.get_submodule(mlp)(normed_NWD)
            x_BFD = x_NWD.unflatten(0, (x_BFD.shape[0], -1)).flatten(1, 2)

        return x_BFD.roll(6, dims=1) if moves else x_BFD


def wrapped_mask(x_BFD: Tensor, shift: int) -> Tensor:
    """-inf between the frames that a roll by `shift` put at the end and their new neighbours."""
    B, n_frames, _ = x_BFD.shape
    mask = x_BFD.new_zeros(n_frames // WINDOW, WINDOW, WINDOW)
    mask[-1, : WINDOW - shift, WINDOW - shift :].fill_(-torch.inf)
    mask[-1, WINDOW - shift :, : WINDOW - shift].fill_(-torch.inf)
    return mask.repeat(B, 1, 1)


class DictionaryAttention(nn.Module):
    """Frames ask poses. The softmax runs over frames; then each frame's weights sum to 1."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.trans_dims = nn.Linear(dim, 2 * dim)
        self.linear_0 = nn.Linear(dim, 2 * dim)
        self.linear_1 = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(2 * dim, dim)

    def forward(self, y_BFD: Tensor, poses_SD: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, D), and how much each pose was attended to on average, (S,)."""
        u_BHFK = self.trans_dims(y_BFD).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        k_HSK, w_HSK = (
            linear(poses_SD).unflatten(-1, (self.n_heads, -1)).transpose(0, 1)
            for linear in (self.linear_0, self.linear_1)
        )
        weights_BHFS = (u_BHFK @ k_HSK.transpose(-1, -2)).softmax(dim=2)
        weights_BHFS = weights_BHFS / (1e-7 + weights_BHFS.sum(dim=-1, keepdim=True))

        mixed_BFD = (weights_BHFS @ w_HSK).transpose(1, 2).flatten(2)
        return self.proj(mixed_BFD), weights_BHFS.detach().mean(dim=(0, 1, 2))


class DictionaryBlock(nn.Module):
    """y + attention to the dictionary, then y + MLP, of one part."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = DictionaryAttention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, ratio=2)

    def forward(self, y_BFD: Tensor, poses_SD: Tensor) -> tuple[Tensor, Tensor]:
        found_BFD, attended_S = self.attn(self.norm1(y_BFD), poses_SD)
        y_BFD = y_BFD + found_BFD
        return y_BFD + self.mlp(self.norm2(y_BFD)), attended_S


class DictionaryLayer(nn.Module):
    """x + the parts' dictionary blocks, then x + joint mixing."""

    def __init__(self, joint_dim: int, n_heads: int) -> None:
        super().__init__()
        self.attn = nn.ModuleList(DictionaryBlock(len(part) * joint_dim, n_heads) for part in PARTS)
        self.norm = nn.LayerNorm(17 * joint_dim, eps=NORM_EPS)
        self.mlp = JointMixing(joint_dim)

    def forward(self, x_BFD: Tensor, poses_SD: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, D), and the mean attention of each pose over the parts, (S,)."""
        parts = zip(self.attn, split_parts(x_BFD), split_parts(poses_SD[None]), strict=True)
        found, attended = zip(*(block(y, poses[0]) for block, y, poses in parts), strict=True)

        x_BFD = x_BFD + join_parts(list(found))
        return x_BFD + self.mlp(self.norm(x_BFD)), torch.stack(attended).mean(dim=0)
