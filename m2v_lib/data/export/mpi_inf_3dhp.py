"""A store written as ``data_train_3dhp.npz`` and ``data_test_3dhp.npz``: keys, joint order,
types and units of spec 6.

Subjects become S1, S2 ..., the recordings of each Seq1, Seq2 ..., its cameras "0", "1", "2", "4"
...; test videos become TS1, TS2 .... The image is stretched to MPI-INF-3DHP's 2048 x 2048 (TS5,
TS6: 1920 x 1080) about its centre, so that the network's input stays the same. What the layout
cannot hold is lost: names, actions, confidence.
"""
# n frames of a video

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.sources.mpi_inf_3dhp import CAMERAS, TEST_FILE, TRAIN_FILE, Take, image_size
from m2v_lib.data.store import DataError, Split, Store, Video
from m2v_lib.runs.records import write_stream
from m2v_lib.skeletons.h36m import H36M_FROM_MPI

MPI_FROM_H36M: Final = tuple(int(j) for j in np.argsort(H36M_FROM_MPI))
KINDS_2D: Final = ("gt", "detected")


def export(
    store: Store, out: Path | str, *, input_2d: str = "gt", valid_every: int = 1, videos: int = 0
) -> list[Path]:
    """Write both files into the folder ``out``; ``data_2d`` is the true projection or what the
    detector found.

    Valid are the store's valid test frames, thinned to every ``valid_every``-th: the published
    file counts about one frame in ten, and evaluation takes as long as there are valid frames.
    ``videos`` of each split are taken, evenly spread; 0 takes all.
    """
    train, test = takes(store, input_2d=input_2d, valid_every=valid_every, videos=videos)
    by_sequence: dict[str, Any] = {}
    for take in train:
        fps = int(take.fps) if take.fps == int(take.fps) else take.fps
        by_sequence.setdefault(take.sequence, [{}, fps])[0][take.camera] = _poses(take)

    # the number type of the published `valid` is not on record; 0 and 1 of any type are read
    tests = {take.sequence: {**_poses(take), "valid": take.valid.astype(np.uint8)} for take in test}
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)

    return [
        write_npz(out / name, data)
        for name, data in ((TRAIN_FILE, by_sequence), (TEST_FILE, tests))
    ]


def takes(
    store: Store, *, input_2d: str = "gt", valid_every: int = 1, videos: int = 0
) -> tuple[list[Take], list[Take]]:
    """The training and the test takes that ``export`` writes: what reading its files gives back."""
    if input_2d not in KINDS_2D:
        raise DataError(
            f"{store.path}: input_2d is {input_2d!r}, expected one of {', '.join(KINDS_2D)}"
        )
    if valid_every < 1:
        raise DataError(f"{store.path}: valid_every is {valid_every}, expected 1 or more")
    if videos < 0:
        raise DataError(
            f"{store.path}: videos is {videos}, expected 0 for all, or how many of each split"
        )
    if not store.meta.labelled:
        raise DataError(f"{store.path}: holds 2D alone, expected a store with 3D")
    if input_2d == "gt" and not (store.meta.input_is_truth or store.meta.label_is_projection):
        raise DataError(
            f"{store.path}: holds detected 2D without the true projection, set input_2d=detected"
        )

    train, test = store.split("train"), store.split("test")
    training, testing = (_spread(split.videos, videos) for split in (train, test))

    names = _train_names(training, store.path)
    return (
        [
            _take(store, train, v, *name, input_2d, 1)
            for v, name in zip(training, names, strict=True)
        ],
        [
            _take(store, test, v, f"TS{i}", "0", input_2d, valid_every)
            for i, v in enumerate(testing, 1)
        ],
    )


def _spread(videos: tuple[Video, ...], n: int) -> tuple[Video, ...]:
    if not 0 < n < len(videos):
        return videos
    return tuple(videos[i] for i in np.linspace(0, len(videos) - 1, n).round().astype(int))


def _train_names(videos: tuple[Video, ...], path: Path) -> list[tuple[str, str]]:
    """Sequence and camera name of each video, by the order in which subjects, recordings and
    cameras come.
    """
    subjects: dict[str, dict[str, list[str]]] = {}
    names = []
    for video in videos:
        recordings = subjects.setdefault(video.subject, {})
        seen = recordings.setdefault(video.recording, [])
        if len(seen) == len(CAMERAS):
            raise DataError(
                f"{path}: {video.recording} has more than {len(CAMERAS)} cameras, the layout's "
                "number"
            )

        sequence = (
            f"S{list(subjects).index(video.subject) + 1} "
            f"Seq{list(recordings).index(video.recording) + 1}"
        )
        names.append((sequence, CAMERAS[len(seen)]))
        seen.append(video.camera)

    return names


def _take(
    store: Store,
    split: Split,
    video: Video,
    sequence: str,
    camera: str,
    input_2d: str,
    valid_every: int,
) -> Take:
    frames = slice(video.start, video.start + video.n_frames)
    width, height = image_size(sequence)
    given = input_2d == "detected" or store.meta.input_is_truth
    joints = split.joint_2d[frames] if given else split.label_px[frames, :, :2]
    centre, new_centre = np.array([video.width, video.height]) / 2, np.array([width, height]) / 2
    px = (np.asarray(joints, np.float64) - centre) * (width / video.width) + new_centre
    counting = (
        np.arange(video.n_frames) if split.valid is None else np.flatnonzero(split.valid[frames])
    )
    valid = np.zeros(video.n_frames, bool)
    valid[counting[::valid_every]] = True

    truth = np.array(split.truth_mm[frames], np.float32)
    return Take(sequence, camera, store.meta.fps, px.astype(np.float32), truth, valid)


def _poses(take: Take) -> dict[str, np.ndarray]:
    order = list(MPI_FROM_H36M)
    in_order = {"data_2d": take.joint_2d[:, order], "data_3d": take.joints_mm[:, order]}
    return {key: array.astype(np.float64) for key, array in in_order.items()}


def write_npz(path: Path, data: dict[str, Any]) -> Path:
    """Write a dict as the one object ``data`` of an ``.npz``, as both files are."""
    table = np.array(data, dtype=object)
    write_stream(path, lambda stream: np.savez_compressed(stream, data=table))
    return path
