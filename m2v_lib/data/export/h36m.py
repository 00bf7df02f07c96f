"""A store written in Human3.6M's three layouts: file names, keys, types and units of spec 5.

Subjects take the names of Human3.6M's: those that test become S9 and S11, the others S1, S5, S6,
S7, S8, several to a name where there are more. Recordings are numbered per subject and action;
numbers that would make one of the three faulty recordings are left out. The store's cameras must
be Human3.6M's four.
"""
# n frames of a split, T frames of a clip, J = 17 joints

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.cutting import clip_index
from m2v_lib.data.sources.h36m import FAULTY, KNOWN, SUBJECTS
from m2v_lib.data.sources.h36m.videopose_npz import KEPT_JOINTS, N_PUBLISHED, SYMMETRY
from m2v_lib.data.store import SPLITS, DataError, Split, SplitName, Store, Video
from m2v_lib.geometry.cameras import (
    CAMERA_NAMES,
    camera_to_world,
    load_cameras,
    project,
    subject_cameras,
    unproject,
    world_to_camera,
)
from m2v_lib.runs.records import write_stream
from m2v_lib.skeletons.h36m import N_JOINTS

PICKLE: Final = KNOWN[0]
#: act numbers begin at 2 in Human3.6M: 1 is the standing pose before the actions
FIRST_ACT: Final = 2
KINDS_2D: Final = ("gt", "detected")
#: what a 2D file says of its joints
METADATA: Final = {"layout_name": "h36m", "num_joints": N_JOINTS, "keypoints_symmetry": SYMMETRY}


def export_pickle(store: Store, out: Path | str) -> list[Path]:
    """``h36m_sh_conf_cam_source_final.pkl`` in the folder ``out``: 2.5D frames, keys and types
    as published.

    As published, mm per px, truth in mm and action are in the test split alone.
    """
    _check(store)
    path = Path(out) / PICKLE
    content = {name: _part(store, name) for name in SPLITS}
    return [_write_pickle(path, content)]


def export_clips(store: Store, out: Path | str, *, n_frames: int = 243) -> list[Path]:
    """``H36M-<n_frames>/{train,test}/%08d.pkl`` and the pickle they are cut from: every third of
    a clip in training.
    """
    _check(store)
    folder = Path(out) / f"H36M-{n_frames}"
    if folder.exists():
        raise DataError(
            f"{folder}: is there already, expected a new folder (old clips would mix with new ones)"
        )

    files = export_pickle(store, out)

    for name, stride in (("train", n_frames // 3), ("test", n_frames)):
        (folder / name).mkdir(parents=True)
        for i, clip in enumerate(_clips(store.split(name), n_frames, max(1, stride))):  # type: ignore[arg-type]
            files.append(_write_pickle(folder / name / f"{i:08d}.pkl", clip))

    return files


def export_npz(store: Store, out: Path | str, *, input_2d: str = "detected") -> list[Path]:
    """``data_3d_h36m.npz`` and ``data_2d_h36m_cpn_ft_h36m_dbb.npz`` ("detected") or
    ``data_2d_h36m_gt.npz`` ("gt").

    3D is taken back from the image into the room, which needs the labels of motion filmed by the
    four cameras. Each subject's 2D is then what that subject's own cameras see of it, with the
    detector's error as it was.
    """
    if input_2d not in KINDS_2D:
        raise DataError(
            f"{store.path}: input_2d is {input_2d!r}, expected one of {', '.join(KINDS_2D)}"
        )

    _check(store)

    world: dict[str, dict[str, np.ndarray]] = {}
    seen: dict[str, dict[str, list[np.ndarray]]] = {}
    for name in SPLITS:
        split = store.split(name)
        for (subject, action, number), videos in _recordings(
            split.videos, name, store.path
        ).items():
            if {v.camera for v in videos} != set(CAMERA_NAMES):
                raise DataError(
                    f"{store.path}: {videos[0].recording} was not seen by all of "
                    f"{', '.join(CAMERA_NAMES)}"
                )

            key = f"{action.replace(' ', '-')} {number}"
            joints = to_world(split, videos[0])
            world.setdefault(subject, {})[key] = _with_others(joints)
            views = [
                _view(split, v, joints, subject, input_2d)
                for v in sorted(videos, key=lambda v: v.camera)
            ]
            seen.setdefault(subject, {})[key] = views

    out = Path(out)
    name_2d = KNOWN[2] if input_2d == "detected" else KNOWN[3]
    return [
        write_objects(out / KNOWN[1], positions_3d=world),
        write_objects(out / name_2d, positions_2d=seen, metadata=METADATA),
    ]


def to_world(split: Split, video: Video) -> np.ndarray:
    """World mm (n,J,3) of a video filmed by one of the four cameras: the inverse of
    ``cameras.to_image_and_depth``.
    """
    camera = load_cameras()[video.camera]
    frames = slice(video.start, video.start + video.n_frames)
    label, factor = (
        np.asarray(split.label_px[frames], np.float64),
        np.asarray(split.factor[frames], np.float64),
    )
    depth = (camera.mean_focal + label[..., 2]) * factor[:, None]
    return camera_to_world(unproject(label[..., :2], depth, camera), camera)


def _check(store: Store) -> None:
    if not store.meta.label_is_projection:
        raise DataError(
            f"{store.path}: its labels are in camera space, expected a store of 2.5D labels"
        )

    for name in SPLITS:
        for video in store.split(name).videos:
            if video.camera not in CAMERA_NAMES:
                raise DataError(
                    f"{store.path}: {video.source} was seen by camera {video.camera!r}, "
                    f"expected one of {', '.join(CAMERA_NAMES)}"
                )


def _recordings(
    videos: Sequence[Video], name: SplitName, path: Path
) -> dict[tuple[str, str, int], list[Video]]:
    """The videos of each recording under its new subject, its action and its number among those."""
    subjects = list(dict.fromkeys(v.subject for v in videos))
    renamed = {old: SUBJECTS[name][i % len(SUBJECTS[name])] for i, old in enumerate(subjects)}
    acts = _acts(videos)

    counts: dict[tuple[str, str], int] = {}
    found: dict[str, tuple[str, str, int]] = {}
    out: dict[tuple[str, str, int], list[Video]] = {}
    for video in videos:
        if video.recording not in found:
            subject, action = renamed[video.subject], video.action
            number = counts.get((subject, action), 0) + 1
            while _name(subject, acts[action], number) in FAULTY:
                number += 1
            counts[subject, action] = number
            found[video.recording] = (subject, action, number)
        out.setdefault(found[video.recording], []).append(video)

    if clash := next((v for v in out.values() if len({w.camera for w in v}) < len(v)), None):
        raise DataError(f"{path}: {clash[0].recording} was seen twice by one camera")

    return out


def _acts(videos: Sequence[Video]) -> dict[str, int]:
    return {action: FIRST_ACT + i for i, action in enumerate(sorted({v.action for v in videos}))}


def _name(subject: str, act: int, number: int) -> str:
    return f"s_{int(subject[1:]):02d}_act_{act:02d}_subact_{number:02d}"


def _part(store: Store, name: SplitName) -> dict[str, Any]:
    """One split under the published keys; text as lists of str, numbers as float32."""
    split = store.split(name)
    every = [v for other in SPLITS for v in store.split(other).videos]
    acts = _acts(every)

    source_of: dict[str, str] = {}
    for (subject, action, number), videos in _recordings(split.videos, name, store.path).items():
        for video in videos:
            recording = _name(subject, acts[action], number)
            source_of[video.source] = f"{recording}_ca_{CAMERA_NAMES.index(video.camera) + 1:02d}"

    arrays: dict[str, Any] = {
        "joint_2d": np.array(split.joint_2d, np.float32),
        "confidence": np.array(split.confidence, np.float32)[..., None],
        "joint3d_image": np.array(split.label_px, np.float32),
    }
    texts = {
        "camera_name": [v.camera for v in split.videos],
        "source": [source_of[v.source] for v in split.videos],
    }

    if name == "test":
        arrays["joints_2.5d_image"] = np.array(split.truth_mm, np.float32)
        arrays["2.5d_factor"] = np.array(split.factor, np.float32)
        texts["action"] = [v.action for v in split.videos]

    repeats = [v.n_frames for v in split.videos]
    return arrays | {key: list(_repeated(values, repeats)) for key, values in texts.items()}


def _repeated(values: Sequence[str], counts: Sequence[int]) -> Iterator[str]:
    return (value for value, count in zip(values, counts, strict=True) for _ in range(count))


def _clips(split: Split, n_frames: int, stride: int) -> Iterator[dict[str, np.ndarray]]:
    """Normalised clips (T,J,3) of x, y, confidence and of labels (spec 5.2, 5.3)."""
    starts = [v.start for v in split.videos]
    for frames in clip_index([(v.start, v.n_frames) for v in split.videos], n_frames, stride):
        video = split.videos[int(np.searchsorted(starts, frames[0], side="right")) - 1]
        middle = (1, video.height / video.width)
        xy, label = (
            np.asarray(a[frames], np.float64) / (video.width / 2)
            for a in (split.joint_2d, split.label_px)
        )
        label[..., :2] -= middle
        seen = np.concatenate([xy - middle, split.confidence[frames][..., None]], axis=-1)
        yield {"data_input": seen.astype(np.float32), "data_label": label.astype(np.float32)}


def _with_others(joints: np.ndarray) -> np.ndarray:
    """32 joints in metres (n,32,3), float32: the 17 in their places, each other one where the
    one before it is.
    """
    place = np.searchsorted(KEPT_JOINTS, np.arange(N_PUBLISHED), side="right") - 1
    return (joints[:, place] / 1000).astype(np.float32)


def _view(split: Split, video: Video, world: np.ndarray, subject: str, input_2d: str) -> np.ndarray:
    """What the subject's own camera sees of the recording, px (n,J,2) float32."""
    camera = subject_cameras(subject)[video.camera]
    seen = project(world_to_camera(world, camera), camera, h36m=True)
    if input_2d == "detected":
        frames = slice(video.start, video.start + video.n_frames)
        seen = seen + (
            np.asarray(split.joint_2d[frames], np.float64) - split.label_px[frames][..., :2]
        )
    return seen.astype(np.float32)


def _write_pickle(path: Path, content: Any) -> Path:
    write_stream(path, lambda stream: pickle.dump(content, stream, protocol=4))
    return path


def write_objects(path: Path, **objects: Any) -> Path:
    """Write dicts as object arrays of an ``.npz``."""
    arrays = {key: np.array(value, dtype=object) for key, value in objects.items()}
    write_stream(path, lambda stream: np.savez_compressed(stream, allow_pickle=True, **arrays))
    return path
