"""A run as a coroutine: what it hands to its driver, and a driver of one run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

#: What a run hands to its driver: None after a step; or a function whose value it is then given:
#: `Moment`, which becomes ready by itself, or work for the CPU alone.
Wish = Callable[[], Any] | None
Steps = Generator[Wish, Any, Any]


class Moment:
    """The end of what the current stream has been given so far."""

    def __init__(self, device: torch.device) -> None:
        self.passed: torch.cuda.Event | None = None
        if device.type == "cuda":
            self.passed = torch.cuda.Event()
            self.passed.record()

    def ready(self) -> bool:
        return self.passed is None or self.passed.query()

    def __call__(self) -> Any:
        if self.passed is not None:
            self.passed.synchronize()


class Fetched(Moment):
    """Numbers on their way from the device to main memory; nobody waits until they are asked
    for.
    """

    def __init__(self, numbers_N: Tensor) -> None:
        self.numbers_N = numbers_N
        if numbers_N.device.type == "cuda":
            self.numbers_N = torch.empty(numbers_N.shape, dtype=numbers_N.dtype, pin_memory=True)
            self.numbers_N.copy_(numbers_N, non_blocking=True)
        super().__init__(numbers_N.device)

    def __call__(self) -> list[float]:
        super().__call__()
        return self.numbers_N.tolist()


def complete(steps: Steps) -> Any:
    """Drive one run to its end; returns what it returns."""
    answer = None
    while True:
        try:
            wish = steps.send(answer)
        except StopIteration as end:
            return end.value
        answer = wish() if wish is not None else None
