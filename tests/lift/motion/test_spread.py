"""How unsure joints are: from windows and mirror images that disagree, to millimetres."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes.lifting import Flat, tracks
from fakes.walking import person, walk
from torch import Tensor

from m2v_lib.lift import camera
from m2v_lib.lift.motion.spread import DISTANCE, NEAR, OWN, SCALE, calibrate
from m2v_lib.lift.people import lift_tracks
from m2v_lib.lift.windows import Lifter


class Wavering(Flat):
    """Depth of the right hand: the window's first x; so neither windows nor mirrors agree."""

    def forward(self, x_BTJ3: Tensor) -> Tensor:
        out = super().forward(x_BTJ3)
        out[:, :, 16, 2] = torch.sign(x_BTJ3[:, :1, 16, 0] - x_BTJ3[:, :1, 13, 0])
        return out


def test_the_spread_is_what_sights_differ_by() -> None:
    seen = np.concatenate([tracks(60).people[0].xy, np.ones((60, 17, 1))], axis=-1)
    agreed = Lifter(Flat(), 27).part_and_spread(lambda a, b: seen[a:b], 60, 0, 60)
    assert agreed.shape == (60, 17, 4) and agreed[..., 3].max() < 0.05
    wavering = Lifter(Wavering(), 27)
    found = wavering.part_and_spread(lambda a, b: seen[a:b], 60, 0, 60)
    np.testing.assert_allclose(found[..., :3], wavering(seen), atol=1e-9)
    # as seen the hand is sign(right - left) deep, mirrored its twin is: half of each, apart
    assert found[:, 16, 3].min() > 10 * agreed[..., 3].max()
    assert np.delete(found[..., 3], (13, 16), axis=1).max() < 0.05


def test_one_sight_has_no_spread() -> None:
    seen = np.concatenate([tracks(27).people[0].xy, np.ones((27, 17, 1))], axis=-1)
    lifter = Lifter(Wavering(), 27, flip=False)
    assert lifter.part_and_spread(lambda a, b: seen[a:b], 27, 0, 27)[..., 3].max() < 0.05


@pytest.mark.parametrize("block", [7, 1024])
def test_millimetres_grow_with_spread_and_distance(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "BLOCK", block)
    one = person(walk(20))
    assert one.spread_mm is not None
    one.spread_mm[:, 13] = 80
    calibrate(one, 0)
    hand = np.linalg.norm(one.pose_mm[:, 16], axis=-1)
    expected = SCALE * (4 + NEAR) ** OWN * hand**DISTANCE
    np.testing.assert_allclose(one.spread_mm[:, 16], expected, rtol=1e-5)
    assert (one.spread_mm[:, 13] > 2 * one.spread_mm[:, 16]).all()
    assert (one.spread_mm[:, 1] < one.spread_mm[:, 3]).all() and not one.spread_mm[:, 0].any()


def test_every_lifted_motion_has_it() -> None:
    (one,) = lift_tracks(tracks(60), Lifter(Flat(), 27)).people
    assert one.spread_mm is not None and one.spread_mm.shape == (60, 17)
    assert np.isfinite(one.spread_mm).all() and one.spread_mm[:, 1:].min() > 1
