"""One set of weights for any joints in any order, and for clips padded to one length."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.registry import build_model
from m2v_lib.skeletons import H36M17, KNOWN, choose
from m2v_lib.skeletons.skeleton import from_links

T = 6


def a_model(**changes: object) -> DualStreamModel:
    settings = {
        "model.n_layers": 2,
        "model.dim": 16,
        "model.n_heads": 4,
        "model.dim_rep": 16,
        "model.n_frames": T,
        "model.joint_embedding": "name",
        "model.pos_init_std": 0.5,
        "pretrain.target_layers": 2,
        **changes,
    }
    exp = Experiment.preset("base").override(settings)
    model = build_model(exp.model, seed=1).double()
    for module in model.modules():  # batch norm that does something in evaluation
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean = torch.linspace(-0.3, 0.3, 16).double()
            module.running_var = torch.linspace(2.0, 0.5, 16).double()
    return model.eval()


def some_input(n_joints: int, n_frames: int = T, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn((batch, n_frames, n_joints, 3), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("path", ["reference", "fast"])
@pytest.mark.parametrize("training", [False, True])
def test_permuting_the_joints_permutes_the_output_and_nothing_else(
    path: str, training: bool
) -> None:
    model = a_model().use(path).train(training)
    order = torch.randperm(17, generator=torch.Generator().manual_seed(0)).tolist()
    words = [H36M17.vocabulary[joint] for joint in order]
    x = some_input(17)

    straight = model.use_skeleton(H36M17)(x)
    permuted = model.use_skeleton(choose(words))(x[:, :, order])

    torch.testing.assert_close(permuted, straight[:, :, order], rtol=0, atol=1e-12)


def test_a_skeleton_of_other_joints_takes_other_weights_of_the_same_network() -> None:
    model = a_model()
    outputs = {
        name: model.use_skeleton(KNOWN[name])(some_input(17)) for name in ("h36m17", "coco17")
    }

    assert (outputs["h36m17"] - outputs["coco17"]).abs().max() > 0.01
    assert model.use_skeleton(KNOWN["body25"])(some_input(25)).shape == (2, T, 25, 3)


def test_the_skeletons_root_is_where_the_pose_begins() -> None:
    """Of the same joints with another root the same pose comes out, moved."""
    model = a_model()
    x = some_input(4)
    words = ("root", "nose", "right hip", "left hip")
    at_root = model.use_skeleton(choose(words))(x)
    links = (("root", "nose"), ("nose", ""), ("right hip", "root"), ("left hip", "root"))

    at_nose = model.use_skeleton(from_links("other", *links))(x)

    assert not at_root[:, :, 0].any() and not at_nose[:, :, 1].any()
    torch.testing.assert_close(at_nose, at_root - at_root[:, :, 1:2], rtol=0, atol=1e-12)


def test_going_back_to_a_skeleton_gives_what_it_gave() -> None:
    model = a_model()
    x = some_input(17)
    before = model(x)
    model.use_skeleton(KNOWN["body25"])

    with pytest.raises(ValueError, match=r"must be \(B, T, 25, 3\)"):
        model(x)
    torch.testing.assert_close(model.use_skeleton(H36M17)(x), before, rtol=0, atol=0)


def test_a_network_bound_to_its_joints_refuses_others() -> None:
    model = a_model(**{"model.joint_embedding": "order"})

    with pytest.raises(ValueError, match="bound to the joints of h36m17, got coco17"):
        model.use_skeleton(KNOWN["coco17"])
    assert model.use_skeleton(H36M17) is model


@pytest.mark.parametrize(
    ("setting", "value"),
    [("model.bn_axis", "nodes"), ("model.spatial_graph", "released"), ("model.temporal_pos", True)],
)
def test_weights_bound_to_joints_or_frames_do_not_go_with_any_skeleton(
    setting: str, value: object
) -> None:
    with pytest.raises(ConfigError, match="no weight bound to joints or frames"):
        a_model(**{setting: value})


KINDS: dict[str, dict[str, Any]] = {
    "paper": {},
    "next frame": {"model.temporal_graph": "released-fixed"},
    "similar frames": {"model.temporal_graph": "similarity"},
    "prenorm": {"model.gcn_block": "prenorm", "model.layer_scale": 0.1},
    "attention alone": {"model.streams": "transformer"},
    "graphs alone": {"model.streams": "gcn"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["reference", "fast"])
def test_padding_changes_nothing(kind: str, path: str) -> None:
    model = a_model(**KINDS[kind]).use(path)
    x = some_input(17)
    alone = model(x)

    padded = torch.cat([x, torch.full((2, 3, 17, 3), torch.nan, dtype=torch.float64)], dim=1)
    present = torch.ones(2, T + 3, dtype=torch.bool)
    present[:, T:] = False

    out = model(padded, present)
    torch.testing.assert_close(out[:, :T], alone, rtol=0, atol=1e-10)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("kind", ["paper", "similar frames"])
def test_clips_of_different_lengths_have_the_statistics_of_their_frames(kind: str) -> None:
    """In training, batch norm's mean and variance are those of the frames that are there: of two
    copies of a clip, one padded, as of two copies unpadded.
    """
    model = a_model(**KINDS[kind]).train()
    x = some_input(17, batch=1)
    both = model(torch.cat([x, x]))
    buffers = {name: b.clone() for name, b in model.named_buffers()}

    model = a_model(**KINDS[kind]).train()
    long = torch.cat([x, torch.full((1, 4, 17, 3), 1e3, dtype=torch.float64)], dim=1)
    present = torch.ones(2, T + 4, dtype=torch.bool)
    present[:, T:] = False
    padded = model(long.repeat(2, 1, 1, 1), present)

    torch.testing.assert_close(padded[:, :T], both, rtol=0, atol=1e-10)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=0, atol=1e-10)


def test_a_clip_of_padding_alone_disturbs_nobody() -> None:
    model = a_model()
    x = some_input(17)
    present = torch.ones(2, T, dtype=torch.bool)
    present[1] = False

    out = model(x, present)

    torch.testing.assert_close(out[:1], model(x[:1]), rtol=0, atol=1e-10)
    assert torch.isfinite(out).all()


def test_padding_needs_weights_of_any_length() -> None:
    model = a_model(**{"model.joint_embedding": "order", "model.temporal_pos": True})

    with pytest.raises(ValueError, match="not bound to 6 frames"):
        model(some_input(17), torch.ones(2, T, dtype=torch.bool))
