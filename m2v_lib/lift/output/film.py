"""A lifted motion as a film (.mp4, .gif): the image plane beside the person in space, who turns
slowly round.

Needs Pillow, and PyAV for .mp4: `pip install "m2v_lib[lift]"`.
"""
# n frames of the recording, J joints

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.lift.output.files import identity
from m2v_lib.lift.output.page import colour_of
from m2v_lib.lift.people import Motion
from m2v_lib.runs.records import write_atomically
from m2v_lib.skeletons import Skeleton

PANEL: Final = 480  # px, each of the two
SUPERSAMPLING: Final = 2  # drawn so many times larger and scaled down, which smooths the lines
TURN: Final = (
    0.6,
    0.35,
    8.0,
)  # view from the side (rad), swing to either side (rad), seconds of a swing
TILT: Final = 0.15
GIF_FPS: Final = 25.0  # browsers slow down what is faster


def write_film(path: Path, motion: Motion) -> None:
    """Write the film at the motion's frame rate (.mp4) or at most 25 frames a second (.gif)."""
    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    write_atomically(path, lambda beside: write(beside, motion))


def check_packages(path: Path) -> None:
    """Raise DataError where a package is missing that a film of this ending needs."""
    for name in ("PIL.Image", *(["av"] if path.suffix.lower() == ".mp4" else [])):
        _module(name)


def draw_frames(motion: Motion, step: int = 1) -> Iterator[np.ndarray]:
    """Pictures (PANEL, 2 PANEL, 3) uint8 of every `step`-th frame."""
    Image, ImageDraw = _module("PIL.Image"), _module("PIL.ImageDraw")
    middle, reach = _room(motion)
    scale = 0.45 * SUPERSAMPLING * PANEL / reach  # drawing pixels a mm
    corners = np.array([[0, 0], [motion.camera.width, motion.camera.height]])

    for t in range(0, motion.n_frames, step):
        picture = Image.new("RGB", (2 * SUPERSAMPLING * PANEL, SUPERSAMPLING * PANEL), "white")
        draw = ImageDraw.Draw(picture)
        draw.rectangle(_in_plane(corners, motion).ravel().tolist(), fill="#f6f6f6")
        _ruler(draw, scale)
        side, swing, seconds = TURN
        view = _view(side + swing * np.sin(2 * np.pi * t / motion.fps / seconds))

        for person in motion.people:
            if 0 <= (i := t - person.start) < person.n_frames:
                shown = motion.skeleton, motion.absent
                _skeleton(draw, _in_plane(person.seen_px[i], motion), person.filled[i], *shown)
                turned = (person.pose_mm[i] + person.root_mm[i] - middle) @ view
                _skeleton(
                    draw,
                    SUPERSAMPLING * PANEL * np.array([1.5, 0.5]) + scale * turned[:, :2],
                    person.filled[i],
                    *shown,
                )

        yield np.asarray(picture.resize((2 * PANEL, PANEL), Image.Resampling.LANCZOS))


def _in_plane(points: np.ndarray, motion: Motion) -> np.ndarray:
    """Pixels of the recording (J,2) to those of the left panel, the whole image in its middle."""
    size = np.array([motion.camera.width, motion.camera.height])
    return SUPERSAMPLING * PANEL * (0.5 + (points - size / 2) / size.max())


def _room(motion: Motion) -> tuple[np.ndarray, float]:
    """Middle (3,) of everywhere anybody goes and the distance of the farthest joint from it, mm."""
    joints = np.concatenate([person.joints_mm.reshape(-1, 3) for person in motion.people])
    middle = (joints.min(0) + joints.max(0)) / 2
    return middle, float(np.linalg.norm(joints - middle, axis=-1).max())


def _view(turn: float) -> np.ndarray:
    """Camera axes to a picture's (right, down, away), seen `turn` from the side and from a
    little above.
    """
    ct, st, cu, su = np.cos(turn), np.sin(turn), np.cos(TILT), np.sin(TILT)
    about = np.array([[ct, 0, st], [0, 1, 0], [-st, 0, ct]])
    return (np.array([[1, 0, 0], [0, cu, -su], [0, su, cu]]) @ about).T


def _skeleton(
    draw: Any, at: np.ndarray, filled: np.ndarray, skeleton: Skeleton, absent: Sequence[int]
) -> None:
    """Bones and joints at (J,2); a joint that was filled in is a ring, an absent one is left out."""
    for parent, child in skeleton.bones:
        if parent in absent or child in absent:
            continue
        draw.line(
            [*at[parent], *at[child]], fill=colour_of(skeleton, child), width=3 * SUPERSAMPLING
        )

    for joint, (x, y) in enumerate(at):
        if joint in absent:
            continue

        r = 3.5 * SUPERSAMPLING
        colour = colour_of(skeleton, joint)
        draw.ellipse(
            [x - r, y - r, x + r, y + r],
            fill="white" if filled[joint] else colour,
            outline=colour,
            width=SUPERSAMPLING,
        )


def _ruler(draw: Any, scale: float) -> None:
    """Half a metre at the right panel's foot (metres where people walk far), in the grey of what
    is no body.
    """
    mm = 500 if 500 * scale > 0.04 * SUPERSAMPLING * PANEL else 5000
    x, y = SUPERSAMPLING * PANEL * 1.04, SUPERSAMPLING * PANEL * 0.97
    draw.line([x, y, x + mm * scale, y], fill="#777777", width=2 * SUPERSAMPLING)
    draw.text(
        (x, y - 9 * SUPERSAMPLING),
        f"{mm} mm",
        fill="#777777",
        font_size=7 * SUPERSAMPLING,
        anchor="ls",
    )


def _write_gif(beside: Path, motion: Motion) -> None:
    Image = _module("PIL.Image")
    step = max(1, round(motion.fps / GIF_FPS))
    pictures = (Image.fromarray(picture).quantize(32) for picture in draw_frames(motion, step))
    first = next(pictures)

    with beside.open("wb") as stream:
        first.save(
            stream,
            "GIF",
            save_all=True,
            append_images=pictures,
            loop=0,
            duration=round(1000 * step / motion.fps),
            comment=json.dumps(identity(motion)).encode(),
        )


def _write_mp4(beside: Path, motion: Motion) -> None:
    av = _module("av")
    with av.open(str(beside), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=Fraction(motion.fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = 2 * PANEL, PANEL, "yuv420p"
        stream.options = {"crf": "20"}
        container.metadata["comment"] = json.dumps(identity(motion))
        for picture in draw_frames(motion):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def _module(name: str) -> Any:
    """A package that only films need; DataError says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = {"PIL": "Pillow", "av": "PyAV"}[name.split(".")[0]]
        raise DataError(
            f'a film needs {package}, which is not here: pip install "m2v_lib[lift]"'
        ) from error
