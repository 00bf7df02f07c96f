"""P-STMO against published counts and a computation by hand from its weights alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fakes.reference_vectors import (
    assert_ignores_confidence,
    assert_learns,
    assert_reads_back,
    filled,
    n_macs,
    n_parameters,
    numbers,
)
from torch import Tensor

from m2v_lib.models.base import count_parameters
from m2v_lib.models.systems.transformer.pstmo import PStmo, Settings
from m2v_lib.models.systems.transformer.pstmo_pretraining import MaskedPoseModel

TINY: dict[str, Any] = {"n_frames": 9, "dim": 16, "dim_ff": 24, "n_layers": 2, "n_heads": 2}
IDLE = ("model.norm",)


@pytest.mark.parametrize(
    ("settings", "count", "macs"),
    [
        ({}, 7_009_382, 1_021_536_768),
        ({"n_layers": 3}, 6_482_278, 863_901_696),
        ({"n_layers": 3, "n_frames": 81}, 5_527_142, 259_737_600),
    ],
)
def test_published_counts(settings: dict[str, Any], count: int, macs: int) -> None:
    assert n_parameters(PStmo, **settings) == count
    with torch.device("meta"):
        model = PStmo(Settings(**settings)).eval()
        model.forward = model.training_outputs  # type: ignore[assignment]
        assert n_macs(model, torch.zeros(1, model.settings.n_frames, 17, 2)) == macs


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"n_layers": 3}, 2_656_036),
        ({}, 3_315_620),
        ({"n_layers": 3, "n_frames": 81}, 2_593_828),
    ],
)
def test_published_counts_of_stage_one(settings: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        assert count_parameters(MaskedPoseModel(Settings(**settings))) == count


def test_tensors_in_the_files() -> None:
    with torch.device("meta"):
        assert len(PStmo(Settings(n_layers=3)).state_dict()) == 173
        assert len(PStmo(Settings()).state_dict()) == 189
        assert len(MaskedPoseModel(Settings(n_layers=3)).state_dict()) == 121


class ByHand:
    """The specification's steps on a state dict, frame by frame where that is simple."""

    def __init__(self, state: dict[str, Tensor], n_heads: int) -> None:
        self.state = state
        self.n_heads = n_heads

    def linear(self, name: str, x_BTD: Tensor) -> Tensor:
        weight = self.state[f"{name}.weight"]
        y = torch.einsum("btd,ed->bte", x_BTD, weight.reshape(weight.shape[:2]))
        return y + self.state[f"{name}.bias"] if f"{name}.bias" in self.state else y

    def batch_norm(self, name: str, x_BTD: Tensor) -> Tensor:
        g = {
            k: self.state[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var")
        }
        scale = g["weight"] / (g["running_var"] + 1e-5).sqrt()
        return (x_BTD - g["running_mean"]) * scale + g["bias"]

    def norm(self, name: str, x_BTD: Tensor) -> Tensor:
        centred = x_BTD - x_BTD.mean(-1, keepdim=True)
        std = (centred.square().sum(-1, keepdim=True) / (x_BTD.shape[-1] - 1)).sqrt()
        return self.state[f"{name}.a_2"] * centred / (std + 1e-6) + self.state[f"{name}.b_2"]

    def encode(self, x_BTJ2: Tensor) -> Tensor:
        def layer(linear: str, norm: str, x: Tensor) -> Tensor:
            y = self.batch_norm(f"encoder.{norm}", self.linear(f"encoder.{linear}", x))
            return torch.where(y > 0, y, 0.2 * y)

        h = layer("fc_1", "bn_1", x_BTJ2.reshape(*x_BTJ2.shape[:2], 34))
        inner = layer("layers.0.w1", "layers.0.batch_norm1", h)
        return self.linear("encoder.fc_2", h + layer("layers.0.w2", "layers.0.batch_norm2", inner))

    def attend(self, name: str, x_BTD: Tensor) -> Tensor:
        x = self.norm(f"{name}.sublayer.0.norm", x_BTD)
        q, k, v = (self.linear(f"{name}.self_attn.linears.{i}", x) for i in range(3))
        width = x.shape[-1] // self.n_heads
        mixed = []
        for start in range(0, x.shape[-1], width):
            head = slice(start, start + width)
            weights = (q[..., head] @ k[..., head].mT / width**0.5).softmax(-1)
            mixed.append(weights @ v[..., head])
        return x_BTD + self.linear(f"{name}.self_attn.linears.3", torch.cat(mixed, -1))

    def vanilla(self, name: str, n_layers: int, x_BTD: Tensor) -> Tensor:
        for i in range(n_layers):
            layer = f"{name}.model.layers.{i}"
            x_BTD = self.attend(layer, x_BTD)
            h = self.linear(
                f"{layer}.feed_forward.w_1", self.norm(f"{layer}.sublayer.1.norm", x_BTD)
            )
            x_BTD = x_BTD + self.linear(f"{layer}.feed_forward.w_2", h.clamp(min=0))
        return x_BTD

    def strided(self, strides: tuple[int, ...], x_BTD: Tensor) -> Tensor:
        for i, stride in enumerate(strides):
            if i < 3:
                rows = self.state[f"Transformer_reduce.model.pos_embedding_{i + 1}"]
                x_BTD = x_BTD + rows[:, : x_BTD.shape[1]]
            layer = f"Transformer_reduce.model.layers.{i}"
            x_BTD = self.attend(layer, x_BTD)
            h = self.linear(
                f"{layer}.feed_forward.w_1", self.norm(f"{layer}.sublayer.1.norm", x_BTD)
            )
            h = F.pad(h.clamp(min=0), (0, 0, 1, 1))
            kernel = self.state[f"{layer}.feed_forward.w_2.weight"]
            taps = [h[:, n : h.shape[1] - 2 + n][:, ::stride] @ kernel[:, :, n].T for n in range(3)]
            bias = self.state[f"{layer}.feed_forward.w_2.bias"]
            x_BTD = x_BTD[:, ::stride] + taps[0] + taps[1] + taps[2] + bias
        return x_BTD

    def head(self, name: str, x_BTD: Tensor) -> Tensor:
        flat = self.linear(f"{name}.1", self.batch_norm(f"{name}.0", x_BTD))
        return flat.reshape(*flat.shape[:2], 17, -1)


@pytest.mark.parametrize(
    ("n_frames", "strides", "text"), [(9, (1, 3, 3), ""), (24, (2, 2, 2, 3), "2,2,2,3")]
)
def test_lifting_by_hand(n_frames: int, strides: tuple[int, ...], text: str) -> None:
    model = filled(PStmo(Settings(**{**TINY, "n_frames": n_frames, "strides": text})))
    x_BTJ2 = numbers((2, n_frames, 17, 2), 7)

    by_hand = ByHand(model.state_dict(), n_heads=2)
    rows = model.state_dict()["Transformer.pos_embedding"]
    features = by_hand.vanilla("Transformer", 2, by_hand.encode(x_BTJ2) + rows)
    pose = by_hand.head("fcn", by_hand.strided(strides, features))

    outputs = model.training_outputs(x_BTJ2)
    assert outputs["pose"].shape == (2, 1, 17, 3)
    torch.testing.assert_close(outputs["pose"], pose, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        outputs["sequence"], by_hand.head("fcn_1", features), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(model(x_BTJ2), outputs["pose"], rtol=0, atol=0)


def drawn(model: MaskedPoseModel, n_frames: int, seed: int = 0) -> dict[str, Tensor]:
    return model.draw((2, n_frames, 17), torch.Generator().manual_seed(seed))


def test_completion_by_hand() -> None:
    model = filled(MaskedPoseModel(Settings(**TINY)))
    x_BTJ2 = numbers((2, 9, 17, 2), 7)
    masks = drawn(model, 9)
    state = model.state_dict()
    by_hand = ByHand(state, n_heads=2)

    gaps = x_BTJ2.clone()
    for t, j in masks["hidden"].nonzero().tolist():
        gaps[:, t, j] = state["spatial_mask_token"][0, 0]
    order = masks["order"].tolist()
    visible, lost = order[:4], order[4:]  # int(0.6 x 9) = 5 are hidden
    seen = (by_hand.encode(gaps) + state["Transformer.pos_embedding"])[:, visible]
    seen = by_hand.norm("encoder_LN", by_hand.vanilla("Transformer", 2, seen))

    places = state["dec_pos_embedding"]
    blank = (state["mask_token"] + places[:, lost]).expand(2, -1, -1)
    tokens = [by_hand.linear("encoder_to_decoder", seen) + places[:, visible], blank]
    expected = by_hand.head("fcn_dec", by_hand.vanilla("Transformer_dec", 1, torch.cat(tokens, 1)))

    completed = model.complete(x_BTJ2, masks["order"], masks["hidden"])
    torch.testing.assert_close(completed, expected, rtol=0, atol=1e-12)

    distance = (expected - x_BTJ2[:, visible + lost]).norm(dim=-1)
    confidence = torch.full((2, 9, 17, 1), torch.nan)  # is not read
    loss, shown = model(torch.cat([x_BTJ2, confidence], -1), masks)
    torch.testing.assert_close(loss, distance.mean())
    torch.testing.assert_close(shown["hidden_frames_error"], distance[:, 4:].mean())


def test_masks_have_their_published_sizes_and_spare_the_last_joint() -> None:
    with torch.device("meta"):
        model = MaskedPoseModel(Settings(hidden_frames=0.8, hidden_joints=7))
    masks = drawn(model, 243, seed=1)
    order_T, hidden_TJ = masks["order"], masks["hidden"]

    seen_T, hidden_T = order_T[:49], order_T[49:]
    assert len(hidden_T) == model.n_hidden_frames == 194
    assert (seen_T.diff() > 0).all() and (hidden_T.diff() > 0).all()
    assert sorted(order_T.tolist()) == list(range(243))

    assert (hidden_TJ.sum(1) == 7).all()
    assert hidden_TJ[:, :16].any(0).all() and not hidden_TJ[:, 16].any()

    others = drawn(model, 243, seed=2)
    assert not torch.equal(others["order"], order_T)
    assert not torch.equal(others["hidden"], hidden_TJ)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("hidden_frames", 1.0, "lie in 0..1, less than 1, got 1"), ("hidden_joints", 17, "got 17")],
)
def test_masks_leave_something_to_see(key: str, value: float, said: str) -> None:
    with pytest.raises(ValueError, match=f"model.{key} must .*{said}"):
        MaskedPoseModel(Settings(**{**TINY, key: value}))


def test_weights_of_stage_one_are_no_lifter() -> None:
    with pytest.raises(ValueError, match="stage I, which are no lifter"):
        PStmo.read_authors_file(MaskedPoseModel(Settings(**TINY)).state_dict())


def test_authors_file() -> None:
    model = filled(PStmo(Settings(**TINY)))
    assert_reads_back(model, model.state_dict(), numbers((2, 9, 17, 2), 7), n_heads=2)


def test_a_step_and_confidence() -> None:
    model = PStmo(Settings(**TINY))
    assert_learns(model, torch.randn(4, 9, 17, 3), torch.randn(4, 9, 17, 3), idle=IDLE)
    assert_ignores_confidence(model, torch.randn(2, 9, 17, 2))

    first = MaskedPoseModel(Settings(**TINY))
    first(torch.randn(4, 9, 17, 3), drawn(first, 9))[0].backward()
    gradients = {name: p.grad for name, p in first.named_parameters() if "model.norm" not in name}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
