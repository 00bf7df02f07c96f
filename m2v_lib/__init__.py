"""Motion2vec: a dual-stream Transformer-GCN for lifting 2D human motion to 3D, as a course and a
library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m2v_lib.config import ConfigError, Experiment

if TYPE_CHECKING:
    from m2v_lib.models.dual_stream.model import build_model
    from m2v_lib.training.checkpoint import load_checkpoint, load_released

__all__ = ["ConfigError", "Experiment", "build_model", "load_checkpoint", "load_released"]

_TORCH_NAMES = {
    "build_model": "m2v_lib.models.dual_stream.model",
    "load_checkpoint": "m2v_lib.training.checkpoint",
    "load_released": "m2v_lib.training.checkpoint",
}


def __getattr__(name: str) -> Any:
    """Load the names that need torch only when asked for: reports are built where torch is
    absent.
    """
    if name in _TORCH_NAMES:
        import importlib

        return getattr(importlib.import_module(_TORCH_NAMES[name]), name)
    raise AttributeError(f"module 'm2v_lib' has no attribute {name!r}")
