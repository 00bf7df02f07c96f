"""An exponential average of the weights, evaluated and saved in their place (`optim.ema`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from m2v_lib.training.pretraining.teacher import lerp_all_


def share_of_newest(decay: float, step: int) -> float:
    """How far the average moves to the weights after optimiser step `step` (1-based): 1 - decay,
    more at the start.

    A fixed decay would remember the random start for as long as it remembers anything.
    """
    return 1.0 - min(decay, step / (10.0 + step))


class WeightAverage:
    """Averages of some parameters, by name."""

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(named)
        self.weights = {name: p.detach().clone() for name, p in named.items()}

    @torch.no_grad()
    def update(self, share: Tensor) -> None:
        """average <- average + share (weights - average)."""
        lerp_all_(
            list(self.weights.values()), [p.detach() for p in self.parameters.values()], share
        )

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Continue from saved averages, which a file keeps in an order of its own."""
        for name, average in self.weights.items():
            average.copy_(weights[name])

    @torch.no_grad()
    def put_in_place(self) -> None:
        """Make the averages the weights."""
        for name, parameter in self.parameters.items():
            parameter.copy_(self.weights[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages in place of the weights while the block runs; no tensor moves in memory."""
        latest = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.put_in_place()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(latest[name])
