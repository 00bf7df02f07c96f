"""Windows over any length: a network whose right answer is known must give it wherever somebody
is in the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.lifting import Counter, Flat

from m2v_lib.data import prepare
from m2v_lib.data.clips import training_clips
from m2v_lib.data.store import open_store
from m2v_lib.lift.framing import FRAME_MIDDLE, FRAME_SIDE, REACH, SIDES, box
from m2v_lib.lift.windows import Lifter


def motion(n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    xy = (
        rng.uniform(-90, 90, (17, 2))
        + (700, 300)
        + np.stack([3.0 * np.arange(n), np.zeros(n)], axis=-1)[:, None]
    )
    return np.concatenate([xy + rng.normal(0, 5, xy.shape), np.full((n, 17, 1), 0.8)], axis=-1)


@pytest.mark.parametrize("n", [1, 2, 8, 9, 10, 26, 27, 28, 40, 243])
@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_every_frame_is_lifted_once_and_rightly(n: int, overlap: int) -> None:
    seen = motion(n)
    pose = Lifter(Flat(), 9, overlap=overlap)(seen)
    assert pose.shape == (n, 17, 3)
    if n >= 9:
        np.testing.assert_allclose(pose[..., :2], (seen - seen[:, :1])[..., :2], atol=1e-3)
    np.testing.assert_allclose(pose[..., 2], 0, atol=1e-3)


def test_a_short_motion_is_stretched_and_its_frames_come_back_in_order() -> None:
    seen = motion(4)
    model = Flat()
    pose = Lifter(model, 9, flip=False)(seen)
    (shown,) = model.shown
    steps = shown[0, 1:, 3, 0] != shown[0, :-1, 3, 0]
    assert np.flatnonzero(steps.numpy()).tolist() == [2, 4, 6], "floor(4 t / 9): 0 0 0 1 1 2 2 3 3"
    np.testing.assert_allclose(pose[..., :2], (seen - seen[:, :1])[..., :2], atol=1e-3)


def test_the_network_sees_people_where_it_saw_them_in_training() -> None:
    for scale, shift in ((1, 0), (0.1, 1500), (9, -4000)):
        seen = motion(9)
        seen[..., :2] = seen[..., :2] * scale + shift
        model = Flat()
        pose = Lifter(model, 9)(seen)
        low, high = np.quantile(
            model.shown[0].numpy()[..., :2].reshape(-1, 2), (0.01, 0.99), axis=0
        )
        assert (high - low).max() == pytest.approx(FRAME_SIDE, abs=1e-5)
        np.testing.assert_allclose((high + low) / 2, FRAME_MIDDLE, atol=1e-5)
        np.testing.assert_allclose(pose[..., :2], (seen - seen[:, :1])[..., :2], atol=2e-3 * scale)


IMAGE = (1280.0, 720.0)


def shown_to_one_of_any_camera(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What such a network sees (T,J,2), the middle (2,) of its box and the pose it gives."""
    model = Flat()
    pose = Lifter(model, 9, any_camera=True)(seen, IMAGE)
    xy = model.shown[0].numpy()[0]
    return xy[..., :2], box(xy[None])[0][0], pose


def test_a_network_of_any_camera_sees_the_image_as_it_is() -> None:
    seen = motion(9)
    xy, _, pose = shown_to_one_of_any_camera(seen)
    np.testing.assert_allclose(xy, (seen[..., :2] - (640, 360)) / 640, atol=1e-5)
    np.testing.assert_allclose(pose[..., :2], (seen - seen[:, :1])[..., :2], atol=1e-3)


@pytest.mark.parametrize(("scale", "side"), [(0.05, SIDES[0]), (9.0, SIDES[1])])
def test_who_is_too_small_or_large_for_it_is_zoomed(scale: float, side: float) -> None:
    seen = motion(9)
    middle = box(seen[None])[0][0]
    seen[..., :2] = (seen[..., :2] - middle) * scale + (650, 355)
    xy, _, pose = shown_to_one_of_any_camera(seen)
    assert box(np.concatenate([xy, np.ones((9, 17, 1))], axis=-1)[None])[1][0] == pytest.approx(
        side, abs=1e-4
    )
    zoomed = (seen[..., :2] - (640, 360)) / 640
    factor = np.ptp(xy[..., 1]) / np.ptp(zoomed[..., 1])
    np.testing.assert_allclose(xy, zoomed * factor, atol=1e-4, err_msg="not about the middle")
    np.testing.assert_allclose(pose[..., :2], (seen - seen[:, :1])[..., :2], atol=2e-3 * scale)


def test_who_is_too_far_from_the_middle_for_it_is_brought_to_its_reach() -> None:
    seen = motion(9)
    seen[..., :2] += (500, -50)
    xy, middle, pose = shown_to_one_of_any_camera(seen)
    at = box(seen[None])[0][0]
    np.testing.assert_allclose(middle, (REACH, (at[1] - 360) / 640), atol=1e-4)
    np.testing.assert_allclose(pose[..., :2], (seen - seen[:, :1])[..., :2], atol=1e-3)


def test_people_are_framed_as_they_stand_in_the_training_cameras_images(tmp_path: Path) -> None:
    """Those of synthetic motion, which the same four cameras see."""
    prepare("synthetic", root=tmp_path)
    store = open_store("synthetic", tmp_path)
    clips = training_clips(store, 27, 27, input_2d="detected", validation=False, device="cpu")
    middle_B2, side_B = box(clips.batch(torch.arange(len(clips)))[0].numpy())
    assert np.median(side_B) == pytest.approx(FRAME_SIDE, rel=0.03)
    np.testing.assert_allclose(np.median(middle_B2, axis=0), FRAME_MIDDLE, atol=0.12)


def test_windows_are_blended_by_a_triangle() -> None:
    pose = Lifter(Counter(), 9, overlap=2, flip=False)(
        np.repeat(motion(1), 13, axis=0)
    )  # windows from 0 and from 4
    depth = pose[:, 1, 2] / pose[4, 1, 2]
    weight = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1])
    total, share = np.zeros(13), np.zeros(13)
    for start in (0, 4):
        total[start : start + 9] += weight * np.arange(9)
        share[start : start + 9] += weight
    expected = total / share
    np.testing.assert_allclose(depth, expected / expected[4], rtol=1e-5)


def test_the_box_leaves_out_what_is_missing_and_single_outliers() -> None:
    seen = motion(27)[None]
    clean = box(seen)
    seen[0, 3, 5, :2] = 90_000
    np.testing.assert_allclose(box(seen)[1], clean[1], rtol=0.1)
    seen[0, :, 6] = (-5000, -5000, 0)
    np.testing.assert_allclose(box(seen)[1], clean[1], rtol=0.1)


def test_memory_does_not_grow_with_length() -> None:
    model = Flat()
    Lifter(model, 9, batch=4, flip=False)(motion(500))
    assert max(len(x) for x in model.shown) == 4


def test_a_single_point_is_no_division_by_zero() -> None:
    seen = np.concatenate([np.full((9, 17, 2), 50.0), np.ones((9, 17, 1))], axis=-1)
    assert np.isfinite(Lifter(Flat(), 9)(seen)).all()
