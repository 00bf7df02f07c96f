"""From settings to a network: the one place that knows which class a model's name means."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import overload

import torch

from m2v_lib.config import ConfigError, DualStreamSettings
from m2v_lib.config.fields import ModelSettings, require_known
from m2v_lib.config.models import DUAL_STREAM, entries, model_settings
from m2v_lib.models.base import Lifter
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.pretraining import Pretraining


def model_names() -> list[str]:
    """Every model that can be built, the dual stream first."""
    return list(entries())


def model_class(name: str) -> type[Lifter]:
    """The class of a model. Raises ConfigError that names the nearest."""
    if name == DUAL_STREAM:
        return DualStreamModel
    require_known("model", name, entries())
    return importlib.import_module(entries()[name].module).MODEL


@overload
def build_model(
    settings: DualStreamSettings, *, seed: int | None = None, path: str = "fast"
) -> DualStreamModel: ...


@overload
def build_model(
    settings: ModelSettings | str, *, seed: int | None = None, path: str = "fast"
) -> Lifter: ...


def build_model(
    settings: ModelSettings | str, *, seed: int | None = None, path: str = "fast"
) -> Lifter:
    """The network with fresh weights; a name stands for the settings of that published size.

    `seed` makes the weights reproducible without touching torch's global state; `path` is how a
    model that has two ways computes its layers (`Lifter.use`). Raises ConfigError.

    >>> build_model("dual_stream").settings.n_frames
    243
    """
    if isinstance(settings, str):
        settings = model_settings(settings)
    made_by = model_class(settings.name)
    if seed is None:
        return made_by(settings).use(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return made_by(settings).use(path)


def require_encoder(settings: ModelSettings, what: str) -> None:
    """Raise ConfigError unless the model has an encoder, which `what` needs."""
    if not model_class(settings.name).has_encoder:
        with_one = ", ".join(name for name in model_names() if model_class(name).has_encoder)
        raise ConfigError(
            f"{what} needs a model with an encoder, which model.name={settings.name} has not; "
            f"those with one are {with_one}"
        )


def pretraining_class(name: str) -> type[Pretraining] | None:
    """The pre-training that a comparison system was published with, of the file
    `NAME_pretraining.py` beside its own; None where there is none.
    """
    module = f"{entries()[name].module}_pretraining"
    return importlib.import_module(module).PRETRAINING if find_spec(module) else None


def require_pretraining(settings: ModelSettings, what: str) -> None:
    """Raise ConfigError unless the model was published with a pre-training, which `what` needs."""
    if settings.name == DUAL_STREAM or pretraining_class(settings.name):
        return
    others = (name for name in model_names() if pretraining_class(name))
    with_one = ", ".join((DUAL_STREAM, *others))
    raise ConfigError(
        f"{what} needs a model that was published with a pre-training, which "
        f"model.name={settings.name} was not; those with one are {with_one}"
    )


def require_dual_stream(settings: ModelSettings, what: str) -> None:
    """Raise ConfigError for another model."""
    if settings.name != DUAL_STREAM:
        raise ConfigError(f"{what} needs model.name={DUAL_STREAM}, got {settings.name}")
