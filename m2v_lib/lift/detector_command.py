"""A detector of one's own: a command that finds keypoints in a video and writes them in any format that
is read. `{video}` and `{out}` in it stand for the two paths; no shell sees them.

Where PyAV is installed the video itself is looked at too: its size as it is seen, the times of its
frames (so that a variable rate counts), its cuts. Else the file or the options have to say size and
rate.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError, printable
from m2v_lib.data.keypoints import Footage, Person, Tracks, read_keypoints
from m2v_lib.data.limits import MAX_MESSAGE
from m2v_lib.lift.decoding.video_frames import Video, VideoError, cuts, rate_of
from m2v_lib.skeletons import Skeleton

PLACES: Final = ("{video}", "{out}")

Part = tuple[float | None, float | None]


@dataclass(frozen=True)
class Looked:
    """A video's size (width, height) as it is seen, frames a second, the time of every frame (s), the
    time of the first of the part, the times at which another shot begins, and remarks.
    """

    size: tuple[int, int]
    fps: float
    times: np.ndarray
    first: float
    shots: tuple[float, ...]
    notes: tuple[str, ...]


def read_by_command(
    template: str,
    path: Path,
    size: tuple[int, int] | None,
    layout: str | None,
    skeleton: Skeleton | None,
    part: Part,
    fps: float | None = None,
) -> tuple[Tracks, list[int]]:
    """What the command finds in the video, of the part from start to end (s), and the frames that begin
    another shot. Raises DataError where one of the two cannot be read, or `size` contradicts.
    """
    looked = look_at(path, part) if importlib.util.find_spec("av") else None
    if looked and size and size != looked.size:
        width, height = looked.size
        raise DataError(
            f"{path}: is {width}x{height} as it is seen, --size says {size[0]}x{size[1]}"
        )

    with tempfile.TemporaryDirectory() as folder:
        out = run(template, path, Path(folder) / "keypoints")
        try:
            tracks = read_keypoints(
                out,
                size=looked.size if looked else size,
                fps=looked.fps if looked else fps,
                layout=layout,
                skeleton=skeleton,
            )
        except DataError as error:
            said = str(error).replace(str(out), f"{path}: what the detector wrote")
            raise DataError(said.replace(folder, "")) from error

    return timed(tracks, path, looked, part)


def run(template: str, video: Path, out: Path) -> Path:
    """Run the command; the file or folder that it wrote, as `out` or with an ending of its own. Raises
    DataError that says what the command said last.
    """
    name = f"./{video}" if str(video).startswith("-") else str(video)  # no option
    try:
        words = shlex.split(template)
    except ValueError as error:
        raise DataError(f"{video}: the detector's command cannot be read ({error})") from error

    command = [word.replace("{video}", name).replace("{out}", str(out)) for word in words]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, errors="replace")
    except OSError as error:
        raise DataError(
            f"{video}: the detector {printable(command[0], 80)} cannot be started "
            f"({error.strerror}); install it or give its path"
        ) from error

    if done.returncode:
        said = printable((done.stdout.strip().splitlines() or ["nothing"])[-1], MAX_MESSAGE)
        raise DataError(f"{video}: the detector ended with code {done.returncode}, it said: {said}")

    written = [out] if out.exists() else sorted(out.parent.glob(f"{out.name}.*"))
    if len(written) != 1:
        raise DataError(f"{video}: the detector wrote nothing to {{out}}")
    return written[0]


def look_at(path: Path, part: Part) -> Looked:
    """What the video itself says. Raises DataError."""
    try:
        video = Video(path, *part)
        times, sizes, own = video.times(), set(), []
        for seconds, picture in video.pictures():
            own.append(video.first + seconds)
            sizes.add((picture.shape[1], picture.shape[0]))
    except VideoError as error:
        raise DataError(str(error)) from error

    shots = tuple(own[i] for i in cuts(video.thumbnails))
    fps = round(rate_of(times), 6)
    return Looked(max(sizes), fps, np.array(times), video.first, shots, tuple(video.notes))


def timed(
    tracks: Tracks, path: Path, looked: Looked | None, part: Part
) -> tuple[Tracks, list[int]]:
    """Frames numbered by their times from the part's first, and those that begin another shot."""
    last = max(int(person.frames[-1]) for person in tracks.people)
    if looked and last < len(looked.times):
        times, first, fps = looked.times, looked.first, looked.fps
    elif tracks.fps:
        fps = tracks.fps
        times = np.arange(last + 1) / fps
        first = float(np.ceil((part[0] or 0.0) * fps - 1e-6) / fps)
    else:
        return tracks, []

    end, people = part[1], []
    for person in tracks.people:
        at = times[person.frames]
        numbers = np.rint((at - first) * fps).astype(int)
        kept = (at >= first - 1e-6) & (at < (np.inf if end is None else end - 1e-6))
        numbers, rows = np.unique(numbers[kept], return_index=True)
        if len(rows):
            xy, confidence = person.xy[kept][rows], person.confidence[kept][rows]
            people.append(Person(person.name, numbers, xy, confidence))

    if not people:
        raise DataError(f"{path}: nobody is found from {part[0] or 0:g} to {end or times[-1]:g} s")
    notes = (*tracks.notes, *(looked.notes if looked else ()))
    if looked and last >= len(looked.times):
        notes += (
            f"the detector counts to frame {last}, the video has {len(looked.times)}: the rate is "
            "taken as even",
        )

    n_frames = 1 + max(int(person.frames[-1]) for person in people)
    changed = replace(
        tracks,
        people=tuple(people),
        n_frames=n_frames,
        fps=fps,
        footage=Footage(path.name, first, fps),
        notes=notes,
    )
    shots = looked.shots if looked else ()
    return changed, [round((shot - first) * fps) for shot in shots]
