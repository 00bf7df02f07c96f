"""Which frames make a clip: the cutting rules of spec 5.3 and 6, without torch."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from m2v_lib.errors import InputError

# n frames of a split, C clips, T frames of a clip


def resample(length: int, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """`n_frames` sorted indices spread over a shorter video (T,): each the floor or ceiling of
    an even spacing.
    """
    even = np.linspace(0, length, n_frames, endpoint=False)
    chosen = np.where(rng.integers(2, size=n_frames) == 1, np.floor(even), np.ceil(even))
    return np.clip(np.sort(chosen), 0, length - 1).astype(np.int64)


def interleaved(spans: Sequence[tuple[int, int]], step: int) -> list[list[np.ndarray]]:
    """Of each video (first frame, length) the frames of its `step` interleaved parts: every
    step-th frame from 0, from 1, and so on. Together they hold each frame once.
    """
    return [
        [np.arange(start + phase, start + length, step) for phase in range(min(step, length))]
        for start, length in spans
    ]


def clip_index(
    spans: Sequence[tuple[int, int]],
    n_frames: int,
    stride: int,
    seed: int = 0,
    *,
    step: int = 1,
    pad: bool = False,
) -> np.ndarray:
    """Frame indices (C, T) of the clips of videos given as (first frame, length), exactly as
    spec 5.3.

    Whole windows every `stride` frames; the tail that fills no window is dropped. A video too
    short for one window gives one resampled clip, unless it is the last video, which gives none.
    With `step` each interleaved part of a video is cut as a video of its own. With `pad` nothing is
    dropped or stretched: where a window passes its video's end, the last frame is repeated.
    """
    if pad:
        return _padded_index(spans, n_frames, stride, step)

    rng = np.random.default_rng(seed)
    rows: list[np.ndarray] = []

    videos = interleaved(spans, step)
    for i, parts in enumerate(videos):
        for frames in parts:
            if len(frames) >= n_frames:
                rows.extend(
                    frames[first : first + n_frames]
                    for first in range(0, len(frames) - n_frames + 1, stride)
                )
            elif i < len(videos) - 1:
                rows.append(frames[resample(len(frames), n_frames, rng)])

    return np.stack(rows) if rows else np.empty((0, n_frames), dtype=np.int64)


def _padded_index(
    spans: Sequence[tuple[int, int]], n_frames: int, stride: int, step: int
) -> np.ndarray:
    """Windows every `stride` frames until one reaches the video's end."""
    rows = [np.empty((0, n_frames), dtype=np.int64)]
    for frames in (part for parts in interleaved(spans, step) for part in parts):
        n_windows = 1 + max(0, -(-(len(frames) - n_frames) // stride))
        firsts = stride * np.arange(n_windows)
        places = np.minimum(firsts[:, None] + np.arange(n_frames), len(frames) - 1)
        rows.append(frames[places])

    return np.concatenate(rows)


def clip_index_3dhp(
    spans: Sequence[tuple[int, int]], n_frames: int, stride: int, *, step: int = 1
) -> np.ndarray:
    """Frame indices (C, T) of MPI-INF-3DHP's training clips, as spec 6.4: one begins at every
    `stride`-th frame.

    Where fewer than `n_frames` are left of a video, they are spread: floor(linspace). `step` as
    in `clip_index`.
    """
    rows: list[np.ndarray] = []
    for frames in (part for parts in interleaved(spans, step) for part in parts):
        for first in range(0, len(frames), stride):
            left = min(n_frames, len(frames) - first)
            spread = np.floor(np.linspace(0, left, n_frames, endpoint=False)).astype(np.int64)
            rows.append(frames[first + np.minimum(spread, left - 1)])
    return np.stack(rows) if rows else np.empty((0, n_frames), dtype=np.int64)


def centred_index(
    spans: Sequence[tuple[int, int]],
    n_frames: int,
    chosen_n: np.ndarray,
    *,
    step: int = 1,
    chosen_frame: int | None = None,
) -> np.ndarray:
    """Frame indices (C, T) of a window about each chosen frame of the videos, as spec 6.5:
    beyond a video's ends its first and last frame are repeated. The chosen frame is number
    `chosen_frame` of its window, by default `centre_of(n_frames)`; frames are `step` apart.
    """
    at = centre_of(n_frames) if chosen_frame is None else chosen_frame
    around = step * (np.arange(n_frames) - at)
    rows = [np.empty((0, n_frames), dtype=np.int64)]
    for start, length in spans:
        frames = start + np.flatnonzero(chosen_n[start : start + length])
        rows.append(np.clip(frames[:, None] + around, start, start + length - 1))
    return np.concatenate(rows)


def select_labelled_recordings(recording_of_C: Sequence[str], fraction: float) -> np.ndarray:
    """Which clips (C,) bool have labels when only a `fraction` of them shall: whole recordings,
    with all cameras.

    Clips of one recording overlap and its cameras see the same poses, so single clips would
    label nearly all of it. Recordings come in the order of their names' sha256, whatever the
    seed, until the share is reached: at least one, and a smaller fraction is part of a larger
    one.
    """
    clips_of = Counter(recording_of_C)
    order = sorted(clips_of, key=lambda name: hashlib.sha256(name.encode()).digest())
    before = dict(zip(order, np.cumsum([0, *(clips_of[name] for name in order[:-1])]), strict=True))
    return np.array([before[name] < fraction * len(recording_of_C) for name in recording_of_C])


def select_labelled_subjects(subject_of_C: Sequence[str], n_subjects: int) -> np.ndarray:
    """Which clips (C,) bool have labels when only `n_subjects` people shall.

    People come in the order of their names' sha256, whatever the seed, and fewer are part of more.
    Raises InputError where there are fewer people.
    """
    order = sorted(set(subject_of_C), key=lambda name: hashlib.sha256(name.encode()).digest())
    if n_subjects > len(order):
        raise InputError(
            f"data.label_subjects must be at most {len(order)}, the training subjects, "
            f"got {n_subjects}"
        )
    chosen = set(order[:n_subjects])
    return np.array([name in chosen for name in subject_of_C])


def centre_of(n_frames: int) -> int:
    """The middle of a window: 40 of 81."""
    return (n_frames - 1) // 2
