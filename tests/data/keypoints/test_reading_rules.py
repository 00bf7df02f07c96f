"""The rules by which keypoints are read: what is missing, scores, names, frame numbers, layouts,
identities. Each on a body whose joints are known.
"""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.lifting import CAMERA, body, seen

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import read_keypoints
from m2v_lib.data.keypoints.formats.frame_numbers import frame_numbers
from m2v_lib.data.keypoints.formats.tables import is_people_first
from m2v_lib.data.keypoints.identity import first_of_duplicates
from m2v_lib.data.keypoints.joint_names import layout_of_names
from m2v_lib.data.keypoints.layouts import LAYOUTS, candidates
from m2v_lib.data.keypoints.missing import mark_missing
from m2v_lib.data.keypoints.pixels import check_size
from m2v_lib.data.keypoints.scores import unit_scores
from m2v_lib.skeletons.h36m import JOINTS
from m2v_lib.skeletons.names import standard_name

N = 24
XY = seen(body(N, 25.0))
SIZE = {"width": CAMERA.width, "height": CAMERA.height, "fps": 25.0}


def keypoints(layout: str) -> np.ndarray:
    """The body in a layout (N,K,3), also eyes and ears, which Human3.6M has none of."""
    points, scores = LAYOUTS[layout].from_h36m(XY, np.full((N, 17), 0.9))
    names = LAYOUTS[layout].keypoints
    across = XY[:, JOINTS.index("left shoulder")] - XY[:, JOINTS.index("right shoulder")]
    for i, name in enumerate(names):
        if "eye" in name or "ear" in name:
            side = (1 if "left" in name else -1) * (0.09 if "eye" in name else 0.2)
            points[:, i] = XY[:, JOINTS.index("head")] + side * across
            scores[:, i] = 0.9
        if name in ("neck", "head_bottom", "mid_hip", "hip", "spine", "head_top"):
            joint = {"mid_hip": "root", "hip": "root", "spine": "spine", "head_top": "head"}
            points[:, i] = XY[:, JOINTS.index(joint.get(name, "neck"))]
            scores[:, i] = 0.9
    return np.concatenate([points, scores[..., None]], axis=-1)


def saved(path: Path, points: np.ndarray, **more: Any) -> Path:
    np.savez(path, keypoints=points, **{**SIZE, **more})
    return path


# ---- missing ----


@pytest.mark.parametrize("mark", [(0.0, 0.0), (-1.0, -1.0), (np.nan, np.nan), (-40.0, -300.0)])
def test_a_keypoint_at_a_place_that_marks_it_missing_is_not_believed(
    mark: tuple[float, float], tmp_path: Path
) -> None:
    points = keypoints("coco17")
    points[3:20, 9, :2] = points[5:22, 10, :2] = mark  # the wrists, whose scores stay
    tracks = read_keypoints(saved(tmp_path / "k.npz", points, layout="coco17"))
    (person,) = tracks.people
    assert not person.confidence[3:20, 13].any() and not person.confidence[5:22, 16].any()
    assert person.confidence[:3, 13].all() and person.confidence[:, 12].all()
    if not np.isnan(mark[0]):
        assert any("ignored 34 keypoints" in note for note in tracks.notes)


def test_joints_that_lie_on_one_another_within_the_body_are_believed() -> None:
    points = keypoints("coco17")[..., :2].copy()
    points[:, 9] = points[:, 10] = (640.0, 360.0)
    confidence, n = mark_missing(points, np.ones((N, 17)), "f")
    assert n == 0 and confidence[:, 9].all()


def test_a_padded_person_is_not_there(tmp_path: Path) -> None:
    points = np.stack([keypoints("coco17"), keypoints("coco17") + (300, 0, 0)], axis=1)
    points[10:, 1] = 0
    tracks = read_keypoints(saved(tmp_path / "k.npz", points[..., :2], layout="coco17"))
    assert sorted(len(person.frames) for person in tracks.people) == [10, N]


# ---- scores ----


@pytest.mark.parametrize(
    ("scores", "expected", "note"),
    [
        ([0.2, 0.9, 0.0], [0.2, 0.9, 0.0], None),
        ([0, 1, 2], [0.0, 0.5, 1.0], None),
        ([0.5, 1.2, 0.9], [0.5, 1.0, 0.9], "above 1"),
        ([50.0, 100.0, 0.0], [0.5, 1.0, 0.0], "per cent"),
        ([-1.0, 0.5, 1.0], [0.0, 0.5, 1.0], None),
        ([-0.01, 0.5, 1.0], [0.0, 0.5, 1.0], "negative"),
        ([-4.0, 4.0, -2.0], [0.018, 0.982, 0.119], "logits"),
        ([np.nan, 0.5, 1.0], [0.0, 0.5, 1.0], None),
    ],
)
def test_scores_of_any_scale(scores: list[float], expected: list[float], note: str | None) -> None:
    found, notes = unit_scores(np.array([scores], float), "f")
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    assert (note in notes[0]) if note else not notes


def test_scores_of_ten_keep_their_order_below_one() -> None:
    scores = np.random.default_rng(0).uniform(0, 9, (50, 17))
    found, notes = unit_scores(scores, "f")
    assert found.max() == 1 and 0.3 < np.median(found) < 0.7 and "divided by" in notes[0]
    assert (np.argsort(found[0])[:8] == np.argsort(scores[0])[:8]).all()


# ---- names ----


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("LShoulder", "left_shoulder"),
        ("left_shoulder", "left_shoulder"),
        ("Left Shoulder", "left_shoulder"),
        ("shoulder.L", "left_shoulder"),
        ("r_wri", "right_wrist"),
        ("rwrist", "right_wrist"),
        ("leftHip", "left_hip"),
        ("MidHip", "root"),
        ("Nose", "nose"),
        ("head_top", "head_top"),
        ("left_front_paw", None),
        ("LBigToe", None),
        ("", None),
    ],
)
def test_a_joint_is_known_by_many_names(name: str, standard: str | None) -> None:
    assert standard_name(name) == standard


def test_a_layout_is_made_of_names_in_any_order() -> None:
    limbs = [f"{side} {part}" for side in "LR" for part in ("sho", "elb", "wri", "hip", "knee")]
    layout = layout_of_names(["nose", *limbs], "f")
    assert [JOINTS[joint] for joint in layout.absent] == ["right ankle", "left ankle", "head"]
    assert layout.sources[JOINTS.index("root")] == (4, 9)
    assert layout_of_names(LAYOUTS["coco17"].keypoints, "f") is LAYOUTS["coco17"]
    with pytest.raises(DataError, match="no known layout, among them is no left_wrist"):
        layout_of_names(["left_shoulder", "right_shoulder", "left_elbow", "right_elbow"], "f")
    with pytest.raises(DataError, match="two of its keypoints are called left_hip"):
        layout_of_names([*limbs, "LHip"], "f")


def test_names_decide_and_not_the_number(tmp_path: Path) -> None:
    """MMPose's file with the keypoints of COCO in reverse, named so."""
    points, names = keypoints("coco17")[:, ::-1], LAYOUTS["coco17"].keypoints[::-1]
    frames = [
        {
            "frame_id": i,
            "instances": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()}],
        }
        for i, p in enumerate(points)
    ]
    meta = {"keypoint_id2name": {str(i): name for i, name in enumerate(names)}}
    path = tmp_path / "k.json"
    path.write_text(json.dumps({"meta_info": meta, "instance_info": frames}))
    tracks = read_keypoints(path, size=(1280, 720), fps=25)
    np.testing.assert_allclose(tracks.people[0].xy[:, 13], XY[:, 13], atol=0.01)
    assert tracks.layout_reason == "by the names of its keypoints"


# ---- frame numbers ----


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["cam1_000000.json", "cam1_000003.json"], [0, 3]),
        (["frame0_cam1.json", "frame10_cam1.json", "frame2_cam1.json"], [0, 10, 2]),
        (["a/7/x_1.jpg", "a/7/x_2.jpg"], [1, 2]),
        (["f1_t0.jpg", "f2_t40.jpg", "f3_t80.jpg"], [1, 2, 3]),
        (["walk.json", "run.json"], [0, 1]),
        (["12.jpg"], [12]),
        (
            [f"{1700000000 + t // 25}.{t % 25 * 40000:06d}.jpg" for t in (0, 30, 1, 26)],
            [0, 3, 1, 2],
        ),
        ([f"walk_{t // 25:02d}s{t % 25 * 40:03d}ms.jpg" for t in (0, 1, 25, 26)], [0, 1, 2, 3]),
    ],
)
def test_the_digits_that_move_are_the_frame(names: list[str], numbers: list[int]) -> None:
    assert frame_numbers(names, "f") == numbers


@pytest.mark.parametrize(
    "names",
    [
        [f"cam{c}_{t:03d}.json" for c in (1, 2) for t in range(3)],
        [f"{t:03d}_cam{c}.json" for c in (1, 2) for t in range(3)],
        [f"cam{c}_{t}s0ms.json" for c in (1, 2) for t in range(3)],
        [f"{side}_{t:03d}.json" for side in ("left", "right") for t in range(3)],
    ],
)
def test_two_cameras_are_two_recordings(names: list[str]) -> None:
    with pytest.raises(DataError, match="holds 2 recordings.*lift them one by one"):
        frame_numbers(names, "f")


# ---- layouts ----


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_says_no_layout_is_read_right_or_refused(layout: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "k.npz", keypoints(layout))
    try:
        tracks = read_keypoints(path)
    except DataError as error:
        assert "name the layout" in str(error) and "--layout" in str(error)
        rare = ("mpi_inf_3dhp17", "posetrack18", "lsp14", "crowdpose14", "body25b")
        assert layout in rare or LAYOUTS[layout] not in candidates(LAYOUTS[layout].n_keypoints)
    else:
        assert tracks.layout == layout
    told = read_keypoints(path, layout=layout)
    assert told.layout == layout and told.layout_reason == "as asked for"


@pytest.mark.parametrize(("layout", "asked"), [("h36m17", "coco17"), ("coco17", "h36m17")])
def test_a_layout_that_the_points_contradict_is_refused(
    layout: str, asked: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"should be {asked}, but its points lie as those of"):
        read_keypoints(saved(tmp_path / "k.npz", keypoints(layout)), layout=asked)


# ---- people ----


def test_people_first_is_told_by_motion() -> None:
    one = keypoints("coco17")
    two = np.stack([one, one + (300, 0, 0)])
    assert is_people_first(two) and not is_people_first(two.swapaxes(0, 1))
    assert is_people_first(one[None]) and not is_people_first(one[:, None])
    crowd = one[:1, None].repeat(3, 1) + np.array([0, 300, 600])[:, None, None]
    assert not is_people_first(crowd)
    many = np.stack([one[:10] + (300 * i, 0, 0) for i in range(12)])
    assert is_people_first(many) and not is_people_first(many.swapaxes(0, 1))
    assert not is_people_first(np.stack([one, one], axis=1)), "a person twice in each frame"


def test_an_array_in_which_nearly_all_are_doubles_is_refused(tmp_path: Path) -> None:
    still = np.repeat(keypoints("coco17")[:1], 10, axis=0)  # who stands still, ten frames of them
    people = np.stack([still + (30 * i, 0, 0) for i in range(12)])
    path = saved(tmp_path / "k.npz", people, layout="coco17", frames=np.arange(12))
    with pytest.raises(DataError, match=r"108 of 120 detections lie on another of their frame"):
        read_keypoints(path)


def test_the_order_of_people_in_an_array_is_no_identity(tmp_path: Path) -> None:
    one = keypoints("coco17")
    both = np.stack([one, one + (400, 0, 0)], axis=1)
    both[::2] = both[::2, ::-1]
    tracks = read_keypoints(saved(tmp_path / "k.npz", both, layout="coco17"))
    assert [len(person.frames) for person in tracks.people] == [N, N]
    steps = [np.abs(np.diff(person.xy[:, 0, 0])).max() for person in tracks.people]
    assert max(steps) < 50 and any("by their motion" in note for note in tracks.notes)


def test_a_person_detected_twice_counts_once() -> None:
    one = np.concatenate([XY[:1], XY[:1] + 1.0, XY[:1] + 60.0])
    confidence = np.array([[0.5] * 17, [0.9] * 17, [0.7] * 17])
    keep = first_of_duplicates(np.zeros(3, int), one, confidence)
    assert keep.tolist() == [False, True, True]


# ---- formats ----


def _csv(lines: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "k.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_deeplabcut_and_sleap_tables(tmp_path: Path) -> None:
    points, names = keypoints("coco17"), LAYOUTS["coco17"].keypoints
    rows = [",".join(f"{v:.3f}" for v in frame.ravel()) for frame in points]
    dlc = [
        "scorer," + ",".join(["net"] * 51),
        "bodyparts," + ",".join(name for name in names for _ in range(3)),
        "coords," + ",".join(["x,y,likelihood"] * 17),
        *(f"{i},{row}" for i, row in enumerate(rows)),
    ]
    sleap = [
        "track,frame_idx," + ",".join(f"{name}.x,{name}.y,{name}.score" for name in names),
        *(f"track_0,{i},{row}" for i, row in enumerate(rows)),
    ]
    for lines, form in ((dlc, "DeepLabCut"), (sleap, "CSV")):
        tracks = read_keypoints(_csv(lines, tmp_path), size=(1280, 720), fps=25)
        assert (tracks.format, tracks.layout, tracks.n_frames) == (form, "coco17", N)
        np.testing.assert_allclose(tracks.people[0].xy[:, 13], XY[:, 13], atol=0.01)


def test_labels_of_ultralytics_and_packed_json(tmp_path: Path) -> None:
    points = keypoints("coco17") / (1280, 720, 1)
    folder = tmp_path / "labels"
    folder.mkdir()
    for i, frame in enumerate(points):
        words = " ".join(f"{v:.6f}" for v in frame.ravel())
        (folder / f"walk_{i + 1}.txt").write_text(f"0 0.5 0.5 0.2 0.8 {words}\n")
    tracks = read_keypoints(folder, size=(1280, 720), fps=25)
    np.testing.assert_allclose(tracks.people[0].xy[:, 13], XY[:, 13], atol=0.1)
    frames = [{"frame": i, "landmarks": frame.tolist()} for i, frame in enumerate(points)]
    content = {**SIZE, "layout": "coco17", "units": "normalised", "frames": frames}
    path = tmp_path / "k.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    assert read_keypoints(path).n_frames == N


def test_joints_by_number_with_holes_keep_their_number(tmp_path: Path) -> None:
    """A selection of MediaPipe's 33 by number is not closed up to another layout."""
    points = keypoints("mediapipe33")
    kept = [i for i in range(33) if points[0, i, 2] > 0]
    lines = ["frame,joint,x,y,confidence"]
    lines += [f"{t},{i},{x},{y},{c}" for t in range(N) for i in kept for x, y, c in [points[t, i]]]
    lines += [f"{t},32,0,0,0" for t in range(N)]
    tracks = read_keypoints(_csv(lines, tmp_path), size=(1280, 720), fps=25)
    assert tracks.layout == "mediapipe33"
    np.testing.assert_allclose(tracks.people[0].xy[:, 13], XY[:, 13], atol=0.01)


# ---- depth in a score's place ----


def test_the_depth_of_landmarks_is_not_taken_for_their_visibility(tmp_path: Path) -> None:
    points = keypoints("mediapipe33")
    points[..., 2] = np.random.default_rng(0).normal(-0.1, 0.15, points.shape[:2])
    tracks = read_keypoints(saved(tmp_path / "k.npz", points))
    assert any("is its depth" in note for note in tracks.notes)
    assert tracks.people[0].confidence.min() > 0

    frames = [[[float(v) for v in mark] for mark in person] for person in points]
    (tmp_path / "k.json").write_text(json.dumps({**SIZE, "frames": frames}))
    assert read_keypoints(tmp_path / "k.json").people[0].confidence.min() > 0


def test_scores_mostly_below_zero_are_refused(tmp_path: Path) -> None:
    points = keypoints("coco17")
    points[..., 2] = np.random.default_rng(0).normal(-0.1, 0.15, points.shape[:2])
    with pytest.raises(DataError, match="scores must be 0 or more, got .* its depth"):
        read_keypoints(saved(tmp_path / "k.npz", points))

    assert "taken as missing" in unit_scores(np.array([[0.9, -0.02, -0.03]]), "k")[1][0]


# ---- who is no person ----


def coco(**more: Any) -> list[dict[str, Any]]:
    """The body as entries of COCO, and one beside it of the second category."""
    points = keypoints("coco17")
    moved = points + np.array([300.0, 50.0, 0.0])
    return [
        {"image_id": t, "category_id": c, "keypoints": one[t].ravel().tolist(), **more}
        for t in range(N)
        for c, one in ((1, points), (18, moved))
    ]


@pytest.mark.parametrize("others", ["dog", "lynx"])
def test_animals_of_annotations_are_left_out(others: str, tmp_path: Path) -> None:
    images = [{"id": t, "width": 1280, "height": 720} for t in range(N)]
    categories = [
        {"id": 18, "name": others, "keypoints": [f"paw {i}" for i in range(17)]},
        {"id": 1, "name": "athlete", "keypoints": list(LAYOUTS["coco17"].keypoints)},
    ]
    file = tmp_path / "k.json"
    content = {"images": images, "annotations": coco(), "categories": categories}
    file.write_text(json.dumps(content))
    tracks = read_keypoints(file, fps=25)
    assert len(tracks.people) == 1 and f"{N} " in tracks.notes[0] and "left out" in tracks.notes[0]


def test_numbers_may_be_text_or_null(tmp_path: Path) -> None:
    plain = [entry for entry in coco() if entry["category_id"] == 1]
    odd = copy.deepcopy(plain)
    odd[3]["keypoints"] = [str(value) for value in odd[3]["keypoints"]]
    odd[4]["keypoints"][0] = None  # the first: what begins so is flat all the same
    tracks = []
    for content in (plain, odd):
        (tmp_path / "k.json").write_text(json.dumps(content))
        tracks.append(read_keypoints(tmp_path / "k.json", size=(1280, 720), fps=25))

    assert tracks[1].notes == ("ignored 1 keypoint at a place that marks them missing",)
    (one,), (other,) = (found.people for found in tracks)
    np.testing.assert_array_equal(np.delete(one.xy, 4, 0), np.delete(other.xy, 4, 0))


def test_a_person_left_of_the_image_is_said_to_lie_there(tmp_path: Path) -> None:
    points = keypoints("coco17") - (700, 0, 0)
    with pytest.raises(
        DataError, match=r"lie at x = -\d+ to \d+, y = \d+ to \d+, outside 1280 x 720"
    ):
        read_keypoints(saved(tmp_path / "k.npz", points, layout="coco17"), size=(1280, 720))


def test_a_size_is_called_swapped_only_where_the_other_way_round_is_right() -> None:
    wide = np.array([(x, 300.0) for x in np.linspace(0, 1200, 50)])
    with pytest.raises(DataError, match="inside 1280 x 720: width and height swapped"):
        check_size(wide, 720, 1280, "f")
    both = np.concatenate([wide, wide[:10] + (0, 900)])  # some lie outside either way
    check_size(both, 720, 1280, "f")


def test_shares_about_the_middle_are_refused(tmp_path: Path) -> None:
    points = keypoints("coco17")
    points[..., :2] = points[..., :2] / (640, 360) - 1
    assert 0.2 < (points[..., :2] < 0).any(-1).mean() < 0.9
    with pytest.raises(DataError, match="scaled in a way that the file does not say"):
        read_keypoints(saved(tmp_path / "k.npz", points, layout="coco17"), size=(1280, 720))


def test_results_of_several_categories_are_of_people_alone(tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text(json.dumps(coco()))
    tracks = read_keypoints(tmp_path / "k.json", size=(1280, 720), fps=25)
    assert len(tracks.people) == 1 and tracks.notes == (f"left out {N} detections: 18",)

    one = [entry for entry in coco() if entry["category_id"] == 18]
    (tmp_path / "k.json").write_text(json.dumps(one))
    assert len(read_keypoints(tmp_path / "k.json", size=(1280, 720), fps=25).people) == 1


def test_ultralytics_says_what_is_no_person(tmp_path: Path) -> None:
    columns = [dict(zip("xy", one.T.tolist(), strict=False)) for one in keypoints("coco17")]
    dogs = [{key: [v + 200 for v in one[key]] for key in "xy"} for one in columns]
    frames = [
        [{"name": "dog", "keypoints": dog}, {"name": "person", "keypoints": person}]
        for dog, person in zip(dogs, columns, strict=True)
    ]
    (tmp_path / "k.json").write_text(json.dumps(frames))
    tracks = read_keypoints(tmp_path / "k.json", size=(1280, 720), fps=25)
    assert len(tracks.people) == 1 and f"left out {N} detections: dog" in tracks.notes


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("extra", [[], [0.9], [0.9, 7.0]])
def test_labels_with_score_and_track_and_of_two_numbers(
    dims: int, extra: list[float], tmp_path: Path
) -> None:
    shares = keypoints("coco17") / (CAMERA.width, CAMERA.height, 1)
    shares[:, 3, :2] = 0
    for t, one in enumerate(shares[:, :, :dims]):
        line = [0, 0.5, 0.5, 0.1, 0.1, *one.ravel(), *extra]
        (tmp_path / f"walk_{t}.txt").write_text(" ".join(map(str, line)))
    tracks = read_keypoints(tmp_path, size=(CAMERA.width, CAMERA.height), fps=25)
    (person,) = tracks.people
    assert tracks.layout == "coco17" and person.name == ("7" if len(extra) == 2 else "0")


def test_a_file_of_a_line_a_frame_is_said_to_be_a_stream(tmp_path: Path) -> None:
    (tmp_path / "k.jsonl").write_text('{"people": []}\n' * 3)
    with pytest.raises(DataError, match=r"more than one JSON value .* a stream \(m2v lift -"):
        read_keypoints(tmp_path / "k.jsonl")
