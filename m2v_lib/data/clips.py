"""From a store's split to batches: which frames make a clip, and the normalised tensors they are
gathered from.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from m2v_lib.data.cutting import centre_of as centre_of
from m2v_lib.data.cutting import (
    centred_index,
    clip_index,
    clip_index_3dhp,
    select_labelled_recordings,
    select_labelled_subjects,
)
from m2v_lib.data.cutting import resample as resample
from m2v_lib.data.sources.mpi_inf_3dhp import is_3dhp
from m2v_lib.data.store import DataError, Split, Store
from m2v_lib.skeletons import H36M17, Skeleton

# n frames of a split, C clips, B batch, T frames of a clip, J joints

Windows = Literal["whole", "tails", "centred"]
Protocol = Literal["h36m", "mpi_inf_3dhp"]


def normalise_screen(points: np.ndarray, width: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Pixels to units of half the image width, centred: xy / w * 2 - [1, h / w]; a third channel
    is z / w * 2.

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

    input_nJ3 (x, y, confidence) and label_nJ3 are normalised (spec 5.2), label root-relative
    (spec 5.4); truth_nJ3 mm root-relative; mm_per_unit_n turns a normalised prediction into
    millimetres; index_CT frame numbers; valid_n (n,) bool: frames that count in the metric.
    """

    input_nJ3: Tensor
    label_nJ3: Tensor
    index_CT: Tensor
    truth_nJ3: np.ndarray
    mm_per_unit_n: np.ndarray
    action_n: np.ndarray
    actions: tuple[str, ...]
    valid_n: np.ndarray
    #: The number of each frame's video, and each video's recording, which several cameras share.
    video_n: np.ndarray
    recordings: tuple[str, ...]
    #: Frames from one of a clip to the next.
    frame_step: int = 1
    #: Of windows cut about single frames, the number of the one frame that is evaluated; else None.
    output_frame: int | None = None
    skeleton: Skeleton = H36M17
    #: Whose evaluation counts: Human3.6M's (by action) or MPI-INF-3DHP's (by sequence, with PCK).
    protocol: Protocol = "h36m"
    #: Of clips that may be padded, which frames (C, T) are there; else None.
    present_CT: Tensor | None = None

    def __len__(self) -> int:
        return self.index_CT.shape[0]

    @property
    def centred(self) -> bool:
        """Whether one frame of each clip is evaluated, not all."""
        return self.output_frame is not None

    @property
    def evaluated(self) -> slice:
        """The frames of a clip that are evaluated: all of them or, of centred clips, the one."""
        frame = self.output_frame
        return slice(None) if frame is None else slice(frame, frame + 1)

    def batch(self, chosen_B: Tensor) -> tuple[Tensor, Tensor]:
        """Input and label (B, T, J, 3) of the chosen clips, gathered on the device."""
        frames_BT = self.index_CT[chosen_B]
        return self.input_nJ3[frames_BT], self.label_nJ3[frames_BT]

    def present(self, chosen_B: Tensor) -> Tensor | None:
        """Which frames (B, T) of the chosen clips are there; None where all are."""
        return None if self.present_CT is None else self.present_CT[chosen_B]


def make_clips(
    split: Split,
    n_frames: int,
    stride: int,
    *,
    input_2d: str = "detected",
    subjects: Collection[str] | None = None,
    without: Collection[str] = (),
    blocked: Collection[str] = (),
    windows: Windows = "whole",
    device: torch.device | str = "cpu",
    what: str = "split",
    labels: bool = True,
    label_fraction: float = 1.0,
    label_subjects: int = 0,
    frame_step: int = 1,
    skeleton: Skeleton = H36M17,
    protocol: Protocol = "h36m",
    pad: bool = False,
    output_frame: int | None = None,
) -> Clips:
    """Clips of the split's videos, optionally of some `subjects` only, `without` others, leaving
    out what is `blocked`: a source, or a recording with all its cameras.

    `windows` says how videos are cut: "whole" ones (`clip_index`), "tails" too
    (`clip_index_3dhp`), or "centred" on every `stride`-th valid frame, which is number
    `output_frame` of its window (by default the middle one). A clip takes every
    `frame_step`-th frame; all frames have their clips. Of the clips a `label_fraction` is kept
    (`select_labelled_recordings`), and those of `label_subjects` people alone where it is not 0
    (`select_labelled_subjects`). With `pad` whole clips are padded where their video ends.
    Raises DataError when no clip is left, and where `labels` are wanted but
    only 2D is known.
    """
    if np.isnan(split.factor[:1]).any() and (labels or input_2d == "gt"):
        raise DataError(
            f"{what}: holds detected 2D alone, which `m2v pretrain` can use; this needs a store "
            "with 3D"
        )

    videos = [
        v
        for v in split.videos
        if (subjects is None or v.subject in subjects) and v.subject not in without
    ]
    valid_n = np.ones(split.n_frames, bool) if split.valid is None else np.asarray(split.valid)
    output_frame = _evaluated_frame(windows, n_frames, output_frame)
    spans = [(v.start, v.n_frames) for v in videos]
    index = _cut(windows, spans, n_frames, stride, valid_n, frame_step, pad, output_frame)
    # Blocked videos are cut like the others and then left out (spec 5.5.4), so the other clips
    # stay as they are.
    video_of_C = np.searchsorted([v.start for v in videos], index[:, 0], side="right") - 1
    index = index[[not {videos[i].source, videos[i].recording} & set(blocked) for i in video_of_C]]

    if label_subjects:
        video_of_C = np.searchsorted([v.start for v in videos], index[:, 0], side="right") - 1
        index = index[
            select_labelled_subjects([videos[i].subject for i in video_of_C], label_subjects)
        ]

    if label_fraction < 1:
        video_of_C = np.searchsorted([v.start for v in videos], index[:, 0], side="right") - 1
        index = index[
            select_labelled_recordings([videos[i].recording for i in video_of_C], label_fraction)
        ]

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
        label_nJ3=_tensor(relative_to_root(label, skeleton), device),
        index_CT=torch.from_numpy(index).to(device),
        truth_nJ3=relative_to_root(np.asarray(split.truth_mm), skeleton),
        mm_per_unit_n=np.asarray(split.factor * width / 2.0, dtype=np.float32),
        action_n=_per_frame(split, action_of).astype(np.int64),
        actions=actions,
        valid_n=valid_n,
        video_n=np.repeat(np.arange(len(split.videos)), [v.n_frames for v in split.videos]),
        recordings=tuple(v.recording for v in split.videos),
        frame_step=frame_step,
        output_frame=output_frame,
        skeleton=skeleton,
        protocol=protocol,
        present_CT=_present(index, device) if pad and windows == "whole" else None,
    )


def _present(index_CT: np.ndarray, device: torch.device | str) -> Tensor | None:
    """Which frames are no repeats; None where none is."""
    there = np.diff(index_CT, axis=1, prepend=index_CT[:, :1] - 1) > 0
    return None if there.all() else torch.from_numpy(there).to(device)


def relative_to_root(joints_nJC: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Every joint less the root of its frame."""
    return joints_nJC - joints_nJC[:, skeleton.root : skeleton.root + 1]


def _evaluated_frame(windows: Windows, n_frames: int, output_frame: int | None) -> int | None:
    """Of centred windows the frame asked for, by default the middle one; of others none."""
    if windows != "centred":
        return None
    return centre_of(n_frames) if output_frame is None else output_frame


def _cut(
    windows: Windows,
    spans: Sequence[tuple[int, int]],
    n_frames: int,
    stride: int,
    valid_n: np.ndarray,
    step: int,
    pad: bool,
    output_frame: int | None,
) -> np.ndarray:
    if windows == "whole":
        return clip_index(spans, n_frames, stride, step=step, pad=pad)
    if windows == "tails":
        return clip_index_3dhp(spans, n_frames, stride, step=step)

    chosen_n = np.zeros_like(valid_n)
    chosen_n[np.flatnonzero(valid_n)[::stride]] = True
    return centred_index(spans, n_frames, chosen_n, step=step, chosen_frame=output_frame)


def training_clips(
    store: Store,
    n_frames: int,
    stride: int,
    *,
    input_2d: str,
    validation: bool,
    device: torch.device | str,
    labels: bool = True,
    label_fraction: float = 1.0,
    label_subjects: int = 0,
    frame_step: int = 1,
    pad: bool = False,
) -> Clips:
    """The training split, less the validation subjects where these are held out; cut as the
    store's protocol says.
    """
    held_out = store.meta.val_subjects if validation else ()
    return make_clips(
        store.split("train"),
        n_frames,
        stride,
        input_2d=_input_of(store, input_2d),
        without=held_out,
        device=device,
        windows="tails" if is_3dhp(store.meta) else "whole",
        what=f"{store.path}: split train",
        labels=labels,
        label_fraction=label_fraction,
        label_subjects=label_subjects,
        frame_step=frame_step,
        skeleton=store.meta.joints,
        protocol=_protocol_of(store),
        pad=pad,
    )


def evaluation_clips(
    store: Store,
    which: str,
    n_frames: int,
    stride: int,
    *,
    input_2d: str,
    device: torch.device | str,
    labels: bool = True,
    frame_step: int = 1,
    output_frame: int | None = None,
    pad: bool = False,
) -> Clips:
    """Clips of "val" (the store's validation subjects within train) or "test"; cut as the
    store's protocol says.

    On MPI-INF-3DHP one clip is centred on each valid frame of the test, whatever the stride (spec
    6.5). Elsewhere `output_frame` asks for a clip about every `stride`-th frame, for models that
    give the pose of that frame of a window alone.
    """
    subjects = store.meta.val_subjects if which == "val" else None
    if which == "val" and not subjects:
        raise DataError(
            f"{store.path}: the store names no validation subjects; set data.validation=false"
        )

    official_3dhp = is_3dhp(store.meta)
    return make_clips(
        store.split("train" if which == "val" else "test"),
        n_frames,
        1 if official_3dhp and which == "test" else stride,
        input_2d=_input_of(store, input_2d),
        subjects=subjects,
        blocked=store.meta.blocked_sources,
        device=device,
        windows="whole" if output_frame is None and not official_3dhp else "centred",
        output_frame=output_frame,
        what=f"{store.path}: split {which}",
        labels=labels,
        frame_step=frame_step,
        skeleton=store.meta.joints,
        protocol=_protocol_of(store),
        pad=pad,
    )


def _protocol_of(store: Store) -> Protocol:
    return "mpi_inf_3dhp" if is_3dhp(store.meta) else "h36m"


def _input_of(store: Store, input_2d: str) -> str:
    """Where the store's 2D is the ground truth, both kinds of input are that 2D."""
    if input_2d == "gt" and not store.meta.input_is_truth and not store.meta.label_is_projection:
        raise DataError(
            f"{store.path}: holds detected 2D with labels in camera space; data.input_2d=gt needs a "
            "store prepared with the ground-truth 2D file"
        )
    return "detected" if store.meta.input_is_truth else input_2d


def _per_frame(split: Split, values: Sequence[int]) -> np.ndarray:
    lengths = [v.n_frames for v in split.videos]
    return np.repeat(np.asarray(values, dtype=np.float32), lengths)


def _tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)
