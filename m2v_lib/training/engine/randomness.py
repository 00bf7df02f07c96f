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
    return torch.Generator(device=device).manual_seed(state_of(*key))


@contextlib.contextmanager
def global_seed(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's global generators seeded while the block runs; their states are restored after it.

    For models whose dropout draws from them, so that a resumed run drops what an uninterrupted
    one drops.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """What draws from its device's global generator draws from this one, for a recording to hold
    on to; on a CPU, where nothing is recorded, the global one is left as it was.
    """
    if generator is None:
        yield
    elif generator.device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        everyones = torch.cuda.default_generators[generator.device.index or 0]
        before = everyones.graphsafe_get_state()
        everyones.graphsafe_set_state(generator)
        try:
            yield
        finally:
            everyones.graphsafe_set_state(before)


def state_of(*key: int) -> int:
    """The seed that depends on the integers alone."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
