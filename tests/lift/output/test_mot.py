"""Joint angles: of bodies put together from known angles with scipy's rotations, they come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.lifting import CAMERA, body
from scipy.spatial.transform import Rotation

from m2v_lib.data.checks import DataError
from m2v_lib.lift import save
from m2v_lib.lift.camera import Y_UP
from m2v_lib.lift.motion.world import upright_world
from m2v_lib.lift.output.angles import joint_angles
from m2v_lib.lift.people import Lifted, Motion
from m2v_lib.skeletons import H36M17, KNOWN, Skeleton

N = 40
TIMES = np.arange(N) / 25
#: a slow wave within these limits of each angle, degrees, the same on both sides but for time
RANGES = {
    "pelvis_tilt": (-20, 20),
    "pelvis_list": (-15, 15),
    "pelvis_rotation": (60, 250),
    "lumbar_extension": (-40, 20),
    "lumbar_bending": (-20, 20),
    "lumbar_rotation": (-30, 30),
    "hip_flexion": (-20, 80),
    "hip_adduction": (-30, 20),
    "hip_rotation": (-30, 30),
    "knee_angle": (30, 110),
    "ankle_angle": (-30, 20),
    "arm_flex": (-40, 70),
    "arm_add": (-70, 20),
    "arm_rot": (-60, 60),
    "elbow_flex": (30, 120),
}


def wave(name: str) -> np.ndarray:
    low, high = RANGES[name.removesuffix("_r").removesuffix("_l")]
    speed, phase = 1 + sum(map(ord, name)) % 5 / 5, sum(map(ord, name)) % 7
    return (low + high) / 2 + (high - low) / 2 * np.sin(speed * TIMES + phase)


def turned(z: np.ndarray, x: np.ndarray, y: np.ndarray) -> Rotation:
    """About z, then the new x, then the new y."""
    return Rotation.from_euler("ZXY", np.stack([z, x, y], axis=-1), degrees=True)


def person(skeleton: Skeleton, angles: dict[str, np.ndarray]) -> np.ndarray:
    """Joints (N,J,3) of a body of those angles by OpenSim's axes: x ahead, y up, z to the right."""
    middle = np.stack([np.sin(TIMES), 1 + 0.1 * np.sin(TIMES), 0.3 * TIMES], axis=-1) * 1000
    pelvis = turned(*(angles[f"pelvis_{name}"] for name in ("tilt", "list", "rotation")))
    torso = pelvis * turned(
        *(angles[f"lumbar_{name}"] for name in ("extension", "bending", "rotation"))
    )
    at = {"root": middle, "spine": middle + pelvis.apply([0, 200, 0])}
    top = at["spine"] + torso.apply([0, 250, 0])
    at |= {name: top for name in ("lower neck", "shoulder middle")}

    for side, word, sign in (("r", "right", 1), ("l", "left", -1)):
        at[f"{word} hip"] = middle + pelvis.apply([0, 0, 90 * sign])
        thigh = pelvis * turned(
            angles[f"hip_flexion_{side}"],
            sign * angles[f"hip_adduction_{side}"],
            sign * angles[f"hip_rotation_{side}"],
        )
        still = np.zeros(N)
        shank = thigh * turned(-angles[f"knee_angle_{side}"], still, still)
        foot = shank * turned(angles[f"ankle_angle_{side}"], still, still)
        at[f"{word} knee"] = at[f"{word} hip"] + thigh.apply([0, -400, 0])
        at[f"{word} ankle"] = at[f"{word} knee"] + shank.apply([0, -420, 0])
        at[f"{word} heel"] = at[f"{word} ankle"] + foot.apply([-50, -40, 0])
        at[f"{word} toe"] = at[f"{word} ankle"] + foot.apply([150, -40, 0])

        at[f"{word} shoulder"] = top + torso.apply([0, 0, 180 * sign])
        arm = torso * turned(
            angles[f"arm_flex_{side}"],
            sign * angles[f"arm_add_{side}"],
            sign * angles[f"arm_rot_{side}"],
        )
        forearm = arm * turned(angles[f"elbow_flex_{side}"], still, still)
        at[f"{word} elbow"] = at[f"{word} shoulder"] + arm.apply([0, -300, 0])
        at[f"{word} wrist"] = at[f"{word} elbow"] + forearm.apply([0, -260, 0])

    nowhere = np.zeros((N, 3))
    return np.stack([at.get(word, nowhere) for word in skeleton.vocabulary], axis=1)


def all_angles() -> dict[str, np.ndarray]:
    names = [
        name if name.startswith(("pelvis", "lumbar")) else f"{name}_{side}"
        for name in RANGES
        for side in "rl"
    ]
    return {name: wave(name) for name in names}


def test_known_angles_come_back() -> None:
    known = all_angles()
    joints = person(H36M17, known)
    found, seen = joint_angles(joints, H36M17)
    assert set(found) == {n for n in known if not n.startswith("ankle")} | {
        "pelvis_tx", "pelvis_ty", "pelvis_tz"}  # fmt: skip
    for name, values in known.items():
        if name in found:
            off = np.mod(found[name] - values + 180, 360) - 180
            assert np.abs(off).max() < 1e-4, name
            assert np.abs(np.diff(found[name])).max() < 20, f"{name} jumps"
    np.testing.assert_allclose(found["pelvis_ty"], joints[:, 0, 1] / 1000)
    assert set(seen.values()) == {1.0}


def test_feet_give_ankles_and_without_a_spine_the_back_bends_to_the_side_only() -> None:
    known = {**all_angles(), "pelvis_tilt": np.zeros(N), "lumbar_extension": np.zeros(N)}
    known |= {"lumbar_bending": np.zeros(N), "lumbar_rotation": np.zeros(N)}
    found, _ = joint_angles(person(KNOWN["body25"], known), KNOWN["body25"])
    for side in "rl":
        off = found[f"ankle_angle_{side}"] - known[f"ankle_angle_{side}"]
        assert np.abs(off).max() < 1e-4
    assert "lumbar_extension" not in found and np.abs(found["lumbar_bending"]).max() < 1e-4
    assert np.abs(found["hip_flexion_r"] - known["hip_flexion_r"]).max() < 1e-4


def test_a_straight_limbs_turn_is_left_out_and_a_passing_one_bridged() -> None:
    known = all_angles()
    known["knee_angle_r"] = np.zeros(N)
    known["elbow_flex_l"] = np.where((TIMES > 0.5) & (TIMES < 0.9), 5.0, 60.0)
    found, seen = joint_angles(person(H36M17, known), H36M17, times=TIMES)
    assert "hip_rotation_r" not in found and seen["hip_rotation_r"] == 0
    assert np.abs(found["hip_flexion_r"] - known["hip_flexion_r"]).max() < 1e-4
    straight = (TIMES > 0.5) & (TIMES < 0.9)
    assert seen["arm_rot_l"] == pytest.approx(1 - straight.mean())
    off = np.abs(found["arm_rot_l"] - known["arm_rot_l"])
    assert off[~straight].max() < 1e-4 and 0 < off[straight].max() < 10


def test_frames_whose_hips_lie_along_the_spine_are_bridged() -> None:
    known = all_angles() | {"pelvis_rotation": 10 * TIMES, "pelvis_tilt": 0 * TIMES}
    joints = person(H36M17, known)
    hips = [H36M17.index(f"{side} hip") for side in ("right", "left")]
    spine = joints[20, 7] - joints[20, 0]
    joints[20, hips] = joints[20, 0] + np.stack([-spine, spine]) * 0.4 + [[5, 0, 9], [-5, 0, -9]]
    found, seen = joint_angles(joints, H36M17)
    assert seen["pelvis"] == pytest.approx(1 - 1 / N)
    for name in ("pelvis_rotation", "pelvis_tilt", "pelvis_list"):
        assert np.abs(found[name] - known[name]).max() < 2, name


def motion(*people: tuple[int, np.ndarray]) -> Motion:
    world = upright_world(np.array([0.1, -0.9, -0.4]), 1400.0, "said")
    lifted = []
    for start, joints in people:
        at = world.to_camera(joints)
        nothing = np.zeros(at.shape[:2], bool)
        root = at[:, 0]
        lifted.append(Lifted("1", start, at - root[:, None], root, at[..., :2], ~nothing, nothing))
    return Motion("a\nendheader", 25.0, N, CAMERA, tuple(lifted), {}, found_world=world)


def test_the_file_is_read_by_its_rules(tmp_path: Path) -> None:
    known = all_angles()
    joints = person(H36M17, known)
    made = motion((25, joints[25:]), (5, joints[5:15]))
    assert save(made, tmp_path / "x.mot") == [tmp_path / "x.mot"]
    head, _, rest = (tmp_path / "x.mot").read_text().partition("\nendheader\n")
    lines = head.split("\n")
    keys = dict(line.split("=") for line in lines if "=" in line)
    rows = [row.split("\t") for row in rest.splitlines()]
    values = dict(zip(rows[0], np.array(rows[1:], float).T, strict=True))
    assert lines[0] == "x" and keys["inDegrees"] == "yes"
    assert (int(keys["nRows"]), int(keys["nColumns"])) == (25, len(rows[0]))
    assert rows[0][0] == "time" and all(len(row) == len(rows[0]) for row in rows)
    np.testing.assert_allclose(values["time"], np.r_[5:15, 25:40] / 25)
    np.testing.assert_allclose(
        values["knee_angle_l"], known["knee_angle_l"][np.r_[5:15, 25:40]], atol=1e-3
    )
    assert any("m2v_lib" in line for line in lines) and "y is up" in head
    assert "hip_rotation_r shows where the next joint is bent past 20 degrees in 100%" in head


def test_without_hips_there_is_nothing_to_write(tmp_path: Path) -> None:
    made = replace(motion((0, body(5) * Y_UP)), absent=(1,))
    with pytest.raises(DataError, match=r"x.mot: joint angles need both hips and both shoulders"):
        save(made, tmp_path / "x.mot")
    assert list(tmp_path.iterdir()) == []
