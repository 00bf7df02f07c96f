"""The ASF/AMC converter: small rigs by hand, a spline against scipy's, and every raw clip
against the given pack.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from fakes.rig import write_rig

from m2v_lib.data.sources.amc import (
    INCH_MM,
    bone_ends,
    convert,
    euler,
    read_amc,
    read_asf,
    to_pack,
    to_points,
)
from m2v_lib.data.sources.packs import RIG_FILE, read_pack, write_pack
from m2v_lib.data.sources.rig_layouts import RIG_H36M17, RIG_JOINTS
from m2v_lib.data.sources.rig_points import rig_points, suspect_points
from m2v_lib.data.store import DataError
from m2v_lib.geometry.resampling import cubic_spline, resample, steady_segments

UNIT_MM = INCH_MM / 0.5
LOWERBACK, RHIP, LHIP = (RIG_JOINTS.index(name) for name in ("lowerback", "rhip", "lhip"))


def test_euler_is_x_then_y_then_z() -> None:
    np.testing.assert_allclose(euler(np.array([90.0, 0, 90])) @ [0, 1, 0], [0, 0, 1], atol=1e-15)
    np.testing.assert_allclose(euler(np.array([0, 90.0, 90])) @ [1, 0, 0], [0, 0, -1], atol=1e-15)


def test_forward_kinematics_by_hand(tmp_path: Path) -> None:
    asf, amc = write_rig(tmp_path)
    skeleton = read_asf(asf)
    ends = bone_ends(skeleton, read_amc(amc, skeleton))
    start = np.array([1, 2, 3]) * UNIT_MM
    np.testing.assert_allclose(ends["root"], [start] * 4)
    np.testing.assert_allclose(ends["lowerback"][0], start + [10 * UNIT_MM, 0, 0])
    np.testing.assert_allclose(
        ends["lowerback"][1], start + [0, 10 * UNIT_MM, 0], atol=1e-9
    )  # the root turned 90 deg
    # z of a frame turned 90 deg about x is -y of the parent: 90 deg in frame 3 send the humerus
    # from +x to +z, and the root has by then turned by 270 deg about z, which leaves +z where it
    # is
    humerus = ends["lhumerus"][3] - ends["lclavicle"][3]
    np.testing.assert_allclose(humerus, [0, 0, 10 * UNIT_MM], atol=1e-9)


def test_y_up_becomes_z_up_without_mirroring(tmp_path: Path) -> None:
    asf, amc = write_rig(tmp_path)
    skeleton = read_asf(asf)
    ends = bone_ends(skeleton, read_amc(amc, skeleton))
    points = to_points(skeleton, read_amc(amc, skeleton))
    np.testing.assert_allclose(points[:, LOWERBACK, 2], ends["lowerback"][:, 1])
    np.testing.assert_allclose(points[:, 0], (points[:, RHIP] + points[:, LHIP]) / 2)
    bones = {name: np.eye(3)[None] for name in ends}
    vectors = {name: np.zeros(3) for name in ends}
    a, b, c = (
        rig_points({name: axis[None] for name in ends}, bones, vectors)[0, LOWERBACK]
        for axis in np.eye(3)
    )
    np.testing.assert_allclose(np.cross(a, b), c)


@pytest.mark.parametrize("n", [4, 5, 6, 40])
def test_the_spline_is_scipys(n: int) -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    values, at = np.random.default_rng(n).normal(size=(n, 2, 3)), np.linspace(0, n - 1, 57)
    np.testing.assert_allclose(
        cubic_spline(values, at), interpolate.CubicSpline(np.arange(n), values)(at), atol=1e-12
    )


def test_the_spline_keeps_cubics_and_points() -> None:
    t = np.arange(9.0)
    at = np.linspace(0, 8, 31)
    np.testing.assert_allclose(cubic_spline(t**3 - 2 * t, at), at**3 - 2 * at, atol=1e-9)
    values = np.random.default_rng(0).normal(size=9)
    np.testing.assert_allclose(cubic_spline(values, t), values, atol=1e-14)
    with pytest.raises(ValueError, match="needs 4 points, got 3"):
        cubic_spline(values[:3], at)


def test_resampling_keeps_time() -> None:
    seconds = np.arange(241) / 120.0  # two seconds exactly
    np.testing.assert_allclose(resample(seconds, 120, 50), np.arange(101) / 50, atol=1e-12)
    assert len(resample(seconds[:-1], 120, 50)) == 100


def test_faults_are_cut_with_six_frames_either_side() -> None:
    joints = np.zeros((600, 17, 3))
    joints[300:, 5, 0] = (
        200.0  # 24 m/s between frames 299 and 300, fastest accelerations at 298..301
    )
    assert steady_segments(joints, 120) == [(0, 292), (308, 600)]
    joints[100, 5, 1] = 500.0
    assert steady_segments(joints, 120) == [
        (109, 292),
        (308, 600),
    ]  # what is left of the first 100 is under a second
    assert steady_segments(joints + np.linspace(0, 1e6, 600)[:, None, None], 120) == [
        (109, 292),
        (308, 600),
    ]


def test_a_converted_rig_becomes_a_pack(tmp_path: Path) -> None:
    asf, amc = write_rig(tmp_path, n_frames=130, turn=0, bend=0)
    segments = convert(asf, amc, action="stand", action_class="other")
    assert [(s.clip.name, s.clip.subject, s.source_frames) for s in segments] == [
        ("CMU_77_01#0", "CMU_77", (0, 130))
    ]
    back = read_pack(write_pack(tmp_path / "pack.npz", to_pack(segments)))
    assert back.clips[0].positions.shape == (54, 38, 3) and back.extra["source_file"].tolist() == [
        "77_01.amc"
    ]


AMC_FAULTS = {
    "missing number": (
        lambda s: s.replace("root 1 2 3 0 0 90", "root 1 2 3 0 0"),
        r"9 \(root, frame 2\): .* 6 num",
    ),
    "not a number": (
        lambda s: s.replace("lhumerus 30", "lhumerus x"),
        r"line 11 \(lhumerus, frame 2\): .* 1 num",
    ),
    "nan": (
        lambda s: s.replace("lhumerus 30", "lhumerus nan"),
        r"\(lhumerus, frame 2\): expected 1 numbers",
    ),
    "foreign bone": (
        lambda s: s.replace("lowerback", "tail"),
        r"\(tail, frame 1\): expected a bone of the skeleton",
    ),
    "cut": (lambda s: s[: s.rindex("lowerback")], "lowerback has 3 of 4 frames, expected all"),
    "empty": (lambda s: "", "root has 0 of 0 frames"),
}


@pytest.mark.parametrize("fault", AMC_FAULTS)
def test_a_bad_motion_is_one_sentence(fault: str, tmp_path: Path) -> None:
    asf, amc = write_rig(tmp_path)
    edit, sentence = AMC_FAULTS[fault]
    amc.write_text(edit(amc.read_text()))
    with pytest.raises(DataError, match=sentence) as caught:
        read_amc(amc, read_asf(asf))
    assert str(caught.value).startswith(str(amc)) and "\n" not in str(caught.value)


ASF_FAULTS = {
    "radians": (lambda s: s.replace("angle deg", "angle rad"), "angles are in rad, expected deg"),
    "no bones": (
        lambda s: s.replace(":bonedata", ""),
        "has no :bonedata, expected an ASF skeleton",
    ),
    "no tree": (lambda s: s.split(":hierarchy")[0], "an ASF file lacks 'hierarchy'"),
    "orphan": (
        lambda s: s.replace("root lhipjoint", "attic lhipjoint"),
        "bone lhipjoint hangs on no root",
    ),
    "axis order": (lambda s: s.replace("90 0 0 XYZ", "90 0 0 ZYX"), "bone lhumerus has axis order"),
}


@pytest.mark.parametrize("fault", ASF_FAULTS)
def test_a_bad_skeleton_is_one_sentence(fault: str, tmp_path: Path) -> None:
    asf, _ = write_rig(tmp_path)
    edit, sentence = ASF_FAULTS[fault]
    asf.write_text(edit(asf.read_text()))
    with pytest.raises(DataError, match=sentence) as caught:
        read_asf(asf)
    assert str(caught.value).startswith(str(asf)) and "\n" not in str(caught.value)


def test_a_thumb_that_jumps_is_suspect_and_the_17_joints_never_are() -> None:
    thumb, wrist = RIG_JOINTS.index("lthumb"), RIG_JOINTS.index("lwrist")
    ankle, base = (RIG_JOINTS.index(name) for name in ("rankle", "rtoe_base"))
    points = np.zeros((60, 38, 3))
    points[:, RIG_JOINTS.index("rknee"), 2] = 400
    points[:, base, 1] = 130
    points[30:, [thumb, wrist]] += 500.0

    bad = suspect_points(points, 120.0, "CMU_77")
    assert np.flatnonzero(bad[:, thumb]).tolist() == list(range(22, 38))
    assert not bad[:, list(RIG_H36M17)].any() and not bad[:, base].any()

    points[10, base] = points[10, ankle] + [0, 1, 130]  # along the shank
    bad = suspect_points(points, 120.0, "CMU_77")
    assert bad[10, base] and bad[10, RIG_JOINTS.index("rtoe_tip")]
    assert suspect_points(points, 120.0, "CMU_05")[:, base].all()


def test_another_rig_cannot_be_converted(tmp_path: Path) -> None:
    asf, amc = write_rig(tmp_path)
    asf.write_text(asf.read_text().replace("lhand", "lpaw"))
    with pytest.raises(DataError, match=r"77.asf: has no bone lhand, expected CMU's skeleton"):
        convert(asf, amc, action="", action_class="")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.asf: no such file"):
        read_asf(tmp_path / "none.asf")


def _data() -> Path:
    folder = os.environ.get("M2V_DATA")
    if not folder or not (Path(folder) / "cmu_mocap" / "raw").is_dir():
        pytest.skip("M2V_DATA is not set, or has no cmu_mocap/raw")
    return Path(folder) / "cmu_mocap"


def test_every_raw_clip_equals_the_pack_to_its_rounding() -> None:
    data = _data()
    with np.load(data / RIG_FILE, allow_pickle=False) as raw:
        names, frames, floor = raw["clip_name"].tolist(), raw["source_frames"], raw["floor_z"]
        starts, suspect = raw["clip_start"], raw["suspect"]
    clips = read_pack(data / RIG_FILE).clips
    seen = []
    for amc in sorted((data / "raw").glob("*/*.amc")):
        asf = amc.parent / f"{amc.parent.name}.asf"
        for segment in convert(asf, amc, action="", action_class=""):
            i = names.index(segment.clip.name)
            assert segment.source_frames == tuple(frames[i])
            assert segment.floor_z == pytest.approx(float(floor[i]), abs=0.01)
            assert (
                abs(segment.clip.positions - clips[i].positions).max() < 0.04
            )  # the pack is rounded to 1/16 mm
            seen.append(segment.clip.name)
            given = suspect[starts[i] : starts[i + 1]]
            assert (given != segment.suspect).mean() < 0.005
        assert seen and set(seen) >= {name for name in names if name.startswith(f"CMU_{amc.stem}#")}
    assert len(seen) >= 1
