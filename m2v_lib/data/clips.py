"""From a store's split to batches: which frames make a clip, and the normalised tensors they are gathered from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from m2v_lib.data.store import DataError, Split, Store

# n frames of a split, C clips, B batch, T frames of a clip, J joints


def resample(length: int, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """`n_frames` sorted indices spread over a shorter video (T,): each the floor or ceiling of an even spacing."""
    even = np.linspace(0, length, n_frames, endpoint=False)
    chosen = np.where(rng.integers(2, size=n_frames) == 1, np.floor(even), np.ceil(even))
    return np.clip(np.sort(chosen), 0, length - 1).astype(np.int64)


def clip_index(spans: Sequence[tuple[int, int]], n_frames: int, stride: int, seed: int = 0) -> np.ndarray:
    """Frame indices (C, T) of the clips of videos given as (first frame, length), exactly as spec 5.3.

    Whole windows every `stride` frames; the tail that fills no window is dropped. A video too short for one window
    gives one resampled clip, unless it is the last video, which gives none.
    """
    rng = np.random.default_rng(seed)
    rows: list[np.ndarray] = []
    window = np.arange(n_frames)
    for i, (start, length) in enumerate(spans):
        if length >= n_frames:
            rows.extend(start + first + window for first in range(0, length - n_frames + 1, stride))
        elif i < len(spans) - 1:
            rows.append(start + resample(length, n_frames, rng))
    return np.stack(rows) if rows else np.empty((0, n_frames), dtype=np.int64)


def normalise_screen(points: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Pixels to units of half the image width, centred: xy / w * 2 - [1, h / w]; a third channel is z / w * 2.

    points (n, J, 2 or 3), width and height (n,) px (spec 5.2).
    """
    half = (width / 2.0)[:, None, None]
    out = points / half
    out[..., 0] -= 1.0
    out[..., 1] -= (height / width)[:, None]
    return out


@dataclass(frozen=True)
class Clips:
    """Clips of some videos of a split: tensors resident on one device, gathered by index.

    input_nJ3 (x, y, confidence) and label_nJ3 are normalised (spec 5.2), label root-relative (spec 5.4);
    truth_nJ3 mm root-relative; mm_per_unit_n turns a normalised prediction into millimetres; index_CT frame numbers;
    valid_n (n,) bool: frames that count in the metric.
    """

    input_nJ3: Tensor
    label_nJ3: Tensor
    index_CT: Tensor
    truth_nJ3: np.ndarray
    mm_per_unit_n: np.ndarray
    action_n: np.ndarray
    actions: tuple[str, ...]
    valid_n: np.ndarray

    def __len__(self) -> int:
        return self.index_CT.shape[0]

    def batch(self, chosen_B: Tensor) -> tuple[Tensor, Tensor]:
        """Input and label (B, T, J, 3) of the chosen clips, gathered on the device."""
        frames_BT = self.index_CT[chosen_B]
        return self.input_nJ3[frames_BT], self.label_nJ3[frames_BT]


def make_clips(
    split: Split,
    n_frames: int,
    stride: int,
    *,
    input_2d: str = "detected",
    subjects: Collection[str] | None = None,
    without: Collection[str] = (),
    blocked: Collection[str] = (),
    device: torch.device | str = "cpu",
    what: str = "split",
) -> Clips:
    """Clips of the split's videos, optionally of some `subjects` only, `without` others, leaving out what is `blocked`:
    a source, or a recording with all its cameras.

    Raises DataError when no clip is left.
    """
    videos = [v for v in split.videos if (subjects is None or v.subject in subjects) and v.subject not in without]
    index = clip_index([(v.start, v.n_frames) for v in videos], n_frames, stride)
    # Blocked videos are cut like the others and then left out (spec 5.5.4), so the other clips stay as they are.
    video_of_C = np.searchsorted([v.start for v in videos], index[:, 0], side="right") - 1
    index = index[[not {videos[i].source, videos[i].recording} & set(blocked) for i in video_of_C]]
    if len(index) == 0:
        raise DataError(f"{what}: no clip of {n_frames} frames in its {len(videos)} videos")
    width = _per_frame(split, [v.width for v in split.videos])
    height = _per_frame(split, [v.height for v in split.videos])
    label = normalise_screen(split.label_px, width, height)
    seen = label[..., :2] if input_2d == "gt" else normalise_screen(split.joint_2d, width, height)
    confidence = np.ones_like(split.confidence) if input_2d == "gt" else split.confidence
    actions = tuple(sorted({v.action for v in split.videos}))
    action_of = [actions.index(v.action) for v in split.videos]
    return Clips(
        input_nJ3=_tensor(np.concatenate([seen, confidence[..., None]], axis=-1), device),
        label_nJ3=_tensor(label - label[:, :1], device),
        index_CT=torch.from_numpy(index).to(device),
        truth_nJ3=np.asarray(split.truth_mm - split.truth_mm[:, :1]),
        mm_per_unit_n=np.asarray(split.factor * width / 2.0, dtype=np.float32),
        action_n=_per_frame(split, action_of).astype(np.int64),
        actions=actions,
        valid_n=np.ones(split.n_frames, bool) if split.valid is None else np.asarray(split.valid),
    )


def training_clips(
    store: Store, n_frames: int, stride: int, *, input_2d: str, validation: bool, device: torch.device | str
) -> Clips:
    """The training split, less the validation subjects where these are held out."""
    held_out = store.meta.val_subjects if validation else ()
    return make_clips(
        store.split("train"), n_frames, stride, input_2d=input_2d, without=held_out, device=device,
        what=f"{store.path}: split train",
    )  # fmt: skip


def evaluation_clips(
    store: Store, which: str, n_frames: int, stride: int, *, input_2d: str, device: torch.device | str
) -> Clips:
    """Clips of "val" (the store's validation subjects within train) or "test"."""
    subjects = store.meta.val_subjects if which == "val" else None
    if which == "val" and not subjects:
        raise DataError(f"{store.path}: the store names no validation subjects; set data.validation=false")
    return make_clips(
        store.split("train" if which == "val" else "test"), n_frames, stride, input_2d=input_2d, subjects=subjects,
        blocked=store.meta.blocked_sources, device=device, what=f"{store.path}: split {which}",
    )  # fmt: skip


def _per_frame(split: Split, values: Sequence[int]) -> np.ndarray:
    lengths = [v.n_frames for v in split.videos]
    return np.repeat(np.asarray(values, dtype=np.float32), lengths)


def _tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)
