"""Numbers of a model that cannot work are refused by name, for every model."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.config.models import entries, model_settings


def with_model(name: str, **changes: Any) -> Experiment:
    choice = {} if name == "dual_stream" else {"model.name": name}
    extra = {f"model.{key}": value for key, value in changes.items()}
    return Experiment.preset("smoke").override({**choice, **extra})


@pytest.mark.parametrize(
    ("name", "key", "value", "wanted"),
    [
        ("videopose3d", "dropout", 2.0, "at least 0 and less than 1"),
        ("gla_gcn", "dropout", 1.0, "at least 0 and less than 1"),
        ("mixste", "drop_path", 1.5, "at least 0 and less than 1"),
        ("stcformer", "drop_part", -0.1, "at least 0 and less than 1"),
        ("strided_transformer", "encoder_dropout", 1.0, "at least 0 and less than 1"),
        ("anatomy3d", "w_shift", -1.0, "at least 0"),
        ("anatomy3d", "n_frames", 3, "at least 9"),
        ("simplebaseline", "dim", -4, "at least 1"),
        ("mixste", "n_layers", 0, "at least 1"),
        ("poseformer", "mlp_ratio", 0, "at least 1"),
        ("d3dp", "n_hypotheses", 0, "at least 1"),
        ("d3dp", "n_steps", 0, "at least 1"),
        ("gla_gcn", "channels", 3, "at least 4"),
        ("srnet", "dim", 5, "at least 6"),
        ("dual_stream", "layer_scale", -1.0, "at least 0"),
    ],
)
def test_a_number_out_of_bounds_is_named(name: str, key: str, value: float, wanted: str) -> None:
    words = re.escape(f"model.{key} must be {wanted}, got {value}")
    with pytest.raises(ConfigError, match=f"^{words}$"):
        with_model(name, **{key: value})


@pytest.mark.parametrize(
    ("name", "key"), [("paa", "dim"), ("mixste", "dim"), ("poseformer", "dim_per_joint")]
)
def test_heads_divide_the_features(name: str, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^model.{key}=5 is not divisible by model.n_heads="):
        with_model(name, **{key: 5})


@pytest.mark.parametrize("name", entries())
def test_no_count_of_any_model_may_be_0(name: str) -> None:
    """But a seed, and a number of joints to hide."""
    settings = model_settings(name)
    counts = {
        f.name for f in dataclasses.fields(settings) if type(getattr(settings, f.name)) is int
    }
    for key in counts - {"noise_seed", "hidden_joints"}:
        with pytest.raises(ConfigError, match=f"model.{key} must be "):
            with_model(name, **{key: 0})


def test_frames_of_a_named_size_are_what_its_filters_make() -> None:
    for name in ("videopose3d-1", "srnet-1-add"):
        for preset in ("smoke", "compact", "base"):
            exp = Experiment.preset(preset).override({"model.name": name})
            assert exp.model.n_frames == 1, (name, preset)
    whole = Experiment.preset("smoke").override({"model.name": "videopose3d-81"})
    assert whole.model.n_frames == 27  # the preset's, as of other sizes
