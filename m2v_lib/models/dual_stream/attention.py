"""Multi-head self-attention over joints or over frames (paper eq. 3-5)."""

from __future__ import annotations

from torch import Tensor, nn

# B batch, T frames, J joints, D features, H heads, E features of a head, G groups that do not
# see each other, K nodes


class Attention(nn.Module):
    """Self-attention along one axis of (B, T, J, D).

    ``axis="spatial"`` lets the joints of a frame see each other, ``"temporal"`` the frames of a
    joint. The rows of the packed projection are (q, k, v) x heads x head features, without bias;
    the output projection has a bias (audit B5). ``qk_scale="head"`` divides by sqrt(D / H),
    ``"dim"`` by sqrt(D) as eq. (4) is printed (audit B4).
    """

    def __init__(self, dim: int, n_heads: int, axis: str, qk_scale: str = "head") -> None:
        super().__init__()
        self.n_heads = n_heads
        self.axis = axis
        self.scale = (dim // n_heads if qk_scale == "head" else dim) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BTJD: Tensor) -> Tensor:
        nodes_BGKD = x_BTJD if self.axis == "spatial" else x_BTJD.transpose(1, 2)
        q, k, v = (
            self.split_heads(part) for part in self.qkv(nodes_BGKD).chunk(3, dim=-1)
        )  # (B, G, H, K, E)
        weights_BGHKK = (q @ k.transpose(-1, -2) * self.scale).softmax(dim=-1)
        mixed_BGKD = (weights_BGHKK @ v).transpose(2, 3).flatten(-2)
        mixed_BTJD = mixed_BGKD if self.axis == "spatial" else mixed_BGKD.transpose(1, 2)
        return self.proj(mixed_BTJD)

    def split_heads(self, x_BGKD: Tensor) -> Tensor:
        """(B, G, K, D) -> (B, G, H, K, E)."""
        return x_BGKD.unflatten(-1, (self.n_heads, -1)).transpose(2, 3)
