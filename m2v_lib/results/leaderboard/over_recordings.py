"""How far two systems are apart over test recordings as well as over seeds: other people and other
motion would have given other means, which the noise between seeds does not tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from m2v_lib.results.effects import SIGNIFICANCE, Effect

# S seeds, R recordings

DRAWS: Final = 2000


def compare_over_recordings(
    results: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]
) -> Effect | None:
    """The difference of the mean errors over frames of two systems' runs, mm, with its 95 %
    interval by a hierarchical bootstrap: seeds of each and recordings of both are drawn again.

    None where fewer than two runs of either say their errors by recording.
    """
    known, others = (_by_recording(runs) for runs in (results, reference))
    if len(known) < 2 or len(others) < 2:
        return None

    names = sorted(set.intersection(*(set(run) for run in [*known, *others])))
    frames_R = np.array([others[0][name]["n_frames"] for name in names], float)
    a_SR, b_SR = (
        np.array([[run[name]["mpjpe"] for name in names] for run in runs])
        for runs in (known, others)
    )
    mean = float(((a_SR.mean(0) - b_SR.mean(0)) * frames_R).sum() / frames_R.sum())
    low, high = bootstrap_interval(a_SR, b_SR, frames_R)
    return Effect(min(len(known), len(others)), mean, low, high)


def _by_recording(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    tests = [result["test"] for result in results]
    return [test["per_recording"] for test in tests if "per_recording" in test]


def bootstrap_interval(
    errors_SR: np.ndarray, reference_SR: np.ndarray, weight_R: np.ndarray, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the difference of weighted means over seeds S and recordings R, both drawn
    with replacement; recordings are drawn alike for both, since they are the same.
    """
    rng = np.random.default_rng(seed)
    gaps = np.empty(DRAWS)

    for draw in range(DRAWS):
        recordings = rng.integers(len(weight_R), size=len(weight_R))
        weights = weight_R[recordings] / weight_R[recordings].sum()
        of_a, of_b = (
            errors[rng.integers(len(errors), size=len(errors))][:, recordings].mean(0) @ weights
            for errors in (errors_SR, reference_SR)
        )
        gaps[draw] = of_a - of_b

    low, high = np.quantile(gaps, [SIGNIFICANCE / 2, 1 - SIGNIFICANCE / 2])
    return float(low), float(high)
