"""From what was lifted to motion worth using, a step after the other: bones of constant length,
smoothing, and feet that stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from m2v_lib.lift.motion import SMOOTH_HZ
from m2v_lib.lift.motion.anatomy import legs
from m2v_lib.lift.motion.bones import MIN_FRAMES, bone_links, bone_targets, set_lengths
from m2v_lib.lift.motion.feet import plant_feet
from m2v_lib.lift.motion.gravity import Found, find_world
from m2v_lib.lift.motion.smooth import smooth
from m2v_lib.lift.motion.spread import calibrate
from m2v_lib.lift.motion.world import LEVEL_UP
from m2v_lib.skeletons import Skeleton

if TYPE_CHECKING:
    from m2v_lib.lift.people import Lifted


def treat(
    people: Sequence[Lifted],
    skeleton: Skeleton,
    fps: float,
    absent: Collection[int] = (),
    cutoff: float | None = SMOOTH_HZ,
) -> Found:
    """Change everybody's motion in place, say how unsure it is, and find the world it is in. `cutoff` Hz; None leaves
    smoothing out, and with it the feet, which are found by how slowly they move.
    """
    *_, (_, found) = steps(people, skeleton, fps, absent, cutoff)
    for person in people:
        calibrate(person, skeleton.root)
    return found


def steps(
    people: Sequence[Lifted],
    skeleton: Skeleton,
    fps: float,
    absent: Collection[int] = (),
    cutoff: float | None = SMOOTH_HZ,
) -> Iterator[tuple[str, Found]]:
    """The name of each step after it was done, and the world as far as it is known."""
    constant = _Bones(people, skeleton, absent)
    constant.keep()
    yield "bones", Found(None, "")

    if cutoff is not None:
        for person in people:
            smooth(person.pose_mm, fps, cutoff, person.confidence)
            smooth(person.root_mm[:, None], fps, cutoff)
        constant.keep()

    found = find_world(people, skeleton, fps, absent, smoothed=cutoff is not None)
    yield "smooth", found

    if cutoff is not None:
        up = np.array(LEVEL_UP) if found.world is None else found.world.up
        for person in people:
            plant_feet(person, legs(skeleton, absent), up, fps)
    yield "feet", found


class _Bones:
    """Everybody's bones as they were measured once, to be kept through all that follows."""

    def __init__(self, people: Sequence[Lifted], skeleton: Skeleton, absent: Collection[int]):
        self.links, self.skeleton, self.absent = bone_links(skeleton, absent), skeleton, absent
        self.pieces: dict[str, list[Lifted]] = {}
        for person in people:
            self.pieces.setdefault(person.name, []).append(person)

        for name, pieces in list(self.pieces.items()):
            if sum(piece.n_frames for piece in pieces) < MIN_FRAMES:
                del self.pieces[name]

        self.lengths = {
            name: bone_targets(pieces, skeleton, self.links) for name, pieces in self.pieces.items()
        }

    def keep(self) -> None:
        for name, pieces in self.pieces.items():
            for piece in pieces:
                lengths = self.lengths[name]
                set_lengths(piece.pose_mm, lengths, self.links, self.skeleton, self.absent)
