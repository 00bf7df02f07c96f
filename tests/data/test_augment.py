"""Mirroring: sides swapped and x negated, by hand and as a symmetry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from m2v_lib.data.augment import flip, random_flip

RIGHT_LEFT = {1: 4, 2: 5, 3: 6, 14: 11, 15: 12, 16: 13}  # spec section 1
PARTNER = {**RIGHT_LEFT, **{left: right for right, left in RIGHT_LEFT.items()}}


def poses(channels: int = 3, clips: int = 4) -> Tensor:
    return torch.randn(clips, 5, 17, channels, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [2, 3])
def test_flip_by_hand(channels: int) -> None:
    pose = poses(channels)
    kept = pose.clone()
    mirrored = flip(pose)
    for j in range(17):
        source = pose[:, :, PARTNER.get(j, j)]
        assert torch.equal(mirrored[:, :, j, 0], -source[..., 0])
        assert torch.equal(mirrored[:, :, j, 1:], source[..., 1:])
    assert torch.equal(pose, kept)


def test_twice_is_nothing() -> None:
    assert torch.equal(flip(flip(poses())), poses())


def test_a_batch_is_mirrored_clip_by_clip_input_and_label_together() -> None:
    x, y = poses(clips=400), poses(clips=400) * 2
    fx, fy = random_flip(x, y, torch.Generator().manual_seed(3))
    flipped = 0
    for clip in range(400):
        mirrored = not torch.equal(fx[clip], x[clip])
        flipped += mirrored
        assert torch.equal(fx[clip], flip(x)[clip] if mirrored else x[clip])
        assert torch.equal(fy[clip], flip(y)[clip] if mirrored else y[clip])
    assert 150 < flipped < 250


def test_probability_and_replay() -> None:
    x, y = poses(), poses()
    assert torch.equal(random_flip(x, y, torch.Generator(), probability=0.0)[0], x)
    assert torch.equal(random_flip(x, y, torch.Generator(), probability=1.0)[1], flip(y))
    one, same = (random_flip(x, y, torch.Generator().manual_seed(7))[0] for _ in range(2))
    assert torch.equal(one, same)
