"""Products of a forward pass: which have a weight among their factors, and where they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from m2v_lib.models.products import Product, products_of


class Everything(nn.Module):
    """Weights used in their module, away from it, as copies, joined; and as mere addends."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.bias = nn.Parameter(torch.ones(5, 5))
        self.register_buffer("graph", torch.eye(5))

    def forward(self, x_BCT: Tensor) -> Tensor:
        x_BCT = self.conv(x_BCT)  # 5 frames of 7
        x_BCT = self.layer.weight.expand(2, -1, -1) @ x_BCT
        x_BCT = torch.einsum("bct,dck->bdt", x_BCT, self.conv.weight[..., :1])

        joined = torch.cat([self.conv.weight[..., 0], self.conv.weight[..., 1]])
        x_BCT = (joined.double().clone() @ x_BCT.double()).float()[:, :4]

        x_BCT = x_BCT @ self.get_buffer("graph")
        alike_BTT = torch.baddbmm(self.bias.expand(2, -1, -1), x_BCT.transpose(1, 2), x_BCT)
        return self.layer((x_BCT @ alike_BTT).transpose(1, 2))


def test_a_product_is_linear_by_its_factors() -> None:
    model, x_BCT = Everything(), torch.randn(2, 4, 7)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        expected = model(x_BCT)

    output, products = products_of(model, x_BCT)

    assert torch.equal(output, expected)
    assert products == [
        Product("conv", "conv.weight", 2 * 5 * 4 * 4 * 3),
        Product("", "layer.weight", 2 * 5 * 4 * 4),
        Product("", "conv.weight", 2 * 5 * 4 * 4),
        Product("", "conv.weight", 2 * 5 * 8 * 4),
        Product("", None, 2 * 4 * 5 * 5),
        Product("", None, 2 * 5 * 5 * 4),
        Product("", None, 2 * 4 * 5 * 5),
        Product("layer", "layer.weight", 2 * 5 * 4 * 4),
    ]
    assert sum(product.macs for product in products) == counter.get_total_flops() // 2
