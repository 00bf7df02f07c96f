"""How a setting is declared and checked: its default, a plain one-line meaning and, where it is
one of a few, its choices.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, get_type_hints

from m2v_lib.errors import InputError
from m2v_lib.skeletons import Skeleton, skeleton_of


class ConfigError(InputError):
    """A setting that does not exist, has the wrong type, or cannot work."""


def setting(default: Any, meaning: str, *others: str, **bounds: float) -> Any:
    """A setting; with `others` it takes the default or one of them. `bounds` are those of a number
    of a model, `least` and `below`: whole numbers are at least 1, others at least 0, if not said.
    """
    return field(default=default, metadata=_metadata(default, meaning, others, bounds))


def new_setting(default: Any, meaning: str, *others: str, **bounds: float) -> Any:
    """Introduced later; omitted from the digest at its default so digests of older runs stay
    valid.
    """
    metadata = _metadata(default, meaning, others, bounds)
    return field(default=default, metadata={"new": True, **metadata})


def _metadata(
    default: Any, meaning: str, others: tuple[str, ...], bounds: Mapping[str, float]
) -> dict[str, Any]:
    choices = {"choices": (default, *others)} if others else {}
    return {"meaning": meaning, "bounds": bounds, **choices}


def check_bounds(prefix: str, section: Any) -> None:
    """Raise ConfigError for the first number of the section that is out of its bounds."""
    for spec in dataclasses.fields(section):
        value, bounds = getattr(section, spec.name), spec.metadata.get("bounds", {})
        if type(value) not in (int, float):
            continue

        least = bounds.get("least", 1 if type(value) is int else 0)
        below = bounds.get("below", math.inf)
        if not least <= value < below:
            and_below = "" if below == math.inf else f" and less than {below:g}"
            raise ConfigError(
                f"{prefix}.{spec.name} must be at least {least:g}{and_below}, got {value}"
            )


@dataclass(frozen=True)
class ModelSettings:
    """What every model has; each adds its own settings. No torch here: reports read settings
    without it.
    """

    name: str = new_setting(
        "dual_stream", "which model: dual_stream, a file of m2v_lib/models/systems, or a named size"
    )
    skeleton: str = new_setting(
        "h36m17", "joints of input and output: a known skeleton, or a YAML file of your own"
    )
    n_frames: int = setting(243, "frames the model reads at once")

    #: Sizes for presets smaller than the published network: preset -> settings that differ.
    preset_sizes: ClassVar[dict[str, dict[str, Any]]] = {}

    @property
    def joints(self) -> Skeleton:
        """The skeleton. Raises SkeletonError where there is none of this name."""
        return skeleton_of(self.skeleton)

    @property
    def n_joints(self) -> int:
        return len(self.joints)


def values_of(section: Any) -> dict[str, Any]:
    """A section's settings by name: numbers, text, true or false, which need no copy."""
    return {name: getattr(section, name) for name in _names(section.__class__)}


@cache
def _names(section: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(section))


def digested(section: Any) -> dict[str, Any]:
    """What a digest counts of a section: all fields but new ones that still have their default."""
    silent = {
        f.name
        for f in dataclasses.fields(section)
        if "new" in f.metadata and getattr(section, f.name) == f.default
    }
    return {k: v for k, v in values_of(section).items() if k not in silent}


def require_known(what: str, name: str, known: Mapping[str, Any]) -> None:
    """Raise ConfigError that names the nearest of the known ones."""
    if name not in known:
        nearest = difflib.get_close_matches(str(name)[:200], known, n=1, cutoff=0.0)
        raise ConfigError(f"unknown {what} {str(name)[:80]!r}; the nearest is {nearest[0]!r}")


def typed(key: str, value: Any, section: Any, name: str) -> Any:
    """The value in the field's type, or ConfigError; an int passes where a float is wanted."""
    expected = _types(section.__class__)[name]
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)

    if type(value) is not expected:
        shown = repr(value) if len(repr(value)) <= 200 else f"{repr(value)[:200]}..."
        raise ConfigError(
            f"{key} must be {expected.__name__}, got {shown} ({type(value).__name__})"
        )

    (spec,) = (f for f in dataclasses.fields(section) if f.name == name)
    choices = spec.metadata.get("choices")
    if choices and not any(_is_choice(value, choice) for choice in choices):
        raise ConfigError(f"{key} must be one of {', '.join(choices)}; got {value!r}")

    return value


def _is_choice(value: Any, choice: Any) -> bool:
    """Whether a value is the choice; one such as weights:RUN stands for any text after its colon."""
    kind, colon, _ = str(choice).partition(":")
    if not colon:
        return value == choice
    return value.startswith(f"{kind}:") and len(value) > len(kind) + 1


@cache
def _types(section: type) -> dict[str, Any]:
    return get_type_hints(section)
