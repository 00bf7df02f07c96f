"""The parts of a body that treatment of motion needs, by name, in any skeleton."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from m2v_lib.skeletons import Skeleton
from m2v_lib.skeletons.names import joint_keys

#: what a neck is called in the vocabulary, the best first
NECKS = ("lower neck", "shoulder middle", "thorax", "mid neck", "neck")
SIDES = ("right", "left")


@dataclass(frozen=True)
class Leg:
    """Joints of a leg: -1 where the skeleton lacks one; an ankle is there always. `below` are the
    joints beyond the ankle, which go where it goes.
    """

    hip: int
    knee: int
    ankle: int
    below: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trunk:
    """Joints whose mean is the upper and the lower end of the trunk; empty where unknown."""

    top: tuple[int, ...]
    bottom: tuple[int, ...]


def named(skeleton: Skeleton, name: str, absent: Collection[int] = ()) -> int:
    """The joint of a name of the vocabulary ("left knee"), however the skeleton writes it; -1
    where it has none.
    """
    keys = joint_keys(skeleton.joints)
    for joint, (word, key) in enumerate(zip(skeleton.vocabulary, keys, strict=True)):
        if joint not in absent and name in (word, key.replace("_", " ")):
            return joint
    return -1


def legs(skeleton: Skeleton, absent: Collection[int] = ()) -> tuple[Leg, ...]:
    """The legs that have an ankle."""
    found = []
    for side in SIDES:
        hip, knee, ankle = (
            named(skeleton, f"{side} {part}", absent) for part in ("hip", "knee", "ankle")
        )
        if ankle >= 0:
            found.append(Leg(hip, knee, ankle, _beyond(skeleton, ankle)))
    return tuple(found)


def trunk(skeleton: Skeleton, absent: Collection[int] = ()) -> Trunk:
    """From the hips' middle to the neck, or to the middle of the shoulders."""
    necks = [named(skeleton, name, absent) for name in NECKS]
    shoulders = _both(skeleton, "shoulder", absent)
    top = next(((joint,) for joint in necks if joint >= 0), shoulders)
    return Trunk(top, _both(skeleton, "hip", absent))


def _both(skeleton: Skeleton, part: str, absent: Collection[int]) -> tuple[int, ...]:
    found = tuple(named(skeleton, f"{side} {part}", absent) for side in SIDES)
    return () if -1 in found else found


def _beyond(skeleton: Skeleton, joint: int) -> tuple[int, ...]:
    """All joints that hang on a joint."""
    found = {joint}
    for parent, child in skeleton.bones_from_root:
        if parent in found:
            found.add(child)
    return tuple(sorted(found - {joint}))
