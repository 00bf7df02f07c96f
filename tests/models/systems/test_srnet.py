"""SRNet against published counts, reference vectors and convolutions by hand."""

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

from m2v_lib.models.systems.convolution.srnet import (
    PartConv,
    Settings,
    SRNet,
    joints_of_parts,
    shares,
)

ONE: dict[str, Any] = {"n_frames": 1, "filter_widths": "1,1,1"}
ONE_4: dict[str, Any] = {"n_frames": 1, "filter_widths": "1,1,1,1"}
SHORT: dict[str, Any] = {"n_frames": 27}
TINY: dict[str, Any] = {"n_frames": 9, "dim": 20}


@pytest.mark.parametrize(
    ("settings", "count", "strided", "dilated"),
    [
        (ONE, 899_029, 888_699, 888_699),
        ({**ONE_4, "recombine": "add"}, 1_334_347, 1_319_971, 1_319_971),
        ({**ONE_4, "recombine": "concat"}, 1_341_579, 1_327_203, 1_327_203),
        (SHORT, 1_829_515, 3_813_703, 18_448_359),
        ({"n_frames": 81}, 2_720_791, 12_293_611, 116_631_923),
        ({}, 3_612_067, 37_733_335, 553_121_815),
        ({"recombine": "add"}, 3_611_867, 37_733_335, 553_121_815),
        ({"parts": "3"}, 5_881_296, 61_298_940, 902_959_356),
        ({"parts": "2"}, 8_637_975, 89_925_567, 1_327_763_391),
    ],
)
def test_published_counts(settings: dict[str, Any], count: int, strided: int, dilated: int) -> None:
    assert n_parameters(SRNet, **settings) == count
    with torch.device("meta"):
        for form, macs in {"strided": strided, "dilated": dilated}.items():
            model = SRNet(Settings(**settings, form=form)).eval()
            assert n_macs(model, torch.zeros(1, model.settings.n_frames, 17, 2)) == macs


VECTORS: list[tuple[dict[str, Any], int, Summary]] = [
    (ONE, 4, (-4.273095359561e-03, 8.639789934027e-02, 5.759603661271e-02, -5.231284668465e-02)),
    (
        {**ONE_4, "recombine": "add"},
        4,
        (-1.019989335289e-02, 2.248198870417e00, -5.831432409745e-01, -7.194352917075e-01),
    ),
    (
        {**ONE_4, "recombine": "concat"},
        4,
        (-4.379983539074e-02, 5.861077632881e-01, 3.471012840365e-01, -7.538131190306e-02),
    ),
    (SHORT, 30, (-3.364789926894e-03, 9.542647209603e-02, 1.274168778068e-01, 1.107260800314e-01)),
    (
        {**SHORT, "form": "strided"},
        27,
        (-4.108242353948e-03, 8.589287657580e-02, 1.274168778068e-01, -2.308169764367e-02),
    ),
    (
        {**SHORT, "form": "dilated"},
        27,
        (-4.108242353948e-03, 8.589287657580e-02, 1.274168778068e-01, -2.308169764367e-02),
    ),
    (
        {**SHORT, "recombine": "add"},
        30,
        (-1.652223120023e-01, 1.483417479924e00, 9.396080477792e-02, 1.236970744876e00),
    ),
    (
        {**SHORT, "recombine": "concat", "form": "strided"},
        27,
        (-4.187817630062e-02, 5.088523916135e-01, -8.009858794793e-01, -1.646405059842e-01),
    ),
    (
        {**SHORT, "recombine": "concat"},
        30,
        (-6.123514591568e-02, 5.618690604704e-01, -7.865982747402e-01, -2.413410572475e-01),
    ),
    (
        {**SHORT, "parts": "3"},
        30,
        (-2.207268176888e-02, 9.208461794824e-02, -4.493417113738e-02, -1.303202484860e-01),
    ),
    (
        {**SHORT, "parts": "2"},
        30,
        (-1.104654006248e-02, 1.032426354378e-01, -1.283821264062e-02, -1.465183093773e-01),
    ),
    (
        {"form": "strided"},
        243,
        (1.720024264018e-03, 1.315195490339e-01, 3.244489644036e-01, -1.469963223375e-01),
    ),
]


@pytest.mark.parametrize(("settings", "n_frames", "expected"), VECTORS)
def test_reference_vectors(settings: dict[str, Any], n_frames: int, expected: Summary) -> None:
    model = filled(SRNet(Settings(**settings)))
    with torch.no_grad():
        pose_BVJ3 = model(numbers((2, n_frames, 17, 2), 7))
    assert pose_BVJ3.shape == (2, n_frames - model.receptive_field + 1, 17, 3)
    assert_summary(pose_BVJ3, expected)


def test_channels_of_the_parts() -> None:
    read = [2 * len(part) for part in joints_of_parts("5")]
    assert read == [8, 8, 10, 8, 8]
    assert shares(read, 1024) == [195, 195, 243, 195, 196]
    final = SRNet(Settings(**TINY)).final_layer.state_dict()
    assert [len(final[f"group_conv.{g}.weight"]) for g in range(5)] == [12, 12, 15, 12, 13]
    assert joints_of_parts("2") == [list(range(8)), [0, *range(8, 17)]]


@pytest.mark.parametrize("recombine", ["multiply", "add"])
@pytest.mark.parametrize(("stride", "dilation"), [(3, 1), (1, 2)])
def test_a_convolution_by_hand(recombine: str, stride: int, dilation: int) -> None:
    conv = filled(PartConv([2, 3], [1, 2], 3, recombine))
    x_BCT = numbers((2, 5, 9), 7)
    y_BCV = conv(x_BCT, stride, dilation)

    state = conv.state_dict()
    signal_weight, signal_bias = (
        state[f"get_part_info.m_conv.1.{name}"] for name in ("weight", "bias")
    )
    others, own, start = x_BCT[1, :2], x_BCT[1, 2:], stride  # second clip, second place
    frames = [start + dilation * n for n in range(3)]
    signal = torch.einsum("ncm,cm->n", signal_weight, others[:, frames]) + signal_bias
    if recombine == "multiply":
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, a, b = (state[f"get_part_info.layers_bn.1.{name}"] for name in names)
        signal = (signal - mean) / (var + 1e-5).sqrt() * a + b
        seen = own[:, frames] / (1 + (-signal).exp())
    else:
        seen = own[:, frames] + torch.where(signal > 0, signal, 0.01 * signal)

    expected = torch.einsum("ocn,cn->o", state["group_conv.1.weight"], seen)
    torch.testing.assert_close(y_BCV[1, 1:, 1], expected, rtol=0, atol=1e-12)


def test_signals_start_at_zero() -> None:
    state = SRNet(Settings(**TINY)).state_dict()
    starts = {name: value for name, value in state.items() if "m_conv" in name}
    assert all((value == 0).all() for name, value in starts.items() if name.endswith("weight"))
    assert all((value != 0).any() for name, value in starts.items() if name.endswith("bias"))


@pytest.mark.parametrize("recombine", ["multiply", "add", "concat"])
def test_authors_file(recombine: str) -> None:
    model = filled(SRNet(Settings(**TINY, parts="3", recombine=recombine)))
    content = {"epoch": 60, "lr": 1e-3, "loss 3d test": 0.05, "model_pos": model.state_dict()}
    assert_reads_back(model, content, numbers((2, 11, 17, 2), 7))


def test_a_step_and_confidence() -> None:
    model = SRNet(Settings(**TINY))
    assert_learns(model, torch.randn(4, 9, 17, 3), torch.randn(4, 9, 17, 3))
    assert_learns(model, torch.randn(4, 12, 17, 3), torch.randn(4, 12, 17, 3))
    assert_ignores_confidence(model, torch.randn(2, 11, 17, 2))


def test_loss_is_the_absolute_error_of_the_frames_that_come_out() -> None:
    model = filled(SRNet(Settings(**TINY, causal=True)))
    x_BTJ2, target_BTJ3 = numbers((2, 11, 17, 2), 3), numbers((2, 11, 17, 3), 4)
    expected = (model(x_BTJ2) - target_BTJ3[:, 8:]).abs().mean()
    torch.testing.assert_close(model.loss(x_BTJ2, target_BTJ3)[0], expected)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"n_frames": 10}, "product"), ({"n_frames": 15, "filter_widths": "3,5"}, "equal")],
)
def test_what_cannot_work_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SRNet(Settings(**{**TINY, **settings}))
