"""VideoPose3D against published counts, reference vectors, and its forms against each other."""

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

from m2v_lib.models.systems.convolution.videopose3d import Settings, VideoPose3D

ONE: dict[str, Any] = {"n_frames": 1, "filter_widths": "1,1,1"}
DENSE: dict[str, Any] = {"form": "dense"}


@pytest.mark.parametrize(
    ("settings", "count", "trajectory"),
    [
        (ONE, 4_291_635, 4_242_435),
        ({"n_frames": 27}, 8_555_571, 8_506_371),
        ({"n_frames": 81}, 12_753_971, 12_704_771),
        ({}, 16_952_371, 16_903_171),
        ({"n_frames": 27, **DENSE}, 29_527_091, None),
        ({"n_frames": 81, **DENSE}, 88_251_443, None),
    ],
)
def test_published_parameters(settings: dict[str, Any], count: int, trajectory: int | None) -> None:
    assert n_parameters(VideoPose3D, **settings) == count
    if trajectory:
        assert n_parameters(VideoPose3D, part="trajectory", **settings) == trajectory


@pytest.mark.parametrize(
    ("settings", "macs"),
    [
        ({**ONE, "form": "strided"}, 4_281_344),
        ({"n_frames": 27, "form": "strided"}, 17_769_472),
        ({"n_frames": 81, "form": "strided"}, 57_398_272),
        ({"form": "strided"}, 176_284_672),
        ({}, 176_284_672),
        ({"form": "dilated"}, 2_608_915_456),
        ({"n_frames": 81, "form": "dilated"}, 549_368_832),
        ({"n_frames": 27, **DENSE}, 183_018_496),
    ],
)
def test_published_macs(settings: dict[str, Any], macs: int) -> None:
    with torch.device("meta"):
        model = VideoPose3D(Settings(**settings)).eval()
        assert n_macs(model, torch.zeros(1, model.settings.n_frames, 17, 2)) == macs


SHORT: dict[str, Any] = {"n_frames": 27}
VECTORS: list[tuple[dict[str, Any], tuple[int, int], Summary]] = [
    (
        {**SHORT, "form": "dilated"},
        (2, 30),
        (6.140153665247e-03, 4.238067728119e-01, 5.830584562919e-02, 1.569311609123e-01),
    ),
    (
        {**SHORT, "form": "dilated"},
        (2, 27),
        (7.216575499158e-03, 3.781392412812e-01, 5.830584562919e-02, -2.105048273040e-01),
    ),
    (
        {**SHORT, "form": "strided"},
        (2, 27),
        (7.216575499158e-03, 3.781392412812e-01, 5.830584562919e-02, -2.105048273040e-01),
    ),
    (
        {**SHORT, "causal": True},
        (2, 30),
        (1.678394696569e-02, 4.158199687283e-01, 2.101295133546e-01, 5.420613770487e-01),
    ),
    (
        {**SHORT, "causal": True, "form": "strided"},
        (2, 27),
        (6.589899916704e-02, 4.220617102613e-01, 2.101295133546e-01, 4.300142885002e-02),
    ),
    (
        {**SHORT, **DENSE},
        (2, 30),
        (1.575446226311e-02, 3.704129602111e-01, 3.650080982229e-02, 2.768695223345e-02),
    ),
    (
        {**SHORT, "part": "trajectory"},
        (2, 30),
        (6.085192905642e-04, 3.927563331292e-01, 5.830584562919e-02, -1.647791784619e-01),
    ),
    (
        {"n_frames": 45, "filter_widths": "3,5,3"},
        (2, 50),
        (1.468428519688e-02, 4.534000610482e-01, 9.921040453148e-01, 5.800340285089e-01),
    ),
    (
        {},
        (1, 243),
        (-4.828149560191e-02, 7.381098457271e-01, 2.488098744316e-01, 8.093163271319e-01),
    ),
]


@pytest.mark.parametrize(("settings", "size", "expected"), VECTORS)
def test_reference_vectors(
    settings: dict[str, Any], size: tuple[int, int], expected: Summary
) -> None:
    model = filled(VideoPose3D(Settings(**settings)))
    with torch.no_grad():
        pose_BVJ3 = model(numbers((*size, 17, 2), 7))

    assert_summary(pose_BVJ3, expected)
    n_joints = 1 if settings.get("part") else 17
    assert pose_BVJ3.shape == (size[0], size[1] - model.receptive_field + 1, n_joints, 3)


@pytest.mark.parametrize("causal", [False, True])
def test_a_video_at_once_is_its_windows_one_by_one(causal: bool) -> None:
    model = filled(VideoPose3D(Settings(n_frames=27, dim=8, causal=causal)))
    x_BTJ2 = numbers((2, 31, 17, 2), 4)
    windows = [model(x_BTJ2[:, start : start + 27]) for start in range(5)]
    torch.testing.assert_close(model(x_BTJ2), torch.cat(windows, dim=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("causal", "first"), [(False, 13), (True, 26)])
def test_targets_are_the_frames_that_come_out(causal: bool, first: int) -> None:
    model = VideoPose3D(Settings(n_frames=27, dim=8, causal=causal))
    target_BTJ3 = torch.arange(30.0).reshape(1, 30, 1, 1).expand(2, 30, 17, 3)
    frames = model.output_frames(target_BTJ3)[0, :, 0, 0].tolist()
    assert frames == [first, first + 1, first + 2, first + 3]


@pytest.mark.parametrize(
    "settings", [{}, {"form": "dense"}, {"part": "trajectory"}, {"causal": True}]
)
def test_authors_file(settings: dict[str, Any]) -> None:
    model = filled(VideoPose3D(Settings(n_frames=27, dim=8, **settings)))
    entry = "model_traj" if "part" in settings else "model_pos"
    content = {"epoch": 80, "lr": 1e-3, "model_pos": {}, "optimizer": {}, entry: model.state_dict()}
    assert_reads_back(model, content, numbers((2, 29, 17, 2), 7), **settings)


def test_files_of_another_layout_are_refused() -> None:
    with pytest.raises(ValueError, match="model_pos"):
        VideoPose3D.read_authors_file({"state_dict": {}})


def test_a_step_and_confidence() -> None:
    model = VideoPose3D(Settings(n_frames=9, dim=8))
    assert_learns(model, torch.randn(4, 9, 17, 3), torch.randn(4, 9, 17, 3))
    assert_learns(model, torch.randn(4, 12, 17, 3), torch.randn(4, 12, 17, 3))
    assert_ignores_confidence(model, torch.randn(2, 11, 17, 2))


def test_loss_of_a_trajectory_counts_far_people_less() -> None:
    model = filled(VideoPose3D(Settings(n_frames=9, dim=8, part="trajectory")))
    x_BTJ2 = numbers((1, 9, 17, 2), 3)
    root_BT13 = torch.tensor([0.5, 0.5, 4.0]).double().expand(1, 9, 1, 3)

    expected = (model(x_BTJ2)[0, 0, 0] - root_BT13[0, 0, 0]).norm() / 4

    torch.testing.assert_close(model.loss(x_BTJ2, root_BT13)[0], expected)
    with pytest.raises(ValueError, match="trajectory"):
        model.loss(x_BTJ2, torch.zeros(1, 9, 17, 3))


@pytest.mark.parametrize(
    ("settings", "n_frames", "reason"),
    [
        ({"n_frames": 27}, 26, "at least 27"),
        ({"n_frames": 27, "form": "strided"}, 28, "take 27"),
        ({"n_frames": 28}, 28, "product"),
        ({"n_frames": 4, "filter_widths": "2,2"}, 4, "odd"),
        ({"n_frames": 4, "filter_widths": "wide"}, 4, "numbers"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], n_frames: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        VideoPose3D(Settings(dim=8, **settings))(torch.zeros(1, n_frames, 17, 2))
