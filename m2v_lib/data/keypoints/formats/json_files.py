"""One JSON file of keypoints: which program wrote it is told by content.

`coco_json` reads COCO's and AlphaPose's lists, `frames_json` what lists people frame by frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import kind_of
from m2v_lib.data.keypoints.formats import coco_json, frames_json
from m2v_lib.data.keypoints.formats.files import Detections, UnrecognisedFile, read_json

KNOWN = "COCO results or annotations, AlphaPose, OpenPose, MMPose, MediaPipe, Ultralytics"


def read(path: Path) -> Detections:
    """One JSON file. Raises DataError where its content is none of the known formats."""
    content = read_json(path)
    found = _of_object(path, content) if isinstance(content, dict) else _of_list(path, content)
    if found is None:
        raise UnrecognisedFile(f"{path}: unrecognised keypoint JSON, expected {KNOWN}")
    return found


def _of_object(path: Path, content: dict[str, Any]) -> Detections | None:
    if "annotations" in content:
        return coco_json.read_annotations(path, content)
    if "instance_info" in content:
        return frames_json.mmpose(path, content["instance_info"], content.get("meta_info"))
    if "frames" in content:
        return frames_json.mediapipe(path, content, content["frames"])
    if "people" in content:
        return frames_json.openpose_frames(path, [content])

    values = list(content.values())
    if any(isinstance(v, dict) and {"people", "bodies"} & v.keys() for v in values):
        raise DataError(
            f"{path}: AlphaPose's output for another program; run it without --format open or cmu"
        )

    return None


def _of_list(path: Path, content: Any) -> Detections | None:
    if not isinstance(content, list):
        raise UnrecognisedFile(f"{path}: unrecognised keypoint JSON, got {kind_of(content)}")

    first = next((entry for entry in content if entry), {"image_id": 0} if not content else None)
    if isinstance(first, list):
        if isinstance(first[0], dict) and "keypoints" in first[0]:
            return frames_json.ultralytics(path, content)
        return frames_json.mediapipe(path, {}, content)

    if not isinstance(first, dict):
        return frames_json.mediapipe(path, {}, content) if content else None
    if "image_id" in first:
        return coco_json.read_results(path, content)
    if "instances" in first:
        return frames_json.mmpose(path, content, None)
    if "people" in first:
        return frames_json.openpose_frames(path, content)
    if "keypoint_scores" in first:
        return frames_json.mmpose(path, [{"instances": content}], None)
    if isinstance(first.get("keypoints"), dict):
        return frames_json.ultralytics(path, [content])
    if frames_json.landmarks_of(first) is not None:
        return frames_json.mediapipe(path, {}, content)

    return None
