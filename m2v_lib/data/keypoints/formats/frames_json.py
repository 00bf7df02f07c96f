"""JSON that lists people frame by frame: OpenPose, ComfyUI, MMPose, Sapiens, MediaPipe and
Ultralytics.

- OpenPose: `{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, ...]}]}`; ComfyUI's list
  of these adds `canvas_width`, `canvas_height`
- MMPose: `{"meta_info": {...}, "instance_info": [frame, ...]}` or the bare list, a frame being
  `{"frame_id": 1, "instances": [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}]}`; Sapiens
  gives a file a frame with the instances alone
- MediaPipe has no file format; ours is `{"width", "height", "fps", "frames": [{"frame": 0,
  "landmarks": L}]}`, L the 33 landmarks `{"x", "y", "visibility"}` (or `[x, y, z, visibility]`) of
  one person, or a list of persons; lists of what its two interfaces give are read too
- Ultralytics `to_json`: a list a frame of `{"keypoints": {"x": [...], "y": [...], "visible": [...]}}`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import (
    as_list,
    as_table,
    as_tables,
    as_text,
    as_whole,
    kind_of,
)
from m2v_lib.data.keypoints.formats.categories import are_people
from m2v_lib.data.keypoints.formats.coco_json import entry_of
from m2v_lib.data.keypoints.formats.files import (
    DetectionBuilder,
    Detections,
    Header,
    rate_of,
    size_of,
)
from m2v_lib.data.limits import MAX_FRAME_NUMBER

#: what OpenPose and those who write as it does have for a number of keypoints
OPENPOSE = {25: "body25"}


def openpose_frames(path: Path, frames: list[Any]) -> Detections:
    """One frame of OpenPose, or ComfyUI's list of frames."""
    rows, sizes = DetectionBuilder(path), set()
    for number, frame in enumerate(as_tables(frames, str(path))):
        add_people(rows, number, frame)
        sizes.add(_canvas(path, frame))

    if len(sizes) > 1:
        raise DataError(
            f"{path}: its frames have {len(sizes)} different canvas sizes, expected one"
        )

    width, height = next(iter(sizes), (None, None))
    return rows.make("OpenPose", openpose_header(rows, width, height, len(frames)))


def openpose_header(
    rows: DetectionBuilder, width: int | None, height: int | None, n_frames: int
) -> Header:
    """The header of OpenPose's people, whose number of keypoints tells the usual layout."""
    n = len(rows.values[0]) if rows.values and isinstance(rows.values[0], list) else 0
    return Header(None, width, height, n_frames=n_frames, usual_layout=OPENPOSE.get(n))


def add_people(rows: DetectionBuilder, frame: int, content: Mapping[Any, Any]) -> None:
    """The people of one frame in OpenPose's words."""
    for person in as_tables(content.get("people") or [], f"{rows.path}: people"):
        values = entry_of(rows.path, person, "pose_keypoints_2d")
        if values is None or values == []:
            continue
        ids = person.get("person_id")
        rows.add(frame, None if ids in (None, [], -1, [-1]) else ids, values)


def add_instances(rows: DetectionBuilder, frame: int, instances: Any) -> None:
    """The people of one frame in MMPose's words."""
    for person in as_tables(instances, f"{rows.path}: instances"):
        points = as_list(entry_of(rows.path, person, "keypoints"), f"{rows.path}: keypoints")
        scores = person.get("keypoint_scores")
        scores = [1.0] * len(points) if scores is None else as_list(scores, f"{rows.path}: scores")
        if len(points) != len(scores):
            raise DataError(
                f"{rows.path}: frame {frame} has not one score for each of its keypoints"
            )

        values = [
            [*p[:2], c] if isinstance(p, list) else p for p, c in zip(points, scores, strict=True)
        ]
        rows.add(frame, person.get("track_id", person.get("instance_id")), values)


def mmpose(path: Path, frames: Any, meta: Any) -> Detections:
    """MMPose's frames with what its header says; the bare instances of one frame."""
    entries = as_tables(frames, f"{path}: instance_info")
    if entries and "instances" not in entries[0] and "keypoints" in entries[0]:
        entries = [{"instances": entries}]
    rows, numbers = DetectionBuilder(path), list[int]()

    for i, frame in enumerate(entries):
        where = f"{path}: frame_id"
        numbers.append(as_whole(frame.get("frame_id", i), where, 0, MAX_FRAME_NUMBER, text=True))
        add_instances(rows, numbers[-1], entry_of(path, frame, "instances"))

    first = min(numbers, default=0)
    rows.frame = [frame - first for frame in rows.frame]

    header = Header(n_frames=max(numbers, default=0) - first + 1, names=mmpose_names(path, meta))
    return rows.make("MMPose", header)


def mmpose_names(path: Path, meta: Any) -> tuple[str, ...] | None:
    """The names of the keypoints by their numbers."""
    table = as_table(meta, f"{path}: meta_info") if meta else {}
    names = table.get("keypoint_id2name")
    if not names:
        return None

    names = as_table(names, f"{path}: keypoint_id2name")
    where = f"{path}: keypoint_id2name: number"

    numbered = {as_whole(key, where, 0, len(names) - 1, text=True): names[key] for key in names}
    return tuple(
        as_text(numbered[number], f"{path}: keypoint_id2name: name") for number in sorted(numbered)
    )


def ultralytics(path: Path, frames: list[Any]) -> Detections:
    """What Ultralytics' `to_json` gives, gathered frame by frame."""
    rows = DetectionBuilder(path)
    tables = [as_tables(frame, f"{path}: frame {number}") for number, frame in enumerate(frames)]
    classes = [one.get("name") for frame in tables for one in frame]
    kept, notes = are_people([name if isinstance(name, str) else None for name in classes])
    is_person = iter(kept)

    for number, frame in enumerate(tables):
        for person in frame:
            if not next(is_person) or not person.get("keypoints"):
                continue

            keypoints = as_table(person["keypoints"], f"{path}: keypoints")
            x, y = (as_list(entry_of(path, keypoints, axis), f"{path}: {axis}") for axis in "xy")
            seen = keypoints.get("visible")
            seen = [1.0] * len(x) if seen is None else as_list(seen, f"{path}: visible")
            if not len(x) == len(y) == len(seen):
                raise DataError(
                    f"{path}: frame {number} has {len(x)} x, {len(y)} y and {len(seen)} visible "
                    "(Ultralytics), expected as many of each"
                )

            triples = [list(triple) for triple in zip(x, y, seen, strict=True)]
            rows.add(number, person.get("track_id"), triples)

    header = Header(n_frames=len(frames), usual_layout="coco17", notes=tuple(notes))
    return rows.make("Ultralytics", header)


def mediapipe(path: Path, head: Mapping[str, Any], frames: Any) -> Detections:
    """Landmarks of frame after frame."""
    rows, number = DetectionBuilder(path), -1
    entries = as_list(frames, f"{path}: frames")
    for entry in entries:
        where = f"{path}: frame"
        numbered = isinstance(entry, dict) and "frame" in entry
        number = (
            as_whole(entry["frame"], where, 0, MAX_FRAME_NUMBER, text=True)
            if numbered
            else number + 1
        )
        found = landmarks_of(entry) if isinstance(entry, dict) else entry
        people = as_list(found or [], f"{path}: landmarks of frame {number}")
        for person in _persons(people):
            rows.add(number, None, [_landmark(path, number, mark) for mark in person])

    width, height = size_of(head, str(path))
    layout, units = (
        as_text(head[key], f"{path}: {key}") if head.get(key) else None
        for key in ("layout", "units")
    )
    n_frames = max(number + 1, len(entries))

    rate = rate_of(head, str(path))
    return rows.make(
        "MediaPipe", Header(layout or "mediapipe33", width, height, rate, units, n_frames)
    )


def landmarks_of(entry: Mapping[str, Any]) -> Any:
    """Under our name or those of MediaPipe's interfaces; None where the frame has nobody."""
    keys = ("landmarks", "pose_landmarks", "poseLandmarks", "landmark")
    found = next((entry[key] for key in keys if entry.get(key) is not None), None)
    if isinstance(found, dict) and "landmark" in found:
        return found["landmark"]
    return found


def one_frame(content: Any) -> str | None:
    """Which format's single frame a JSON file holds, None for anything else."""
    if isinstance(content, dict) and isinstance(content.get("people"), list):
        return "OpenPose"
    instances = content.get("instance_info") if isinstance(content, dict) else content
    if isinstance(instances, list) and all(
        isinstance(v, dict) and "keypoint_scores" in v for v in instances
    ):
        return "MMPose"
    return None


def add_frame(rows: DetectionBuilder, frame: int, content: Any) -> None:
    """The people of a file that holds one frame."""
    if isinstance(content, dict) and "people" in content:
        add_people(rows, frame, content)
    else:
        add_instances(
            rows, frame, content["instance_info"] if isinstance(content, dict) else content
        )


def _canvas(path: Path, frame: Mapping[Any, Any]) -> tuple[int | None, int | None]:
    size = {key: frame.get(f"canvas_{key}") for key in ("width", "height")}
    return size_of(size, f"{path}: canvas")


def _persons(found: list[Any]) -> Iterator[list[Any]]:
    """One person's landmarks, or a list of persons."""
    first = found[0] if found else None
    if isinstance(first, list) and first and isinstance(first[0], (list, dict)):
        yield from (person for person in found if isinstance(person, list))
    elif isinstance(first, dict) and "landmark" in first:
        yield from (as_list(person["landmark"], "landmark") for person in found)
    elif found:
        yield found


def _landmark(path: Path, frame: int, mark: Any) -> list[Any]:
    """x, y and visibility of one landmark; depth is left out."""
    if isinstance(mark, dict) and {"x", "y"} <= mark.keys():
        return [mark["x"], mark["y"], mark.get("visibility", 1.0)]
    if isinstance(mark, list) and len(mark) in (3, 4):
        return [mark[0], mark[1], mark[-1]]
    raise DataError(
        f"{path}: frame {frame} has a landmark that is neither x, y, visibility nor x, y, z, "
        f"visibility, but {kind_of(mark)}"
    )
