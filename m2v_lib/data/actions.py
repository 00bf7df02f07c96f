"""Action data by name: a prepared action store, or a lifting store whose videos' actions are the
labels.

A lifting store is read as NTU RGB+D 60 is published: each video is a sample, as COCO keypoints,
with splits by person and by camera. What ``m2v data export --as ntu60`` writes is exactly this,
so both ways give the same data.
"""
# T frames of a sample, n frames of a video, J = 17 joints or keypoints

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError, Video
from m2v_lib.data.sources.ntu import COCO, from_annotations
from m2v_lib.data.sources.ntu import SPLITS as NTU_SPLITS
from m2v_lib.data.store import SPLITS, Split, SplitName, Store, open_store
from m2v_lib.data.store.action_store import ActionData, is_action_store, open_action_store
from m2v_lib.skeletons.h36m import JOINTS

#: a group of whatever fits nowhere else is no action
NO_ACTION: Final = ("other",)
#: half the distance between eyes, between ears, as a share of the shoulders' width
APART: Final = {"eye": 0.09, "ear": 0.2}


@dataclass(frozen=True)
class Actions:
    """Action data with what a run record says of them."""

    name: str
    protocol: str
    fingerprint: str
    detector: dict[str, Any]
    data: ActionData


def open_actions(name: str, root: Path | None = None) -> Actions:
    """Action data prepared under a name, or those in the lifting store of that name. Raises
    DataError.
    """
    if is_action_store(name, root):
        action_store = open_action_store(name, root)
        meta = action_store.meta
        return Actions(name, meta.protocol, meta.fingerprint, {}, action_store.data())
    store = open_store(name, root)
    protocol = f"{store.meta.protocol}; a sample a video, action groups but {', '.join(NO_ACTION)}"
    return Actions(name, protocol, store.meta.fingerprint, store.meta.detector, actions_of(store))


def actions_of(store: Store) -> ActionData:
    """The lifting store's samples, read as the file that ``export`` would write, without a file."""
    content, classes = ntu_layout(store)
    return from_annotations(content["annotations"], content["split"], str(store.path), classes)


def ntu_layout(store: Store) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The store's samples in NTU RGB+D 60's published layout, and the names of the labels.

    Names are made as NTU's, ``S001C002P003R004A005``: setup (always 1), camera, person, take,
    action. A person trains or tests under X-Sub as in the store; under X-View the first camera
    tests and the others train.
    """
    splits = {part: store.split(part) for part in SPLITS}
    videos = [
        (part, video)
        for part in SPLITS
        for video in splits[part].videos
        if video.action not in NO_ACTION
    ]
    if not videos:
        raise DataError(
            f"{store.path}: no video shows an action, expected a group other than "
            f"{', '.join(NO_ACTION)}"
        )

    classes = tuple(sorted({video.action for _, video in videos}))
    cameras = sorted({video.camera for _, video in videos})
    if len(cameras) < 2:
        raise DataError(
            f"{store.path}: all videos are of camera {cameras[0]}, expected a second one to test "
            "X-View on"
        )

    annotations: list[dict[str, Any]] = []
    split: dict[str, list[str]] = {key: [] for key in NTU_SPLITS}

    for part, name, video in _named(videos, classes, cameras):
        annotations.append(
            {"frame_dir": name, "label": classes.index(video.action), **_seen(splits[part], video)}
        )
        split["xsub_train" if part == "train" else "xsub_val"].append(name)
        split["xview_val" if video.camera == cameras[0] else "xview_train"].append(name)

    return {"split": split, "annotations": annotations}, classes


def _named(
    videos: list[tuple[SplitName, Video]], classes: tuple[str, ...], cameras: list[str]
) -> Iterator[tuple[SplitName, str, Video]]:
    """Part, name and video; takes are counted for each camera, person and action."""
    subjects = sorted({video.subject for _, video in videos})
    takes: dict[tuple[str, ...], int] = {}
    for part, video in videos:
        kind = (video.camera, video.subject, video.action)
        takes[kind] = takes.get(kind, 0) + 1
        numbers = (
            1,
            cameras.index(video.camera) + 1,
            subjects.index(video.subject) + 1,
            takes[kind],
            classes.index(video.action) + 1,
        )
        yield (
            part,
            "".join(f"{letter}{n:03d}" for letter, n in zip("SCPRA", numbers, strict=True)),
            video,
        )


def _seen(split: Split, video: Video) -> dict[str, Any]:
    """What the layout says of one video."""
    frames, shape = slice(video.start, video.start + video.n_frames), (video.height, video.width)
    points, score = h36m_to_coco(
        np.asarray(split.joint_2d[frames]), np.asarray(split.confidence[frames])
    )
    return {
        "total_frames": video.n_frames,
        "img_shape": shape,
        "original_shape": shape,
        "keypoint": points[None],
        "keypoint_score": score[None],
    }


def h36m_to_coco(points: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Human3.6M joints (n,17,2) px and confidence (n,17) as COCO keypoints (n,17,2) and scores
    (n,17).

    Limbs and nose are the same joints. COCO's face is placed: eyes and ears stand on either side
    of our head joint, on a line parallel to the shoulders, with its confidence, so that the
    middle of the eyes is the head again. Root, spine and neck have no keypoint; coming back they
    are means of hips and shoulders.
    """
    ours = [
        JOINTS.index(re.sub("(left|right)_(eye|ear)", "head", name).replace("_", " "))
        for name in COCO.keypoints
    ]
    coco, score = points[:, ours].copy(), confidence[:, ours].copy()
    across = points[:, JOINTS.index("left shoulder")] - points[:, JOINTS.index("right shoulder")]

    for name, share in APART.items():
        coco[:, COCO.keypoints.index(f"left_{name}")] += share * across
        coco[:, COCO.keypoints.index(f"right_{name}")] -= share * across

    return coco, score
