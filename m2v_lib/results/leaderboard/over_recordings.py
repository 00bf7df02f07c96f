"""How far two systems are apart over test recordings as well as over seeds: other motion of the
same people would have given other means, which the noise between seeds does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from m2v_lib.results.effects import SIGNIFICANCE, Effect, SeedNoise

# S seeds, R recordings, D draws

DRAWS: Final = 2000


def compare_over_recordings(
    results: Sequence[Mapping[str, Any]],
    reference: Sequence[Mapping[str, Any]],
    noise: SeedNoise,
) -> Effect | None:
    """The difference of the mean errors over frames of two systems' runs, mm, with its 95 %
    interval: recordings of both drawn again, and new seeds by the noise that all systems share.

    Of runs that say their errors by recording; None where one of the two has none, or nothing
    tells the noise.
    """
    known, others = (_by_recording(runs) for runs in (results, reference))
    if not known or not others or not noise.freedom:
        return None

    names = sorted(set.intersection(*(set(run) for run in [*known, *others])))
    frames_R = np.array([others[0][name]["n_frames"] for name in names], float)
    a_R, b_R = (
        np.array([[run[name]["mpjpe"] for name in names] for run in runs]).mean(0)
        for runs in (known, others)
    )
    gap_R = a_R - b_R
    of_seeds = SeedNoise(noise.sd * math.sqrt(1 / len(known) + 1 / len(others)), noise.freedom)
    low, high = bootstrap_interval(gap_R, frames_R, of_seeds)
    mean = float(gap_R @ frames_R / frames_R.sum())
    return Effect(min(len(known), len(others)), mean, low, high)


def _by_recording(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    tests = [result["test"] for result in results]
    return [test["per_recording"] for test in tests if "per_recording" in test]


def bootstrap_interval(
    gap_R: np.ndarray, weight_R: np.ndarray, of_seeds: SeedNoise, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a weighted mean over recordings R, drawn with replacement, to each draw
    added what other seeds would have made of it: t noise of `of_seeds`.

    Drawing two or three seeds with replacement instead takes their spread for a half or a third
    smaller than it is: such intervals hold the truth in 80 to 90 of 100 cases.
    """
    rng = np.random.default_rng(seed)
    drawn_DR = rng.integers(len(weight_R), size=(DRAWS, len(weight_R)))
    weights_DR = weight_R[drawn_DR]
    gaps_D = (gap_R[drawn_DR] * weights_DR).sum(1) / weights_DR.sum(1)
    gaps_D += of_seeds.sd * rng.standard_t(of_seeds.freedom, DRAWS)

    low, high = np.quantile(gaps_D, [SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2])
    return float(low), float(high)
