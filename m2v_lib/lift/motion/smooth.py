"""Smoothing that does not lag: around every frame a parabola is fitted to what lies before and
after, weighted by nearness and confidence, and the frame gets its value there.

A fit to both sides shifts nothing in time, keeps straight lines and parabolas as they are, and at
the ends looks one way. Weights fall as a tricube to 0 at a half-width of 0.87 over the cut-off
frequency, where half of an oscillation is left.
"""
# n frames, K points

from __future__ import annotations

from typing import Final

import numpy as np

from m2v_lib.lift import camera
from m2v_lib.lift.motion import SMOOTH_HZ

#: half-width of the fit (s) times the frequency (Hz) of which half is left
WIDTH: Final = 0.87
MIN_HZ: Final = 0.5
MAX_HZ: Final = 50.0
#: weight of a point of confidence 0 beside one of confidence 1
LEAST: Final = 0.05


def smooth(
    values: np.ndarray, fps: float, cutoff: float = SMOOTH_HZ, confidence: np.ndarray | None = None
) -> None:
    """Smooth values (n,K,3), in place; confidence (n,K), else all alike."""
    half = WIDTH / cutoff * fps
    reach = int(np.ceil(half)) - 1  # at the half-width itself the weight is 0
    if reach < 1 or len(values) < 3:
        return

    time = np.arange(-reach, reach + 1) / half
    near = (1 - np.abs(time) ** 3) ** 3
    kernel = np.stack([near * time**power for power in range(5)])
    before = np.empty((0, *values.shape[1:]))

    for first in range(0, len(values), camera.BLOCK):
        stop = min(first + camera.BLOCK, len(values))
        block = values[first:stop].astype(np.float64)
        around = np.concatenate([before, block, values[stop : stop + reach]])
        rows = slice(first - len(before), first - len(before) + len(around))
        weight = np.ones(around.shape[:2]) if confidence is None else confidence[rows] + LEAST
        values[first:stop] = _fit(around, weight, kernel, len(before), stop - first)
        before = np.concatenate([before, block])[-reach:]


def _fit(x: np.ndarray, weight: np.ndarray, kernel: np.ndarray, skip: int, n: int) -> np.ndarray:
    """The parabolas' values (n,K,3) at the frames skip .. skip + n - 1 of x (m,K,3), of weights
    (m,K); kernel (5,2r+1): nearness times powers of time.
    """
    moments = _convolve(weight, kernel)[:, skip : skip + n]
    known = _convolve(weight[..., None] * x, kernel[:3])[:, skip : skip + n]
    matrix = np.stack(
        [np.stack([moments[i + k] for k in range(3)], axis=-1) for i in range(3)], axis=-2
    )
    scale = moments[0][..., None, None]
    matrix = matrix / scale + np.diag([0.0, 1e-9, 1e-9])  # where two points are all there is
    return np.linalg.solve(matrix, np.moveaxis(known, 0, -2) / scale)[..., 0, :]


def _convolve(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Sum (P,m,...) over the neighbours of each of m rows, times each row of the kernel (P,2r+1);
    beyond the ends there is nothing. That time runs backwards in a convolution turns a parabola
    round its middle, whose value it leaves.
    """
    m, taps = len(values), kernel.shape[1]
    size = 1 << (m + taps - 2).bit_length()
    spectrum = np.fft.rfft(values, size, axis=0)
    of_kernel = np.fft.rfft(kernel, size, axis=1)
    middle = slice(taps // 2, taps // 2 + m)
    shape = (len(kernel), -1, *[1] * (values.ndim - 1))
    return np.fft.irfft(spectrum * of_kernel.reshape(shape), size, axis=1)[:, middle]
