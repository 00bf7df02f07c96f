"""Names of a body's joints: `LHip`, `left_hip`, `hip.L` and `l hip` are one joint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

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
    "nose": "nose",
    "head": "head_top",
}


def standard_name(name: str) -> str | None:
    """`left_hip` for `LHip`, `hip_l`, `Left Hip`, `hip.left`; None for what is no joint of ours."""
    plain = _plain(name)
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


def joint_keys(names: Sequence[str]) -> tuple[str, ...]:
    """The key of each of a body's joints. Where several may mean one (a rig's pelvis and root,
    3DHP's head and head top), it is the one that is called so, and `head` is the top of the head
    only where there is no other.

    >>> joint_keys(("LHip", "left hand", "head", "crown"))
    ('left_hip', 'hand left', 'head', 'head_top')
    """
    standard = [standard_name(name) for name in names]
    keys = []
    for joint, name in enumerate(names):
        wanted = standard[joint]
        rivals = [j for j, other in enumerate(standard) if other == wanted]
        meant = wanted is not None and joint == _meant(wanted, rivals, names)
        keys.append(wanted if wanted and meant else _other_key(name))

    return tuple(keys)


def _meant(wanted: str, rivals: Sequence[int], names: Sequence[str]) -> int | None:
    """Which of several joints a standard name means, if that is clear."""
    called_so = [joint for joint in rivals if _plain(names[joint]) == wanted]
    others = [joint for joint in rivals if _plain(names[joint]) != "head"]
    found = called_so or others or list(rivals)
    return found[0] if len(found) == 1 else None


def _other_key(name: str) -> str:
    """Words in one order: `left_big_toe`, `LToe` and MediaPipe's `left_foot_index` are the same."""
    words = _plain(name).replace("foot_index", "toe").split("_")
    return " ".join(sorted(_SIDES.get(word, word) for word in words if word != "big"))


def _plain(name: str) -> str:
    """Lower case, words joined by `_`, capitals within a name taken for word limits."""
    words = re.sub(r"([a-z])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
