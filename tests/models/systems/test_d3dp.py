"""D3DP against numpy: its denoiser, schedule and sampling; its sizes, a file in its layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.lifters_by_hand import (
    ByHand,
    clip,
    counts,
    gelu,
    shaken,
    tracks,
    untracked,
    write_authors_file,
)
from fakes.reference_vectors import assert_ignores_confidence, assert_learns

from m2v_lib.models.authors_files import load_baseline
from m2v_lib.models.base import uses_randomness
from m2v_lib.models.systems.transformer.d3dp import (
    D3DP,
    MODEL,
    Settings,
    mirrored,
    noise_schedule,
    sampling_times,
)
from m2v_lib.skeletons.h36m import FLIP_PAIRS

T, H, C = 5, 3, 8
TINY = Settings(
    n_frames=T, dim=C, n_layers=2, n_heads=2, mlp_ratio=3, n_hypotheses=H, n_steps=4, noise_seed=1
)


def tiny() -> D3DP:
    model = shaken(MODEL(TINY))
    assert isinstance(model, D3DP)
    model.load_state_dict(noise_schedule(), strict=False)
    return model


def test_published_sizes() -> None:
    one_pass = 147_430_027_264
    assert counts(MODEL, Settings()) == (34_835_459, 2 * one_pass, 220)


def test_schedule() -> None:
    schedule = {name: values.numpy() for name, values in noise_schedule().items()}
    assert len(schedule) == 12
    assert {values.dtype.name for values in schedule.values()} == {"float64"}
    assert schedule["betas"][0] == pytest.approx(4.128422e-05, rel=1e-6)

    kept = 1.0
    for i in range(1000):
        share, later = (math.cos((u / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (i, i + 1))
        beta = min(max(1 - later / share, 0.0), 0.999)
        before, kept = kept, kept * (1 - beta)
        expected = {
            "betas": beta,
            "alphas_cumprod": kept,
            "alphas_cumprod_prev": before,
            "sqrt_recipm1_alphas_cumprod": math.sqrt(1 / kept - 1),
            "posterior_mean_coef1": beta * math.sqrt(before) / (1 - kept),
            "posterior_mean_coef2": (1 - before) * math.sqrt(1 - beta) / (1 - kept),
        }
        found = {name: schedule[name][i] for name in expected}
        assert found == pytest.approx(expected, rel=1e-7)


def test_sampling_times() -> None:
    assert sampling_times(1) == [(999, -1)]
    assert sampling_times(5) == [(999, 799), (799, 599), (599, 399), (399, 199), (199, -1)]


def test_denoiser_is_the_description_in_numpy() -> None:
    network, x = tiny().pose_estimator, clip(T, n_channels=2)
    y = torch.stack([clip(T, seed=s) for s in range(H)], dim=1)
    t = torch.tensor([3, 850])
    hand = ByHand(network, n_heads=2)

    w = np.exp(-np.arange(C // 2) * math.log(10_000) / (C // 2 - 1))
    s = np.concatenate([np.sin(t.numpy()[:, None] * w), np.cos(t.numpy()[:, None] * w)], axis=-1)
    tau = hand.linear(gelu(hand.linear(s, "time_mlp.1")), "time_mlp.3")
    for b in range(2):
        for h in range(H):
            joined = np.concatenate([x[b].numpy(), y[b, h].numpy()], axis=-1)
            z = hand.linear(joined, "Spatial_patch_to_embedding") + hand.p["Spatial_pos_embed"]
            z = z + tau[b]
            for i in range(2):
                z = hand.layer_norm(hand.block(z, f"STEblocks.{i}"), "Spatial_norm")
                track = tracks(z[None]) + (hand.p["Temporal_pos_embed"] if i == 0 else 0)
                track = hand.layer_norm(hand.block(track, f"TTEblocks.{i}"), "Temporal_norm")
                z = untracked(track)[0]
            expected = hand.linear(hand.layer_norm(z, "head.0", eps=1e-5), "head.1")
            with torch.no_grad():
                found = network.denoise(x, y, t)[b, h].numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_sampling_is_the_description_in_numpy() -> None:
    model, x = tiny(), clip(T, n_channels=2)
    abar = noise_schedule()["alphas_cumprod"].numpy()
    generator = torch.Generator().manual_seed(1)

    def noise() -> np.ndarray:
        drawn = torch.randn((H, T, 17, 3), generator=generator).double().numpy()
        return np.stack([drawn, drawn])

    def network(x2d: np.ndarray, y: np.ndarray, t: int) -> np.ndarray:
        x_BTJ2, y_BHTJ3 = torch.from_numpy(x2d), torch.from_numpy(y)
        with torch.no_grad():
            return model.pose_estimator.denoise(x_BTJ2, y_BHTJ3, torch.tensor([t, t])).numpy()

    def flip(pose: np.ndarray) -> np.ndarray:
        other = pose.copy()
        for right, left in FLIP_PAIRS:
            other[..., right, :], other[..., left, :] = pose[..., left, :], pose[..., right, :]
        other[..., 0] *= -1
        return other

    y, results = noise(), []
    for t, after in ((999, 749), (749, 499), (499, 249), (249, -1)):
        u, x2d = np.clip(y, -1.1, 1.1), x.numpy()
        both = network(x2d, u, t) + flip(network(flip(x2d), flip(u), t))
        x0 = np.clip(both / 2, -1.1, 1.1)
        results.append(x0.copy())
        if after >= 0:
            epsilon = (y / np.sqrt(abar[t]) - x0) / np.sqrt(1 / abar[t] - 1)
            sigma = np.sqrt((1 - abar[t] / abar[after]) * (1 - abar[after]) / (1 - abar[t]))
            c = np.sqrt(1 - abar[after] - sigma**2)
            y = np.sqrt(abar[after]) * x0 + c * epsilon + sigma * noise()
    expected = np.stack(results, axis=1)
    expected[..., 0, :] = 0

    with torch.no_grad():
        found = model.sample(x, model.drawn(T, torch.Generator().manual_seed(1))).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(model(x).numpy(), expected[:, -1].mean(1), rtol=0, atol=1e-9)


def test_a_clips_poses_depend_on_the_seed_alone() -> None:
    model, x = tiny(), clip(T, batch=3)
    with torch.no_grad():
        poses = model(x)
        assert torch.equal(model(x), poses)
        torch.testing.assert_close(model(x[2:]), poses[2:], rtol=0, atol=1e-12)

        other = D3DP(Settings(**{**vars(TINY), "noise_seed": 2})).double().eval()
        other.load_state_dict(model.state_dict())
        assert not torch.allclose(other(x), poses)


def test_mirror_image_of_the_clip_gives_the_mirror_image_in_one_step() -> None:
    """With one step from noise that is its own mirror image; the sampler averages both views."""
    model, x = tiny(), clip(T, n_channels=2)
    y = clip(T).unsqueeze(1)
    y = y + mirrored(y)
    with torch.no_grad():
        there = model.estimate(mirrored(x), y, 999)
        torch.testing.assert_close(mirrored(there), model.estimate(x, y, 999), rtol=0, atol=1e-12)


def test_loss_is_half_the_square_at_the_drawn_time() -> None:
    model, x, target = tiny(), clip(T), 0.1 * clip(T, seed=8)
    torch.manual_seed(5)
    value, parts = model.loss(x, target)

    torch.manual_seed(5)
    t = torch.randint(1000, (2,))
    abar = noise_schedule()["alphas_cumprod"][t].view(2, 1, 1, 1)
    noisy = abar.sqrt() * target + (1 - abar).sqrt() * torch.randn_like(target)
    noisy = noisy.clamp(-1.1, 1.1).unsqueeze(1)
    pose = model.pose_estimator.denoise(x[..., :2], noisy, t)[:, 0]
    distance = (pose - target).norm(dim=-1).mean()
    torch.testing.assert_close(value, distance**2 / 2)
    torch.testing.assert_close(parts["mpjpe"], distance.detach())


def test_confidence_is_not_read_and_one_step_learns() -> None:
    model = tiny()
    assert uses_randomness(MODEL(Settings(n_frames=3, dim=8, n_layers=1, drop_path=0.0)))
    assert_ignores_confidence(model, clip(T, n_channels=2))
    assert_learns(model, clip(T), clip(T, seed=8))


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_authors_file_gives_the_same_poses(tmp_path: Path, prefix: str) -> None:
    model, x = tiny(), clip(T)
    path = write_authors_file(tmp_path / "best_epoch_9_39.9.bin", model, "model_pos", prefix)

    told: dict[str, Any] = {"n_heads": 2, "n_hypotheses": H, "n_steps": 4, "noise_seed": 1}
    loaded = load_baseline("d3dp", path, **told)

    assert loaded.settings == TINY and loaded.n_matched == len(model.state_dict())
    assert loaded.state_dict()["betas"].dtype == torch.float64
    with torch.no_grad():
        found = loaded.double()(x)
    torch.testing.assert_close(found, model(x), rtol=0, atol=1e-5)
