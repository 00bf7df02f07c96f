"""Strided Transformer and its layers against published counts and reference vectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fakes.reference_vectors import (
    Summary,
    assert_ignores_confidence,
    assert_learns,
    assert_reads_back,
    assert_summary,
    filled,
    n_macs,
    n_parameters,
    numbers,
)

from m2v_lib.models.base import count_parameters
from m2v_lib.models.layers.depth_refinement import PoseRefinement, back_projected
from m2v_lib.models.systems.transformer.strided_transformer import Settings, StridedTransformer

TINY: dict[str, Any] = {"n_frames": 27, "dim": 16, "dim_ff": 24}
#: weights that no output depends on, by construction
IDLE = ("model.norm",)


def test_published_counts() -> None:
    assert n_parameters(StridedTransformer) == 4_346_214
    assert n_parameters(StridedTransformer, n_frames=27) == 4_014_438
    assert count_parameters(PoseRefinement()) == 140_322


@pytest.mark.parametrize(("n_frames", "macs"), [(27, 65_054_208), (351, 1_059_785_216)])
def test_published_macs(n_frames: int, macs: int) -> None:
    """Both outputs are counted."""
    with torch.device("meta"):
        model = StridedTransformer(Settings(n_frames=n_frames)).eval()
        model.forward = model.training_outputs  # type: ignore[assignment]
        assert n_macs(model, torch.zeros(1, n_frames, 17, 2)) == macs


@pytest.mark.parametrize(
    ("n_frames", "pose", "sequence"),
    [
        (
            27,
            (-3.688781102816e-01, 1.928669409708e00, 1.555213250403e00, -1.799256139572e00),
            (-1.110588087591e-01, 1.430836147886e00, -4.637604180512e00, 2.717467135537e00),
        ),
        (
            351,
            (-9.877446051577e-02, 1.952735468820e00, 2.753865275426e00, -1.915091547271e00),
            (-1.594144305385e-01, 1.322254263858e00, -4.187145336410e00, -1.718667405728e00),
        ),
    ],
)
def test_reference_vectors(n_frames: int, pose: Summary, sequence: Summary) -> None:
    model = filled(StridedTransformer(Settings(n_frames=n_frames)))
    x_BTJ2 = numbers((2, n_frames, 17, 2), 7)
    with torch.no_grad():
        outputs = model.training_outputs(x_BTJ2)
        torch.testing.assert_close(model(x_BTJ2), outputs["pose"], rtol=0, atol=0)

    assert outputs["pose"].shape == (2, 1, 17, 3)
    assert outputs["sequence"].shape == (2, n_frames, 17, 3)
    assert_summary(outputs["pose"], pose)
    assert_summary(outputs["sequence"], sequence)


def test_reference_vector_of_the_refinement() -> None:
    pose_B1J3, other_B1J3 = (numbers((2, 1, 17, 3), c) for c in (7, 8))
    refined = filled(PoseRefinement())(pose_B1J3, other_B1J3)
    assert_summary(
        refined, (6.923218741040e-03, 3.426118582037e-01, -7.294738242994e-02, 5.718996702308e-01)
    )
    assert (refined[..., 2] == pose_B1J3[..., 2]).all()


def test_back_projection_undoes_a_projection() -> None:
    root_B113 = torch.tensor([[[[0.3, -0.2, 4.0]]]]).double()
    pose_B1J3 = numbers((1, 1, 17, 3), 3)
    pose_B1J3[:, :, 0] = 0
    camera = torch.tensor([[1.2, 1.3]]).double(), torch.tensor([[0.01, -0.02]]).double()
    points = pose_B1J3 + root_B113
    x_B1J2 = points[..., :2] / points[..., 2:] * camera[0] + camera[1]

    flat = torch.cat([torch.zeros_like(x_B1J2), pose_B1J3[..., 2:]], dim=-1)
    flat[:, :, 0, 2] = 0.7  # what is predicted of the root's own depth does not count
    found = back_projected(flat, x_B1J2, root_B113[..., 0, 2], *camera)

    torch.testing.assert_close(found, pose_B1J3)


def test_copies_of_the_released_start() -> None:
    state = StridedTransformer(Settings(**TINY)).state_dict()
    first = state["Transformer.model.layers.0.self_attn.linears.0.weight"]
    assert (state["Transformer.model.layers.2.self_attn.linears.3.weight"] == first).all()

    strided = "Transformer_reduce.model.layers.{}.{}.weight"
    attention, feed_forward = "self_attn.linears.1", "feed_forward.w_1"
    assert (state[strided.format(0, attention)] == state[strided.format(1, attention)]).all()
    assert (state[strided.format(0, feed_forward)] != state[strided.format(1, feed_forward)]).any()
    assert (state[strided.format(0, attention)] != first).any()


def test_authors_file() -> None:
    model = filled(StridedTransformer(Settings(**TINY)))
    assert_reads_back(model, model.state_dict(), numbers((2, 27, 17, 2), 7))


def test_a_step_and_confidence() -> None:
    model = StridedTransformer(Settings(**TINY))
    assert_learns(model, torch.randn(4, 27, 17, 3), torch.randn(4, 27, 17, 3), idle=IDLE)
    assert_ignores_confidence(model, torch.randn(2, 27, 17, 2))


def test_loss_is_of_the_centre_and_of_all_frames() -> None:
    model = filled(StridedTransformer(Settings(**TINY)))
    x_BTJ2, target_BTJ3 = numbers((2, 27, 17, 2), 3), numbers((2, 27, 17, 3), 4)
    outputs = model.training_outputs(x_BTJ2)

    centre = (outputs["pose"][:, 0] - target_BTJ3[:, 13]).norm(dim=-1).mean()
    everything = (outputs["sequence"] - target_BTJ3).norm(dim=-1).mean()

    torch.testing.assert_close(model.loss(x_BTJ2, target_BTJ3)[0], centre + everything)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"n_frames": 15}, "no strides"),
        ({"strides": "3,3"}, "leave 3"),
        ({"strides": "wide"}, "numbers"),
    ],
)
def test_strides_that_cannot_work_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        StridedTransformer(Settings(**{**TINY, **settings}))
