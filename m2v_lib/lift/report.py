"""What a lift says of itself: what was read as what, what was missing and filled in, what was
assumed, and how sure the result is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

import numpy as np

from m2v_lib.data.checks import counted
from m2v_lib.data.keypoints import Tracks
from m2v_lib.lift.camera import FOCAL, STATURE, Camera
from m2v_lib.lift.self_check import SelfCheck
from m2v_lib.skeletons import H36M17

if TYPE_CHECKING:
    from m2v_lib.lift.motion.gravity import Found
    from m2v_lib.lift.people import Lifted

#: joints that are hardly ever seen: their bones are the network's guess
RARELY_SEEN: Final = 0.2
#: shorter than this (s) the network has seen nothing in training
SHORT_S: Final = 0.2
#: faster than this (heights a second) nobody of the training data moves through the image
FAST: Final = 6.0
#: frames looked at for that
SAMPLE: Final = 500
#: share of joints filled in from which the accuracy table does not hold
MUCH_FILLED: Final = 0.4


def reading_lines(tracks: Tracks) -> dict[str, str]:
    """What was read as what."""
    lines = {
        "read as": f"{tracks.format}, layout {tracks.layout}"
        + (f" ({tracks.layout_reason})" if tracks.layout_reason else "")
    }
    size = f"{tracks.width} x {tracks.height} px" if tracks.width else "image size unknown"
    rate = f"{tracks.fps:g} frames a second, " if tracks.fps else ""
    people = "1 person" if len(tracks.people) == 1 else f"{len(tracks.people)} people"
    lines["recording"] = f"{size}, {rate}{counted(tracks.n_frames, 'frame')}, {people}"

    return lines


def motion_lines(
    tracks: Tracks,
    people: tuple[Lifted, ...],
    camera: Camera,
    stature: float,
    focal: float | None,
    *,
    predicted: bool = False,
) -> dict[str, str]:
    """What was missing, and what was assumed."""
    given = [filled_in(person, tracks.absent) for person in people]
    filled = sum(int(part.sum()) for part in given) / sum(part.size for part in given)
    gaps = sum(person.n_missing_frames for person in tracks.people)
    without = f"{counted(gaps, 'frame')} without a detection"
    lines = {"filled in": f"{filled:.0%} of the joints, {without}"}

    if tracks.absent:
        names = ", ".join(tracks.skeleton.joints[joint] for joint in tracks.absent)
        if predicted:
            lines["predicted"] = f"{names}: not part of {tracks.layout}, marked as filled in"
        else:
            lines["absent"] = f"{names}: not part of {tracks.layout}, left out of the result"

    focal_text = f"focal length {camera.focal:.0f} px"
    if focal is None:
        focal_text += f" ({FOCAL} x the longer side, assumed)"
    stature_text = f"stature {stature:g} m" + (" (assumed)" if stature == STATURE else "")
    lines["assumed"] = f"{focal_text}, {stature_text}; sizes and depth scale with them"

    return lines


def treatment_lines(found: Found, smooth: float | None) -> dict[str, str]:
    """What was done to the motion, and where up and the floor are."""
    smoothed = (
        "not smoothed (--smooth off), feet may slide"
        if smooth is None
        else f"smoothed above {smooth:g} Hz without lag, standing feet held"
    )
    lines = {"motion": f"bones of constant length, {smoothed}"}
    if found.world is None:
        lines["world"] = f"camera taken as level, floor under the lowest point: {found.reason}"
        return lines

    world, (pitch, roll) = found.world, found.sure
    lines["world"] = (
        f"camera {world.camera_height / 1000:.1f} m above the floor, looking "
        f"{abs(world.pitch):.0f}° {'down' if world.pitch >= 0 else 'up'} (±{pitch:.0f}°), rolled "
        f"{world.roll:z.0f}° (±{roll:.0f}°), {world.how}; it must not move"
    )
    return lines


def certainty_lines(
    tracks: Tracks,
    people: tuple[Lifted, ...],
    check: SelfCheck,
    fps: float,
    *,
    measured: bool,
    doubtful: bool = False,
) -> dict[str, str]:
    """How sure the result is: the measured error for such input, of the network that was `measured`,
    and the lift's own check. Of a `doubtful` recording no error is known.
    """
    longest = max(person.n_frames for person in people)
    error = expected_error(fps, longest) if measured and tracks.skeleton == H36M17 else None

    lines = {}
    if error is not None and (doubtful or check.doubts):
        lines["expected error"] = (
            "not known, what was measured is of other input (see the warnings)"
        )
    elif error is not None:
        lines["expected error"] = (
            f"{error:.0f} mm a joint (mean over motion capture seen by a simulated detector, a "
            "fifth of the joints missing)"
        )

    if np.isfinite(check.reprojection):
        lines["self-check"] = (
            f"projected back {check.reprojection:.1%} of the body off, bones spread "
            + (f"{check.bone_spread:.2f}" if np.isfinite(check.bone_spread) else "unknown")
        )

    return lines


def warnings(
    tracks: Tracks,
    people: tuple[Lifted, ...],
    check: SelfCheck,
    fps: float,
    doubts: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Where the input leaves what the network knows, or the result does not fit it; `doubts` are
    those of the recording itself.
    """
    found = [f"warning: {doubt}" for doubt in doubts]
    if check.doubts:
        found.append(
            f"the result is doubtful: {'; '.join(check.doubts)}. Is {tracks.layout} the right "
            "layout (--layout), and the image size (--size)?"
        )

    if any((person.joints_mm[..., 2] <= 0).any() for person in people):
        found.append("people reach behind the camera: is the focal length right (--focal, --fov)?")

    unseen = [person.filled.mean(0) > 1 - RARELY_SEEN for person in people]
    rare = np.mean(unseen, axis=0) > 0.5

    rare[list(tracks.absent)] = False
    if rare.any():
        names = ", ".join(tracks.skeleton.joints[joint] for joint in np.flatnonzero(rare))
        found.append(
            f"hardly ever seen: {names}; the size comes from the other bones, depth is unsure"
        )

    if np.mean([filled_in(person, tracks.absent).mean() for person in people]) > MUCH_FILLED:
        found.append(
            f"more than {MUCH_FILLED:.0%} of the joints are filled in, the error is larger than stated"
        )
    if max(person.n_frames for person in people) / fps < SHORT_S:
        found.append(f"shorter than {SHORT_S:g} s, the network knows longer motions only")
    if max(map(_speed, people)) * fps > FAST:
        found.append("people cross the image faster than any the network has seen: is fps right?")

    return tuple(found)


def filled_in(person: Lifted, absent: Sequence[int]) -> np.ndarray:
    """Which of the joints that the layout has were filled in (n, their number)."""
    return np.delete(person.filled, list(absent), axis=1)


def _speed(person: Lifted) -> float:
    """Heights that the body's middle goes from one frame to the next, nine tenths below."""
    if person.n_frames < 3:
        return 0.0
    rows = np.arange(0, person.n_frames - 1, -(-person.n_frames // SAMPLE))
    height = float(np.median(np.ptp(person.seen_px[rows], axis=1).max(-1)))
    step = person.seen_px[rows + 1].mean(1) - person.seen_px[rows].mean(1)
    move = np.linalg.norm(step, axis=-1)
    return float(np.quantile(move, 0.9)) / max(height, 1e-6)


def expected_error(fps: float, n_frames: int) -> float | None:
    """MPJPE (mm) of the package's network at the nearest rate and length of its accuracy table."""
    rows = _accuracy_rows()
    if not rows:
        return None
    nearest = min(
        rows,
        key=lambda row: abs(np.log(row["length"] / n_frames)) + abs(np.log(row["fps"] / fps)) / 10,
    )
    return float(nearest["mpjpe"])


@cache
def _accuracy_rows() -> tuple[dict[str, float], ...]:
    try:
        text = resources.files("m2v_lib.weights").joinpath("accuracy.json").read_text("utf-8")
        return tuple(row for row in json.loads(text)["rows"] if row["mpjpe"])
    except (OSError, ValueError, KeyError):
        return ()
