"""Keypoints in the JSON of COCO, PoseTrack, AlphaPose, OpenPose, MMPose and MediaPipe, told
apart by content.

What each looks like (only what is read):
- COCO results, AlphaPose: `[{"image_id": 7 or "7.jpg", "keypoints": [x, y, c, ...], "idx" or
  "track_id": 1}, ...]`
- COCO and PoseTrack annotations: `{"images": [{"id", "width", "height"}], "annotations":
  [{"image_id", "keypoints", "track_id"}], "categories": [{"keypoints": [names]}]}`; frames are
  the images in the order of the list
- OpenPose: a file a frame, `{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, ...]}]}`
- MMPose: `{"meta_info": {...}, "instance_info": [frame, ...]}` or the bare list, a frame being
  `{"frame_id": 1, "instances": [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}]}`; or a
  file a frame with the instances alone
- MediaPipe has no file format; this is ours: `{"width", "height", "fps", "frames": [{"frame": 0,
  "landmarks": L}]}`, L the 33 landmarks `{"x", "y", "visibility"}` (or `[x, y, z, visibility]`)
  of one person, or a list of persons
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints.files import (
    MAX_FRAMES,
    Detections,
    Header,
    Rows,
    frame_numbers,
    from_first,
    number_in,
    rate_of,
    read_json,
    size_of,
    whole,
)
from m2v_lib.data.keypoints.layouts import by_names

KNOWN = "COCO results or annotations, AlphaPose, OpenPose, MMPose, MediaPipe"


def read(path: Path) -> Detections:
    """One JSON file. Raises DataError where its content is none of the known forms."""
    content = read_json(path)
    if isinstance(content, dict):
        if "annotations" in content:
            return _annotations(path, content)
        if "instance_info" in content:
            return _mmpose(path, content["instance_info"], content.get("meta_info") or {})
        if "frames" in content:
            return _mediapipe(path, content, content["frames"])
        if "people" in content:
            return _one_frame(path, content)
        if any(isinstance(v, dict) and {"people", "bodies"} & v.keys() for v in content.values()):
            raise DataError(
                f"{path}: AlphaPose's output for another program; run it without --format open or "
                "cmu"
            )
    elif isinstance(content, list):
        first = content[0] if content else {"image_id": 0}
        if isinstance(first, dict):
            if "image_id" in first:
                return _results(path, content)
            if "instances" in first:
                return _mmpose(path, content, {})
            if "keypoint_scores" in first:
                return _one_frame(path, content)
        if isinstance(first, list) or (
            isinstance(first, dict) and _landmarks_of(first) is not None
        ):
            return _mediapipe(path, {}, content)
    raise DataError(f"{path}: JSON of no known form, expected {KNOWN}")


def read_frames(folder: Path) -> Detections:
    """A folder with one file a frame (OpenPose, MMPose); the number in a file's name is the
    frame's.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DataError(f"{folder}: no .json file in this folder, expected one a frame (OpenPose)")
    numbers = frame_numbers([file.name for file in files])
    rows, form = Rows(folder), ""
    for number, file in sorted(zip(numbers, files, strict=True)):
        content = read_json(file)
        form = _frame_form(content) or ""
        if not form:
            raise DataError(
                f"{file}: not the keypoints of one frame, expected OpenPose's `people` in all "
                "files here"
            )
        _add_instances(rows, number - min(numbers), content)
    span = max(numbers) - min(numbers) + 1
    return rows.make(form, Header(n_frames=_span(folder, span)))


def is_one_frame(path: Path) -> bool:
    """Whether a JSON file holds the people of a single frame, so that its folder is the
    recording.
    """
    return _frame_form(read_json(path)) is not None


def _frame_form(content: Any) -> str | None:
    if isinstance(content, dict) and isinstance(content.get("people"), list):
        return "OpenPose"
    if isinstance(content, list) and all(
        isinstance(v, dict) and "keypoint_scores" in v for v in content
    ):
        return "MMPose"
    return None


def _one_frame(path: Path, content: Any) -> Detections:
    rows = Rows(path)
    _add_instances(rows, 0, content)
    return rows.make(_frame_form(content) or "", Header(n_frames=1))


def _add_instances(rows: Rows, frame: int, content: Any) -> None:
    """People of one frame in OpenPose's or MMPose's words."""
    if isinstance(content, dict) and "people" in content:
        for person in _dicts(rows.path, content["people"], "people"):
            ids = person.get("person_id")
            known = ids not in (None, [], -1, [-1])
            rows.add(frame, ids if known else None, _get(rows.path, person, "pose_keypoints_2d"))
        return
    for person in _dicts(rows.path, content, "instances"):
        points, scores = (
            _get(rows.path, person, "keypoints"),
            _get(rows.path, person, "keypoint_scores"),
        )
        if (
            not isinstance(points, list)
            or not isinstance(scores, list)
            or len(points) != len(scores)
        ):
            raise DataError(
                f"{rows.path}: frame {frame} has not one score for each of its keypoints"
            )
        values = [
            [*p[:2], c] if isinstance(p, list) else p for p, c in zip(points, scores, strict=True)
        ]
        rows.add(frame, person.get("track_id", person.get("instance_id")), values)


def _results(path: Path, content: list[Any]) -> Detections:
    rows = Rows(path)
    for item in _dicts(path, content, "the list"):
        image = _get(path, item, "image_id")
        frame = number_in(image) if isinstance(image, str) else image
        if frame is None:
            raise DataError(
                f"{path}: image_id {image!r} holds no frame number, expected 7 or '7.jpg'"
            )
        rows.add(frame, item.get("idx", item.get("track_id")), _get(path, item, "keypoints"))
    distinct = len(set(rows.frame))
    if (
        rows.frame and min(rows.frame) > 1000 + 10 * distinct
    ):  # ids like 10003420017, not counted from the start
        from_first(rows)
    n_frames = max(rows.frame, default=-1) + 1
    if n_frames > 1000 * (distinct + 1):
        raise DataError(
            f"{path}: image_id runs up to {n_frames - 1} in {distinct} images, expected a video's "
            "frames"
        )
    alphapose = any("idx" in item or isinstance(item["image_id"], str) for item in content)
    header = Header(n_frames=_span(path, n_frames), layout="coco17" if _is_17(rows) else None)
    return rows.make("AlphaPose" if alphapose else "COCO results", header)


def _is_17(rows: Rows) -> bool:
    return bool(rows.values) and isinstance(rows.values[0], list) and len(rows.values[0]) == 17


def _annotations(path: Path, content: dict[str, Any]) -> Detections:
    images = _dicts(path, content.get("images"), "images")
    frames = {str(_get(path, image, "id")): i for i, image in enumerate(images)}
    _one_video(path, images)
    rows = Rows(path)
    for item in _dicts(path, content["annotations"], "annotations"):
        if not any(item.get("keypoints") or ()):  # a crowd, or a person without marked joints
            continue
        if (image := str(item.get("image_id"))) not in frames:
            raise DataError(
                f"{path}: an annotation names image {image}, which the list of images lacks"
            )
        rows.add(frames[image], item.get("track_id"), item["keypoints"])
    names = next(
        (c["keypoints"] for c in content.get("categories") or () if "keypoints" in c), None
    )
    layout = by_names(names) if names else None
    if names and not layout:
        listed = ", ".join(map(str, names[:3]))
        raise DataError(
            f"{path}: its {len(names)} keypoints ({listed} ...) are those of no known layout"
        )
    width, height = size_of(images[0], f"{path}: images") if images else (None, None)
    header = Header(layout.name if layout else "coco17", width, height, n_frames=len(images))
    return rows.make("COCO annotations", header)


def _one_video(path: Path, images: list[dict[str, Any]]) -> None:
    for key in ("vid_id", "video_id"):
        if len(found := {str(image.get(key)) for image in images}) > 1:
            raise DataError(
                f"{path}: holds {len(found)} videos ({key}), expected the frames of one a file"
            )
    if len(sizes := {(image.get("width"), image.get("height")) for image in images}) > 1:
        raise DataError(
            f"{path}: its images have {len(sizes)} different sizes, expected the frames of one "
            "video"
        )


def _mmpose(path: Path, frames: Any, meta: dict[str, Any]) -> Detections:
    rows, numbers = Rows(path), [0]
    for i, frame in enumerate(_dicts(path, frames, "instance_info")):
        numbers.append(whole(frame.get("frame_id", i), f"{path}: frame_id"))
        _add_instances(rows, numbers[-1], _get(path, frame, "instances"))
    first = min(numbers[1:], default=0)
    rows.frame = [frame - first for frame in rows.frame]
    names = meta.get("keypoint_id2name") or {}
    layout = by_names([names[key] for key in sorted(names, key=int)]) if names else None
    return rows.make(
        "MMPose",
        Header(layout.name if layout else None, n_frames=_span(path, max(numbers) - first + 1)),
    )


def _mediapipe(path: Path, head: dict[str, Any], frames: Any) -> Detections:
    if not isinstance(frames, list):
        raise DataError(f"{path}: frames is not a list, expected one entry a frame")
    rows, number = Rows(path), -1
    for entry in frames:
        number = (
            whole(entry["frame"], f"{path}: frame")
            if isinstance(entry, dict) and "frame" in entry
            else number + 1
        )
        found = _landmarks_of(entry) if isinstance(entry, dict) else entry
        if found is not None and not isinstance(found, list):
            raise DataError(f"{path}: landmarks of frame {number} are no list")
        for person in _persons(found or []):
            rows.add(number, None, [_landmark(path, number, mark) for mark in person])
    width, height = size_of(head, str(path))
    header = Header(
        head.get("layout") or "mediapipe33",
        width,
        height,
        rate_of(head, str(path)),
        head.get("units"),
    )
    n_frames = _span(path, max(number + 1, len(frames)))
    return rows.make("MediaPipe", Header(**{**header.__dict__, "n_frames": n_frames}))


def _landmarks_of(entry: dict[str, Any]) -> Any:
    """Under our name or those of MediaPipe's two interfaces; None where the frame has nobody."""
    return next(
        (entry[key] for key in ("landmarks", "pose_landmarks") if entry.get(key) is not None), None
    )


def _persons(found: list[Any]) -> Iterator[list[Any]]:
    """One person's landmarks, or a list of persons."""
    first = found[0] if found else None
    if isinstance(first, list) and first and isinstance(first[0], (list, dict)):
        yield from (person for person in found if isinstance(person, list))
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
        "visibility"
    )


def _dicts(path: Path | str, values: Any, what: str) -> list[dict[str, Any]]:
    if isinstance(values, list) and all(isinstance(value, dict) for value in values):
        return values
    raise DataError(f"{path}: {what} is not a list of tables, expected {KNOWN}")


def _get(path: Path | str, values: dict[str, Any], key: str) -> Any:
    if key not in values:
        raise DataError(
            f"{path}: an entry has no {key!r}, it has "
            f"{', '.join(sorted(map(str, values))) or 'nothing'}"
        )
    return values[key]


def _span(path: Path, n_frames: int) -> int:
    if n_frames > MAX_FRAMES:
        raise DataError(
            f"{path}: frame numbers reach {n_frames - 1}, expected at most {MAX_FRAMES}"
        )
    return n_frames
