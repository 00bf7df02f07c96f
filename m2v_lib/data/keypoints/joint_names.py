"""Keypoints known by their names, in any order and number: `LHip`, `left_hip`, `hip.L`, `l hip`.

Names decide which joint a keypoint is. Where they are those of no known layout, a layout is made
of the names that are joints of the body; what none of them gives is absent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import listed
from m2v_lib.data.keypoints.layouts import Layout, by_names
from m2v_lib.skeletons.h36m import JOINTS

_SIDES: Final = {"l": "left", "left": "left", "r": "right", "right": "right"}
_PARTS: Final = {
    **{part: part for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear")},
    **{"sho": "shoulder", "elb": "elbow", "wri": "wrist", "kne": "knee", "ank": "ankle"},
}
_MIDDLE: Final = {
    **dict.fromkeys(("root", "pelvis", "mid_hip", "midhip", "hip", "hips", "hip_center"), "root"),
    **dict.fromkeys(("neck", "thorax", "upper_neck", "head_bottom", "neck_base"), "neck"),
    **dict.fromkeys(("head_top", "top_head", "headtop", "top_of_head", "crown"), "head_top"),
    **dict.fromkeys(("spine", "belly", "torso", "spine1", "mid_spine"), "spine"),
    **dict.fromkeys(("nose", "head"), None),
    "nose": "nose",
    "head": "head_top",
}
#: each H36M joint of the body's middle: sets of names, the first one complete is taken
_MADE_OF: Final = {
    "root": (("root",), ("left_hip", "right_hip")),
    "neck": (("neck",), ("left_shoulder", "right_shoulder")),
    "spine": (
        ("spine",),
        ("left_shoulder", "right_shoulder", "left_hip", "right_hip"),
        ("neck", "root"),
    ),
    "nose": (("nose",),),
    "head": (("head_top",), ("left_eye", "right_eye")),
}
#: without these it is no person's body, or an animal's
_NEEDED: Final = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist") for side in ("left", "right")
)


def layout_of_names(names: Sequence[str], where: str) -> Layout:
    """The layout of keypoints with these names; DataError where they are no person's joints."""
    if known := by_names(names):
        return known

    plain = [standard_name(name) for name in names]
    joints = [name for name in plain if name]
    if twice := next((name for name in joints if joints.count(name) > 1), None):
        raise DataError(f"{where}: two of its keypoints are called {twice}, expected each once")
    if missing := [name for name in _NEEDED if name not in joints]:
        raise DataError(
            f"{where}: its {len(names)} keypoints ({listed(list(names), 3)}) are those of no known "
            f"layout, among them is no {missing[0]}"
        )

    sources = []
    for joint in JOINTS:
        sets = _MADE_OF.get(joint, ((joint.replace(" ", "_"),),))
        complete = (words for words in sets if all(word in joints for word in words))
        sources.append(tuple(plain.index(word) for word in next(complete, ())))

    return Layout("by name", tuple(names), tuple(sources))


def standard_name(name: str) -> str | None:
    """`left_hip` for `LHip`, `hip_l`, `Left Hip`, `hip.left`; None for what is no joint of ours."""
    words = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", name.strip())
    plain = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if plain in _MIDDLE:
        return _MIDDLE[plain]

    parts = plain.split("_")
    sides = [_SIDES[part] for part in parts if part in _SIDES]
    rest = [part for part in parts if part not in _SIDES]
    if not sides and len(parts) == 1 and parts[0][:1] in _SIDES:  # lhip, rwrist
        sides, rest = [_SIDES[parts[0][0]]], [parts[0][1:]]

    if not sides and len(parts) == 1:  # leftHip in lower case: lefthip
        for side in ("left", "right"):
            if parts[0].startswith(side):
                sides, rest = [side], [parts[0][len(side) :]]

    if len(sides) == 1 and len(rest) == 1 and rest[0] in _PARTS:
        return f"{sides[0]}_{_PARTS[rest[0]]}"

    return None
