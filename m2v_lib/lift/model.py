"""Which model lifts: a run of the user's, or the one that comes with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from m2v_lib.config import ConfigError
from m2v_lib.lift.windows import Lifter
from m2v_lib.training.checkpoint import load_checkpoint


def load_lifter(model: Path | str | None = None, device: str = "cpu") -> Lifter:
    """The lifter of a run folder (or a weights file), else of the package. Raises ConfigError or CheckpointError."""
    network, exp = load_checkpoint(Path(model) if model else own_weights(), device)
    return Lifter(network, exp.model.n_frames)


def own_weights() -> Path:
    """The weights in the package's folder `weights`. Raises ConfigError where there are none."""
    folder = Path(str(resources.files("m2v_lib"))) / "weights"
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise ConfigError(f"{folder}: holds no weights; name a trained run (--model reports/runs/finetune-...)")
    return found[0]
