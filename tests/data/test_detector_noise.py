"""The detector's noise has the properties its description promises, and depends on seed and
video alone.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from m2v_lib.data.detector_noise import (
    DetectorModel,
    ar1,
    bursts,
    detect,
    error_mm,
    joint_scales,
    video_generator,
)
from m2v_lib.skeletons.h36m import FLIP_PAIRS, JOINTS

MODEL = DetectorModel()


def detections(
    n: int = 20000, factor: float = 4.4, model: DetectorModel = MODEL, source: str = "clip.cam"
):
    return detect(np.full((n, 17, 2), 500.0), np.full(n, factor), source, model)


def sizes(n: int = 20000, **kwargs: float) -> np.ndarray:
    return np.linalg.norm(detections(n, **kwargs)[0] - 500, axis=-1)  # type: ignore[arg-type]


def test_ar1_equals_the_recursion() -> None:
    noise = np.random.default_rng(0).standard_normal((300, 2))
    y = noise[:1].copy()
    expected = [y[0]]
    for row in noise[1:]:
        expected.append(0.9 * expected[-1] + np.sqrt(1 - 0.81) * row)
    np.testing.assert_allclose(ar1(noise, 0.9), expected, atol=1e-10)


def test_mean_error_is_five_pixels_at_five_metres() -> None:
    assert sizes().mean() == pytest.approx(5, abs=0.6)


def test_error_scales_with_the_person_in_the_image() -> None:
    np.testing.assert_allclose(sizes(500, factor=2.2), 2 * sizes(500, factor=4.4), rtol=1e-6)


def test_wrists_ankles_elbows_are_worst_and_sides_alike() -> None:
    mean = sizes().mean(0)
    worst = {JOINTS[j].split()[-1] for j in np.argsort(mean)[-6:]}
    assert worst == {"wrist", "ankle", "elbow"}
    scale = joint_scales()
    assert scale.mean() == pytest.approx(1) and all(scale[a] == scale[b] for a, b in FLIP_PAIRS)


def test_errors_are_heavy_tailed_and_last_for_some_frames() -> None:
    error = error_mm(np.random.default_rng(0), 40000, MODEL)[:, :, 0] / joint_scales()
    kurtosis = (error**4).mean() / (error**2).mean() ** 2
    assert kurtosis > 6  # 3 for a Gaussian
    quiet = error_mm(np.random.default_rng(0), 40000, replace(MODEL, burst_rate=0.0))[:, :, 0]
    correlation = [
        (quiet[lag:] * quiet[: len(quiet) - lag]).mean() / (quiet**2).mean() for lag in (1, 40)
    ]
    assert correlation[0] > 0.7 and abs(correlation[1]) < 0.05


def test_bursts_are_rare_long_and_large() -> None:
    out = bursts(np.random.default_rng(0), 50000, MODEL)
    on = (out != 0).any(-1)
    assert on.mean() == pytest.approx(MODEL.burst_rate * MODEL.burst_frames, rel=0.15)
    starts = (on[1:] & ~on[:-1]).sum()
    assert on.sum() / starts == pytest.approx(MODEL.burst_frames, rel=0.15)
    assert np.linalg.norm(out[on], axis=-1).mean() > 5


def test_confidence_is_informative_but_noisy() -> None:
    px, confidence = detections()
    assert confidence.min() >= 0 and confidence.max() <= 1
    error = np.linalg.norm(px - 500, axis=-1).ravel()
    bins = [
        confidence.ravel()[(error >= a) & (error < b)]
        for a, b in ((0, 2), (2, 5), (5, 10), (10, 20), (20, 500))
    ]
    means = [b.mean() for b in bins]
    assert means == sorted(means, reverse=True) and means[0] > 0.85 and means[-1] < 0.45
    assert bins[0].std() > 0.02 and bins[2].std() > 0.05


def test_a_video_is_the_same_alone_and_differs_from_others() -> None:
    a, b = detections(50), detections(50)
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert not np.allclose(a[0], detections(50, source="other.cam")[0])
    assert not np.allclose(a[0], detections(50, model=replace(MODEL, seed=1))[0])
    assert video_generator(0, "x").integers(1 << 30) == video_generator(0, "x").integers(1 << 30)


def test_fast_enough_for_the_benchmark() -> None:
    begin = time.perf_counter()
    detections(20000)
    assert time.perf_counter() - begin < 2.0  # 600k frames in a minute


def test_a_single_frame_works() -> None:
    px, confidence = detections(1)
    assert px.shape == (1, 17, 2) and confidence.shape == (1, 17)
