"""Motion2vec: a dual-stream Transformer-GCN for lifting 2D human motion to 3D, as a course and a
library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from m2v_lib.config import ConfigError, Experiment

if TYPE_CHECKING:
    from m2v_lib.evaluation import metrics
    from m2v_lib.evaluation import protocols as evaluate
    from m2v_lib.models.authors_files import load_baseline
    from m2v_lib.models.dual_stream.released import load_released
    from m2v_lib.models.registry import build_model
    from m2v_lib.training.checkpoint import load_checkpoint

__version__ = "0.2.0"

__all__ = [
    "ConfigError",
    "Experiment",
    "build_model",
    "evaluate",
    "load_baseline",
    "load_checkpoint",
    "load_released",
    "metrics",
]

_LAZY = {
    "build_model": "m2v_lib.models.registry",
    "load_baseline": "m2v_lib.models.authors_files",
    "load_checkpoint": "m2v_lib.training.checkpoint",
    "load_released": "m2v_lib.models.dual_stream.released",
}
_LAZY_MODULES = {
    "metrics": "m2v_lib.evaluation.metrics",
    "evaluate": "m2v_lib.evaluation.protocols",
}


def __getattr__(name: str) -> Any:
    """Load the names that need torch only when asked for: reports are built where torch is
    absent.
    """
    import importlib

    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _LAZY_MODULES:
        return importlib.import_module(_LAZY_MODULES[name])
    raise AttributeError(f"module 'm2v_lib' has no attribute {name!r}")
