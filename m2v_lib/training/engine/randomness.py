"""Randomness of a run: every draw comes from a generator seeded by integers such as (seed,
stage, step).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


def seeded(device: torch.device, *key: int) -> torch.Generator:
    """A generator on `device` that depends on the integers alone."""
    return torch.Generator(device=device).manual_seed(_state_of(key))


@contextlib.contextmanager
def global_seed(device: torch.device, *key: int) -> Iterator[None]:
    """Torch's global generators seeded by the integers while the block runs; their states are
    restored after it.

    For models whose dropout draws from them, so that a resumed run drops what an uninterrupted
    one drops.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_state_of(key))
        yield


def _state_of(key: tuple[int, ...]) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
