"""glTF 2.0 (.glb) for Blender, game engines and viewers on the web: everybody's animated skeleton in
one file, in metres, y up, standing on the floor of the motion's world.

A person is a `rig`: a node a joint, their rotations and the root's path as animation, and a skin
with a slim body around each bone, so that a viewer shows something. What the format has no place
for (rate, network, expected error, when somebody was seen) is in `asset.extras` and the `extras` of
a person's node.
"""
# n frames, N nodes, V vertices

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.lift.output.bone_mesh import bone_bodies
from m2v_lib.lift.output.files import identity
from m2v_lib.lift.output.gltf import (
    INDICES,
    MAX_BYTES,
    VERTICES,
    Content,
    write_parts,
)
from m2v_lib.lift.output.page import COLOURS
from m2v_lib.lift.output.rig import Node, Tree, in_file, joined, make_rig, rest_offsets, rigs
from m2v_lib.lift.output.rotations import quaternions, unbroken_signs
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.runs.records import write_atomically

#: mm to the format's unit
METRES: Final = 1e-3


def write_glb(path: Path, motion: Motion) -> None:
    """Write everybody from the recording's first frame on; where somebody is not seen the nearest
    pose is held. Raises DataError where the format cannot hold so much.
    """
    content = Content()
    names = dict.fromkeys(person.name for person in motion.people)
    tops = [
        node
        for name in names
        for node in _person(content, [p for p in motion.people if p.name == name], motion)
    ]
    if content.length > MAX_BYTES:
        raise DataError(f"{path}: a .glb holds at most 4 GiB, got {content.length / 2**30:.1f}")

    description = _description(content, tops, motion)
    write_atomically(path, lambda beside: write_parts(beside, description, content))


def _person(content: Content, pieces: Sequence[Lifted], motion: Motion) -> tuple[int, int]:
    """Add a person; the numbers of the two nodes that hold the skeleton and its body."""
    pieces = sorted(pieces, key=lambda piece: piece.start)
    tree = Tree(motion.skeleton, frozenset(motion.absent))
    joints = joined(pieces, motion)
    nodes = make_rig(joints[:1], rest_offsets(joints, tree), tree).nodes
    parents, first = _parents(nodes), len(content.nodes)
    places = standing(nodes, parents)

    for i, node in enumerate(nodes):
        below = [first + child for child, parent in enumerate(parents) if parent == i]
        step = METRES * node.offset if i else places[0]
        content.nodes.append(
            {"name": node.name, "translation": step.tolist()}
            | ({"children": below} if below else {})
        )

    _animation(content, first, joints, tree, motion.fps)
    skin, mesh = _skin(content, first, places), _mesh(content, nodes, parents, places, motion)
    seen = [[piece.start, piece.start + piece.n_frames - 1] for piece in pieces]
    name, top = in_file(f"person {pieces[0].name}"), len(content.nodes)
    content.nodes.append(
        {"name": name, "children": [first], "extras": {"frames in which seen": seen}}
    )
    content.nodes.append({"name": f"{name}_body", "mesh": mesh, "skin": skin})

    return top, top + 1


def _parents(nodes: Sequence[Node]) -> list[int]:
    """Number of each node's parent, -1 of the root."""
    parents, above = list[int](), dict[int, int]()
    for i, node in enumerate(nodes):
        parents.append(above.get(node.depth - 1, -1))
        above[node.depth] = i
    return parents


def _animation(content: Content, first: int, joints: np.ndarray, tree: Tree, fps: float) -> None:
    """The root's path and every joint's rotations, from nodes number `first` on."""
    blocks = [
        (
            (METRES * rig.root).astype(np.float32),
            [None if node.rotation is None else quaternions(node.rotation) for node in rig.nodes],
        )
        for rig in rigs(joints, tree)
    ]
    times = content.add((np.arange(len(joints)) / fps).astype(np.float32), limits=True)
    content.animate(first, "translation", times, np.concatenate([root for root, _ in blocks]))
    for i, turns in enumerate(zip(*(turns for _, turns in blocks), strict=True)):
        if turns[0] is not None:
            content.animate(first + i, "rotation", times, unbroken_signs(np.concatenate(turns)))


def _skin(content: Content, first: int, places: np.ndarray) -> int:
    """The skin of a rig that rests at places (N,3), where no joint is turned."""
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(places), 1, 1))
    inverse[:, 3, :3] = -places  # column by column
    content.skins.append(
        {
            "joints": list(range(first, first + len(places))),
            "skeleton": first,
            "inverseBindMatrices": content.add(inverse),
        }
    )
    return len(content.skins) - 1


def standing(nodes: Sequence[Node], parents: Sequence[int]) -> np.ndarray:
    """Where the joints are at rest (N,3) m, the lowest on the floor."""
    places = np.zeros((len(nodes), 3))
    for i, parent in enumerate(parents):
        if parent >= 0:
            places[i] = places[parent] + METRES * nodes[i].offset
    return places - (0, places[:, 1].min(), 0)


def _mesh(
    content: Content,
    nodes: Sequence[Node],
    parents: list[int],
    places: np.ndarray,
    motion: Motion,
) -> int:
    """A body around each bone at rest, in the colour of its side."""
    sides = {in_file(j): motion.skeleton.side(i) for i, j in enumerate(motion.skeleton.joints)}
    primitives = []
    for material, side in enumerate(COLOURS):
        bones = [
            (parent, child)
            for child, parent in enumerate(parents)
            if parent >= 0 and nodes[child].offset.any() and sides.get(nodes[child].name) == side
        ]
        if not bones:
            continue

        points, normals, owners = bone_bodies(places, bones)
        weights = np.zeros((len(points), 4), np.float32)
        weights[:, 0] = 1
        joints = np.zeros((len(points), 4), np.uint16)
        joints[:, 0] = owners
        attributes = {
            "POSITION": content.add(points, target=VERTICES, limits=True),
            "NORMAL": content.add(normals, target=VERTICES),
            "JOINTS_0": content.add(joints, target=VERTICES),
            "WEIGHTS_0": content.add(weights, target=VERTICES),
        }
        indices = content.add(np.arange(len(points), dtype=np.uint16), target=INDICES)
        primitives.append({"attributes": attributes, "indices": indices, "material": material})

    content.meshes.append({"name": "bones", "primitives": primitives})
    return len(content.meshes) - 1


def _description(content: Content, tops: list[int], motion: Motion) -> dict[str, Any]:
    """The file's JSON part."""
    said = identity(motion) | {
        "units": "m",
        "axes": "x right as the camera sees it, y up from the floor, z towards the camera",
    }
    return {
        "asset": {"version": "2.0", "generator": said["package"], "extras": said},
        "scene": 0,
        "scenes": [{"name": "motion", "nodes": tops}],
        "nodes": content.nodes,
        "meshes": content.meshes,
        "skins": content.skins,
        "materials": [_material(side, colour) for side, colour in COLOURS.items()],
        "animations": [
            {"name": "motion", "channels": content.channels, "samplers": content.samplers}
        ],
        "accessors": content.accessors,
        "bufferViews": content.views,
        "buffers": [{"byteLength": content.length}],
    }


def _material(side: str, colour: str) -> dict[str, Any]:
    """A matt surface of a colour such as #0072b2."""
    shares = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    surface = {"metallicFactor": 0.0, "roughnessFactor": 0.8}
    return {
        "name": side,
        "pbrMetallicRoughness": surface | {"baseColorFactor": [*linear.round(5).tolist(), 1.0]},
    }
