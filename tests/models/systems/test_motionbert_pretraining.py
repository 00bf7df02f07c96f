"""MotionBERT's pre-training: noise, masks and loss against numpy and numbers by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from m2v_lib.models.losses import mpjpe_loss, n_mpjpe_loss, velocity_loss
from m2v_lib.models.systems.transformer import motionbert_pretraining as noise
from m2v_lib.models.systems.transformer.motionbert import Settings
from m2v_lib.models.systems.transformer.motionbert_pretraining import (
    CorruptedLifting,
    corrupted,
    over_time,
    smooth_noise,
)

TINY: dict[str, Any] = {"n_frames": 9, "n_layers": 1, "dim": 8, "n_heads": 2, "dim_rep": 8}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_joint_by_hand() -> None:
    """Three joints: one off by 5 cm in units of (3, 4), one in place and doubted, one hidden."""
    x = torch.tensor([[[[0.1, 0.2, 1.0], [0.3, 0.4, 1.0], [0.5, 0.6, 1.0]]]])
    drawn = {
        "offset": torch.tensor([[[[0.03, 0.04], [0.0, 0.0], [0.01, 0.0]]]]),
        "doubt": torch.tensor([[[0.1, -0.25, 0.0]]]),
        "hidden": torch.tensor([[[False, False, True]]]),
    }
    of_first = 0.028 / (0.05 + 0.028) + 1.1 * 0.05 + 0.1
    expected = [[0.13, 0.24, of_first], [0.3, 0.4, 0.75], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(corrupted(x, drawn)[0, 0], torch.tensor(expected))

    sure = {**drawn, "doubt": torch.full((1, 1, 3), 9.0)}
    assert corrupted(x, sure)[0, 0, :, 2].tolist() == [1, 1, 0]
    assert (corrupted(x, {**drawn, "doubt": -sure["doubt"]})[..., 2] == 0).all()


@pytest.mark.parametrize("n_frames", [9, 27, 81])
def test_between_key_frames_are_straight_lines(n_frames: int) -> None:
    keys = torch.randn(2, 27, 3, 2, generator=generator(), dtype=torch.float64)
    lines = over_time(keys, n_frames)
    at = np.linspace(0, 26, n_frames)
    for b, j, c in np.ndindex(2, 3, 2):
        expected = np.interp(at, np.arange(27), keys[b, :, j, c].numpy())
        np.testing.assert_allclose(lines[b, :, j, c].numpy(), expected, atol=1e-12)


def test_key_frames_are_gaussian_or_uniform() -> None:
    at_keys = smooth_noise((40, noise.N_KEY_FRAMES, 17), generator())
    assert at_keys.abs().max() < max(noise.UNIFORM_RANGE / 2, 5 * noise.STD)

    large = (at_keys.abs() > 3 * noise.STD).double().mean()  # next to none of the Gaussian ones
    beyond = 1 - 3 * noise.STD / (noise.UNIFORM_RANGE / 2)
    of_gaussian = noise.GAUSSIAN_SHARE * 0.0027
    assert float(large) == pytest.approx(
        (1 - noise.GAUSSIAN_SHARE) * beyond + of_gaussian, abs=4e-3
    )
    both = noise.GAUSSIAN_SHARE * noise.STD**2 + 0.15 * noise.UNIFORM_RANGE**2 / 12
    assert float(at_keys.std()) == pytest.approx(both**0.5, rel=0.03)


def drawn_of(n_clips: int, seed: int = 0, own: slice = slice(None)) -> dict[str, Tensor]:
    model = CorruptedLifting(Settings(n_frames=60, n_layers=1, dim=8, n_heads=2))
    return model.draw((n_clips, 60, 17), generator(seed), own)


def test_frames_are_hidden_in_all_clips_and_joints_in_each() -> None:
    hidden_BTJ = drawn_of(200)["hidden"]
    whole_BT = hidden_BTJ.all(-1)
    assert (whole_BT == whole_BT[:1]).all() and whole_BT.any()

    rest = hidden_BTJ[:, ~whole_BT[0]]
    assert float(rest.double().mean()) == pytest.approx(0.05, abs=3e-3)
    assert not torch.equal(rest[0], rest[1])
    shares = [drawn_of(2, seed)["hidden"].all(-1)[0].double().mean() for seed in range(60)]
    assert float(np.mean(shares)) == pytest.approx(0.10, abs=0.02)


def test_doubt_and_white_noise_have_their_spread() -> None:
    drawn = drawn_of(60)
    assert float(drawn["doubt"].mean()) == pytest.approx(noise.CONFIDENCE_MEAN, abs=3e-3)
    assert float(drawn["doubt"].std()) == pytest.approx(noise.CONFIDENCE_STD, rel=0.02)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "smooth_noise", lambda shape, generator: torch.zeros(*shape, 2))
        white = drawn_of(3)["offset"]
    assert torch.equal(white[0], white[1])  # the same for the whole batch
    assert float(white[0].std()) == pytest.approx(noise.WHITE_STD, rel=0.1)


def test_the_loss_is_that_of_the_lifter_on_what_is_left() -> None:
    model = CorruptedLifting(Settings(**TINY)).double()
    x = torch.rand(4, 9, 17, 3, generator=generator(1), dtype=torch.float64)
    y = torch.randn(4, 9, 17, 3, generator=generator(2), dtype=torch.float64)
    drawn = {**model.draw((4, 9, 17), generator()), "y": y}
    loss, parts = model(x, drawn)

    pose = model.lifter(corrupted(x, drawn))
    terms = (mpjpe_loss(pose, y), n_mpjpe_loss(pose, y), velocity_loss(pose, y))
    torch.testing.assert_close(loss, terms[0] + 0.5 * terms[1] + 20 * terms[2])
    assert parts.keys() == {"mpjpe", "n_mpjpe", "velocity"}


@pytest.mark.parametrize("key", ["hidden_frames", "hidden_joints"])
def test_something_is_left_to_see(key: str) -> None:
    with pytest.raises(ValueError, match=f"model.{key} must lie in 0..1, less than 1, got 1"):
        CorruptedLifting(Settings(**{**TINY, key: 1.0}))
