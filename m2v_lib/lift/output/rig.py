"""A lifted motion as a rig: a skeleton whose bones keep their length, and how each joint turns.

A network's bones breathe by some percent; a rig's do not. Each bone gets its median length, both
sides the same, and points where the lifted one points; each joint turns as little as it can from
its parent. A joint that carries several bones (root, neck) turns by the best fit to all of them,
and between it and each bone stands a joint of no length (a pelvis, a collar) that does the
rest. A joint that the layout lacks is left out, its children hang on its parent.

At rest the person stands on straight legs and looks along z (of z up: along -y) with the arms held
out to the sides, a T.
"""
# n frames, J joints, N nodes of the hierarchy

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from m2v_lib.geometry.kinematics import unit
from m2v_lib.lift.camera import BLOCK
from m2v_lib.lift.output.rotations import swing
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons import body as bodies

#: what turns a y-up world into one with another axis up; people still look the same way round
AXES: Final = {"y": np.eye(3), "z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])}
#: an upper arm that points down by more than this (cosine) at rest is lifted to the side
HANGS: Final = 0.5
#: joints that lie on a straight line from the shoulder then
ARM: Final = ("elbow", "wrist", "hand", "fingers")
#: joints of no length between a joint of several bones and each of them, by the joint the bone
#: leads to; any other is called after that joint
BASES: Final = {
    "right hip": "right_pelvis",
    "left hip": "left_pelvis",
    "spine": "waist",
    "nose": "neck_base",
    "left shoulder": "left_collar",
    "right shoulder": "right_collar",
}


@dataclass(frozen=True)
class Node:
    """A joint of the file: rest offset (3,) from its parent in mm, rotations (n,3,3) against it
    (None: a limb ends there, in the named joint).
    """

    name: str
    depth: int
    offset: np.ndarray
    rotation: np.ndarray | None


@dataclass(frozen=True)
class Rig:
    """Nodes in the order of the file, each after its parent, the root's path (n,3), and the joints
    (n,J,3), mm, where absent joints are as they were lifted.
    """

    nodes: tuple[Node, ...]
    root: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True)
class Tree:
    """A skeleton without the joints that are absent; the root always stays. `up` is y or z."""

    skeleton: Skeleton = H36M17
    absent: frozenset[int] = frozenset()
    up: str = "y"

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) in the order of the child; the parent is the nearest that is there."""
        there = {joint for joint in range(len(self.skeleton)) if joint not in self.absent}
        kept = there | {self.skeleton.root}
        return tuple(
            (self.skeleton.parent_among(child, kept), child)
            for _, child in self.skeleton.bones
            if child in there
        )

    @cached_property
    def children(self) -> tuple[list[int], ...]:
        return tuple(
            [child for parent, child in self.bones if parent == joint]
            for joint in range(len(self.skeleton))
        )

    @cached_property
    def directions(self) -> np.ndarray:
        """Unit vector (J,3) at rest from the parent to each joint. Where nobody says it, a bone
        goes on as the one before, or down.
        """
        offsets = bodies.rest_offsets(self.skeleton)
        found = np.zeros((len(self.skeleton), 3))
        for parent, child in self.skeleton.bones_from_root:
            known = np.isfinite(offsets[child]).all()
            before = found[parent] if found[parent].any() else np.array([0.0, -1.0, 0.0])
            found[child] = offsets[child] if known else before

        for parent, child in self.bones:
            at = self.skeleton.parents[child]
            while at != parent:
                found[child] = found[child] + offsets[at]
                at = self.skeleton.parents[at]

        self._lift_arms(found)
        found = unit(found)
        return found @ AXES[self.up].T

    def _lift_arms(self, directions: np.ndarray) -> None:
        """Turn arms that hang at rest to the sides, with all that hangs on them."""
        words = self.skeleton.vocabulary
        for side, out in (("left", 1.0), ("right", -1.0)):
            if f"{side} elbow" not in words:
                continue

            elbow = words.index(f"{side} elbow")
            if -directions[elbow, 1] < HANGS * np.linalg.norm(directions[elbow]):
                continue

            turn, arm = swing(directions[elbow], np.array([[out, 0.0, 0.0]]))[0], {elbow}
            for parent, child in self.skeleton.bones_from_root:
                arm |= {child} if parent in arm else set()

            directions[list(arm)] = directions[list(arm)] @ turn.T
            straight = [words.index(f"{side} {w}") for w in ARM if f"{side} {w}" in words]
            directions[straight] = (out, 0.0, 0.0)

    def base_of(self, joint: int) -> str:
        """The name of the joint of no length before a bone."""
        name = self.skeleton.joints[joint]
        base = BASES.get(name)
        return base if base and base not in self.skeleton.joints else f"{in_file(name)}_base"


def make_rig(joints_mm: np.ndarray, offsets: np.ndarray | None = None, tree: Tree = Tree()) -> Rig:
    """The rig nearest to a motion (n,J,3) in the axes of `tree.up`; `offsets`: the body's
    `rest_offsets`, else the motion's.
    """
    joints = joints_mm.astype(np.float64)
    offsets = rest_offsets(joints, tree) if offsets is None else offsets
    made, nodes, root = joints.copy(), list[Node](), tree.skeleton.root
    upright = np.broadcast_to(np.eye(3), (len(joints), 3, 3))

    todo: list[tuple[int, int, np.ndarray, Node | None]] = [(root, 0, upright, None)]
    # joints whose place made[:, joint] is known, their depth, how their parent is turned, a base
    # before
    while todo:
        joint, depth, above, base = todo.pop()
        nodes += [base] if base else []

        name = in_file(tree.skeleton.joints[joint])
        children = tree.children[joint]
        if not children:
            nodes.append(Node(name, depth, offsets[joint], None))
            continue

        bones = np.stack([joints[:, child] - joints[:, joint] for child in children], axis=1)
        turn = _fit(offsets[children], np.einsum("nji,ncj->nci", above, bones))
        nodes.append(Node(name, depth, offsets[joint], turn))
        above, below_here = above @ turn, list[tuple[int, int, np.ndarray, Node | None]]()

        for i, child in enumerate(children):
            below, base = above, None
            if len(children) > 1:
                turn = swing(offsets[child], np.einsum("nji,nj->ni", above, bones[:, i]))
                base = Node(tree.base_of(child), depth + 1, np.zeros(3), turn)
                below = above @ turn
            made[:, child] = made[:, joint] + below @ offsets[child]
            below_here.append((child, depth + (2 if base else 1), below, base))

        todo += reversed(below_here)

    return Rig(tuple(nodes), made[:, root], made)


def rest_offsets(joints: np.ndarray, tree: Tree = Tree()) -> np.ndarray:
    """Offset (J,3) of each joint from its parent at rest: median bone lengths, left and right
    alike.
    """
    parents, children = np.array(tree.bones).T
    blocks = (joints[first : first + BLOCK] for first in range(0, len(joints), BLOCK))
    lengths = np.concatenate(
        [np.linalg.norm(block[:, children] - block[:, parents], axis=-1) for block in blocks]
    )
    length = np.zeros(len(tree.skeleton))
    length[children] = np.median(lengths, axis=0)

    for right, left in tree.skeleton.flip_pairs:
        if not tree.absent & {right, left}:
            length[right] = length[left] = (length[right] + length[left]) / 2

    return length[:, None] * tree.directions


def in_file(name: str) -> str:
    """A joint's name as one word."""
    return "_".join(name.split())


def _fit(offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rotations (n,3,3) that turn rest offsets (c,3) towards the wanted bones (n,c,3): of
    several, the best fit.
    """
    if len(offsets) == 1:
        return swing(offsets[0], wanted[:, 0])
    u, _, vt = np.linalg.svd(np.einsum("nci,cj->nij", wanted, offsets))  # Kabsch
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def joined(pieces: list[Lifted], motion: Motion, up: str = "y") -> np.ndarray:
    """World joints (n,J,3) of one person from the recording's first frame to their last, held
    where they were not seen.
    """
    n_joints = pieces[0].pose_mm.shape[1]
    out = np.empty((pieces[-1].start + pieces[-1].n_frames, n_joints, 3), np.float32)

    for piece in pieces:
        stop = piece.start + piece.n_frames
        for first in range(0, piece.n_frames, BLOCK):
            rows = slice(first, first + BLOCK)
            joints = piece.pose_mm[rows] + piece.root_mm[rows, None]
            at = slice(piece.start + first, min(piece.start + first + BLOCK, stop))
            out[at] = motion.world.to_world(joints) @ AXES[up].T
        out[stop:] = out[stop - 1]

    out[: pieces[0].start] = out[pieces[0].start]
    return out


def rigs(joints_mm: np.ndarray, tree: Tree) -> Iterator[Rig]:
    """The rig of a motion (n,J,3), a block of frames at a time."""
    offsets = rest_offsets(joints_mm, tree)
    for first in range(0, len(joints_mm), BLOCK):
        yield make_rig(joints_mm[first : first + BLOCK], offsets, tree)
