"""Multi-head self-attention over joints or over frames (paper eq. 3-5)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

# B batch, T frames, J joints, D features, H heads, E features of a head


class Attention(nn.Module):
    """Self-attention along one axis of (B, T, J, D).

    ``axis="spatial"`` lets the joints of a frame see each other, ``"temporal"`` the frames of a joint. The rows of
    the packed projection are (q, k, v) x heads x head features, without bias; the output projection has a bias
    (audit B5). ``qk_scale="head"`` divides by sqrt(D / H), ``"dim"`` by sqrt(D) as eq. (4) is printed (audit B4).
    """

    def __init__(self, dim: int, n_heads: int, axis: str, qk_scale: str = "head") -> None:
        super().__init__()
        self.n_heads = n_heads
        self.axis = axis
        self.scale = (dim // n_heads if qk_scale == "head" else dim) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x_BTJD: Tensor) -> Tensor:
        B, T, J, D = x_BTJD.shape
        H, E = self.n_heads, D // self.n_heads
        qkv = self.qkv(x_BTJD).view(B, T, J, 3, H, E)
        if self.axis == "spatial":
            q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).reshape(3, B * T, H, J, E)
            mixed = scaled_dot_product_attention(q, k, v, scale=self.scale)
            joined = mixed.transpose(1, 2).reshape(B, T, J, D)
        else:
            q, k, v = qkv.permute(3, 0, 2, 4, 1, 5).reshape(3, B * J, H, T, E)
            mixed = scaled_dot_product_attention(q, k, v, scale=self.scale)
            joined = mixed.view(B, J, H, T, E).permute(0, 3, 1, 2, 4).reshape(B, T, J, D)
        return self.proj(joined)
