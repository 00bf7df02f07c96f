"""MixSTE against its forward pass in numpy, its published sizes, a file in its authors' layout."""

from __future__ import annotations

import itertools
import math
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
from fakes.reference_vectors import assert_ignores_confidence, assert_learns

from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.base import uses_randomness
from m2v_lib.models.systems.transformer.mixste import JOINT_WEIGHTS, MODEL, MixSTE, Settings

TINY = Settings(n_frames=5, dim=8, n_layers=3, n_heads=2, mlp_ratio=3)


def tiny() -> MixSTE:
    model = shaken(MODEL(TINY))
    assert isinstance(model, MixSTE)
    return model


@pytest.mark.parametrize(
    ("n_frames", "n_parameters", "macs"),
    [
        (243, 33_783_811, 147_422_633_472),
        (81, 33_700_867, 47_313_455_616),
        (27, 33_673_219, 15_568_104_960),
    ],
)
def test_published_sizes(n_frames: int, n_parameters: int, macs: int) -> None:
    assert counts(MODEL, Settings(n_frames=n_frames)) == (n_parameters, macs, 204)


def test_forward_is_the_description_in_numpy() -> None:
    model, x = tiny(), clip(5)
    hand = ByHand(model, n_heads=2)

    z = hand.linear(x[..., :2].numpy(), "Spatial_patch_to_embedding") + hand.p["Spatial_pos_embed"]
    for i in range(3):
        frames = hand.block(z.reshape(-1, 17, 8), f"STEblocks.{i}")
        z = hand.layer_norm(frames, "Spatial_norm").reshape(2, 5, 17, 8)
        per_joint = tracks(z) + (hand.p["Temporal_pos_embed"] if i == 0 else 0)
        z = untracked(hand.layer_norm(hand.block(per_joint, f"TTEblocks.{i}"), "Temporal_norm"))
    expected = hand.linear(hand.layer_norm(z, "head.0", eps=1e-5), "head.1")

    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=0, atol=1e-11)
        np.testing.assert_allclose(model.encode(x).numpy(), z, rtol=0, atol=1e-11)


def test_confidence_is_not_read_and_other_lengths_are_refused() -> None:
    model, x = tiny(), clip(5)
    assert_ignores_confidence(model, x[..., :2])
    with pytest.raises(ValueError, match=r"\(B, 5, 17, 2 or 3\)"):
        model(x[:, :4])


def test_loss_is_half_the_square_of_the_published_sum() -> None:
    model, x, target = tiny(), clip(5), clip(5, seed=8)
    value, parts = model.loss(x, target)

    p, g = model(x).detach().numpy(), target.numpy()
    terms: dict[str, list[float]] = {"weighted": [], "smoothness": [], "velocity": []}
    for b, j, t in itertools.product(range(2), range(17), range(5)):
        terms["weighted"].append(JOINT_WEIGHTS[j] * math.dist(p[b, t, j], g[b, t, j]))
        if t < 4:
            dp, dg = p[b, t + 1, j] - p[b, t, j], g[b, t + 1, j] - g[b, t, j]
            terms["smoothness"] += [JOINT_WEIGHTS[j] * step**2 for step in dp]
            terms["velocity"].append(math.dist(dp, dg))
    weighted, smoothness, velocity = (float(np.mean(values)) for values in terms.values())

    expected = (weighted + 0.5 * smoothness + 2 * velocity) ** 2 / 2
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert parts["mpjpe"].item() == pytest.approx(np.linalg.norm(p - g, axis=-1).mean(), rel=1e-12)


def test_one_step_learns() -> None:
    model = tiny()
    assert uses_randomness(model)
    assert_learns(model, clip(5), clip(5, seed=8))


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_authors_file_gives_the_same_poses(tmp_path: Path, prefix: str) -> None:
    model, x = tiny(), clip(5)
    path = write_authors_file(tmp_path / "best_epoch.bin", model, "model_pos", prefix)

    loaded = load_baseline("mixste", path, n_heads=2)

    assert loaded.settings == TINY and not loaded.training and loaded.n_matched == 84
    assert torch.equal(loaded.double()(x), model.float().double()(x))


def test_file_that_matches_in_part_is_refused(tmp_path: Path) -> None:
    weights = tiny().state_dict()
    del weights["STEblocks.1.norm1.weight"]
    weights["extra.weight"] = torch.zeros(3)
    weights["head.0.bias"] = torch.zeros(9)
    torch.save({"model_pos": weights}, tmp_path / "part.bin")

    matched = "82 of 84 tensors match: 1 missing, first STEblocks.1.norm1.weight; 1 unknown"
    with pytest.raises(ValueError, match=matched):
        load_baseline("mixste", tmp_path / "part.bin", n_heads=2)
