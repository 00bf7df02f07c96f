"""BVH: read back by a reader that shares nothing with the writer (scipy's rotations), and looked
at as a rig.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.lifting import CAMERA, body
from scipy.spatial.transform import Rotation

from m2v_lib.lift import save
from m2v_lib.lift.camera import Y_UP, bone_lengths
from m2v_lib.lift.motion.world import upright_world
from m2v_lib.lift.output.bvh import write_bvh
from m2v_lib.lift.output.rig import AXES, BASES, Tree, make_rig
from m2v_lib.lift.output.rotations import euler_zxy, swing
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.skeletons import KNOWN
from m2v_lib.skeletons.h36m import JOINTS, LEFT, RIGHT


def motion(*people: tuple[str, int, np.ndarray]) -> Motion:
    """People given as (name, first frame, joints (n,17,3))."""
    lifted = []
    for name, start, joints in people:
        n = len(joints)
        root = joints[:, 0]
        lifted.append(
            Lifted(
                name,
                start,
                joints - root[:, None],
                root,
                np.zeros((n, 17, 2)),
                np.ones((n, 17)),
                np.zeros((n, 17), bool),
            )
        )
    return Motion("made", 25.0, 60, CAMERA, tuple(lifted), {"units": "mm"})


def read(path: Path) -> tuple[list[str], np.ndarray, float]:
    """Names, positions (frames, nodes, 3) and frame time by the format's plain rules."""
    words = iter(path.read_text().split())
    assert next(words) == "HIERARCHY"
    nodes: list[dict[str, Any]] = []
    stack: list[int] = []
    while (word := next(words)) != "MOTION":
        if word in ("ROOT", "JOINT", "End"):
            nodes.append(
                {"name": next(words), "parent": stack[-1] if stack else None, "channels": []}
            )
        elif word == "{":
            stack.append(len(nodes) - 1)
        elif word == "}":
            stack.pop()
        elif word == "OFFSET":
            nodes[stack[-1]]["offset"] = np.array([float(next(words)) for _ in range(3)])
        elif word == "CHANNELS":
            nodes[stack[-1]]["channels"] = [next(words) for _ in range(int(next(words)))]
    assert not stack, "every brace is closed"
    assert next(words) == "Frames:"
    n_frames = int(next(words))
    assert (next(words), next(words)) == ("Frame", "Time:")
    frame_time = float(next(words))
    values = np.array([float(word) for word in words]).reshape(n_frames, -1)
    positions = np.zeros((n_frames, len(nodes), 3))
    turned: list[Rotation] = []
    column = 0
    for i, node in enumerate(nodes):
        local = dict(
            zip(node["channels"], values[:, column : column + len(node["channels"])].T, strict=True)
        )
        column += len(node["channels"])
        order = "".join(name[0] for name in node["channels"] if name.endswith("rotation"))
        angles = (
            np.stack([local[f"{axis}rotation"] for axis in order], axis=-1)
            if order
            else np.zeros((n_frames, 3))
        )
        own = Rotation.from_euler(
            order or "XYZ", angles, degrees=True
        )  # capitals: about axes that turn along
        if node["parent"] is None:
            positions[:, i] = np.stack([local[f"{axis}position"] for axis in "XYZ"], axis=-1)
            turned.append(own)
        else:
            above = turned[node["parent"]]
            positions[:, i] = positions[:, node["parent"]] + above.apply(node["offset"])
            turned.append(above * own)
    assert column == values.shape[1], "every number belongs to a channel"
    return [node["name"] for node in nodes], positions, frame_time


def joints_of(names: list[str], positions: np.ndarray) -> np.ndarray:
    """The 17 joints: ends of limbs follow knee, elbow and nose in the file."""
    ends = {"right_knee": 3, "left_knee": 6, "nose": 10, "left_elbow": 13, "right_elbow": 16}
    order = {joint.replace(" ", "_"): j for j, joint in enumerate(JOINTS)} | {"root_mm": 0}
    out = np.full((len(positions), 17, 3), np.nan)
    for i, name in enumerate(names):
        if name == "Site":
            out[:, ends[names[i - 1]]] = positions[:, i]
        elif name not in BASES.values():
            out[:, order[name]] = positions[:, i]
    return out


@pytest.mark.parametrize("up", AXES)
def test_read_back_it_is_the_rig_within_a_millimetre(tmp_path: Path, up: str) -> None:
    joints = body(60, 25)
    joints += np.random.default_rng(0).normal(
        0, 15, joints.shape
    )  # bones that breathe, as a network's do
    made = motion(("1", 0, joints))
    save(made, tmp_path / "x.bvh", up=up)
    names, positions, frame_time = read(tmp_path / "x.bvh")
    found = joints_of(names, positions) @ AXES[up]
    world = made.world.to_world(joints)
    rig = make_rig(world)
    assert frame_time == pytest.approx(0.04) and len(found) == 60
    assert np.linalg.norm(found - rig.joints, axis=-1).max() < 0.1
    assert np.linalg.norm(found - world, axis=-1).mean() < 40, "and near what was lifted"
    assert bone_lengths(found).std(0).max() < 0.01


def test_it_stands_on_the_floor_of_a_tilted_cameras_world(tmp_path: Path) -> None:
    """Constant symmetric bones are kept to a tenth of a millimetre, whatever the camera."""
    joints = body(30)
    world = upright_world(np.array([0.1, -0.9, -0.4]), 1400.0, "said")
    made = replace(motion(("1", 0, world.to_camera(joints * Y_UP))), found_world=world)
    write_bvh(tmp_path / "x.bvh", made)
    found = joints_of(*read(tmp_path / "x.bvh")[:2])
    np.testing.assert_allclose(found, joints * Y_UP, atol=0.1)


@pytest.mark.parametrize("up", AXES)
def test_at_rest_it_is_a_t_that_looks_ahead(tmp_path: Path, up: str) -> None:
    save(motion(("1", 0, body(5))), tmp_path / "x.bvh", up=up)
    lines = (tmp_path / "x.bvh").read_text().split("MOTION")
    zeros = " ".join("0" for _ in range(lines[0].split().count("CHANNELS") * 3 + 3))
    (tmp_path / "rest.bvh").write_text(f"{lines[0]}MOTION\nFrames: 1\nFrame Time: 0.04\n{zeros}\n")
    rest = joints_of(*read(tmp_path / "rest.bvh")[:2])[0] @ AXES[up]
    assert (rest[list(LEFT), 0] > 50).all() and (rest[list(RIGHT), 0] < -50).all()
    assert rest[10, 1] > rest[8, 1] > rest[0, 1] > rest[3, 1] and rest[9, 2] > 50
    for shoulder, elbow, wrist in ((11, 12, 13), (14, 15, 16)):
        assert np.ptp(rest[[shoulder, elbow, wrist], 1:], axis=0).max() < 1e-3
        assert abs(rest[wrist, 0] - rest[shoulder, 0]) > 400
    assert np.ptp(rest[[1, 2, 3], 0]) < 1e-3, "the legs are straight"


@pytest.mark.parametrize("name", KNOWN)
def test_the_arms_of_every_skeleton_are_out_at_rest(name: str) -> None:
    skeleton = KNOWN[name]
    directions = Tree(skeleton).directions
    for side, out in (("left", 1), ("right", -1)):
        assert directions[skeleton.index(f"{side} elbow"), 0] == pytest.approx(out)
        assert directions[skeleton.index(f"{side} wrist"), 0] * out > 0.8
        assert directions[skeleton.index(f"{side} knee"), 1] < -0.9


def test_several_people_and_gaps(tmp_path: Path) -> None:
    joints = body(60, 25)
    made = motion(("1", 10, joints[10:20]), ("1", 40, joints[40:60]), ("2", 0, joints))
    assert [p.name for p in write_bvh(tmp_path / "x.bvh", made)] == ["x-1.bvh", "x-2.bvh"]
    names, positions, _ = read(tmp_path / "x-1.bvh")
    found, world = joints_of(names, positions), made.world.to_world(joints)
    assert len(found) == 60
    for held, source in (((0, 10), 10), ((20, 40), 19)):
        assert np.ptp(found[held[0] : held[1]], axis=0).max() < 1e-3
        np.testing.assert_allclose(found[held[0], 0], world[source, 0], atol=1e-3)
    assert np.linalg.norm(found[50] - world[50], axis=-1).max() < 1


def test_angles_are_those_of_scipy_and_half_a_turn_works() -> None:
    turns = Rotation.random(200, rng=np.random.default_rng(0))
    np.testing.assert_allclose(
        Rotation.from_euler("ZXY", euler_zxy(turns.as_matrix()), degrees=True).as_matrix(),
        turns.as_matrix(),
        atol=1e-9,
    )
    upside_down = body(4) * (1, -1, -1)
    assert np.isfinite(make_rig(upside_down).joints).all()
    down = np.array([0.0, -2.0, 0.0])
    wanted_two = np.array([[0, 2.0, 0], [0, -2.0, 0]])
    for turn, wanted in zip(swing(down, 3 * wanted_two), wanted_two, strict=True):
        np.testing.assert_allclose(turn @ down, wanted, atol=1e-9)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1)


def test_a_person_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_bvh(tmp_path / "x.bvh", motion(("1", 0, body(5))))
    before = (tmp_path / "x.bvh").read_text()
    write_bvh(tmp_path / "x.bvh", replace(motion(("1", 0, body(5))), fps=50.0))
    assert (tmp_path / "x.bvh").read_text() != before and list(tmp_path.iterdir()) == [
        tmp_path / "x.bvh"
    ]
