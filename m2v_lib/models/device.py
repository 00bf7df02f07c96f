"""Where a model computes."""

from __future__ import annotations

import torch

from m2v_lib.errors import InputError


def usable_device(name: str) -> torch.device:
    """The device of a name. Raises InputError where torch does not know it, or it is not here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"device must be cpu, cuda, cuda:1 ... or mps, got {name[:40]!r}"
        ) from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count()}
    counts["mps"] = int(torch.backends.mps.is_available())
    if (device.index or 0) >= counts.get(device.type, 0):
        raise InputError(f"device {name!r} is not available here; cpu always is")
    return device
