"""COCO-WholeBody's annotations with a third dimension (.coco.json): images, annotations and
categories, of whose 133 keypoints the body's and the feet's are given where the skeleton has them.

`keypoints` are x, y, v in px, `keypoints_3d` x, y, z, v in mm from the camera (x right, y down, z
away). v is 0 where there is no such joint (all of face and hands), 1 where it was not seen but
filled in, 2 where it was seen. `cam_param` of an image projects one onto the other (`focal`,
`princpt`) and leads from the upright world to the camera (`R`, `t` in mm).
"""
# K keypoints

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.lift.output.files import identity
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.runs.records import write_atomically

_PAIRS: Final = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_FEET: Final = ("big_toe", "small_toe", "heel")
_FINGERS: Final = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HAND: Final = ("hand_root", *(f"{finger}{n}" for finger in _FINGERS for n in (1, 2, 3, 4)))
#: COCO-WholeBody's, in its order
KEYPOINTS: Final = (
    "nose",
    *(f"{side}_{joint}" for joint in _PAIRS for side in ("left", "right")),
    *(f"{side}_{joint}" for side in ("left", "right") for joint in _FEET),
    *(f"face-{n}" for n in range(68)),
    *(f"{side}_{point}" for side in ("left", "right") for point in _HAND),
)
#: of the body and feet, numbered from 1
SKELETON: Final = (
    *((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9)),
    *((8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)),
    *((16, 18), (16, 19), (16, 20), (17, 21), (17, 22), (17, 23)),
)


def write_coco(path: Path, motion: Motion) -> None:
    """Write an annotation a person and frame."""

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8") as stream:
            stream.write(json.dumps({"info": _info(motion), "categories": [_category()]})[:-1])
            for key, rows in (("images", _images(motion)), ("annotations", _annotations(motion))):
                stream.write(f',\n"{key}":[')
                for i, row in enumerate(rows):
                    stream.write(("," if i else "") + "\n" + json.dumps(row, separators=(",", ":")))
                stream.write("]")
            stream.write("}\n")

    write_atomically(path, write)


def _info(motion: Motion) -> dict[str, Any]:
    axes = "x right, y down, z away from the camera"
    return {"description": "3D people", "units": "mm", "axes": axes, **identity(motion)}


def _category() -> dict[str, Any]:
    return {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(KEYPOINTS),
        "skeleton": [list(bone) for bone in SKELETON],
    }


def sources(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """The keypoints that are given (k,), and the joints (k,) that they are."""
    words = {word: joint for joint, word in enumerate(motion.skeleton.vocabulary)}
    given = []
    for keypoint, name in enumerate(KEYPOINTS):
        joint = words.get(name.replace("_big_", "_").replace("_", " "))
        if joint is not None and joint not in motion.absent:
            given.append((keypoint, joint))

    table = np.array(given, int).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _images(motion: Motion) -> Iterator[dict[str, Any]]:
    """One for each frame of the recording."""
    camera, world = motion.camera, motion.world
    parameters = {
        "focal": [round(camera.focal, 3)] * 2,
        "princpt": camera.middle.tolist(),
        "R": np.round(world.rotation.T, 9).tolist(),
        "t": np.round(world.origin, 3).tolist(),
    }
    last = max(motion.n_frames, *(p.start + p.n_frames for p in motion.people))
    for frame in range(last):
        yield {
            "id": frame,
            "frame_id": frame,
            "file_name": f"{frame:06d}",
            "time": round(frame / motion.fps, 6),
            "width": camera.width,
            "height": camera.height,
            "cam_param": parameters,
        }


def _annotations(motion: Motion) -> Iterator[dict[str, Any]]:
    names = list(dict.fromkeys(person.name for person in motion.people))
    keypoints, joints = sources(motion)
    number = 0
    for person in motion.people:
        for t in range(person.n_frames):
            number += 1
            yield {
                "id": number,
                "image_id": person.start + t,
                "category_id": 1,
                "track_id": names.index(person.name) + 1,
                "iscrowd": 0,
                **_one(person, t, keypoints, joints),
            }


def _one(person: Lifted, t: int, keypoints: np.ndarray, joints: np.ndarray) -> dict[str, Any]:
    """Box and keypoints of a person in one frame."""
    seen = person.seen_px[t, joints].astype(float)
    place = (person.pose_mm[t] + person.root_mm[t])[joints].astype(float)
    visible = np.where(person.filled[t, joints], 1, 2)

    flat, deep = np.zeros((len(KEYPOINTS), 3)), np.zeros((len(KEYPOINTS), 4))
    flat[keypoints] = np.c_[seen, visible]
    deep[keypoints] = np.c_[place, visible]
    low, high = (seen.min(0), seen.max(0)) if len(seen) else (np.zeros(2), np.zeros(2))
    return {
        "bbox": np.round([*low, *(high - low)], 1).tolist(),
        "area": round(float(np.prod(high - low)), 1),
        "num_keypoints": len(keypoints),
        "keypoints": _numbers(flat),
        "keypoints_3d": _numbers(deep),
    }


def _numbers(table: np.ndarray) -> list[float]:
    """Row by row, whole numbers written as such."""
    return [int(v) if v == int(v) else v for v in np.round(table, 1).ravel().tolist()]
