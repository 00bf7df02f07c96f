"""Lift keypoints of any length, rate and layout to motion in space, and write it in whatever
form is asked for.

from m2v_lib.lift import lift, save
motion = lift("keypoints.json", size=(1280, 720), fps=25)
save(motion, "out.html")
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.config import ConfigError
from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import listed
from m2v_lib.lift.motion import SMOOTH_HZ
from m2v_lib.skeletons import H36M17, VOCABULARY, Skeleton, skeleton_of

if TYPE_CHECKING:
    from m2v_lib.data.keypoints import Tracks
    from m2v_lib.lift.people import Motion
    from m2v_lib.lift.windows import Lifter

#: of a model for any skeleton: every joint of the vocabulary
ALL_JOINTS: Final = "all"

#: keypoints that MediaPipe found in `sample_video.mp4` of TaatiTeam/MotionAGFormer (Apache-2.0):
#: 185 frames, one person
SAMPLE: Final = Path(__file__).with_name("sample_video.npz")
#: ending -> module of `lift.output` and its function `write(path, motion)`
WRITERS: Final = {
    ".npz": ("files", "write_npz"),
    ".json": ("files", "write_json"),
    ".csv": ("files", "write_csv"),
    ".coco.json": ("coco", "write_coco"),
    ".trc": ("trc", "write_trc"),
    ".mot": ("mot", "write_mot"),
    ".html": ("page", "write_page"),
    ".bvh": ("bvh", "write_bvh"),
    ".glb": ("glb", "write_glb"),
    ".mp4": ("film", "write_film"),
    ".gif": ("film", "write_film"),
}
#: formats that do not say which axis is up: y unless z is asked for
UP_IS_OPEN: Final = (".bvh", ".trc")


def lift(
    source: Path | str,
    *,
    model: Path | str | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    focal: float | None = None,
    fov: float | None = None,
    distortion: tuple[float, ...] = (),
    stature: float | None = None,
    joints: str | None = None,
    smooth: float | None = SMOOTH_HZ,
    device: str = "cpu",
    detector: str | None = None,
    start: float | None = None,
    end: float | None = None,
) -> Motion:
    """Everybody in a keypoint file or folder, or in a video, in space, with the joints that the
    model has; of a model for any skeleton, with those that the keypoints' layout has. `model` is a
    run's folder; else the package's.

    `joints` asks a model for any skeleton for others: a known skeleton, a YAML file, or all of the
    vocabulary; those that the layout lacks are predicted, where the model has learnt that, and
    marked. size, fps and layout are for what the file does not say, as in `read_keypoints`; focal (px), or
    in its place fov (degrees across the width), and stature (m) of the people are assumed unless
    given; distortion are the lens's coefficients in OpenCV's order and need one of these. `smooth`
    is the frequency (Hz) of which smoothing leaves half; None leaves it out, and feet may slide.
    `detector`, `start` and `end` are of videos, as in `read_video`. Raises DataError, ConfigError or
    CheckpointError.
    """
    from m2v_lib.lift.camera import STATURE, assumed_camera, focal_of_view
    from m2v_lib.lift.lens import undistorted
    from m2v_lib.lift.people import lift_tracks
    from m2v_lib.lift.windows import load_lifter
    from m2v_lib.weights import name_of

    check_lens(focal, fov, distortion)
    lifter = load_lifter(model, device)
    skeleton = wanted_skeleton(lifter, joints)
    video = {"detector": detector, "start": start, "end": end}
    tracks = read_tracks(source, size=size, fps=fps, layout=layout, skeleton=skeleton, **video)
    if fov is not None and tracks.width:
        focal = focal_of_view(fov, tracks.width)
    if focal is None:
        tracks, focal = _focal_of_file(tracks)
    if distortion and tracks.width and tracks.height:
        camera = assumed_camera(tracks.width, tracks.height, focal)
        tracks = undistorted(tracks, distortion, camera)

    if lifter.any_skeleton:
        lifter.use_skeleton(tracks.skeleton, hidden=tracks.absent if joints else ())
        check_predictions(lifter, tracks)

    motion = lift_tracks(
        tracks,
        lifter,
        focal=focal,
        stature=STATURE if stature is None else stature,
        smooth=smooth,
    )
    about = motion.about | {"network": name_of(model)}
    if tracks.footage:
        said = asdict(tracks.footage).items()
        about["video"] = {key: value for key, value in said if value is not None}
    return replace(motion, about=about)


def _focal_of_file(tracks: Tracks) -> tuple[Tracks, float | None]:
    """The focal length (px) that a video states, and a note of it; None where it states none."""
    from m2v_lib.lift.decoding.lens_in_file import focal_px

    on_film = tracks.footage and tracks.footage.focal_on_film
    if not on_film or not tracks.width or not tracks.height:
        return tracks, None
    note = f"focal length from the file: {on_film:g} mm on 35 mm film"
    focal = focal_px(on_film, tracks.width, tracks.height)
    return replace(tracks, notes=(*tracks.notes, note)), focal


def check_lens(focal: float | None, fov: float | None, distortion: tuple[float, ...]) -> None:
    """Raise DataError where what is said of the lens does not go together."""
    if focal is not None and fov is not None:
        raise DataError(
            "a focal length and a field of view say the same, give one (--focal, --fov)"
        )
    if distortion and focal is None and fov is None:
        raise DataError("distortion means nothing without the focal length (--focal or --fov)")


def wanted_skeleton(lifter: Lifter, joints: str | None) -> Skeleton | None:
    """The joints that are to come out; None where the keypoints' layout says it. Raises ConfigError,
    SkeletonError.
    """
    if not lifter.any_skeleton:
        if joints is not None:
            raise ConfigError(
                f"joints={joints[:80]} needs a network for any skeleton (model.joint_embedding=name), "
                f"this one is bound to {lifter.skeleton.name}"
            )
        return lifter.skeleton
    if joints is None:
        return None
    return VOCABULARY if joints == ALL_JOINTS else skeleton_of(joints)


def check_predictions(lifter: Lifter, tracks: Tracks) -> None:
    """Refuse to predict joints with a model that was always given all of them."""
    if lifter.hidden and not lifter.predicts_unseen:
        names = listed([tracks.skeleton.joints[joint] for joint in lifter.hidden], 3)
        raise ConfigError(
            f"{tracks.layout} does not give {names}, and this network has not learnt to predict joints "
            "that it does not see (data.hidden_joints=0)"
        )


def read_tracks(
    source: Path | str,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    layout: str | None = None,
    skeleton: Skeleton | None = H36M17,
    **video: Any,
) -> Tracks:
    """The keypoints of a file, a folder or a video as joints of a skeleton, in pixels; of None, as
    those that their layout has. A video says size and rate itself: a `size` that contradicts it is an
    error, `fps` is taken instead; `video` are options of `read_video` alone. Raises DataError.
    """
    from m2v_lib.data.keypoints import read_keypoints
    from m2v_lib.lift.video import is_video, read_video

    if is_video(Path(source)):
        where = Path(source)
        return read_video(where, size=size, fps=fps, layout=layout, skeleton=skeleton, **video)
    if given := [f"--{name}" for name, value in video.items() if value is not None]:
        raise DataError(f"{source}: is no video, {' and '.join(given)} must be left out")
    return read_keypoints(source, size=size, fps=fps, layout=layout, skeleton=skeleton)


def save(motion: Motion, out: Path | str, *, up: str = "y") -> list[Path]:
    """Write a motion as its file's ending says, one of WRITERS; returns the files (of a .bvh, .trc
    or .mot one a person). `up` is the world's upward axis in the formats that leave it open,
    UP_IS_OPEN.

    Raises DataError or OSError and then leaves nothing behind.
    """
    if up not in ("y", "z"):
        raise DataError(f"up must be y or z, got {str(up)[:80]!r}")
    options = {"up": up} if ending_of(out) in UP_IS_OPEN else {}
    return writer_of(out)(Path(out), motion, **options) or [Path(out)]


def ending_of(out: Path | str) -> str:
    """The ending by which a file is written: the longest of WRITERS that its name has, else its
    suffix.
    """
    name = Path(out).name.lower()
    fitting = [ending for ending in WRITERS if name.endswith(ending)]
    return max(fitting, key=len, default=Path(out).suffix.lower())


def writer_of(out: Path | str) -> Any:
    """The function that writes files of this ending; DataError where there is none."""
    ending = ending_of(out)
    if ending not in WRITERS:
        raise DataError(
            f"{out}: ends in {ending or 'nothing'}, expected one of {', '.join(WRITERS)}"
        )
    module, function = WRITERS[ending]
    return getattr(importlib.import_module(f"{__name__}.output.{module}"), function)
