"""PoseFormer against reference vectors, numpy, its published sizes, a file in its layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.lifters_by_hand import ByHand, clip, counts, shaken, write_authors_file
from fakes.reference_vectors import (
    Summary,
    assert_ignores_confidence,
    assert_learns,
    assert_summary,
    filled,
    numbers,
)

from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.base import uses_randomness
from m2v_lib.models.systems.transformer.poseformer import MODEL, PoseFormer, Settings

TINY = Settings(n_frames=5, dim_per_joint=4, n_layers=2, n_heads=2, mlp_ratio=3)


def tiny() -> PoseFormer:
    model = shaken(MODEL(TINY))
    assert isinstance(model, PoseFormer)
    return model


@pytest.mark.parametrize(
    ("n_frames", "n_parameters", "macs"),
    [(81, 9_602_885, 846_893_760), (27, 9_573_455, 275_971_200), (9, 9_563_645, 91_303_872)],
)
def test_published_sizes(n_frames: int, n_parameters: int, macs: int) -> None:
    assert counts(MODEL, Settings(n_frames=n_frames))[:2] == (n_parameters, macs)


@pytest.mark.parametrize(
    ("n_frames", "expected"),
    [
        (9, (-2.229942446484e-02, 7.716912783221e-01, -1.079411465993e00, 6.878738218182e-01)),
        (27, (9.083545200629e-04, 7.519390747673e-01, -1.587977035252e00, 1.013978107213e-01)),
        (81, (-5.594648441231e-02, 7.979835811767e-01, -5.354558279515e-01, 7.281881881321e-01)),
    ],
)
def test_reference_vectors(n_frames: int, expected: Summary) -> None:
    model = filled(MODEL(Settings(n_frames=n_frames)))
    with torch.no_grad():
        assert_summary(model(numbers((2, n_frames, 17, 2), 7)), expected)


def test_forward_is_the_description_in_numpy() -> None:
    model, x = tiny(), clip(5)
    hand = ByHand(model, n_heads=2)

    joints = x[..., :2].numpy().reshape(-1, 17, 2)
    z = hand.linear(joints, "Spatial_patch_to_embedding") + hand.p["Spatial_pos_embed"]
    for i in range(2):
        z = hand.block(z, f"Spatial_blocks.{i}")
    frames = hand.layer_norm(z, "Spatial_norm").reshape(2, 5, 17 * 4) + hand.p["Temporal_pos_embed"]
    for i in range(2):
        frames = hand.block(frames, f"blocks.{i}")
    frames = hand.layer_norm(frames, "Temporal_norm")
    mean = np.einsum("t,btd->bd", hand.p["weighted_mean.weight"][0, :, 0], frames)
    mean = mean + hand.p["weighted_mean.bias"]
    pose = hand.linear(hand.layer_norm(mean, "head.0", eps=1e-5), "head.1").reshape(2, 1, 17, 3)

    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), pose, rtol=0, atol=1e-11)


def test_confidence_is_not_read_and_one_step_learns() -> None:
    model = tiny()
    assert uses_randomness(model)
    assert_ignores_confidence(model, clip(5, n_channels=2))
    assert_learns(model, clip(5), clip(5, seed=8))


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_authors_file_gives_the_same_poses(tmp_path: Path, prefix: str) -> None:
    model, x = tiny(), clip(5)
    path = write_authors_file(tmp_path / "detected81f.bin", model, "model_pos", prefix)

    loaded = load_baseline("poseformer", path, n_heads=2)

    assert loaded.settings == TINY and loaded.n_matched == len(model.state_dict())
    assert torch.equal(loaded.double()(x), model.float().double()(x))
