"""Tracks written the way detectors write theirs: to try a reader (ours, another) on people whose
joints are known.
"""
# n frames of a person, K keypoints of a layout

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Tracks
from m2v_lib.data.keypoints.layouts import LAYOUTS, Layout

#: (frame, person, keypoints (K,3) = x, y, confidence)
Seen = tuple[int, str, np.ndarray]


def write_keypoints(tracks: Tracks, path: Path | str, form: str) -> Path:
    """Write `tracks` as `form`, one of FORMS; "openpose" makes a folder. Joints a layout lacks
    are confidence 0.
    """
    if form not in FORMS:
        raise DataError(f"{path}: {form!r} is no known form, expected one of {', '.join(FORMS)}")
    layout, write = LAYOUTS[FORMS[form][0]], FORMS[form][1]
    write(Path(path), tracks, layout, list(_seen(tracks, layout)))
    return Path(path)


def _seen(tracks: Tracks, layout: Layout) -> Iterator[Seen]:
    rows = []
    for person in tracks.people:
        points, scores = layout.from_h36m(person.xy, person.confidence)
        triples = np.concatenate([points, scores[..., None]], axis=-1)
        rows += [
            (int(frame), person.name, triple)
            for frame, triple in zip(person.frames, triples, strict=True)
        ]

    yield from sorted(rows, key=lambda row: row[:2])


def _flat(triples: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in triples.ravel()]


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def _coco_results(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    one = {"category_id": 1, "score": 1.0}
    _dump(
        path,
        [{"image_id": frame, **one, "keypoints": _flat(triples)} for frame, _, triples in seen],
    )


def _coco_annotations(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    """As PoseTrack18 has them; joints are marked 1 (there) or 0 (not)."""
    size = {"width": tracks.width, "height": tracks.height} if tracks.width else {}
    images = [
        {"id": 10**10 + i, "vid_id": "000001", "file_name": f"images/{i:06d}.jpg", **size}
        for i in range(tracks.n_frames)
    ]

    annotations = []
    for i, (frame, person, triples) in enumerate(seen):
        marked = np.where(triples[:, 2:] > 0, [1.0], [0.0])
        keypoints = _flat(np.concatenate([triples[:, :2] * marked, marked], axis=1))
        track = {"track_id": int(person) if person.isdigit() else person}
        annotations.append(
            {"id": i, "image_id": 10**10 + frame, "category_id": 1, **track, "keypoints": keypoints}
        )

    categories = [{"id": 1, "name": "person", "keypoints": list(layout.keypoints)}]
    _dump(path, {"images": images, "annotations": annotations, "categories": categories})


def _alphapose(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    numbers = {name: i for i, name in enumerate(dict.fromkeys(person for _, person, _ in seen), 1)}
    _dump(
        path,
        [
            {
                "image_id": f"{frame}.jpg",
                "category_id": 1,
                "keypoints": _flat(triples),
                "score": 3.0,
                "idx": [float(numbers[person])],
            }
            for frame, person, triples in seen
        ],
    )


def _openpose(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for frame in range(tracks.n_frames):
        people = [
            {"person_id": [-1], "pose_keypoints_2d": _flat(t)} for f, _, t in seen if f == frame
        ]
        _dump(
            path / f"{tracks.source}_{frame:012d}_keypoints.json",
            {"version": 1.3, "people": people},
        )


def _mmpose(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    frames: list[dict[str, Any]] = [
        {"frame_id": i + 1, "instances": []} for i in range(tracks.n_frames)
    ]
    for frame, _, triples in seen:
        rounded = np.round(triples, 4)
        frames[frame]["instances"].append(
            {"keypoints": rounded[:, :2].tolist(), "keypoint_scores": rounded[:, 2].tolist()}
        )

    names = {str(i): name for i, name in enumerate(layout.keypoints)}
    _dump(
        path,
        {"meta_info": {"dataset_name": "coco", "keypoint_id2name": names}, "instance_info": frames},
    )


def _mediapipe(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    if not tracks.width or not tracks.height:
        raise DataError(
            f"{path}: MediaPipe's coordinates are shares of the image, whose size is not known"
        )

    frames: list[dict[str, Any]] = [{"frame": i, "landmarks": []} for i in range(tracks.n_frames)]

    for frame, _, triples in seen:
        shares = np.round(triples / (tracks.width, tracks.height, 1), 7)
        frames[frame]["landmarks"].append(
            [{"x": x, "y": y, "z": 0.0, "visibility": c} for x, y, c in shares.tolist()]
        )

    _dump(
        path, {"width": tracks.width, "height": tracks.height, "fps": tracks.fps, "frames": frames}
    )


def _npz(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    names = [person.name for person in tracks.people]
    keypoints = np.zeros((tracks.n_frames, len(names), layout.n_keypoints, 3), np.float32)
    for frame, person, triples in seen:
        keypoints[frame, names.index(person)] = triples

    said = {"width": tracks.width, "height": tracks.height, "fps": tracks.fps}
    known: dict[str, Any] = {key: np.asarray(value) for key, value in said.items() if value}

    with path.open("wb") as stream:
        np.savez_compressed(
            stream, keypoints=keypoints, ids=np.array(names), layout=layout.name, **known
        )


def _csv(path: Path, tracks: Tracks, layout: Layout, seen: list[Seen]) -> None:
    said = {
        "width": tracks.width,
        "height": tracks.height,
        "fps": tracks.fps,
        "layout": layout.name,
    }
    with path.open("w", newline="") as stream:
        stream.write(
            "# " + " ".join(f"{key}={value}" for key, value in said.items() if value) + "\n"
        )
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["frame", "person", "joint", "x", "y", "confidence"])

        for frame, person, triples in seen:
            for name, values in zip(layout.keypoints, np.round(triples, 4).tolist(), strict=True):
                table.writerow([frame, person, name, *values])


#: name of the form -> its layout and who writes it
FORMS: Final[dict[str, tuple[str, Callable[[Path, Tracks, Layout, list[Seen]], None]]]] = {
    "coco": ("coco17", _coco_results),
    "posetrack18": ("posetrack18", _coco_annotations),
    "alphapose": ("halpe26", _alphapose),
    "alphapose-coco": ("coco17", _alphapose),
    "openpose": ("body25", _openpose),
    "mmpose": ("coco17", _mmpose),
    "mediapipe": ("mediapipe33", _mediapipe),
    "npz": ("h36m17", _npz),
    "csv": ("h36m17", _csv),
}
