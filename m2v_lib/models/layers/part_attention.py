"""Attention within body parts: over windows of nine frames, and to a dictionary of poses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from m2v_lib.models.layers.constants import Places

# N windows of all clips, F frames, W frames of a window (9), J joints, C features of a joint
# D features of a part, of all joints or, in `Block`, of a token, H heads, K of a head, S poses

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


class Mlp(nn.Module):
    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Attention(nn.Module):
    """softmax(q k / sqrt(K) + bias + mask) v.

    `bias` learns a number for each head and pair of frames of a window: `table` by their
    distance, `full` by both frames, `none` not at all.
    """

    B_index: Tensor

    def __init__(self, dim: int, n_heads: int, bias: str) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.bias_form = bias
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        if bias == "full":
            self.B = nn.Parameter(torch.randn(1, n_heads, WINDOW, WINDOW))

        if bias == "table":
            self.B = nn.Parameter(torch.empty(1, n_heads, 2 * WINDOW - 1))
            nn.init.trunc_normal_(self.B, std=0.02)
            i = torch.arange(WINDOW)
            self.register_buffer("B_index", i[:, None] - i[None] + WINDOW - 1)

    def forward(self, x_NFD: Tensor, mask_NFF: Tensor | None = None) -> Tensor:
        q_NHFK, k_NHFK, v_NHFK = (
            self.qkv(x_NFD).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        )
        logits_NHFF = q_NHFK @ k_NHFK.transpose(-1, -2) * q_NHFK.shape[-1] ** -0.5
        if self.bias_form == "full":
            logits_NHFF = logits_NHFF + self.B
        if self.bias_form == "table":
            logits_NHFF = logits_NHFF + self.B[:, :, self.B_index]
        if mask_NFF is not None:
            logits_NHFF = logits_NHFF + mask_NFF[:, None]

        return self.proj((logits_NHFF.softmax(dim=-1) @ v_NHFK).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x + attention of the norm of x, then x + MLP of the norm of x."""

    def __init__(self, dim: int, n_heads: int, ratio: int, eps: float, bias: str = "none") -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, n_heads, bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, ratio)

    def forward(self, x_NFD: Tensor, mask_NFF: Tensor | None = None) -> Tensor:
        x_NFD = x_NFD + self.attn(self.norm1(x_NFD), mask_NFF)
        return x_NFD + self.mlp(self.norm2(x_NFD))


class PartAttention(nn.Module):
    """A block of its own for each part, over the frames of a window."""

    def __init__(self, joint_dim: int, n_heads: int, bias: str) -> None:
        super().__init__()
        self.attn = nn.ModuleList(
            Block(len(part) * joint_dim, n_heads, ratio=4, eps=1e-5, bias=bias) for part in PARTS
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
            self.add_module(f"norm{i}", nn.LayerNorm(17 * joint_dim, eps=1e-6))

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
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DictionaryAttention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
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
        self.norm = nn.LayerNorm(17 * joint_dim, eps=1e-6)
        self.mlp = JointMixing(joint_dim)

    def forward(self, x_BFD: Tensor, poses_SD: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, D), and the mean attention of each pose over the parts, (S,)."""
        parts = zip(self.attn, split_parts(x_BFD), split_parts(poses_SD[None]), strict=True)
        found, attended = zip(*(block(y, poses[0]) for block, y, poses in parts), strict=True)

        x_BFD = x_BFD + join_parts(list(found))
        return x_BFD + self.mlp(self.norm(x_BFD)), torch.stack(attended).mean(dim=0)
