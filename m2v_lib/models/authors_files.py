"""The checkpoint files of the systems' authors: `load_baseline("mixste", "best_epoch.bin")`.

Which file of which system, its units and its root: `docs/authors_weights.md`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from m2v_lib.config.fields import ConfigError, ModelSettings, typed
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter
from m2v_lib.models.layers.depth_refinement import PoseRefinement
from m2v_lib.models.layers.state_dicts import weights_in
from m2v_lib.models.registry import model_class
from m2v_lib.models.torch_files import read_checkpoint
from m2v_lib.models.two_output_lifter import TwoOutputLifter

#: Batches that a BatchNorm has seen; torch writes it since 0.4.1, and it changes no output.
COUNTER = ".num_batches_tracked"


def load_baseline(
    name: str, path: Path | str, *, refine: Path | str | None = None, **settings: Any
) -> Lifter:
    """The system `name` with the weights of its authors' file, in evaluation mode.

    The input is normalised image units, x / width * 2 - 1 and y / width * 2 - height / width, as
    everywhere here. **Outputs are in the authors' unit**, which `output_unit` of the model says:
    metres for most, of a camera-space pose relative to the root; z-scores (of the input too) for
    SimpleBaseline, image units for MotionBERT. The root is left as predicted. House evaluation
    and lifting work in image units and refuse the others.

    Sizes follow from the file; `settings` say what no tensor tells, e.g. the number of heads;
    a setting that is a list takes a tuple too, `filter_widths=(3, 3, 3)`. `refine` is a second
    file of Strided Transformer or P-STMO, for `model.refined`; PAA takes `dictionary`, poses
    (S, 17, 3) in metres, for a file without them. Every tensor of the model must be in the file
    and the other way round (old files lack BatchNorm's counters, which change nothing);
    `n_matched` says how many were. Raises ConfigError for a setting that the system has not,
    InputError for a file that is not its authors'.
    """
    path = Path(path)
    made_by = model_class(name)
    settings = _checked(made_by, settings)
    if refine is not None and not issubclass(made_by, TwoOutputLifter):
        raise ConfigError(f"{name} has no refinement, got refine={refine}")

    content = _without_module(read_checkpoint(path))
    try:
        chosen, weights = made_by.read_authors_file(content, **settings)
        # sizes cost nothing there, so a wrong file cannot ask for much
        with torch.device("meta"):
            claimed = made_by(chosen)
    except NotImplementedError as error:
        raise ConfigError(str(error)) from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {_misfit(name, settings, error)}") from error

    _check_match(claimed, weights, path, made_by.not_in_authors_file)
    model = made_by(chosen)
    model.load_state_dict({**model.state_dict(), **weights})
    given = sum(isinstance(value, Tensor) for value in settings.values())
    model.n_matched = len(weights) - given  # type: ignore[assignment]
    model.output_unit = made_by.authors_unit(chosen)
    if refine is not None and isinstance(model, TwoOutputLifter):
        model.refinement = read_refinement(refine)

    return model.eval()


def read_refinement(path: Path | str) -> PoseRefinement:
    """The second stage of Strided Transformer or P-STMO: their file `refine_EPOCH_ERROR.pth`."""
    path = Path(path)
    content = _without_module(read_checkpoint(path))
    try:
        weights = weights_in(content, None, "post_refine.0.weight")
    except InputError as error:
        raise InputError(f"{path}: is no refinement file ({error})") from error

    refinement = PoseRefinement()
    _check_match(refinement, weights, path)
    refinement.load_state_dict(weights)
    return refinement.eval()


def _checked(made_by: type[Lifter], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in their types; raises ConfigError for those that the system has not."""
    defaults = made_by.Settings()
    known = [f.name for f in dataclasses.fields(defaults) if f.name not in ("name", "skeleton")]

    checked = {}
    for key, value in settings.items():
        if key in made_by.tensors_beside_file:
            if not isinstance(value, Tensor):
                raise ConfigError(f"{key} must be a tensor, got {type(value).__name__}")
            checked[key] = value
        elif key in known:
            checked[key] = typed(key, _as_text(value, defaults, key), defaults, key)
        else:
            raise ConfigError(f"{defaults.name} has no setting {key!r}; it has {', '.join(known)}")

    return checked


def _as_text(value: Any, defaults: ModelSettings, key: str) -> Any:
    """Numbers as a setting writes a list of them, "3,3,3"; anything else as it is."""
    if isinstance(value, tuple | list) and type(getattr(defaults, key)) is str:
        return ",".join(map(str, value))
    return value


def _misfit(name: str, settings: Mapping[str, Any], error: Exception) -> str:
    """Why a content cannot be the system's, under the settings that were given."""
    reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    numbers = {k: v for k, v in settings.items() if not isinstance(v, Tensor)}
    given = ", ".join(f"{key}={value}" for key, value in numbers.items())
    under = f" under {given}" if given else ""
    return f"is no file of {name}'s authors{under} ({reason})"


def _without_module(content: Any) -> Any:
    """The content with `module.` taken off the tensors' names, in the file or one level down."""
    if not isinstance(content, dict):
        return content

    def bare(found: dict[Any, Any]) -> dict[Any, Any]:
        return {n.removeprefix("module.") if isinstance(n, str) else n: v for n, v in found.items()}

    return {n: bare(v) if isinstance(v, dict) else v for n, v in bare(content).items()}


def _check_match(
    model: nn.Module, weights: Mapping[str, Tensor], path: Path, outside: tuple[str, ...] = ()
) -> None:
    """Raises InputError unless names and shapes are the model's and every weight is finite.

    What may be missing: tensors that the authors keep `outside`, and BatchNorm's counters.
    """
    expected = model.state_dict()
    own = {k: v for k, v in expected.items() if k in weights or not _may_miss(k, outside)}
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())

    other = sorted(n for n in own.keys() & weights.keys() if own[n].shape != weights[n].shape)

    if missing or unknown or other:
        parts = [
            _counted("missing", missing),
            _counted("unknown", unknown),
            _counted("of another shape", other),
        ]
        if other:
            shapes = f"{tuple(weights[other[0]].shape)} for {tuple(own[other[0]].shape)}"
            parts.append(f"{other[0]} is {shapes}")

        matched = len(own) - len(missing) - len(other)
        raise InputError(
            f"{path}: holds another model, {matched} of {len(own)} tensors match: "
            f"{'; '.join(part for part in parts if part)}"
        )

    broken = sorted(name for name, tensor in weights.items() if not tensor.isfinite().all())
    if broken:
        raise InputError(f"{path}: weights must be finite, got {_counted('not', broken)}")


def _may_miss(name: str, outside: tuple[str, ...]) -> bool:
    return name in outside or name.endswith(COUNTER)


def _counted(what: str, names: list[str]) -> str:
    return f"{len(names)} {what}, first {names[0]}" if names else ""
