"""A video's keypoints: by a detector in an environment of its own (`make video`), or by a command
that finds them in a video and writes a file or folder that can be read.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import m2v_lib
from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.foreign_values import as_number
from m2v_lib.data.keypoints import Footage, Person, Tracks, read_keypoints
from m2v_lib.data.keypoints.formats.files import kind_of
from m2v_lib.data.limits import MAX_FPS, MAX_NAME_LENGTH, MIN_FPS
from m2v_lib.lift.decoding.lens_in_file import focal_on_film
from m2v_lib.lift.detector_command import PLACES, read_by_command
from m2v_lib.runs.records import project_root
from m2v_lib.skeletons import H36M17, Skeleton

SCRIPT = Path("data_scripts") / "video_to_keypoints.py"
#: detectors that the script knows
DETECTORS: Final = ("mediapipe", "rtmlib", "ultralytics")


def is_video(path: Path) -> bool:
    """Whether a file begins like a video or a picture, whatever it is called."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return kind_of(stream.read(4096)).startswith(("a video", "a picture"))


def read_video(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    skeleton: Skeleton | None = H36M17,
    detector: str | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Tracks:
    """The people of a video, or of its part from `start` to `end` (s), each shot on its own. DataError
    where it has none, cannot be read, the detector is not installed, or `size` or `layout` contradict
    it.

    `detector` is one of DETECTORS (default: the first), or a command with {video} and {out}. `fps`
    counts against the container's rate: of slow motion it is the rate of the camera.
    """
    detector = detector or DETECTORS[0]
    check_options(path, fps, detector, start, end)

    if detector in DETECTORS:
        tracks, cuts = _by_script(path, size, layout, skeleton, detector, (start, end))
    else:
        tracks, cuts = read_by_command(detector, path, size, layout, skeleton, (start, end), fps)

    tracks = split_at(tracks, cuts)
    notes = tuple(note for note in tracks.notes if not note.startswith("coordinates were shares"))
    if fps is not None and tracks.fps and abs(fps - tracks.fps) > 0.01 * fps:
        notes += (f"taken as {fps:g} frames a second (slow motion?), the file says {tracks.fps:g}",)

    source = printable(path.name, MAX_NAME_LENGTH)
    footage = tracks.footage and replace(tracks.footage, focal_on_film=focal_on_film(path))
    return replace(tracks, source=source, notes=notes, fps=fps or tracks.fps, footage=footage)


def check_options(
    path: Path, fps: float | None, detector: str, start: float | None, end: float | None
) -> None:
    """Raise DataError for what cannot be, before the work."""
    if fps is not None:
        as_number(fps, f"{path}: frames a second", MIN_FPS, MAX_FPS)
    for name, value in (("start", start), ("end", end)):
        if value is not None:
            as_number(value, f"{path}: {name} (s)", 0, 1e6)
    if end is not None and end <= (start or 0):
        raise DataError(f"{path}: end must come after start, got {start or 0:g} to {end:g} s")
    if detector not in DETECTORS and not all(place in detector for place in PLACES):
        raise DataError(
            f"{path}: detector must be one of {', '.join(DETECTORS)}, or a command with "
            f"{' and '.join(PLACES)}, got {printable(detector, 80)!r}"
        )


def _by_script(
    path: Path,
    size: tuple[int, int] | None,
    layout: str | None,
    skeleton: Skeleton | None,
    detector: str,
    part: tuple[float | None, float | None],
) -> tuple[Tracks, list[int]]:
    """What the script finds, and the frames that begin another shot."""
    python, script = _detector(path)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{path.name}.json"
        name = f"./{path}" if str(path).startswith("-") else str(path)  # no option
        command = [str(python), str(script), name, "--detector", detector]
        for option, value in zip(("--start", "--end"), part, strict=True):
            command += [] if value is None else [option, f"{value:.6f}"]

        command += ["-o", str(out)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=_environment())
        if done.returncode:
            said = done.stdout.strip().splitlines()
            raise DataError(
                said[-1] if said else f"{path}: the detector ended with code {done.returncode}"
            )

        try:
            tracks = read_keypoints(out, size=size, layout=layout, skeleton=skeleton)
        except DataError as error:
            raise DataError(str(error).replace(str(out), str(path))) from error
        content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))

    footage = Footage(path.name, float(content.get("start", 0.0)), float(content["fps"]))
    notes = (*tracks.notes, *content.get("notes", ()))
    return replace(tracks, footage=footage, notes=notes), content.get("cuts", [])


def split_at(tracks: Tracks, cuts: list[int]) -> Tracks:
    """People of each shot under names of their own; a shot begins with each frame of `cuts`."""
    if not cuts:
        return tracks

    people = []
    for person in tracks.people:
        shots = np.searchsorted(cuts, person.frames, side="right")
        for shot in np.unique(shots):
            rows = shots == shot
            name = f"{person.name} shot {shot + 1}"
            people.append(
                Person(name, person.frames[rows], person.xy[rows], person.confidence[rows])
            )

    people.sort(key=lambda person: -len(person.frames))
    rate = tracks.fps or 1.0
    where = ", ".join(f"{cut / rate:.2f} s" for cut in cuts[:5]) + " ..." * (len(cuts) > 5)
    note = (
        f"the camera cuts at {where}: each shot is lifted on its own, and where people are in one "
        "cannot be set against another"
    )
    return replace(tracks, people=tuple(people), notes=(*tracks.notes, note))


def _detector(video: Path) -> tuple[Path, Path]:
    """The Python that has the detector, and the script it runs. Raises DataError where one is
    missing.
    """
    roots = (project_root(), Path(m2v_lib.__file__).parents[1])
    root = next((r for r in roots if (r / SCRIPT).is_file()), None)
    usual = (root or Path()) / ".venv-video" / "bin" / "python"
    python = Path(os.environ.get("M2V_VIDEO_PYTHON") or usual)

    if root is None or not python.is_file():
        raise DataError(
            f"{video}: a video needs a detector of keypoints; run `make video` once, or give its "
            "keypoints, or a command that finds them (--detector)"
        )
    return python, root / SCRIPT


def _environment() -> dict[str, str]:
    """Ours without what would lead the other Python to our packages."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
