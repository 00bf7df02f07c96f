"""glTF: decoded by the format's plain rules, with rotations of scipy, it is the motion."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.lifting import CAMERA, body
from scipy.spatial.transform import Rotation

from m2v_lib.data.checks import DataError
from m2v_lib.lift import save
from m2v_lib.lift.camera import Y_UP
from m2v_lib.lift.motion.world import upright_world
from m2v_lib.lift.output import glb
from m2v_lib.lift.output.rotations import quaternions, unbroken_signs
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.skeletons.h36m import JOINTS

WORLD = upright_world(np.array([0.1, -0.9, -0.4]), 1400.0, "said")


def piece(name: str, start: int, world_joints: np.ndarray) -> Lifted:
    joints = WORLD.to_camera(world_joints)
    root, nothing = joints[:, 0], np.zeros(joints.shape[:2], bool)
    return Lifted(name, start, joints - root[:, None], root, joints[..., :2], ~nothing, nothing)


def motion(*people: Lifted) -> Motion:
    report = {"expected error": "45 mm a joint"}
    return Motion(
        "made", 25.0, 60, CAMERA, people, {"network": "n"}, report=report, found_world=WORLD
    )


class Decoded:
    """A .glb as numbers: `places[frame, node]` in m, names, and the bodies' points."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON" and size % 4 == 0
        self.file: dict[str, Any] = json.loads(data[20 : 20 + size])
        size_of_rest, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0" and size_of_rest == self.file["buffers"][0]["byteLength"]
        self.rest = data[28 + size :]
        assert len(self.rest) == size_of_rest and size_of_rest % 4 == 0

        self.names = [node["name"] for node in self.file["nodes"]]
        self.parents = dict.fromkeys(range(len(self.names)), -1)
        for number, node in enumerate(self.file["nodes"]):
            self.parents |= dict.fromkeys(node.get("children", ()), number)
        self._play()

    def array(self, number: int) -> np.ndarray:
        accessor = self.file["accessors"][number]
        view = self.file["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5123: "<u2"}[accessor["componentType"]]
        width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
        assert view["byteOffset"] % 4 == 0
        out = np.frombuffer(self.rest, kind, accessor["count"] * width, view["byteOffset"])
        assert out.nbytes == view["byteLength"]
        if "min" in accessor:
            np.testing.assert_allclose(out.reshape(-1, width).min(0), accessor["min"])
            np.testing.assert_allclose(out.reshape(-1, width).max(0), accessor["max"])
        return out.reshape(-1, width)

    def _play(self) -> None:
        animation = self.file["animations"][0]
        moved: dict[tuple[int, str], np.ndarray] = {}
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            self.times = self.array(sampler["input"])[:, 0]
            target = channel["target"]
            moved[target["node"], target["path"]] = self.array(sampler["output"])

        n = len(self.times)
        self.turns: dict[int, Rotation] = {}
        self.places = np.zeros((n, len(self.names), 3))
        todo = list(self.file["scenes"][0]["nodes"])
        while todo:
            number = todo.pop()
            node, parent = self.file["nodes"][number], self.parents[number]
            still = np.tile(node.get("translation", [0, 0, 0]), (n, 1))
            step = moved.get((number, "translation"), still)
            own = Rotation.from_quat(moved.get((number, "rotation"), np.tile([0, 0, 0, 1], (n, 1))))
            above = self.turns[parent] if parent >= 0 else Rotation.identity(n)
            self.places[:, number] = above.apply(step) + (
                self.places[:, parent] if parent >= 0 else 0
            )
            self.turns[number] = above * own
            todo += node.get("children", [])

    def person(self, name: str) -> np.ndarray:
        """The 17 joints (n,17,3) under the node of a person, m."""
        top = self.names.index(name)
        under = [top]
        for number in under:
            under += self.file["nodes"][number].get("children", [])
        at = {self.names[number]: number for number in under}
        return self.places[:, [at[joint.replace(" ", "_")] for joint in JOINTS]]


def test_decoded_it_is_the_motion_in_metres_on_the_floor(tmp_path: Path) -> None:
    one, other = body(60, 25) * Y_UP, body(60, 25) * Y_UP + (900, 0, 0)
    pieces = piece("1", 40, one[40:60]), piece("1", 10, one[10:20]), piece("2", 0, other)
    assert save(motion(*pieces), tmp_path / "x.glb") == [tmp_path / "x.glb"]
    found = Decoded(tmp_path / "x.glb")
    np.testing.assert_allclose(found.times, np.arange(60) / 25, atol=1e-6)
    assert [node["mesh"] for node in found.file["nodes"] if "mesh" in node] == [0, 1]

    np.testing.assert_allclose(found.person("person_2"), other / 1000, atol=1e-3)
    seen = [*range(10, 20), *range(40, 60)]
    np.testing.assert_allclose(found.person("person_1")[seen], one[seen] / 1000, atol=1e-3)
    for held, source in (((0, 10), 10), ((20, 40), 19)):
        still = found.person("person_1")[held[0] : held[1]]
        np.testing.assert_allclose(
            still, np.tile(one[source] / 1000, (len(still), 1, 1)), atol=1e-3
        )

    said = found.file["asset"]["extras"]
    assert (said["units"], said["fps"], said["network"]) == ("m", 25, "n")
    assert "y up" in said["axes"] and said["package"].startswith("m2v_lib ")
    assert said["expected_error"] == "45 mm a joint"
    top = found.file["nodes"][found.names.index("person_1")]
    assert top["extras"] == {"frames in which seen": [[10, 19], [40, 59]]}


def test_bodies_go_with_their_bones(tmp_path: Path) -> None:
    save(motion(piece("1", 0, body(12) * Y_UP)), tmp_path / "x.glb")
    found = Decoded(tmp_path / "x.glb")
    skin = found.file["skins"][0]
    inverse = found.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    triangles, colours = 0, set()
    for primitive in found.file["meshes"][0]["primitives"]:
        of = {key: found.array(number) for key, number in primitive["attributes"].items()}
        indices = found.array(primitive["indices"])[:, 0]
        np.testing.assert_allclose(of["WEIGHTS_0"].sum(1), 1)
        owner = of["JOINTS_0"][:, 0]
        nodes = np.array(skin["joints"])[owner]
        local = np.einsum("vij,vj->vi", inverse[owner], np.c_[of["POSITION"], np.ones(len(owner))])
        for t in (0, 7):
            turn = np.stack([found.turns[node][t].as_matrix() for node in nodes])
            points = found.places[t, nodes] + np.einsum("vij,vj->vi", turn, local[:, :3])
            starts, ends = points[indices].reshape(-1, 24, 3)[:, [0, 3]].transpose(1, 0, 2)
            joints = found.places[t]
            for tip in (starts, ends):
                distance = np.linalg.norm(tip[:, None] - joints, axis=-1).min(1)
                assert distance.max() < 1e-4, "each tip is on a joint"
            assert (np.linalg.norm(ends - starts, axis=1) > 0.05).all()
        faces = of["POSITION"][indices].reshape(-1, 3, 3)
        middle = of["POSITION"][indices].reshape(-1, 24, 3).mean(1).repeat(8, axis=0)
        outwards = (of["NORMAL"][indices][::3] * (faces.mean(1) - middle)).sum(1)
        assert (outwards > 0).all(), "faces look outwards"
        triangles += len(faces)
        colours.add(primitive["material"])
    at_rest = np.linalg.inv(inverse)[:, :3, 3]
    assert at_rest[:, 1].min() == pytest.approx(0, abs=1e-6), "at rest it stands on the floor"
    assert found.file["nodes"][0]["translation"] == pytest.approx(at_rest[0].tolist())
    assert triangles == 16 * 8 and colours == {0, 1, 2}


def test_quaternions_are_those_of_scipy_without_jumps() -> None:
    turns = Rotation.random(500, rng=np.random.default_rng(0))
    mine = quaternions(turns.as_matrix())
    assert np.abs((mine * turns.as_quat()).sum(1)).min() > 1 - 1e-6
    slow = Rotation.from_euler("x", np.linspace(0, 700, 200)[:, None], degrees=True)
    smooth = unbroken_signs(quaternions(slow.as_matrix()))
    assert np.linalg.norm(np.diff(smooth, axis=0), axis=1).max() < 0.05


def test_absent_joints_are_left_out_and_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = motion(piece("1", 0, body(3) * Y_UP))
    save(replace(made, absent=(9,)), tmp_path / "x.glb")
    assert "nose" not in Decoded(tmp_path / "x.glb").names
    monkeypatch.setattr(glb, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="y.glb: a .glb holds at most 4 GiB"):
        save(made, tmp_path / "y.glb")
    assert not (tmp_path / "y.glb").exists()
