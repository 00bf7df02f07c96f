"""Anatomy3D against published counts, reference vectors and hand-made cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fakes.reference_vectors import (
    Summary,
    assert_learns,
    assert_reads_back,
    assert_summary,
    filled,
    n_macs,
    n_parameters,
    numbers,
)

from m2v_lib.models.layers.bones import BONES, PAIRS, bone_loss, bone_vectors
from m2v_lib.models.systems.convolution.anatomy3d import Anatomy3D, Settings

TINY: dict[str, Any] = {"n_frames": 9, "dim": 8}


@pytest.mark.parametrize(
    ("n_frames", "count"), [(27, 31_885_932), (81, 45_531_756), (243, 59_177_580)]
)
def test_published_parameters(n_frames: int, count: int) -> None:
    assert n_parameters(Anatomy3D, n_frames=n_frames) == count


@pytest.mark.parametrize(
    ("n_frames", "training", "window", "further"),
    [
        (27, 486_471_040, 292_739_104, 45_501_024),
        (81, 821_689_728, 1_395_458_144, 117_852_768),
        (243, 1_407_915_392, 5_714_442_528, 322_325_088),
    ],
)
def test_published_macs(n_frames: int, training: int, window: int, further: int) -> None:
    """The released code reads lengths off every frame, and repeats their layer at each frame
    out.

    A single window runs strided here: the published count is that of one frame more, less one.
    """
    with torch.device("meta"):
        model = Anatomy3D(Settings(n_frames=n_frames, length_frames="all")).eval()
        videos = [torch.zeros(1, n_frames + more, 17, 3) for more in (1, 2)]
        one, two = (n_macs(model, video) for video in videos)
        assert two - one + 16 * 1024 == further
        assert one - (two - one) == window

        model.forward = model.training_outputs  # type: ignore[assignment]
        frames = torch.zeros(1, 50, 17, 2)
        assert n_macs(model, torch.zeros(1, n_frames, 17, 3), frames, frames) == training


@pytest.mark.parametrize(
    ("n_frames", "size", "expected"),
    [
        (
            27,
            (2, 40),
            (-1.324910853650e-01, 9.344249607539e-01, 2.707037699502e-03, 9.009085933937e-01),
        ),
        (
            81,
            (1, 90),
            (-9.131103858162e-02, 9.006056485557e-01, 1.154801058682e00, -1.932626799676e00),
        ),
    ],
)
def test_reference_vectors(n_frames: int, size: tuple[int, int], expected: Summary) -> None:
    model = filled(Anatomy3D(Settings(n_frames=n_frames)))
    with torch.no_grad():
        pose_BVJ3 = model(numbers((*size, 17, 3), 7))
    assert pose_BVJ3.shape == (size[0], size[1] - n_frames + 1, 17, 3)
    assert_summary(pose_BVJ3, expected)


TRAINING: dict[str, Summary] = {
    "pose": (-6.735839101794e-02, 8.280751203742e-01, 5.283763825904e-02, -1.500567135126e00),
    "length": (1.925418589196e00, 1.925418589196e00, 2.798297076184e00, 1.396743051335e00),
    "rand_pose": (
        -8.294617372708e-02,
        6.007732300184e-01,
        -8.555412456728e-01,
        -7.404085210998e-01,
    ),
    "length_aug": (1.822395963275e00, 1.822395963275e00, 2.050133676844e00, 1.955627009698e00),
    "aug_pose": (-8.831858857032e-02, 5.901722268068e-01, -6.827463461503e-01, -1.143542257092e00),
    "direction_2": (
        -1.279086391268e-01,
        5.072996451144e-01,
        6.285725321974e-01,
        7.031746911504e-01,
    ),
    "direction_1": (
        2.272823348485e-01,
        5.136285221960e-01,
        7.457035916941e-01,
        -4.109126491471e-01,
    ),
    "shift_2": (-4.868711369736e-02, 9.593006080464e-01, 1.915156063030e00, 1.931608764447e-01),
    "shift_1": (-7.755527903038e-02, 1.045210204394e00, 1.889527846001e-02, -1.731903597405e00),
}


def test_reference_vectors_of_training() -> None:
    model = filled(Anatomy3D(Settings(n_frames=27)))
    frames = numbers((2, 50, 17, 2), 8), numbers((2, 50, 17, 2), 9)
    with torch.no_grad():
        outputs = model.training_outputs(numbers((2, 27, 17, 3), 7), *frames)

    assert list(outputs) == list(TRAINING)
    for name, expected in TRAINING.items():
        assert_summary(outputs[name], expected)


def test_a_single_window_is_the_strided_net_of_it() -> None:
    """Its lengths are those of its centre frame, or of all its frames."""
    for length_frames, frames in (("inner", slice(4, 5)), ("all", slice(0, 9))):
        model = filled(Anatomy3D(Settings(**TINY, length_frames=length_frames)))
        x_BTJ3 = numbers((2, 9, 17, 3), 5)
        outputs = model.training_outputs(x_BTJ3, x_BTJ3[:, frames, :, :2])
        torch.testing.assert_close(model(x_BTJ3), outputs["pose"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("length_frames", ["inner", "all"])
def test_a_causal_net_sees_no_later_frame(length_frames: str) -> None:
    settings = Settings(**TINY, causal=True, length_frames=length_frames)
    model = filled(Anatomy3D(settings))
    x_BTJ3 = numbers((1, 13, 17, 3), 5)
    torch.testing.assert_close(model(x_BTJ3[:, :11]), model(x_BTJ3)[:, :3], rtol=0, atol=1e-12)

    target_BTJ3 = torch.arange(9.0).reshape(1, 9, 1, 1).expand(1, 9, 17, 3)
    assert (model.output_frames(target_BTJ3) == 8).all()


def test_lengths_come_from_all_frames_of_a_video() -> None:
    model = filled(Anatomy3D(Settings(**TINY)))
    x_BTJ3 = numbers((1, 20, 17, 3), 5)
    whole, window = model(x_BTJ3)[:, :1], model(x_BTJ3[:, :9])
    assert (whole - window).abs().max() > 1e-3


def test_pairs_and_bones() -> None:
    assert (len(BONES), len(PAIRS)) == (16, 137)
    assert PAIRS[:4] == [(0, 0), (0, 2), (0, 3), (0, 5)] and PAIRS[-1] == (16, 16)


def test_loss_of_a_perfect_answer_is_zero_and_each_part_counts() -> None:
    model = Anatomy3D(Settings(**TINY)).double()
    pose_BTJ3 = numbers((2, 1, 17, 3), 4).expand(2, 9, 17, 3)
    centre = pose_BTJ3[:, 4:5]
    bones = bone_vectors(centre)
    outputs = {
        "pose": centre,
        "length": bones.norm(dim=-1)[:, 0],
        "rand_pose": pose_BTJ3,
        "length_aug": 2 * bones.norm(dim=-1)[:, 0],
        "aug_pose": 2 * pose_BTJ3,
    }
    unit = (bones / bones.norm(dim=-1, keepdim=True)).reshape(2, 48, 1)
    vectors = torch.stack([centre[:, :, j] - centre[:, :, i] for i, j in PAIRS], dim=2)
    outputs |= {"direction_2": unit, "direction_1": unit, "shift_2": vectors, "shift_1": vectors}
    weights = {"r": 3, "w_length": 100.0, "w_direction": 0.3, "w_shift": 2.0}

    def parts(**wrong: torch.Tensor) -> dict[str, float]:
        terms = bone_loss(
            {**outputs, **wrong},
            pose_BTJ3,
            model.output_frames(pose_BTJ3),
            pose_BTJ3,
            2 * pose_BTJ3,
            **weights,  # type: ignore[arg-type]
        )
        return {name: float(term) for name, term in terms.items() if abs(term) > 1e-12}

    off = torch.tensor([0.3, 0.0, 0.4]).double()
    assert parts() == {}
    assert parts(length=outputs["length"] + 0.1) == pytest.approx({"length": 1.0})
    assert parts(length_aug=outputs["length_aug"] + 0.1) == pytest.approx({"length_aug": 1.0})
    assert parts(pose=centre + off) == pytest.approx({"pose": 0.5})
    assert parts(rand_pose=pose_BTJ3 + off) == pytest.approx({"rand_pose": 0.5})
    assert parts(aug_pose=2 * pose_BTJ3 + off) == pytest.approx({"aug_pose": 0.5})
    assert parts(shift_2=vectors + off) == pytest.approx({"shift_2": 1.0})
    assert parts(shift_1=vectors + off) == pytest.approx({"shift_1": 0.5})
    turned = unit + off.repeat(16)[:, None]
    assert parts(direction_2=turned) == pytest.approx({"direction_2": 0.3 * 0.25})
    assert parts(direction_1=turned) == pytest.approx({"direction_1": 0.15 * 0.25})


def test_gradients_are_cut_between_the_parts() -> None:
    model = filled(Anatomy3D(Settings(**TINY)))
    frames = numbers((2, 6, 17, 2), 8)

    def trained_by(output: str) -> set[str]:
        model.zero_grad()
        model.training_outputs(numbers((2, 9, 17, 3), 7), frames)[output].square().sum().backward()
        grads = {name.split(".")[0]: p.grad for name, p in model.named_parameters()}
        return {name for name, grad in grads.items() if grad is not None}

    assert trained_by("pose") == {"lengthlinear", "directlinear", "shrink"}
    assert trained_by("length") == {"boneatt"}
    assert trained_by("rand_pose") == {"layers_convbone", "layers_bnbone"}
    second = {"lengthlinear_2", "directlinear_2", "shrink_js_2", "shrink_direct_2"}
    assert trained_by("shift_2") == second | {"layers_conv1", "layers_bn1"}


@pytest.mark.parametrize("causal", [False, True])
def test_authors_file(causal: bool) -> None:
    model = filled(Anatomy3D(Settings(**TINY, causal=causal)))
    content = {"epoch": 60, "lr": 1e-3, "optimizer": {}, "model_pos": model.state_dict()}
    assert_reads_back(model, content, numbers((2, 12, 17, 3), 7), causal=causal)


def test_a_step() -> None:
    assert_learns(Anatomy3D(Settings(**TINY)), torch.randn(4, 9, 17, 3), torch.randn(4, 9, 17, 3))


def test_confidence_is_needed() -> None:
    with pytest.raises(ValueError, match="17, 3"):
        Anatomy3D(Settings(**TINY))(torch.zeros(1, 9, 17, 2))
