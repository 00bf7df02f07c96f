"""BVH for animation programs: a skeleton whose bones keep their length, and the rotation of each
joint in every frame, standing on the floor of the motion's world.

A file holds one person; several are written to `NAME-1.bvh`, `NAME-2.bvh` ... What it shows is the
motion as a `rig`: at rest a T that looks along z, y up (with `up` z: along -y, z up). Lengths are
mm, which the format cannot say: the root is called `root_mm`. Blender takes it with scale 0.001
and its own axes, -Z forward and Y up (of z up: Y forward and Z up).
"""
# n frames, J joints

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from m2v_lib.lift.output.files import write_lines
from m2v_lib.lift.output.rig import Rig, Tree, joined, make_rig, rest_offsets, rigs
from m2v_lib.lift.output.rotations import euler_zxy
from m2v_lib.lift.people import Motion, by_person


def write_bvh(path: Path, motion: Motion, up: str = "y") -> list[Path]:
    """Write one file a person, from the recording's first frame on; where nobody is seen the
    nearest pose is held.
    """
    targets = []
    tree = Tree(motion.skeleton, frozenset(motion.absent), up)
    for target, pieces in by_person(path, motion):
        write_lines(target, _lines(joined(pieces, motion, up), motion.fps, tree))
        targets.append(target)

    return targets


def _lines(joints_mm: np.ndarray, fps: float, tree: Tree) -> Iterator[str]:
    """The file of a motion (n,J,3); a block of frames is turned into rotations at a time."""
    yield from _hierarchy(make_rig(joints_mm[:1], rest_offsets(joints_mm, tree), tree))
    yield "MOTION"
    yield f"Frames: {len(joints_mm)}"
    yield f"Frame Time: {1 / fps:.8f}"

    for rig in rigs(joints_mm, tree):
        angles = [euler_zxy(node.rotation) for node in rig.nodes if node.rotation is not None]
        for row in np.concatenate([rig.root, *angles], axis=1):
            yield " ".join(f"{value:.4f}" for value in row)


def _hierarchy(rig: Rig) -> Iterator[str]:
    yield "HIERARCHY"
    for node, after in zip(rig.nodes, [*(node.depth for node in rig.nodes[1:]), 0], strict=True):
        pad, end = "\t" * node.depth, node.rotation is None
        kind = "JOINT " + node.name if node.depth else "ROOT root_mm"
        yield pad + ("End Site" if end else kind)
        yield pad + "{"
        yield f"{pad}\tOFFSET " + " ".join(f"{value + 0.0:.4f}" for value in node.offset)

        if not end:
            place = "3" if node.depth else "6 Xposition Yposition Zposition"
            yield f"{pad}\tCHANNELS {place} Zrotation Xrotation Yrotation"

        yield from (
            "\t" * depth + "}" for depth in range(node.depth, after - 1 if end else node.depth, -1)
        )
