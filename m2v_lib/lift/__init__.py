"""Lift keypoints of any length, rate and layout to motion in space, and write it in whatever
form is asked for.

from m2v_lib.lift import lift, save
motion = lift("keypoints.json", size=(1280, 720), fps=25)
save(motion, "out.html")
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.data.checks import DataError
from m2v_lib.skeletons import H36M17, Skeleton

if TYPE_CHECKING:
    from m2v_lib.data.keypoints import Tracks
    from m2v_lib.lift.people import Motion

#: keypoints that MediaPipe found in `sample_video.mp4` of TaatiTeam/MotionAGFormer (Apache-2.0):
#: 185 frames, one person
SAMPLE: Final = Path(__file__).with_name("sample_video.npz")
#: ending -> module of this package and its function `write(path, motion)`
WRITERS: Final = {
    ".npz": ("files", "write_npz"),
    ".json": ("files", "write_json"),
    ".csv": ("files", "write_csv"),
    ".html": ("page", "write_page"),
    ".bvh": ("bvh", "write_bvh"),
    ".mp4": ("film", "write_film"),
    ".gif": ("film", "write_film"),
}


def lift(
    source: Path | str,
    *,
    model: Path | str | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    focal: float | None = None,
    stature: float | None = None,
    device: str = "cpu",
) -> Motion:
    """Everybody in a keypoint file or folder, or in a video, in space, with the joints that the
    model has; of a model for any skeleton, with those that the keypoints' layout has. `model` is a
    run's folder; else the package's.

    size, fps and layout are for what the file does not say, as in `read_keypoints`; focal (px)
    and stature (m) of the people are assumed unless given. Raises DataError, ConfigError or
    CheckpointError.
    """
    from m2v_lib.lift.camera import STATURE
    from m2v_lib.lift.people import lift_tracks
    from m2v_lib.lift.windows import load_lifter

    lifter = load_lifter(model, device)
    skeleton = None if lifter.any_skeleton else lifter.skeleton
    tracks = read_tracks(source, size=size, fps=fps, layout=layout, skeleton=skeleton)
    if lifter.any_skeleton:
        lifter.use_skeleton(tracks.skeleton)
    return lift_tracks(
        tracks,
        lifter,
        focal=focal,
        stature=STATURE if stature is None else stature,
    )


def read_tracks(
    source: Path | str,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    skeleton: Skeleton | None = H36M17,
) -> Tracks:
    """The keypoints of a file, a folder or a video as joints of a skeleton, in pixels; of None, as
    those that their layout has. A video says size and rate itself: a `size` that contradicts it is an
    error, `fps` is taken instead. Raises DataError.
    """
    from m2v_lib.data.keypoints import read_keypoints
    from m2v_lib.lift.video import is_video, read_video

    if is_video(Path(source)):
        return read_video(Path(source), size=size, fps=fps, layout=layout, skeleton=skeleton)
    return read_keypoints(source, size=size, fps=fps, layout=layout, skeleton=skeleton)


def save(motion: Motion, out: Path | str) -> list[Path]:
    """Write a motion as its file's ending says, one of WRITERS; returns the files (a .bvh is one
    a person).

    Raises DataError or OSError and then leaves nothing behind.
    """
    return writer_of(out)(Path(out), motion) or [Path(out)]


def writer_of(out: Path | str) -> Any:
    """The function that writes files of this ending; DataError where there is none."""
    ending = Path(out).suffix.lower()
    if ending not in WRITERS:
        raise DataError(
            f"{out}: ends in {ending or 'nothing'}, expected one of {', '.join(WRITERS)}"
        )
    module, function = WRITERS[ending]
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)
