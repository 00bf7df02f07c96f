"""Which model lifts: a run of the user's, or the one that comes with the package."""

from __future__ import annotations

from pathlib import Path

from m2v_lib.lift.windows import Lifter
from m2v_lib.models.dual_stream.cpu import keep_freed_memory
from m2v_lib.training.checkpoint import load_checkpoint
from m2v_lib.weights import own_weights


def load_lifter(model: Path | str | None = None, device: str = "cpu") -> Lifter:
    """The lifter of a run folder (or a weights file), else of the package. Raises ConfigError or
    CheckpointError.
    """
    network, exp = load_checkpoint(Path(model) if model else own_weights(), device)
    if device == "cpu":
        keep_freed_memory()
    return Lifter(network, exp.model.n_frames)
