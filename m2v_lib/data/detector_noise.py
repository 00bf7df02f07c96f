"""A stand-in for the 2D detector: true pixels in, pixels as a stacked hourglass might give them
out, with scores.

Real detectors err more at wrists than at hips, more on large people (in px), for many frames in
a row, and now and then grossly (a left wrist on the right one). For a joint of scale s, in
millimetres at the person's depth:
  error = s (v a + 0.3 w) + burst
- a: AR(1) in time, unit variance, memory ``rho`` a frame: a drift that lasts some tenths of a
  second;
- v: exp of another AR(1), which makes the error heavy-tailed (kurtosis far above a Gaussian's 3);
  w: white jitter;
- burst: with ``burst_rate`` a frame, a constant offset of ``burst_scale * s`` for a geometric
  number of frames.
Pixels are mm / factor, so errors grow with the person's size in the image: about 5 px at 5 m
from a Human3.6M camera. The confidence is a logistic function of log error plus noise: it tells
good joints from bad, but not surely. What it leaves out: images, occlusion, pose-dependent
faults, people at the image's edge. All numbers are our choice.
"""
# n frames, J joints

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from m2v_lib.skeletons import H36M17, Skeleton

#: Error scale of each joint relative to the mean; order of skeleton.JOINTS.
RELATIVE_SCALE: Final = {
    "root": 0.6,
    "hip": 0.7,
    "knee": 0.95,
    "ankle": 1.45,
    "spine": 0.75,
    "neck": 0.65,
    "nose": 0.8,
    "head": 0.8,
    "shoulder": 0.75,
    "elbow": 1.2,
    "wrist": 1.7,
    # Joints beyond Human3.6M's, by the nearest of those: ends of limbs as ankles and wrists.
    "pelvis": 0.6,
    "back": 0.75,
    "thorax": 0.65,
    "crown": 0.8,
    "top": 0.8,
    "mouth": 0.7,
    "heel": 1.45,
    "ball": 1.5,
    "toe": 1.6,
    "eye": 0.7,
    "ear": 0.8,
    "hand": 1.8,
    "thumb": 1.9,
    "fingers": 1.9,
}


@dataclass(frozen=True)
class DetectorModel:
    """Parameters of the noise model; lengths in mm at the person, times in frames."""

    scale_mm: float = 13.0
    rho: float = 0.85
    volatility: float = 0.6
    rho_volatility: float = 0.97
    jitter: float = 0.3
    burst_rate: float = 0.0008
    burst_frames: float = 8.0
    burst_scale: float = 7.0
    confidence_mid_mm: float = 60.0
    confidence_slope: float = 1.4
    confidence_noise: float = 0.6
    seed: int = 0

    def describe(self) -> dict[str, Any]:
        """The model for ``meta.json``."""
        return {"model": "heavy-tailed AR(1) with bursts", "version": 1, **asdict(self)}


def joint_scales(skeleton: Skeleton = H36M17) -> np.ndarray:
    """Relative error scale (J,) by the last word of a joint's name, 1 for unknown ones; over
    Human3.6M's 17 joints the mean is 1. Wrists, ankles and elbows are the worst of these.
    """
    of_h36m = np.array([RELATIVE_SCALE[name.split()[-1]] for name in H36M17.joints])
    scale = np.array([RELATIVE_SCALE.get(name.split()[-1], 1.0) for name in skeleton.joints])
    return scale / of_h36m.mean()


def video_generator(seed: int, source: str) -> np.random.Generator:
    """A generator that depends on seed and video name alone, so any video can be made without
    the others.
    """
    digest = hashlib.sha256(f"{seed}:{source}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))


def ar1(innovations: np.ndarray, rho: float) -> np.ndarray:
    """Stationary AR(1) along axis 0: y[0] = e[0], y[t] = rho y[t-1] + sqrt(1 - rho^2) e[t]; unit
    variance stays unit.

    Computed in log2(n) whole-array steps: after the step of width s each y[t] sums the last 2s
    innovations.
    """
    y = innovations * np.sqrt(1 - rho**2)
    y[0] = innovations[0]
    step, weight = 1, rho
    while step < len(y) and weight > 1e-12:
        y[step:] += weight * y[:-step]
        step, weight = 2 * step, weight**2
    return y


def bursts(
    rng: np.random.Generator, n_frames: int, model: DetectorModel, n_joints: int = len(H36M17)
) -> np.ndarray:
    """Gross offsets (n,J,2) in units of the joint's scale: zero but for rare runs of a constant
    vector.
    """
    frames, joints = np.nonzero(rng.random((n_frames, n_joints)) < model.burst_rate)
    ends = np.minimum(frames + rng.geometric(1 / model.burst_frames, len(frames)), n_frames)
    offsets = model.burst_scale * rng.standard_normal((len(frames), 2))
    out = np.zeros((n_frames, n_joints, 2))
    for frame, end, joint, offset in zip(frames, ends, joints, offsets, strict=True):
        out[frame:end, joint] += offset
    return out


def error_mm(
    rng: np.random.Generator, n_frames: int, model: DetectorModel, skeleton: Skeleton = H36M17
) -> np.ndarray:
    """The detector's error (n,J,2) in mm at the person's depth."""
    shape = (n_frames, len(skeleton), 2)
    drift = ar1(rng.standard_normal(shape), model.rho)
    volatility = np.exp(
        model.volatility * ar1(rng.standard_normal((*shape[:2], 1)), model.rho_volatility)
    )
    jitter = model.jitter * rng.standard_normal(shape)
    relative = volatility * drift + jitter + bursts(rng, n_frames, model, len(skeleton))
    return model.scale_mm * joint_scales(skeleton)[:, None] * relative


def detect(
    true_px: np.ndarray,
    factor: np.ndarray,
    source: str,
    model: DetectorModel | None = None,
    skeleton: Skeleton = H36M17,
) -> tuple[np.ndarray, np.ndarray]:
    """Detections of one video: true pixels (n,J,2), mm per px (n,) -> pixels (n,J,2), confidence
    (n,J) in (0,1).

    ``source`` names the video; with ``model.seed`` it fixes the noise.
    """
    model = model or DetectorModel()
    rng = video_generator(model.seed, source)
    error = error_mm(rng, len(true_px), model, skeleton)
    size = np.linalg.norm(error, axis=-1)
    logit = model.confidence_slope * np.log(model.confidence_mid_mm / (size + 5.0))
    logit += model.confidence_noise * rng.standard_normal(size.shape)
    return true_px + error / factor[:, None, None], 1 / (1 + np.exp(-logit))
