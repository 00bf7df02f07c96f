"""Parameters and multiply-accumulates against the authors' published and recounted figures
(audit A6).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from m2v_lib.config import Experiment
from m2v_lib.config.models import model_settings
from m2v_lib.models.base import count_parameters
from m2v_lib.models.complexity import PARTS, Part, count_parts, part_of, total
from m2v_lib.models.registry import build_model
from m2v_lib.results import paper


def count(preset: str, recipe: str = "released", **model: Any) -> dict[str, Part]:
    exp = Experiment.preset(preset, recipe).override(
        {f"model.{key}": value for key, value in model.items()}
    )
    return {part.name: part for part in count_parts(exp.model)}


@pytest.fixture(scope="module")
def base() -> dict[str, Part]:
    return count("base")


def test_base_has_the_authors_parameters_and_linear_macs(base: dict[str, Part]) -> None:
    everything = total(base.values())
    assert everything.parameters == 11_723_811
    assert everything.linear_macs / 1e9 == pytest.approx(47.96, abs=0.005)
    printed = paper.value("table3", method="Ours-B", metric="MACs(G)")
    assert printed is not None and everything.linear_macs / 1e9 == pytest.approx(printed, abs=0.05)


def test_large_has_the_authors_parameters_and_linear_macs() -> None:
    everything = total(count("large").values())
    assert everything.parameters == 46_505_891
    assert everything.linear_macs / 1e9 == pytest.approx(191.21, abs=0.005)


def test_the_authors_own_normalisation_explains_their_larger_count(base: dict[str, Part]) -> None:
    """They multiply each graph with two diagonal matrices; we scale rows and columns: 64.46 G
    against 56.62 G.
    """
    T, J, N = 243, 17, 16
    diagonal_products = N * 2 * (J * T**3 + T * J**3)
    assert (total(base.values()).macs + diagonal_products) / 1e9 == pytest.approx(64.46, abs=0.01)


def test_linear_macs_are_weights_times_tokens(base: dict[str, Part]) -> None:
    tokens = 243 * 17
    assert base["MLPs"].linear_macs == tokens * 16 * 4 * (2 * 128 * 512)
    assert base["head"].linear_macs == tokens * (128 * 512 + 512 * 3)
    assert base["temporal attention"].linear_macs == tokens * 16 * (128 * 384 + 128 * 128)


def test_parameters_of_parts(base: dict[str, Part]) -> None:
    mlp, norm, layer_scale = 2 * 128 * 512 + 512 + 128, 2 * 128, 128
    assert base["MLPs"].parameters == 16 * 4 * (mlp + norm + layer_scale)
    assert base["fusion"].parameters == 16 * (2 * 256 + 2)
    assert base["embedding"].parameters == 3 * 128 + 128 + 17 * 128


def test_attention_products_are_counted(base: dict[str, Part]) -> None:
    T, J, N, D = 243, 17, 16, 128
    assert (
        base["temporal attention"].product_macs == N * J * 2 * T * T * D
    )  # q k^T and its product with v
    assert base["spatial attention"].product_macs == N * T * 2 * J * J * D
    assert base["spatial graph"].product_macs == N * T * J * J * D
    assert (
        base["temporal graph"].product_macs == N * J * 2 * T * T * D
    )  # similarity and aggregation


def test_a_fixed_temporal_graph_is_one_product() -> None:
    """The authors' model with a fixed graph that is normalised once: 54.56 G (spec 2)."""
    fixed = count("base", temporal_graph="released-fixed")
    assert fixed["temporal graph"].product_macs == 16 * 17 * 243**2 * 128
    assert total(fixed.values()).macs / 1e9 == pytest.approx(54.56, abs=0.01)


@pytest.mark.parametrize("recipe", ["paper", "released"])
@pytest.mark.parametrize("streams", ["both", "transformer", "gcn"])
def test_parts_add_up_to_the_model(recipe: str, streams: str) -> None:
    exp = Experiment.preset("smoke", recipe).override(
        {"model.streams": streams, "model.temporal_pos": True}
    )
    parts = count_parts(exp.model)
    assert [part.name for part in parts] == list(PARTS)
    assert total(parts).parameters == count_parameters(build_model(exp.model))
    absent = {"both": set(), "transformer": {"spatial graph", "temporal graph", "fusion"}}.get(
        streams, {"spatial attention", "temporal attention", "fusion"}
    )
    assert {part.name for part in parts if part.macs == 0} == absent


def test_per_frame() -> None:
    part = Part("x", 1, linear_macs=200, product_macs=70, n_frames=27)
    assert (part.macs, part.macs_per_frame) == (270, 10.0)


@pytest.mark.parametrize("name", ["decoder.weight", "layers.0.new_stream.mixer", "layers.0"])
def test_a_new_part_cannot_be_forgotten(name: str) -> None:
    with pytest.raises(ValueError, match="belongs to no known part"):
        part_of(name)


@pytest.mark.parametrize(
    ("name", "n_frames", "linear", "every"),
    [
        ("videopose3d", 243, 176_284_672, 176_284_672),
        ("srnet", 243, 37_733_335, 37_733_335),
        ("gla_gcn", 27, 166_963_392, 175_687_146),
        ("mixste", 27, 15_402_659_328, 15_568_104_960),
        ("stcformer", 27, 2_172_766_464, 2_203_787_520),
    ],
)
def test_linear_macs_of_systems(name: str, n_frames: int, linear: int, every: int) -> None:
    """Recounted from the authors' code: a convolution is linear however it is computed."""
    everything = total(count_parts(dataclasses.replace(model_settings(name), n_frames=n_frames)))
    assert (everything.linear_macs, everything.macs) == (linear, every)
