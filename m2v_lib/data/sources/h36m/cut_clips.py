"""Clips cut beforehand, one small pickle each: ``{train,test}/%08d.pkl`` of MotionBERT and
MotionAGFormer (spec 5.3).

A file holds ``data_input`` (T,17,3), normalised x, y and confidence, and ``data_label``
(T,17,3), normalised. It does not say which frames these are, nor anything in millimetres, so the
pickle the clips were cut from is read as well, as the authors' evaluation does. The clips' input
then takes the place of the pickle's; their labels must be the pickle's.
"""
# T frames of a clip, n frames of a split, J = 17 joints

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from m2v_lib.data.checks import DataError, Video, check_finite
from m2v_lib.data.cutting import clip_index
from m2v_lib.data.safe_pickle.reader import read_pickle
from m2v_lib.data.store import Split
from m2v_lib.skeletons.h36m import N_JOINTS

#: labels further apart than this (px) are not of the same frame
MAX_LABEL_OFFSET_PX: Final = 0.1
KEYS: Final = ("data_input", "data_label")


def is_clip_folder(path: Path) -> bool:
    """Whether a folder has numbered clip files."""
    return any((path / name / "00000000.pkl").is_file() for name in ("train", "test"))


def put_clips(folder: Path, train: Split, test: Split) -> tuple[Split, Split]:
    """Both splits with the clips' input in place of theirs; frames that no clip holds keep
    theirs.
    """
    return _put(folder / "train", train, thirds=True), _put(folder / "test", test, thirds=False)


def _put(folder: Path, split: Split, *, thirds: bool) -> Split:
    files = sorted(folder.glob("*.pkl"))
    if not files or [file.stem for file in files] != [f"{i:08d}" for i in range(len(files))]:
        raise DataError(
            f"{folder}: holds {len(files)} clips, expected 00000000.pkl, 00000001.pkl ... without "
            "a gap"
        )

    n_frames = len(_read(files[0])["data_input"])
    stride = n_frames // 3 if thirds else n_frames
    index = clip_index([(v.start, v.n_frames) for v in split.videos], n_frames, stride)
    if len(index) != len(files):
        raise DataError(
            f"{folder}: holds {len(files)} clips, but the pickle's {len(split.videos)} videos give "
            f"{len(index)} of {n_frames} frames, one every {stride}"
        )

    starts = [v.start for v in split.videos]
    seen, confidence = np.array(split.joint_2d, np.float32), np.array(split.confidence, np.float32)

    for file, frames in zip(
        tqdm(files, desc=f"reading {folder}", delay=2, leave=False), index, strict=True
    ):
        video = split.videos[int(np.searchsorted(starts, frames[0], side="right")) - 1]
        clip = _read(file, n_frames)
        frames = _match(clip["data_label"], split, video, frames, file)
        given = clip["data_input"]
        seen[frames] = (given[..., :2] + (1, video.height / video.width)) * (video.width / 2)
        confidence[frames] = given[..., 2]

    return replace(split, joint_2d=seen, confidence=confidence)


def _match(
    label: np.ndarray, split: Split, video: Video, frames: np.ndarray, file: Path
) -> np.ndarray:
    """The frames of the clip: those of its place, or for a resampled short video those with the
    nearest labels.
    """
    given = _relative(label * (video.width / 2))
    if len(frames) > video.n_frames:
        all_frames = np.arange(video.start, video.start + video.n_frames)
        there = _relative(split.label_px[all_frames])
        frames = all_frames[[int(np.abs(there - pose).sum((1, 2)).argmin()) for pose in given]]

    off = float(np.abs(given - _relative(split.label_px[frames])).max())
    if off > MAX_LABEL_OFFSET_PX:
        place = f"frames {frames[0]} to {frames[-1]} of the pickle ({video.source})"
        raise DataError(
            f"{file}: data_label is up to {off:.3g} px from {place}, expected the same labels"
        )

    return frames


def _relative(joints: np.ndarray) -> np.ndarray:
    return np.asarray(joints, np.float64) - np.asarray(joints, np.float64)[:, :1]


def _read(file: Path, n_frames: int | None = None) -> dict[str, np.ndarray]:
    content: Any = read_pickle(file)
    if not isinstance(content, Mapping) or not all(
        isinstance(content.get(key), np.ndarray) for key in KEYS
    ):
        raise DataError(f"{file}: is no dict of the arrays {' and '.join(KEYS)}")

    clip = {key: content[key] for key in KEYS}
    expected = n_frames or len(clip["data_input"])

    for key, array in clip.items():
        if array.shape != (expected, N_JOINTS, 3) or array.dtype.kind not in "fiu" or expected < 3:
            raise DataError(
                f"{file}: {key} is {array.dtype} {array.shape}, expected numbers ({expected}, "
                f"{N_JOINTS}, 3)"
            )
        check_finite(array, f"{file}: {key}")

    if np.abs(clip["data_input"][..., :2]).max() > 8:
        raise DataError(
            f"{file}: data_input reaches {np.abs(clip['data_input'][..., :2]).max():.4g}, "
            "expected x and y normalised to the image, about -1 to 1"
        )
    if clip["data_input"][..., 2].min() < 0:
        raise DataError(
            f"{file}: data_input holds a negative confidence, expected x, y, confidence"
        )

    return clip
