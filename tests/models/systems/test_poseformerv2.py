"""PoseFormerV2 against numpy and scipy's DCT, its published sizes, a file in its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.lifters_by_hand import ByHand, clip, counts, shaken, write_authors_file
from fakes.reference_vectors import assert_ignores_confidence, assert_learns
from scipy.fft import dct, idct

from m2v_lib.config.fields import ConfigError
from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.base import uses_randomness
from m2v_lib.models.systems.transformer.poseformerv2 import MODEL, PoseFormerV2, Settings, cosines

TINY = Settings(
    n_frames=9,
    n_kept_frames=3,
    n_kept_coeffs=5,
    dim_per_joint=4,
    n_layers=2,
    n_heads=2,
    mlp_ratio=3,
)


def tiny(settings: Settings = TINY) -> PoseFormerV2:
    model = shaken(MODEL(settings))
    assert isinstance(model, PoseFormerV2)
    return model


@pytest.mark.parametrize(
    ("size", "n_parameters", "macs"),
    [
        ("27-1-3", 14_354_649, 38_694_720),
        ("81-1-3", 14_354_649, 38_694_720),
        ("27-3-3", 14_355_739, 58_987_008),
        ("81-3-3", 14_355_739, 58_987_008),
        ("81-9-9", 14_362_279, 177_790_080),
        ("243-27-27", 14_381_899, 541_719_552),
    ],
)
def test_published_sizes(size: str, n_parameters: int, macs: int) -> None:
    """Published counts leave out the cosine transforms, which are matrix products here."""
    s = Settings(**MODEL.published_sizes[size])
    n_tokens = s.n_kept_frames + s.n_kept_coeffs
    n_transformed = n_tokens - n_tokens // 2
    transforms = s.n_kept_coeffs * s.n_frames * 34 + 4 * 2 * n_transformed**2 * 544
    assert counts(MODEL, s) == (n_parameters, macs + transforms, 139)


@pytest.mark.parametrize("n", [1, 2, 27, 243])
def test_cosines_are_the_transform(n: int) -> None:
    expected = dct(np.eye(n), type=2, axis=0)
    for dtype, atol in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        found = cosines(n, torch.ones(1, dtype=dtype)).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize(("n_kept_frames", "n_kept_coeffs"), [(3, 5), (3, 3), (1, 4)])
def test_forward_is_the_description_in_numpy(n_kept_frames: int, n_kept_coeffs: int) -> None:
    F, K, D = n_kept_frames, n_kept_coeffs, 17 * 4
    settings = Settings(
        n_frames=9, n_kept_frames=F, n_kept_coeffs=K, dim_per_joint=4, n_layers=2, n_heads=2
    )
    model, x = tiny(settings), clip(9)
    hand = ByHand(model, n_heads=2)
    x_BTJ2 = x[..., :2].numpy()

    central = x_BTJ2[:, 4 - F // 2 : 5 + F // 2].reshape(-1, 17, 2)
    z = hand.linear(central, "Joint_embedding") + hand.p["Spatial_pos_embed"]
    for i in range(2):
        z = hand.block(z, f"Spatial_blocks.{i}")
    frames = hand.layer_norm(z, "Spatial_norm").reshape(2, F, D) + hand.p["Temporal_pos_embed"]
    low = dct(x_BTJ2.reshape(2, 9, 34), type=2, axis=1)[:, :K]
    tokens = np.concatenate(
        [hand.linear(low, "Freq_embedding") + hand.p["Temporal_pos_embed_"], frames], axis=1
    )
    for block in ("blocks.0", "blocks.1"):
        tokens = tokens + hand.attention(hand.layer_norm(tokens, f"{block}.norm1"), f"{block}.attn")
        half = (F + K) // 2
        first, rest = tokens[:, :half], tokens[:, half:]
        first = first + hand.mlp(hand.layer_norm(first, f"{block}.norm2"), f"{block}.mlp1")
        there = dct(hand.layer_norm(rest, f"{block}.norm3"), type=2, axis=1)
        rest = rest + idct(hand.mlp(there, f"{block}.mlp2"), type=2, axis=1)
        tokens = np.concatenate([first, rest], axis=1)
    tokens = hand.layer_norm(tokens, "Temporal_norm")

    parts = {"weighted_mean": tokens[:, :K], "weighted_mean_": tokens[:, K:]}
    means = [
        np.einsum("n,bnd->bd", hand.p[f"{name}.weight"][0, :, 0], part) + hand.p[f"{name}.bias"]
        for name, part in parts.items()
    ]
    joined = hand.layer_norm(np.concatenate(means, axis=-1), "head.0", eps=1e-5)
    with torch.no_grad():
        pose = hand.linear(joined, "head.1").reshape(2, 1, 17, 3)
        np.testing.assert_allclose(model(x).numpy(), pose, rtol=0, atol=1e-10)


def test_confidence_is_not_read_and_one_step_learns() -> None:
    model = tiny()
    assert uses_randomness(model)
    assert_ignores_confidence(model, clip(9, n_channels=2))
    assert_learns(model, clip(9), clip(9, seed=8))


@pytest.mark.parametrize("wrong", [{"n_kept_frames": 4}, {"n_kept_coeffs": 244}])
def test_windows_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at most n_frames"):
        MODEL(Settings(**wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_authors_file_gives_the_same_poses(tmp_path: Path, prefix: str) -> None:
    model, x = tiny(), clip(9)
    path = write_authors_file(tmp_path / "9_3_5.bin", model, "model_pos", prefix)

    loaded = load_baseline("poseformerv2", path, n_heads=2, n_frames=9)

    assert loaded.settings == TINY and loaded.n_matched == len(model.state_dict())
    assert torch.equal(loaded.double()(x), model.float().double()(x))
