"""Keypoints in COCO's two kinds of JSON, which AlphaPose and PoseTrack use too.

- results, AlphaPose: `[{"image_id": 7 or "7.jpg", "keypoints": [x, y, c, ...], "idx" or
  "track_id": 1}, ...]`
- annotations: `{"images": [{"id", "file_name", "width", "height"}], "annotations": [{"image_id",
  "keypoints", "track_id"}], "categories": [{"keypoints": [names]}]}`; a frame's number is the one
  that moves in the file names, else in the ids
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from m2v_lib.data.checks import DataError, counted
from m2v_lib.data.foreign_values import as_list, as_names, as_tables, as_whole, listed, shown
from m2v_lib.data.keypoints.formats.categories import are_people
from m2v_lib.data.keypoints.formats.files import (
    DetectionBuilder,
    Detections,
    Header,
    size_of,
)
from m2v_lib.data.keypoints.formats.frame_numbers import frame_numbers, number_in
from m2v_lib.data.limits import MAX_FRAME_NUMBER

#: an id so large beside the number of images is not counted from the start
MAX_FIRST = 1000


def read_results(path: Path, content: list[Any]) -> Detections:
    """COCO's results, or AlphaPose's."""
    rows, items = DetectionBuilder(path), as_tables(content, str(path))
    categories = [_category(item) for item in items]
    kept, notes = are_people(categories) if len(set(categories)) > 1 else ([True] * len(items), [])
    images = [entry_of(path, item, "image_id") for item in items]
    numbers = _numbers_of(path, images)
    first = min(numbers.values(), default=0)
    offset = first if first > MAX_FIRST + 10 * len(numbers) else 0

    for item, image, is_person in zip(items, images, kept, strict=True):
        if not is_person:
            continue
        person = item.get("idx", item.get("track_id"))
        rows.add(numbers[_key(image)] - offset, person, entry_of(path, item, "keypoints"))

    distinct, n_frames = len(set(rows.frame)), max(rows.frame, default=-1) + 1
    if n_frames > MAX_FIRST * (distinct + 1):
        raise DataError(
            f"{path}: image_id runs up to {n_frames - 1} in {distinct} images, expected a video's "
            "frames"
        )

    alphapose = any("idx" in item for item in items) or any(isinstance(i, str) for i in images)
    n_keypoints = len(rows.values[0]) if rows.values and isinstance(rows.values[0], list) else 0

    usual = "coco17" if n_keypoints == 17 else None
    header = Header(n_frames=n_frames, usual_layout=usual, notes=tuple(notes))
    return rows.make("AlphaPose" if alphapose else "COCO results", header)


def read_annotations(path: Path, content: Mapping[str, Any]) -> Detections:
    """COCO's annotations, or PoseTrack's."""
    images = as_tables(content.get("images"), f"{path}: images")
    _check_one_video(path, images)
    numbers = _image_numbers(path, images)
    rows, items = DetectionBuilder(path), as_tables(content["annotations"], f"{path}: annotations")
    kept, names, notes = _of_people(path, items, content.get("categories"))

    for item, is_person in zip(items, kept, strict=True):
        if not is_person:
            continue
        keypoints = item.get("keypoints")
        if not keypoints:  # a crowd, or a person without marked joints
            continue
        if not any(as_list(keypoints, f"{path}: keypoints")):
            continue

        image = _key(item.get("image_id"))
        if image not in numbers:
            raise DataError(
                f"{path}: an annotation names image {shown(item.get('image_id'))}, which the list "
                "of images lacks"
            )

        rows.add(numbers[image], item.get("track_id"), keypoints)

    width, height = size_of(images[0], f"{path}: images") if images else (None, None)
    n_frames = max(numbers.values(), default=-1) + 1
    usual = None if names else "coco17"

    header = Header(
        *(None, width, height),
        n_frames=n_frames,
        names=names,
        usual_layout=usual,
        notes=tuple(notes),
    )
    return rows.make("COCO annotations", header)


def entry_of(path: Path | str, values: Mapping[Any, Any], key: str) -> Any:
    """The value of a key; DataError where the object lacks it."""
    if key not in values:
        raise DataError(
            f"{path}: an entry has no {key!r}, it has {listed(sorted(map(str, values)))}"
        )
    return values[key]


def _key(image: Any) -> str:
    return shown(image) if not isinstance(image, str) else f"'{image}'"


def _numbers_of(path: Path, images: Sequence[Any]) -> dict[str, int]:
    """The frame of each image: its whole number, or that in its name."""
    names = {_key(image): image for image in images}
    if any(isinstance(image, str) for image in names.values()):
        texts = [image if isinstance(image, str) else shown(image) for image in names.values()]
        if odd := [text for text in texts if number_in(text) is None]:
            raise DataError(
                f"{path}: image_id {shown(odd[0])} holds no frame number, expected 7 or '7.jpg'"
            )
        return dict(zip(names, frame_numbers(texts, str(path)), strict=True))

    where = f"{path}: image_id"
    return {key: as_whole(image, where, 0, 10**15, text=True) for key, image in names.items()}


def _image_numbers(path: Path, images: Sequence[Mapping[Any, Any]]) -> dict[str, int]:
    """Frame numbers from 0 of the images by their id: by file name, else id, else the order."""
    keys = [_key(entry_of(path, image, "id")) for image in images]
    if len(set(keys)) < len(keys):
        raise DataError(f"{path}: two images have the same id, expected each once")

    names = [image.get("file_name") for image in images]
    numbers = list(range(len(images)))

    if names and all(isinstance(name, str) and number_in(name) is not None for name in names):
        numbers = frame_numbers([str(name) for name in names], str(path))
    elif images and all(type(image["id"]) is int for image in images):
        numbers = [as_whole(image["id"], f"{path}: id", 0, 10**18, text=True) for image in images]

    first = min(numbers, default=0)
    if max(numbers, default=0) - first > MAX_FRAME_NUMBER:
        numbers, first = [sorted(numbers).index(number) for number in numbers], 0

    return {key: number - first for key, number in zip(keys, numbers, strict=True)}


def _of_people(
    path: Path, items: Sequence[Mapping[Any, Any]], categories: Any
) -> tuple[list[bool], tuple[str, ...] | None, list[str]]:
    """Which annotations are of people, the names of their keypoints, and a note of the others: of
    another category, or of one whose keypoints have other names.
    """
    known = as_tables(categories, f"{path}: categories") if categories else []
    names = {shown(one.get("id")): str(one.get("name", "")) or None for one in known}
    keypoints = {
        shown(one.get("id")): tuple(
            as_names(one["keypoints"], f"{path}: keypoints of the category")
        )
        for one in known
        if one.get("keypoints")
    }
    ids = [_category(item) or "" for item in items]
    kept, notes = are_people([names.get(category) for category in ids])

    used = [category for category, keep in zip(ids, kept, strict=True) if keep]
    chosen = next((keypoints[one] for one in used if one in keypoints), None)
    if chosen is None and len(keypoints) == 1:
        (chosen,) = keypoints.values()
    others = [
        keep and keypoints.get(one, chosen) != chosen for one, keep in zip(ids, kept, strict=True)
    ]
    if any(others):
        gone = counted(sum(others), "annotation")
        notes.append(f"left out {gone} whose keypoints have other names")
        kept = [keep and not other for keep, other in zip(kept, others, strict=True)]
    return kept, chosen, notes


def _category(item: Mapping[Any, Any]) -> str | None:
    category = item.get("category_id")
    return None if category is None else shown(category)


def _check_one_video(path: Path, images: Sequence[Mapping[Any, Any]]) -> None:
    for key in ("vid_id", "video_id"):
        if len(found := {shown(image.get(key)) for image in images}) > 1:
            raise DataError(
                f"{path}: holds {len(found)} videos ({key}), expected the frames of one a file"
            )

    if len(sizes := {size_of(image, f"{path}: images") for image in images}) > 1:
        raise DataError(
            f"{path}: its images have {len(sizes)} different sizes, expected the frames of one "
            "video"
        )
