"""Mirroring: sides swapped and x negated, by hand and as a symmetry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from m2v_lib.data.augment import crop_scale, draw_flips, flip, flip_where, random_move

RIGHT_LEFT = {1: 4, 2: 5, 3: 6, 14: 11, 15: 12, 16: 13}  # spec section 1
PARTNER = {**RIGHT_LEFT, **{left: right for right, left in RIGHT_LEFT.items()}}


def random_flip(
    x: Tensor, y: Tensor, generator: torch.Generator, probability: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Mirror each clip of a batch, input and label together."""
    mask = draw_flips(len(x), generator, probability)
    return flip_where(mask, x), flip_where(mask, y)


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


def two_people(n_samples: int = 3, n_frames: int = 6) -> Tensor:
    x = torch.randn(n_samples, 2, n_frames, 17, 3, generator=torch.Generator().manual_seed(1))
    x[..., 2] = x[..., 2].abs() + 0.1
    return x


def test_random_move_by_hand() -> None:
    """One turn, size and shift a frame, the same for both people, on a line between two random
    ends.
    """
    x = two_people()
    moved = random_move(x, torch.Generator().manual_seed(7))
    ends = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(7))
    low, high = torch.tensor([-10, 0.9, -0.1, -0.1]), torch.tensor([10, 1.1, 0.1, 0.1])
    for b in range(3):
        for t in range(6):
            share = t / 5
            values = [
                low[i] + (high[i] - low[i]) * ((1 - share) * ends[i, b, 0] + share * ends[i, b, 1])
                for i in range(4)
            ]
            angle, size, dx, dy = (float(v) for v in values)
            turn = size * torch.tensor(
                [
                    [math.cos(math.radians(angle)), -math.sin(math.radians(angle))],
                    [math.sin(math.radians(angle)), math.cos(math.radians(angle))],
                ]
            )
            for m in range(2):
                expected = x[b, m, t, :, :2] @ turn.T + torch.tensor([dx, dy])
                torch.testing.assert_close(moved[b, m, t, :, :2], expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(moved[..., 2], x[..., 2])


def test_random_move_without_room_moves_nothing() -> None:
    x = two_people()
    still = random_move(
        x, torch.Generator().manual_seed(0), degrees=0.0, scale=(1.0, 1.0), shift=0.0
    )
    torch.testing.assert_close(still, x)


def test_crop_scale_by_hand() -> None:
    x = two_people()
    x[0, 1] = 0.0  # a person who is not there does not count for the box
    x[1, 0, 2, 3] = torch.tensor([9.0, -9.0, 0.0])  # nor does a joint without confidence
    ratio = torch.tensor([1.0, 2.0, 3.0])
    cropped = crop_scale(x, ratio)
    for b in range(3):
        seen = x[b][x[b, ..., 2] != 0][:, :2]
        low, high = seen.amin(0), seen.amax(0)
        side, corner = (
            (high - low).max() * ratio[b],
            (low + high - (high - low).max() * ratio[b]) / 2,
        )
        expected = torch.cat(
            [((x[b, ..., :2] - corner) / side - 0.5) * 2, x[b, ..., 2:]], -1
        ).clamp(-1, 1)
        torch.testing.assert_close(cropped[b], expected, rtol=1e-4, atol=1e-5)
    assert cropped[0][x[0, ..., 2] != 0][:, :2].abs().max() == pytest.approx(
        1, abs=1e-5
    )  # ratio 1: to the edge


def test_crop_scale_does_not_see_where_and_how_large_the_people_are() -> None:
    x, ratio = two_people(), torch.full((3,), 2.0)
    elsewhere = torch.cat([3 * x[..., :2] + 0.7, x[..., 2:]], -1)
    torch.testing.assert_close(
        crop_scale(elsewhere, ratio), crop_scale(x, ratio), rtol=1e-4, atol=1e-5
    )


def test_crop_scale_of_nobody_is_zero() -> None:
    x = two_people()
    x[1, ..., 2] = 0.0
    x[2, ..., :2] = 0.3  # a single point has no box
    cropped = crop_scale(x, torch.ones(3))
    assert (
        cropped[1].abs().max() == 0 and cropped[2].abs().max() == 0 and cropped[0].abs().max() > 0
    )
