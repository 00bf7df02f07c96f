"""Does a recording look like one? Coordinates of another image, axes that are swapped or turned, and
numbers of frames that are times lift without an error to a motion that is wrong.
"""
# n frames of a person, J joints

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from m2v_lib.data.checks import counted
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.data.keypoints.formats.files import NoPersonError
from m2v_lib.data.keypoints.timeline import MAX_GAP
from m2v_lib.skeletons import Skeleton
from m2v_lib.skeletons.body import standing

#: from which angle (degrees) between body and image a person lies, and from which they are upside
#: down; in how large a share of the frames it takes more than exercise to explain
LYING: Final = 60.0
UPSIDE_DOWN: Final = 120.0
MIN_SHARE: Final = 0.9
#: joints of a frame that it takes to tell
MIN_JOINTS: Final = 6
#: frames of a person looked at
SAMPLE: Final = 500
#: share of width and height that people have to reach beyond
CORNER: Final = 0.51


def input_doubts(tracks: Tracks, fps: float) -> tuple[str, ...]:
    """What speaks against the recording, a sentence each, with what may be the cause."""
    sampled = replace(tracks, people=tuple(_sample(person) for person in tracks.people))
    found = [_turned(sampled), _in_a_corner(sampled), _far_between(tracks, fps)]
    return tuple(text for text in found if text)


def without_unsure(tracks: Tracks, min_confidence: float) -> Tracks:
    """Frames in which no joint of a person is trusted are frames in which they are not seen. Raises
    NoPersonError where nobody is left.
    """
    sure = [(person.confidence > min_confidence).any(1) for person in tracks.people]
    if all(rows.all() for rows in sure):
        return tracks

    people = [
        Person(person.name, person.frames[rows], person.xy[rows], person.confidence[rows])
        for person, rows in zip(tracks.people, sure, strict=True)
        if rows.any()
    ]
    why = f"no joint has a score above {min_confidence:g}"
    if not people:
        raise NoPersonError(f"{tracks.source}: nobody can be lifted, in all frames {why}")

    unsure = sum(int((~rows).sum()) for rows in sure)
    notes = [f"left out {counted(unsure, 'detection')} in which {why}"]
    if gone := len(sure) - len(people):
        notes.append(f"left out {gone} of {len(sure)} people, in all their frames {why}")
    people.sort(key=lambda person: -len(person.frames))
    return replace(tracks, people=tuple(people), notes=(*tracks.notes, *notes))


def _sample(person: Person) -> Person:
    rows = slice(None, None, -(-len(person.frames) // SAMPLE))
    return Person(person.name, person.frames[rows], person.xy[rows], person.confidence[rows])


def lean(person: Person, skeleton: Skeleton) -> np.ndarray:
    """Degrees (n,) from the image's upward direction to the body's, from 0 to 180; NaN where too few
    joints are seen. The body's is that in which joints lie higher that do so on a standing adult.
    """
    height = standing(skeleton)[:, 1]
    seen = (person.confidence > 0) & np.isfinite(height)
    weight = seen / np.maximum(seen.sum(1, keepdims=True), 1)
    from_mean = np.where(seen, np.nan_to_num(height), 0.0)
    from_mean = np.where(seen, from_mean - (weight * from_mean).sum(1, keepdims=True), 0.0)
    x, y = np.moveaxis((from_mean[..., None] * person.xy).sum(1), -1, 0)
    return np.where(seen.sum(1) >= MIN_JOINTS, np.degrees(np.abs(np.arctan2(x, -y))), np.nan)


def _turned(tracks: Tracks) -> str:
    angles = np.concatenate([lean(person, tracks.skeleton) for person in tracks.people])
    angles = angles[np.isfinite(angles)]
    if not len(angles):
        return ""

    upside_down = float((angles > UPSIDE_DOWN).mean())
    if upside_down > MIN_SHARE:
        return (
            f"people are upside down in {upside_down:.0%} of the frames: y must count downwards from "
            "the image's top; is it counted upwards, or is the picture turned?"
        )
    lying = float((angles > LYING).mean()) - upside_down
    if lying > MIN_SHARE:
        return (
            f"people lie on their side in {lying:.0%} of the frames: if they do not, x and y are "
            "swapped or the picture is turned"
        )
    return ""


def _in_a_corner(tracks: Tracks) -> str:
    if not tracks.width or not tracks.height:
        return ""
    seen = np.concatenate([person.xy[person.confidence > 0] for person in tracks.people])
    if not len(seen):
        return ""
    reach = np.quantile(seen, 0.999, axis=0) / (tracks.width, tracks.height)
    if (reach > CORNER).any():
        return ""
    return (
        f"people never leave the upper left {max(reach[0], 0):.0%} x {max(reach[1], 0):.0%} of the "
        f"{tracks.width} x {tracks.height} px: is that the image that the detector saw (--size), and "
        "are coordinates pixels of it?"
    )


def _far_between(tracks: Tracks, fps: float) -> str:
    frames = np.unique(np.concatenate([person.frames for person in tracks.people]))
    if len(frames) < 3 or np.diff(frames).min() <= max(1.0, MAX_GAP * fps):
        return ""
    first = ", ".join(map(str, frames[:3].tolist()))
    return (
        f"frames are numbered {first} ..., no two within {MAX_GAP:g} s at {fps:g} a second, so that "
        "each is lifted by itself: are these milliseconds, or is --fps too low?"
    )
