"""How a setting is declared: its default, a plain one-line meaning and, where it is one of a
few, its choices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A setting that does not exist, has the wrong type, or cannot work."""


def setting(default: Any, meaning: str, *others: str) -> Any:
    """A setting; with `others` it takes the default or one of them."""
    return field(default=default, metadata=_metadata(default, meaning, others))


def new_setting(default: Any, meaning: str, *others: str) -> Any:
    """Introduced later; omitted from the digest at its default so digests of older runs stay
    valid.
    """
    return field(default=default, metadata={"new": True, **_metadata(default, meaning, others)})


def _metadata(default: Any, meaning: str, others: tuple[str, ...]) -> dict[str, Any]:
    choices = {"choices": (default, *others)} if others else {}
    return {"meaning": meaning, **choices}


@dataclass(frozen=True)
class ModelSettings:
    """What every model has; each adds its own settings. No torch here: reports read settings
    without it.
    """

    name: str = new_setting("dual_stream", "which model: a file of m2v_lib/models")
    skeleton: str = new_setting(
        "h36m17", "joints of input and output: a known skeleton, or a YAML file of your own"
    )
    n_frames: int = setting(243, "frames the model reads at once (its receptive field)")
