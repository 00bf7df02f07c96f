"""Which model lifts: a run of the user's, or the one that comes with the package."""

from __future__ import annotations

from pathlib import Path

import torch

from m2v_lib.config import ConfigError
from m2v_lib.lift.windows import CentreLifter, Lifter
from m2v_lib.models.dual_stream.cpu import keep_freed_memory
from m2v_lib.training.checkpoint import load_checkpoint
from m2v_lib.weights import own_weights


def load_lifter(model: Path | str | None = None, device: str = "cpu") -> Lifter:
    """The lifter of a run folder (or a weights file), else of the package. Raises ConfigError or
    CheckpointError.
    """
    check_device(device)
    network, exp = load_checkpoint(Path(model) if model else own_weights(), device)
    if device == "cpu":
        keep_freed_memory()
    kind = Lifter if network.output_under(exp.model) == "all" else CentreLifter
    return kind(network, exp.model.n_frames)


def check_device(name: str) -> None:
    """Raise ConfigError for a device that torch does not know, or that is not here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device must be cpu, cuda, cuda:1 ... or mps, got {name!r}") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count()}
    counts["mps"] = int(torch.backends.mps.is_available())
    if (device.index or 0) >= counts.get(device.type, 0):
        raise ConfigError(f"device {name!r} is not available here, expected such as cpu")
