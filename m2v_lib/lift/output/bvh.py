"""BVH for animation programs: a skeleton whose bones keep their length, and the rotation of each
joint in every frame.

A network's bones breathe by some percent; a rig's do not. Each bone gets its median length, both
sides the same, and points where the lifted one points; each joint turns as little as it can from
its parent. A joint that carries several bones (root, neck) turns by the best fit to all of them,
and between it and each bone stands a joint of no length (a pelvis, a collar) that does the
rest. What the file shows is `Rig.joints`, the lifted motion with constant bones; a joint that the
layout lacks is left out, its children hang on its parent.

A file holds one person; several are written to `NAME-1.bvh`, `NAME-2.bvh` ... y is up, the
person rests facing z with the arms down, and lengths are mm, which the format cannot say: the
root is called `root_mm`.
"""
# n frames, J joints, N nodes of the hierarchy

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from m2v_lib.lift.camera import BLOCK, Y_UP
from m2v_lib.lift.output.files import write_lines
from m2v_lib.lift.people import Lifted, Motion, by_person
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons import body as bodies

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
    (None: a limb ends).
    """

    name: str
    depth: int
    offset: np.ndarray
    rotation: np.ndarray | None


@dataclass(frozen=True)
class Rig:
    """Nodes in the order of the file, the root's path (n,3) in its axes, and the joints (n,J,3)
    mm in camera axes, where absent joints are as they were lifted.
    """

    nodes: tuple[Node, ...]
    root: np.ndarray
    joints: np.ndarray


def write_bvh(path: Path, motion: Motion) -> list[Path]:
    """Write one file a person, from the recording's first frame on; where nobody is seen the
    nearest pose is held.
    """
    targets = []
    tree = Tree(motion.skeleton, frozenset(motion.absent))
    for target, pieces in by_person(path, motion):
        write_lines(target, _lines(_joined(pieces), motion.fps, tree))
        targets.append(target)

    return targets


@dataclass(frozen=True)
class Tree:
    """A skeleton without the joints that are absent; the root always stays."""

    skeleton: Skeleton = H36M17
    absent: frozenset[int] = frozenset()

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

        return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-9)

    def base_of(self, joint: int) -> str:
        """The name of the joint of no length before a bone."""
        name = self.skeleton.joints[joint]
        base = BASES.get(name)
        return base if base and base not in self.skeleton.joints else f"{_in_file(name)}_base"


def make_rig(joints_mm: np.ndarray, offsets: np.ndarray | None = None, tree: Tree = Tree()) -> Rig:
    """The rig nearest to a motion (n,J,3) in camera axes; `offsets`: the body's `rest_offsets`,
    else the motion's.
    """
    joints = joints_mm.astype(np.float64) * Y_UP
    offsets = rest_offsets(joints, tree) if offsets is None else offsets
    made, nodes, root = joints.copy(), list[Node](), tree.skeleton.root
    upright = np.broadcast_to(np.eye(3), (len(joints), 3, 3))

    todo: list[tuple[int, int, np.ndarray, Node | None]] = [(root, 0, upright, None)]
    # joints whose place made[:, joint] is known, their depth, how their parent is turned, a base
    # before
    while todo:
        joint, depth, above, base = todo.pop()
        nodes += [base] if base else []

        name = "root_mm" if joint == root else _in_file(tree.skeleton.joints[joint])
        children = tree.children[joint]
        if not children:
            nodes.append(Node("", depth, offsets[joint], None))
            continue

        bones = np.stack([joints[:, child] - joints[:, joint] for child in children], axis=1)
        turn = _fit(offsets[children], np.einsum("nji,ncj->nci", above, bones))
        nodes.append(Node(name, depth, offsets[joint], turn))
        above, below_here = above @ turn, list[tuple[int, int, np.ndarray, Node | None]]()

        for i, child in enumerate(children):
            below, base = above, None
            if len(children) > 1:
                turn = _swing(offsets[child], np.einsum("nji,nj->ni", above, bones[:, i]))
                base = Node(tree.base_of(child), depth + 1, np.zeros(3), turn)
                below = above @ turn
            made[:, child] = made[:, joint] + below @ offsets[child]
            below_here.append((child, depth + (2 if base else 1), below, base))

        todo += reversed(below_here)

    return Rig(tuple(nodes), made[:, root], made * Y_UP)


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


def _in_file(name: str) -> str:
    """A joint's name as one word."""
    return "_".join(name.split())


def _fit(offsets: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Rotations (n,3,3) that turn rest offsets (c,3) towards the wanted bones (n,c,3): of
    several, the best fit.
    """
    if len(offsets) == 1:
        return _swing(offsets[0], wanted[:, 0])
    u, _, vt = np.linalg.svd(np.einsum("nci,cj->nij", wanted, offsets))  # Kabsch
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def _swing(rest: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The smallest rotations (n,3,3) that turn the direction `rest` (3,) to those of `wanted`
    (n,3); no twist.
    """
    a = rest / np.linalg.norm(rest)
    b = wanted / np.maximum(np.linalg.norm(wanted, axis=-1, keepdims=True), 1e-9)
    axis, cosine = np.cross(a, b), np.clip(b @ a, -1, 1)
    cross = np.zeros((len(b), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]], cross[:, [1, 2, 0], [2, 0, 1]] = axis, -axis
    out = np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, 1e-9)[:, None, None]
    # half a turn goes about any axis across
    across = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
    out[cosine < -1 + 1e-9] = 2 * np.outer(across, across) / (across @ across) - np.eye(3)

    return out


def euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """Rotations (...,3,3) = Rz Rx Ry -> angles (...,3) in degrees in the order z, x, y."""
    x = np.arcsin(np.clip(rotations[..., 2, 1], -1, 1))
    z = np.arctan2(-rotations[..., 0, 1], rotations[..., 1, 1])
    y = np.arctan2(-rotations[..., 2, 0], rotations[..., 2, 2])
    return np.degrees(np.stack([z, x, y], axis=-1))


def _joined(pieces: list[Lifted]) -> np.ndarray:
    """Joints (n,J,3) of one person from the recording's first frame to their last, held where
    they were not seen.
    """
    n_joints = pieces[0].pose_mm.shape[1]
    out = np.empty((pieces[-1].start + pieces[-1].n_frames, n_joints, 3), np.float32)
    out[: pieces[0].start] = pieces[0].pose_mm[0] + pieces[0].root_mm[0]

    for piece in pieces:
        np.add(
            piece.pose_mm,
            piece.root_mm[:, None],
            out=out[piece.start : piece.start + piece.n_frames],
        )
        out[piece.start + piece.n_frames :] = out[piece.start + piece.n_frames - 1]

    return out


def _lines(joints_mm: np.ndarray, fps: float, tree: Tree) -> Iterator[str]:
    """The file of a motion (n,J,3) in camera axes; a block of frames is turned into rotations at
    a time.
    """
    offsets = rest_offsets(joints_mm, tree)
    blocks = (joints_mm[first : first + BLOCK] for first in range(0, len(joints_mm), BLOCK))
    yield from _hierarchy(make_rig(joints_mm[:1], offsets, tree))
    yield "MOTION"
    yield f"Frames: {len(joints_mm)}"
    yield f"Frame Time: {1 / fps:.8f}"

    for rig in (make_rig(block, offsets, tree) for block in blocks):
        angles = [euler_zxy(node.rotation) for node in rig.nodes if node.rotation is not None]
        for row in np.concatenate([rig.root, *angles], axis=1):
            yield " ".join(f"{value:.4f}" for value in row)


def _hierarchy(rig: Rig) -> Iterator[str]:
    yield "HIERARCHY"
    for node, after in zip(rig.nodes, [*(node.depth for node in rig.nodes[1:]), 0], strict=True):
        pad, end = "\t" * node.depth, node.rotation is None
        yield pad + ("End Site" if end else f"{'JOINT' if node.depth else 'ROOT'} {node.name}")
        yield pad + "{"
        yield f"{pad}\tOFFSET " + " ".join(f"{value + 0.0:.4f}" for value in node.offset)

        if not end:
            place = "3" if node.depth else "6 Xposition Yposition Zposition"
            yield f"{pad}\tCHANNELS {place} Zrotation Xrotation Yrotation"

        yield from (
            "\t" * depth + "}" for depth in range(node.depth, after - 1 if end else node.depth, -1)
        )
