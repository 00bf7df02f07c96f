"""Keypoints known by their names, in any order and number: `LHip`, `left_hip`, `hip.L`, `l hip`.

Names decide which joint a keypoint is. Where they are those of no known layout, a layout is made
of the names that are joints of the body; what none of them gives is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import listed
from m2v_lib.data.keypoints.layouts import Layout, by_names
from m2v_lib.data.keypoints.skeleton_map import own_layout
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons.h36m import JOINTS
from m2v_lib.skeletons.names import joint_keys, standard_name

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


def layout_of_names(names: Sequence[str], where: str, skeleton: Skeleton = H36M17) -> Layout:
    """The layout of keypoints with these names; DataError where they are no person's joints, unless
    the skeleton has no such joints either.
    """
    if known := by_names(names):
        return known

    keys = joint_keys(skeleton.joints)
    if joint_keys(names) == keys:
        return own_layout(skeleton)

    plain = [standard_name(name) for name in names]
    joints = [name for name in plain if name]
    if twice := next((name for name in joints if joints.count(name) > 1), None):
        raise DataError(f"{where}: two of its keypoints are called {twice}, expected each once")
    if missing := [name for name in _NEEDED if name in keys and name not in joints]:
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
