"""Stochastic depth ("drop path", Huang et al. 2016): whole residual branches are left out."""

from __future__ import annotations

from torch import Tensor, nn

from m2v_lib.errors import InputError


class StochasticDepth(nn.Module):
    """Drops entries of the first axis with probability `p`, and divides what is kept by 1 - p.

    Outside training nothing happens. The draws come from torch's global generator.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"a drop rate must lie in 0..1, less than 1, got {p}")
        self.p = p

    def forward(self, branch: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return branch

        one_per_entry = (len(branch), *[1] * (branch.ndim - 1))
        kept = branch.new_empty(one_per_entry).bernoulli_(1 - self.p)
        return branch * kept / (1 - self.p)


def rising_rates(last: float, n_layers: int) -> list[float]:
    """A drop rate for each layer, rising in equal steps from 0 to `last`."""
    return [last * i / max(n_layers - 1, 1) for i in range(n_layers)]
