"""A folder of keypoints: a file a frame (OpenPose, MMPose, Sapiens, Ultralytics' labels), or the
folder that a program wrote its one file into (AlphaPose, MMPose).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import read_text
from m2v_lib.data.keypoints.formats import json_files
from m2v_lib.data.keypoints.formats.files import DetectionBuilder, Detections, Header, read_json
from m2v_lib.data.keypoints.formats.frame_numbers import frame_numbers, number_in
from m2v_lib.data.keypoints.formats.frames_json import (
    add_frame,
    mmpose_names,
    one_frame,
    openpose_header,
)
from m2v_lib.data.keypoints.layouts import LAYOUTS, candidates
from m2v_lib.data.limits import MAX_FILES, MAX_TEXT_BYTES

ENDINGS = (".json", ".npz", ".csv", ".gz")


def read_folder(folder: Path) -> Detections:
    """The people of a folder. Raises DataError where it is no recording."""
    files = sorted(islice(_visible(folder, (".json",)), MAX_FILES + 1))
    if len(files) > MAX_FILES:
        raise DataError(f"{folder}: must hold at most {MAX_FILES} files")

    if not files:
        labels = sorted(_visible(folder, (".txt",)))
        if labels:
            return _read_labels(folder, labels)
        raise DataError(f"{folder}: no .json file in this folder, expected one a frame (OpenPose)")

    first = read_json(files[0])
    if one_frame(first) is None and len(files) == 1:
        return json_files.read(files[0])

    return _read_frames(folder, files, first)


def _read_frames(folder: Path, files: list[Path], first: Any) -> Detections:
    numbers = frame_numbers([file.name for file in files], str(folder))
    rows, form, names = DetectionBuilder(folder), "", None
    start = min(numbers)

    for number, file in sorted(zip(numbers, files, strict=True)):
        content = first if file == files[0] else read_json(file)
        if not (form := one_frame(content) or ""):
            raise DataError(
                f"{file}: not the keypoints of one frame, expected OpenPose's `people` or MMPose's "
                "instances in all files here; if it is a recording, lift the file itself"
            )

        if isinstance(content, dict) and names is None:
            names = mmpose_names(file, content.get("meta_info"))
        add_frame(rows, number - start, content)

    n_frames = max(numbers) - start + 1
    if form == "OpenPose":
        return rows.make(form, openpose_header(rows, None, None, n_frames))

    return rows.make(form, Header(n_frames=n_frames, names=names))


def _read_labels(folder: Path, files: list[Path]) -> Detections:
    """Ultralytics' labels: a line a person, `class x y w h`, x, y and perhaps visibility a keypoint,
    all as shares of the image, and perhaps a score and a track's number.
    """
    numbers = frame_numbers([file.name for file in files], str(folder))
    rows, start = DetectionBuilder(folder), min(numbers)

    for number, file in sorted(zip(numbers, files, strict=True)):
        for i, line in enumerate(read_text(file, MAX_TEXT_BYTES).splitlines(), 1):
            try:
                values = [float(word) for word in line.split()]
            except ValueError as error:
                raise DataError(f"{file}: line {i} holds something that is no number") from error

            if not values:
                continue

            numbers_a_keypoint, extra = _form_of_label(len(values) - 5)
            if not numbers_a_keypoint:
                raise DataError(
                    f"{file}: line {i} has {len(values)} numbers, expected class, box and x, y, "
                    "visibility for each keypoint (Ultralytics labels)"
                )

            keypoints = values[5 : len(values) - extra]
            if numbers_a_keypoint == 2:
                pairs = zip(keypoints[::2], keypoints[1::2], strict=True)
                keypoints = [v for x, y in pairs for v in (x, y, float(bool(x or y)))]
            rows.add(number - start, values[-1] if extra == 2 else None, keypoints)

    n_frames = max(numbers) - start + 1
    header = Header(units="normalised", n_frames=n_frames, usual_layout="coco17")
    return rows.make("Ultralytics labels", header)


def _form_of_label(n: int) -> tuple[int, int]:
    """How many numbers a keypoint has, and how many follow the last one, where a label has `n` of both
    together: COCO's 17 keypoints if they can be, else those of another layout; (0, 0) for neither.
    """
    forms = [(each, extra) for each in (3, 2) for extra in range(3) if (n - extra) % each == 0]
    counts = {form: (n - form[1]) // form[0] for form in forms}
    usual = (form for form in forms if counts[form] == len(LAYOUTS["coco17"].keypoints))
    return next(usual, next((form for form in forms if candidates(counts[form])), (0, 0)))


def recordings(folder: Path | str) -> Iterator[Path]:
    """Every recording below a folder: a keypoint file, or a folder that holds a file a frame."""
    yield from _recordings(Path(folder), set())


def _recordings(folder: Path, seen: set[Path]) -> Iterator[Path]:
    if (real := folder.resolve()) in seen:  # a link that leads back
        return

    seen.add(real)
    files = sorted(_visible(folder, ENDINGS))

    numbered = bool(files) and all(
        p.suffix.lower() == ".json" and number_in(p.name) is not None for p in files
    )
    if numbered and is_one_frame(files[0]):
        yield folder
    else:
        yield from files

    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and p.name[:1] != "."):
        yield from _recordings(inner, seen)


def is_one_frame(path: Path) -> bool:
    """Whether a JSON file holds the people of a single frame, so that its folder is the
    recording.
    """
    return one_frame(read_json(path)) is not None


def _visible(folder: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix.lower() in endings and not path.name.startswith(".") and not path.is_dir():
            yield path
