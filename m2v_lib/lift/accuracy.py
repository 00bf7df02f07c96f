"""How far off lifting is, from keypoints to camera space, on a store whose truth is known: at
any rate and length, with joints missing. Unlike `m2v evaluate` nothing of the truth is used but
the focal length: sizes and places are estimated.
"""
# n frames, J = 17 joints

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from m2v_lib.bench.memory import Memory
from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.data.keypoints.timeline import at_rate, sample
from m2v_lib.data.store import Split, Store, Video
from m2v_lib.evaluation import metrics
from m2v_lib.geometry.cameras import load_cameras
from m2v_lib.lift.camera import bone_lengths
from m2v_lib.lift.people import lift_tracks
from m2v_lib.lift.windows import Lifter, load_lifter
from m2v_lib.results.cell_states import cell_state
from m2v_lib.runs.records import environment, load_record
from m2v_lib.skeletons import H36M17, Skeleton

RATES: Final = (25.0, 30.0, 50.0, 60.0)
#: frames of a recording: how many recordings are lifted, spread over the subjects
LENGTHS: Final = {1: 200, 10: 100, 243: 20, 1000: 6, 10_000: 1}
#: frames of the one recording whose memory is measured
MEMORY_LENGTHS: Final = (1000, 10_000, 100_000)
MISSING: Final = 0.2


def accuracy(
    model: Path,
    store: Store,
    *,
    rates: Sequence[float] = RATES,
    lengths: Mapping[int, int] = LENGTHS,
    memory_lengths: Sequence[int] = MEMORY_LENGTHS,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """`lift_errors` of a model at every rate and length on a store's test subjects, a fifth of
    the joints missing.

    `model` is a run's folder. Keys: model (its name), state, data, missing, rows [{fps, length,
    and the errors}], memory [{length, peak_mib, result_mib}: the most memory that one recording
    takes above the level before, and what of it is the result], and the machine. Raises
    DataError for other cameras than Human3.6M's or other joints than the model's, ValueError
    where the run has no record.
    """
    result, lifter, split = load_record(model).result, load_lifter(model), store.split("test")
    if lifter.skeleton.joints != store.meta.joints.joints:
        raise DataError(
            f"{store.meta.name}: holds joints of {store.meta.joints.name}, the model those of "
            f"{lifter.skeleton.name}; they must be the same"
        )
    if unknown := {video.camera for video in split.videos} - set(load_cameras()):
        raise DataError(
            f"{store.meta.name}: was filmed by {sorted(unknown)[0]}, expected Human3.6M's cameras"
        )

    rows = []
    for fps in rates:
        for length, n_videos in lengths.items():
            found = lift_errors(
                split,
                lifter,
                fps=fps,
                n_frames=length,
                missing=MISSING,
                n_videos=n_videos,
                store_fps=store.meta.fps,
            )
            rows.append({"fps": fps, "length": length, **found})
            say(
                f"{fps:g} fps, {length} frames: {found['mpjpe']:.1f} mm, "
                f"{found['frames_per_second']:.0f} frames/s"
            )

    memory = []
    for length in memory_lengths:
        peak, made = (round(n_bytes / 2**20, 1) for n_bytes in lift_memory(split, lifter, length))
        memory.append({"length": length, "peak_mib": peak, "result_mib": made})
        say(f"{length} frames: at most {peak} MiB, {made} of them the result")

    data = {
        "name": store.meta.name,
        "protocol": store.meta.protocol,
        "fingerprint": store.meta.fingerprint,
    }
    machine = environment({"device": "cpu", "threads": torch.get_num_threads()})
    return {
        "schema": 1,
        "model": result["name"],
        "state": cell_state(result),
        "data": {**data, "split": "test"},
        "missing": MISSING,
        "rows": rows,
        "memory": memory,
        **machine,
    }


def lift_errors(
    split: Split,
    lifter: Lifter,
    *,
    fps: float = 50.0,
    n_frames: int = 0,
    missing: float = 0.0,
    n_videos: int = 0,
    store_fps: float = 50.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Errors over videos of a split filmed by Human3.6M cameras, played at `fps`, means over
    frames.

    n_frames takes so many from the middle of a video, or repeats it forwards and backwards (0:
    as it is); `missing` is the share of joints the detector is made to miss at random; n_videos
    (0: all) takes so many spread over the split. Keys: mpjpe and p_mpjpe (mm), mpjpe_scaled (one
    scale a video), accel (mm/s^2), root (mm: x, y, z), bone_spread (%: standard deviation over
    the mean of each bone in a video), n_videos, n_frames, frames_per_second (of one core's time).
    """
    videos = (
        split.videos[:: max(1, len(split.videos) // n_videos)][:n_videos]
        if n_videos
        else split.videos
    )
    rng, rows, seconds, total = np.random.default_rng(seed), list[dict[str, Any]](), 0.0, 0

    for video in videos:
        tracks, truth = _played(split, video, fps, store_fps, n_frames, lifter.skeleton)
        (person,) = tracks.people
        hidden = rng.random(person.confidence.shape) < missing
        person.confidence[hidden], person.xy[hidden] = 0.0, 0.0
        began = time.process_time()
        motion = lift_tracks(tracks, lifter, focal=load_cameras()[video.camera].mean_focal)
        seconds += time.process_time() - began
        lifted = motion.people[0]
        rows.append(_errors(lifted.pose_mm, lifted.root_mm, truth, fps, lifter.skeleton))
        total += len(truth)

    weight = np.array([row.pop("n") for row in rows], float)
    means = {key: _mean([row[key] for row in rows], weight) for key in rows[0]}
    return {
        **means,
        "n_videos": len(videos),
        "n_frames": total,
        "frames_per_second": total / seconds,
    }


def lift_memory(split: Split, lifter: Lifter, n_frames: int) -> tuple[int, int]:
    """The most memory (bytes) that lifting so many frames takes above what was there before,
    keypoints included, and how much of it is the result.
    """
    tracks, _ = _played(split, split.videos[0], 50.0, 50.0, n_frames, lifter.skeleton)
    memory = Memory(torch.device("cpu"))
    memory.begin()
    motion = lift_tracks(tracks, lifter)
    return memory.peak(), motion.n_bytes


def _played(
    split: Split,
    video: Video,
    fps: float,
    store_fps: float,
    n_frames: int,
    skeleton: Skeleton = H36M17,
) -> tuple[Tracks, np.ndarray]:
    """A video's detections as tracks at `fps`, and its joints in camera space (n,J,3) mm."""
    frames = slice(video.start, video.start + video.n_frames)
    at = at_rate(video.n_frames, store_fps, fps)

    at = at[at <= video.n_frames - 1]
    if 0 < n_frames <= len(at):
        at = at[(len(at) - n_frames) // 2 :][:n_frames]
    elif n_frames:
        there_and_back = np.concatenate([at, at[-2:0:-1]]) if len(at) > 2 else at
        at = np.resize(there_and_back, n_frames)

    xy, confidence = (
        sample(np.asarray(v[frames], float), at) for v in (split.joint_2d, split.confidence)
    )
    confidence = np.clip(confidence, 0.0, 1.0).astype(np.float32)
    person = Person("1", np.arange(len(at)), xy.astype(np.float32), confidence)
    tracks = Tracks(
        video.source,
        "store",
        skeleton.name,
        (person,),
        len(at),
        video.width,
        video.height,
        fps,
        skeleton=skeleton,
    )
    focal = load_cameras()[video.camera].mean_focal
    label, factor = (
        np.asarray(split.label_px[frames], float),
        np.asarray(split.factor[frames], float),
    )
    depth = factor[:, None] * (focal + label[..., 2])
    middle = np.array([video.width / 2, video.height / 2])

    joints = np.concatenate(
        [(label[..., :2] - middle) * depth[..., None] / focal, depth[..., None]], axis=-1
    )
    return tracks, sample(joints, at)


def _errors(
    pose: np.ndarray, root: np.ndarray, truth: np.ndarray, fps: float, skeleton: Skeleton
) -> dict[str, Any]:
    pose = pose.astype(np.float64)
    true_root = truth[:, skeleton.root]
    target = truth - true_root[:, None]
    scale = (pose * target).sum() / (pose**2).sum()
    length = bone_lengths(pose, skeleton)

    accel = metrics.accel_error(pose[None], target[None]) * fps**2 if len(pose) > 2 else np.nan
    return {
        "mpjpe": metrics.frame_errors(pose, target).mean(),
        "mpjpe_scaled": metrics.frame_errors(scale * pose, target).mean(),
        "p_mpjpe": metrics.frame_errors(metrics.procrustes_align(pose, target), target).mean(),
        "accel": accel,
        "root": np.abs(root - true_root).mean(0),
        "bone_spread": 100 * (length.std(0) / length.mean(0)).mean(),
        "n": len(pose),
    }


def _mean(values: list[Any], weight: np.ndarray) -> Any:
    """Mean over frames of those that are numbers; a list for a vector."""
    array = np.array(values, float)
    known = np.isfinite(array.reshape(len(array), -1)).all(1)
    if not known.any():
        return None
    mean = np.average(array[known], axis=0, weights=weight[known])
    return float(mean) if mean.ndim == 0 else [float(value) for value in mean]
