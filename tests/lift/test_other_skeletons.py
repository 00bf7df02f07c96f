"""Keypoints of any layout as joints of any skeleton: mapped by name, absent where the layout lacks
one, sized by the skeleton's own bones, written with its own names.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from fakes.lifting import CAMERA, Flat, body, tracks

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Person, Tracks, read_keypoints
from m2v_lib.data.keypoints.joint_names import layout_of_names
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.data.keypoints.skeleton_map import mapped
from m2v_lib.lift import SAMPLE, save
from m2v_lib.lift.camera import STATURE, measured_bones, mm_per_px
from m2v_lib.lift.framing import FRAME_MIDDLE, FRAME_SIDE, place_in_frame
from m2v_lib.lift.people import Motion, lift_tracks
from m2v_lib.lift.windows import Lifter
from m2v_lib.skeletons import H36M17, KNOWN, Skeleton, skeleton_of
from m2v_lib.skeletons.body import reference_lengths, rest_offsets

#: joints that a layout does not give a skeleton
ABSENT = {
    ("coco17", "mpi_inf_3dhp17"): ["head top"],
    ("lsp14", "mpi_inf_3dhp17"): ["head"],
    ("mpi_inf_3dhp17", "coco17"): ["left eye", "right eye", "left ear", "right ear"],
    ("mediapipe33", "body25"): ["left small toe", "right small toe"],
    ("body25", "halpe26"): ["head"],
    ("lsp14", "h36m17"): ["nose"],
}


@pytest.mark.parametrize(("layout", "skeleton"), ABSENT)
def test_what_a_layout_lacks_is_absent(layout: str, skeleton: str) -> None:
    joints = KNOWN[skeleton].joints
    absent = mapped(LAYOUTS[layout], KNOWN[skeleton], "file").absent
    assert [joints[joint] for joint in absent] == ABSENT[layout, skeleton]


@pytest.mark.parametrize("name", [name for name in KNOWN if name in LAYOUTS])
def test_a_skeletons_own_layout_gives_each_joint_its_keypoint(name: str) -> None:
    sources = mapped(LAYOUTS[name], KNOWN[name], "file").sources
    assert sources == tuple((joint,) for joint in range(len(KNOWN[name])))


def test_joints_are_found_by_name_wherever_they_stand_in_the_file() -> None:
    read = read_keypoints(SAMPLE, skeleton=KNOWN["body25"]).people[0]
    points = np.load(SAMPLE)["keypoints"][read.frames]
    names = LAYOUTS["mediapipe33"].keypoints
    for joint, keypoint in (("left toe", "left_foot_index"), ("right heel", "right_heel")):
        found = read.xy[:, KNOWN["body25"].index(joint)]
        np.testing.assert_allclose(found, points[:, names.index(keypoint), :2], rtol=1e-6)
    hips = points[:, [names.index("left_hip"), names.index("right_hip")], :2].mean(1)
    np.testing.assert_allclose(read.xy[:, KNOWN["body25"].root], hips, rtol=1e-5)


def test_too_few_joints_are_refused_and_names_of_the_skeleton_itself_are_taken() -> None:
    hand = Skeleton("hand", ("palm", "thumb tip", "index tip"), (-1, 0, 0))
    with pytest.raises(DataError, match=r"hand \(palm, thumb tip, index tip\), .* coco17 give 0"):
        mapped(LAYOUTS["coco17"], hand, "x.json")
    own = layout_of_names(["Palm", "ThumbTip", "index_tip"], "x.json", hand)
    assert mapped(own, hand, "x.json").sources == ((0,), (1,), (2,))
    with pytest.raises(DataError, match="no left_shoulder"):
        layout_of_names(["Palm", "ThumbTip", "index_tip"], "x.json")


def test_lengths_and_rest_pose_are_known_for_usual_names_and_taken_from_a_file(
    tmp_path: Path,
) -> None:
    for skeleton in KNOWN.values():
        offsets, lengths = rest_offsets(skeleton), np.array(reference_lengths(skeleton))
        children = [child for _, child in skeleton.bones]
        np.testing.assert_allclose(np.linalg.norm(offsets[children], axis=-1), lengths)
        np.testing.assert_allclose(
            offsets[list(skeleton.flip_order)] * (-1, 1, 1), offsets, atol=1.0
        )
    thigh = [reference_lengths(s)[s.bones.index((s.index("left hip"), s.index("left knee")))]
             for s in KNOWN.values()]  # fmt: skip
    assert np.ptp(thigh) < 5

    values = H36M17.to_dict() | {"name": "giant"}
    for joint in values["joints"][1:]:
        joint["reference_mm"] *= 2
    file = tmp_path / "giant.yaml"
    file.write_text(yaml.safe_dump(values))
    twice = mm_per_px(body(3), STATURE, skeleton=skeleton_of(str(file)))
    np.testing.assert_allclose(twice, 2 * mm_per_px(body(3), STATURE))


def test_bones_of_unknown_length_are_left_out_or_asked_for() -> None:
    named = replace(H36M17, joints=(*H36M17.joints[:16], "tentacle"), flip_pairs=H36M17.flip_pairs)
    wrist = named.bones.index((15, 16))
    lengths = replace(named, reference_mm={}, rest_direction={})
    assert wrist not in measured_bones(None, lengths)
    assert len(measured_bones(None, lengths)) == 15
    nameless = Skeleton("cloud", tuple("abc"), (-1, 0, 1))
    with pytest.raises(DataError, match="skeleton cloud: millimetres need .* reference_mm"):
        measured_bones(None, nameless)


def test_the_part_of_the_body_that_a_skeleton_covers_stands_where_it_stood_in_training() -> None:
    assert place_in_frame(H36M17) == (FRAME_SIDE, FRAME_MIDDLE)
    legs = [
        j for j, name in enumerate(H36M17.joints) if name.split()[-1] in ("hip", "knee", "ankle")
    ]
    parents = tuple(-1 if j == 0 else [0, *legs].index(H36M17.parents[j]) for j in (0, *legs))
    pairs = ((1, 4), (2, 5), (3, 6))
    lower = Skeleton("legs", tuple(H36M17.joints[j] for j in (0, *legs)), parents, pairs)
    side, (x, y) = place_in_frame(lower)
    assert 0.3 * FRAME_SIDE < side < 0.7 * FRAME_SIDE and x == 0 and y > FRAME_MIDDLE[1] + 0.1


def lifted(name: str, absent: tuple[int, ...]) -> Motion:
    """A person of random joints as a skeleton of many joints, lifted flat."""
    skeleton = KNOWN[name]
    xy = np.random.default_rng(0).uniform(300, 500, (30, len(skeleton), 2)).astype(np.float32)
    confidence = np.full(xy.shape[:2], 0.9, np.float32)
    confidence[:, list(absent)] = 0
    confidence[3, -2:] = 0
    person = Person("1", np.arange(30), xy, confidence)
    size = CAMERA.width, CAMERA.height
    made = Tracks("x", "npz", "y", (person,), 30, *size, 25.0, absent=absent, skeleton=skeleton)
    return lift_tracks(made, Lifter(Flat(), 9, skeleton=skeleton))


@pytest.mark.parametrize("name", ["body25", "rig38"])
def test_files_have_the_skeletons_joints_and_nothing_of_absent_ones(
    name: str, tmp_path: Path
) -> None:
    skeleton = KNOWN[name]
    gone = (skeleton.index("right knee"), skeleton.index("left toe"))
    motion = lifted(name, gone)
    outs = {end: tmp_path / f"x.{end}" for end in ("npz", "json", "csv", "html", "bvh")}
    for out in outs.values():
        save(motion, out)

    npz = np.load(outs["npz"])
    assert np.flatnonzero(npz["absent"]).tolist() == sorted(gone)
    assert np.isnan(npz["pose_mm"][:, list(gone)]).all()
    assert np.isfinite(np.delete(npz["pose_mm"], gone, axis=1)).all()
    assert np.allclose(np.nan_to_num(npz["pose_mm"])[:, skeleton.root], 0), "from the root"
    said = json.loads(outs["json"].read_text())
    assert said["joints"] == list(skeleton.joints) and said["skeleton"] == name
    assert "right knee" in motion.report["absent"]
    assert re.search(r"^1,0,0.0000,right knee,,,,0.000,1,$", outs["csv"].read_text(), re.M)

    nodes = outs["bvh"].read_text().split("MOTION")[0]
    assert "JOINT right_ankle" in nodes and "right_knee" not in nodes and "left_toe" not in nodes

    page = json.loads(re.search(r"const MOTION = (.*);</script>", outs["html"].read_text())[1])  # type: ignore[index]
    assert page["absent"] == list(gone) and len(page["sides"]) == len(skeleton)
    words = np.frombuffer(base64.b64decode(page["people"][0]["filled"]), "<u4").reshape(30, -1)
    bits = (words[..., None] >> np.arange(32, dtype=np.uint32)) & 1
    np.testing.assert_array_equal(
        bits.reshape(30, -1)[:, : len(skeleton)].astype(bool), motion.people[0].filled
    )


def test_tracks_of_another_skeleton_are_refused() -> None:
    with pytest.raises(DataError, match="holds joints of h36m17, the model those of coco17"):
        lift_tracks(tracks(10), Lifter(Flat(), 9, skeleton=KNOWN["coco17"]))
