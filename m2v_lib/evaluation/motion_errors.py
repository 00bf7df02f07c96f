"""Errors of motion: of velocity and acceleration, alike for systems that give whole clips and for
those that give single frames.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from m2v_lib.data.clips import Clips
from m2v_lib.evaluation import metrics

# C clips, T frames of a clip, J joints, E chains of n frames that lie a step apart

#: What is measured and how often frames are differenced for it.
MOTION: Final = {"mpjve": 1, "accel": 2}


def motion_errors(pred_CTJ3: np.ndarray, clips: Clips, index_CT: np.ndarray) -> dict[str, float]:
    """Velocity and acceleration error, from one frame to the one `frame_step` further: over whole
    clips, and of single frames over those of one video; nan where there are none.
    """
    truth_CTJ3 = clips.truth_nJ3[index_CT]
    found = {}
    for name, n in MOTION.items():
        if index_CT.shape[1] > 1:
            error = _differences(pred_CTJ3, truth_CTJ3, n)
            present = clips.present_CT
            error = error.mean(-1) if present is None else error[present.cpu().numpy()[:, n:]]
        else:
            chain_EN = _frames_in_step(index_CT[:, 0], clips, n + 1)
            error = _differences(pred_CTJ3[chain_EN, 0], truth_CTJ3[chain_EN, 0], n)
        found[name] = float(error.mean()) if error.size else float("nan")

    return found


def _differences(pred_CTJ3: np.ndarray, truth_CTJ3: np.ndarray, n: int) -> np.ndarray:
    return metrics.joint_errors(np.diff(pred_CTJ3, n, axis=1), np.diff(truth_CTJ3, n, axis=1))


def _frames_in_step(frame_C: np.ndarray, clips: Clips, n: int) -> np.ndarray:
    """Which of the evaluated frames (E, n) lie `frame_step` apart in one video."""
    place_n = np.full(len(clips.video_n), -1)
    place_n[frame_C] = np.arange(len(frame_C))

    wanted_CN = frame_C[:, None] + clips.frame_step * np.arange(n)
    inside = wanted_CN[:, -1] < len(place_n)
    wanted_EN = wanted_CN[inside]
    together = clips.video_n[wanted_EN[:, 0]] == clips.video_n[wanted_EN[:, -1]]

    chain_EN = place_n[wanted_EN[together]]
    return chain_EN[(chain_EN >= 0).all(1)]
