"""MotionBERT against its forward pass in numpy, its published sizes, a file in its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.lifters_by_hand import (
    ByHand,
    clip,
    counts,
    shaken,
    tracks,
    untracked,
    write_authors_file,
)
from fakes.reference_vectors import assert_learns
from scipy.special import softmax

from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.losses import mpjpe_loss, n_mpjpe_loss, velocity_loss
from m2v_lib.models.systems.transformer.motionbert import MODEL, MotionBERT, Settings

TINY = Settings(n_frames=6, dim=8, n_layers=2, n_heads=2, mlp_ratio=3, dim_rep=5)


def tiny() -> MotionBERT:
    model = shaken(MODEL(TINY))
    assert isinstance(model, MotionBERT)
    return model


@pytest.mark.parametrize(
    ("size", "n_parameters", "macs"),
    [("base", 42_466_317, 185_402_981_376), ("lite", 16_001_549, 71_046_326_016)],
)
def test_published_sizes(size: str, n_parameters: int, macs: int) -> None:
    settings = Settings(**MODEL.published_sizes[size])
    assert counts(MODEL, settings) == (n_parameters, macs, 260)


@pytest.mark.parametrize("n_frames", [6, 4])
def test_forward_is_the_description_in_numpy(n_frames: int) -> None:
    model, x = tiny(), clip(n_frames)
    hand = ByHand(model, n_heads=2)

    def half(z_GNC: np.ndarray, block: str, axis: str) -> np.ndarray:
        normed = hand.layer_norm(z_GNC, f"{block}.norm1_{axis}")
        z_GNC = z_GNC + hand.attention(normed, f"{block}.attn_{axis}")
        normed = hand.layer_norm(z_GNC, f"{block}.norm2_{axis}")
        return z_GNC + hand.mlp(normed, f"{block}.mlp_{axis}")

    def spatial(z: np.ndarray, block: str) -> np.ndarray:
        return half(z.reshape(-1, 17, 8), block, "s").reshape(z.shape)

    def temporal(z: np.ndarray, block: str) -> np.ndarray:
        return untracked(half(tracks(z), block, "t"))

    z = hand.linear(x.numpy(), "joints_embed") + hand.p["pos_embed"]
    z = z + hand.p["temp_embed"][:, :n_frames]
    for i in range(2):
        a = temporal(spatial(z, f"blocks_st.{i}"), f"blocks_st.{i}")
        b = spatial(temporal(z, f"blocks_ts.{i}"), f"blocks_ts.{i}")
        alpha = softmax(hand.linear(np.concatenate([a, b], -1), f"ts_attn.{i}"), axis=-1)
        z = alpha[..., :1] * a + alpha[..., 1:] * b
    representation = np.tanh(hand.linear(hand.layer_norm(z, "norm"), "pre_logits.fc"))

    with torch.no_grad():
        np.testing.assert_allclose(model.encode(x).numpy(), representation, rtol=0, atol=1e-11)
        expected = hand.linear(representation, "head")
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=0, atol=1e-11)


def test_longer_clips_and_two_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="6 frames at most, got 7"):
        tiny()(clip(7))
    with pytest.raises(ValueError, match=r"\(B, T, 17, 3\)"):
        tiny()(clip(6, n_channels=2))


def test_both_streams_count_alike_at_the_start() -> None:
    start = MODEL(TINY).state_dict()
    assert not start["ts_attn.1.weight"].any()
    assert torch.equal(start["ts_attn.1.bias"], torch.full((2,), 0.5))
    assert 0.015 < start["blocks_ts.1.mlp_t.fc1.weight"].std() < 0.025
    assert not start["blocks_ts.1.mlp_t.fc1.bias"].any() and start["temp_embed"].any()


def test_loss_is_the_published_sum() -> None:
    model, x, target = tiny(), clip(6), clip(6, seed=8)
    p = model(x)
    expected = mpjpe_loss(p, target) + 0.5 * n_mpjpe_loss(p, target) + 20 * velocity_loss(p, target)
    torch.testing.assert_close(model.loss(x, target)[0], expected)
    assert_learns(model, x, target)


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_authors_file_gives_the_same_poses(tmp_path: Path, prefix: str) -> None:
    model, x = tiny(), clip(6)
    path = write_authors_file(tmp_path / "best_epoch.bin", model, "model_pos", prefix)

    loaded = load_baseline("motionbert", path, n_heads=2)

    assert loaded.settings == TINY and not loaded.training
    assert loaded.n_matched == len(model.state_dict())
    assert torch.equal(loaded.double()(x), model.float().double()(x))


def test_other_systems_file_is_refused(tmp_path: Path) -> None:
    torch.save({"model_pos": {"Temporal_pos_embed": torch.zeros(1, 5, 8)}}, tmp_path / "other.bin")
    with pytest.raises(ValueError, match="no file of motionbert's authors.*temp_embed"):
        load_baseline("motionbert", tmp_path / "other.bin")
