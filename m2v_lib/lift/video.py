"""A video's keypoints, by the detector that lives in an environment of its own (`make video`)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import m2v_lib
from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.foreign_values import as_number
from m2v_lib.data.keypoints import Tracks, read_keypoints
from m2v_lib.data.keypoints.formats.files import kind_of
from m2v_lib.data.limits import MAX_FPS, MAX_NAME_LENGTH, MIN_FPS
from m2v_lib.runs.records import project_root
from m2v_lib.skeletons import H36M17, Skeleton

SCRIPT = Path("data_scripts") / "video_to_keypoints.py"


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
) -> Tracks:
    """The people of a video. DataError where it has none, cannot be read, the detector is not
    installed, or `size` or `layout` contradict it.

    `fps` counts against the container's rate: of slow motion it is the rate of the camera.
    """
    if fps is not None:
        as_number(fps, f"{path}: frames a second", MIN_FPS, MAX_FPS)
    python, script = _detector(path)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{path.name}.json"
        name = f"./{path}" if str(path).startswith("-") else str(path)  # no option
        command = [str(python), str(script), name, "-o", str(out)]

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

    notes = tuple(note for note in tracks.notes if not note.startswith("coordinates were shares"))
    if fps is not None and tracks.fps and abs(fps - tracks.fps) > 0.01 * fps:
        notes += (f"taken as {fps:g} frames a second (slow motion?), the file says {tracks.fps:g}",)

    source = printable(path.name, MAX_NAME_LENGTH)
    return replace(tracks, source=source, notes=notes, fps=fps or tracks.fps)


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
            "keypoints"
        )
    return python, root / SCRIPT


def _environment() -> dict[str, str]:
    """Ours without what would lead the other Python to our packages."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
