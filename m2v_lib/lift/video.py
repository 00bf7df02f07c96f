"""A video's keypoints, by the detector that lives in an environment of its own (`make video`)."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import m2v_lib
from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.keypoints import Tracks, read_keypoints
from m2v_lib.data.keypoints.files import kind_of
from m2v_lib.data.limits import MAX_NAME_LENGTH
from m2v_lib.runs.records import project_root

SCRIPT = Path("data_scripts") / "video_to_keypoints.py"


def is_video(path: Path) -> bool:
    """Whether a file begins like a video or a picture, whatever it is called."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return kind_of(stream.read(4096)).startswith(("a video", "a picture"))


def read_video(path: Path) -> Tracks:
    """The people of a video. DataError where it has none, cannot be read, or the detector is not
    installed.
    """
    root = next(
        (r for r in (project_root(), Path(m2v_lib.__file__).parents[1]) if (r / SCRIPT).is_file()),
        None,
    )
    python = Path(
        os.environ.get("M2V_VIDEO_PYTHON") or (root or Path()) / ".venv-video" / "bin" / "python"
    )
    if root is None or not python.is_file():
        raise DataError(
            f"{path}: a video needs a detector of keypoints; run `make video` once, or give its "
            "keypoints"
        )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"{path.name}.json"
        command = [str(python), str(root / SCRIPT), str(path), "-o", str(out)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=_environment())
        if done.returncode:
            said = done.stdout.strip().splitlines()
            raise DataError(
                said[-1] if said else f"{path}: the detector ended with code {done.returncode}"
            )
        try:
            return replace(
                read_keypoints(out), source=printable(path.name, MAX_NAME_LENGTH), notes=()
            )
        except DataError as error:
            raise DataError(str(error).replace(str(out), str(path))) from error


def _environment() -> dict[str, str]:
    """Ours without what would lead the other Python to our packages."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "VIRTUAL_ENV"))
    }
