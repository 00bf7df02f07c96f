"""Every form of keypoint file: what was written is read, whatever the file is called, and a
fault is one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data.checks import DataError
from m2v_lib.data.export.keypoints import FORMS, write_keypoints
from m2v_lib.data.keypoints import Person, Tracks, read_keypoints, recordings
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.geometry.cameras import load_cameras, to_image_and_depth

SIZE = (1000, 1002)
#: joints whose round trip is exact: those with a keypoint of their own, and the head between two
#: eyes
EXACT = {
    name: [j for j, sources in enumerate(layout.sources) if len(sources) == 1 or j == 10]
    for name, layout in LAYOUTS.items()
}


def _people() -> Tracks:
    """Two people of the generator, 40 frames; the second is unseen in frames 12 to 15 and once
    lacks a wrist.
    """
    camera = load_cameras()["54138969"]
    clips = make_pack(Plan(n_train=2, n_test=1, n_frames=40, styles=("walk", "wave"))).clips[:2]
    people = []
    for i, clip in enumerate(clips):
        moved = clip.positions.astype(np.float64) + (0, 900 * i, 0)
        xy = to_image_and_depth(moved, camera)[0][..., :2].astype(np.float32)
        people.append(
            Person(str(i + 1), np.arange(40), xy, np.full(xy.shape[:2], 0.75, np.float32))
        )
    first, second = people
    kept = np.r_[0:12, 16:40]
    second = Person("2", kept, second.xy[kept], second.confidence[kept].copy())
    second.confidence[5, 13], second.xy[5, 13] = 0, 0
    return Tracks("made", "", "h36m17", (first, second), 40, *SIZE, 50.0)


TRACKS = _people()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read(form: str, tmp_path: Path) -> None:
    path = write_keypoints(TRACKS, tmp_path / "no ending", form)
    read = read_keypoints(path, size=SIZE)
    assert (read.layout, read.n_frames, read.width, read.height) == (FORMS[form][0], 40, *SIZE)
    assert len(read.people) == 2
    exact = EXACT[read.layout]
    for person, same in zip(TRACKS.people, read.people, strict=True):
        np.testing.assert_array_equal(person.frames, same.frames)
        np.testing.assert_allclose(same.xy[:, exact], person.xy[:, exact], atol=2e-3)
        expected = np.sign(person.confidence) if form == "posetrack18" else person.confidence
        np.testing.assert_allclose(same.confidence[:, exact], expected[:, exact], atol=1e-6)
        off = np.linalg.norm(same.xy - person.xy, axis=-1)[person.confidence > 0]
        assert off.max() < 40, "derived joints lie near those of Human3.6M"


def test_gaps_are_kept_and_a_missing_joint_has_confidence_0(tmp_path: Path) -> None:
    read = read_keypoints(write_keypoints(TRACKS, tmp_path / "x", "alphapose"), size=SIZE)
    second = read.people[1]
    assert second.n_missing_frames == 4 and 11 in second.frames and 12 not in second.frames
    assert second.confidence[5, 13] == 0 and second.xy[5, 13].tolist() == [0, 0]


def test_ids_of_the_file_are_used_and_meaningless_ones_are_not(tmp_path: Path) -> None:
    items = json.loads(write_keypoints(TRACKS, tmp_path / "x", "alphapose").read_text())
    swapped = [{**item, "idx": 7.0 if item["idx"] == [1.0] else 3.0} for item in items]
    read = read_keypoints(_json(tmp_path, swapped))
    assert [person.name for person in read.people] == ["7", "3"]
    untracked = [{**item, "idx": [0.0]} for item in items]  # AlphaPose without --pose_track
    read = read_keypoints(_json(tmp_path, untracked))
    assert [len(person.frames) for person in read.people] == [40, 36]


def _json(folder: Path, content: Any) -> Path:
    path = folder / "edited.json"
    path.write_text(json.dumps(content))
    return path


def test_videopose3d_files_and_units_and_notes(tmp_path: Path) -> None:
    points = LAYOUTS["coco17"].from_h36m(TRACKS.people[0].xy, TRACKS.people[0].confidence)[0]
    points[:, 3:5] = points[:, 1:3] + 4  # ears
    metadata = {"layout_name": "coco", "video_metadata": {"v.mp4": {"w": 1000, "h": 1002}}}
    np.savez(
        tmp_path / "vp.npz",
        positions_2d=np.array({"v.mp4": {"custom": [points]}}, object),
        metadata=np.array(metadata, object),
    )
    read = read_keypoints(tmp_path / "vp.npz")
    assert (read.format, read.layout, read.width) == ("VideoPose3D", "coco17", 1000)
    np.testing.assert_allclose(read.people[0].xy[:, 3], TRACKS.people[0].xy[:, 3], atol=1e-3)
    shares = points / SIZE
    np.savez(tmp_path / "shares.npz", keypoints=shares, units="normalised", width=1000, height=1002)
    same = read_keypoints(tmp_path / "shares.npz")
    np.testing.assert_allclose(same.people[0].xy, read.people[0].xy, atol=1e-3)
    assert same.notes == ("coordinates were shares of the image, taken times 1000 x 1002",)


def test_nan_in_a_table_is_a_missing_joint(tmp_path: Path) -> None:
    keypoints = TRACKS.people[0].xy.copy()
    keypoints[3, 5] = np.nan
    np.savez(tmp_path / "x.npz", keypoints=keypoints, layout="h36m17")
    person = read_keypoints(tmp_path / "x.npz").people[0]
    assert person.confidence[3, 5] == 0 and (np.delete(person.confidence[3], 5) == 1).all()
    table = "frame,joint,x,y\n" + "".join(
        f"0,{j},{x:.2f},{y:.2f}\n" for j, (x, y) in enumerate(TRACKS.people[0].xy[0])
    )
    (tmp_path / "x.csv").write_text(
        table.replace("0,16,", "0,16,nan,nan #", 1).split(" #")[0] + "\n"
    )
    person = read_keypoints(tmp_path / "x.csv", layout="h36m17").people[0]
    assert person.confidence[0].tolist() == [1.0] * 16 + [0.0]


def test_visibility_marks_become_confidence_and_high_scores_are_cut(tmp_path: Path) -> None:
    items = json.loads(write_keypoints(TRACKS, tmp_path / "x", "coco").read_text())
    for item in items:
        item["keypoints"][2::3] = [2, 2, 1, 0] + [2] * 13
    confidence = read_keypoints(_json(tmp_path, items)).people[0].confidence
    assert confidence[0, [9, 10, 1]].tolist() == [1.0, 0.75, 1.0]
    items[0]["keypoints"][2::3] = [1.05] * 3 + [0, 0] + [1.05] * 12
    for item in items[1:]:
        item["keypoints"][2::3] = [0.5] * 3 + [0, 0] + [0.5] * 12
    read = read_keypoints(_json(tmp_path, items))
    assert read.people[0].confidence.max() == 1 and "above 1 (up to 1.05)" in read.notes[0]


def test_mediapipe_variants(tmp_path: Path) -> None:
    content = json.loads(write_keypoints(TRACKS, tmp_path / "x", "mediapipe").read_text())
    bare = [{"pose_landmarks": (frame["landmarks"] or [None])[0]} for frame in content["frames"]]
    rows = [
        [[m["x"], m["y"], 0.3, m["visibility"]] for m in frame["pose_landmarks"] or []]
        for frame in bare
    ]
    for variant in (bare, rows):
        read = read_keypoints(_json(tmp_path, variant), size=SIZE)
        assert (read.format, read.n_frames, len(read.people)) == ("MediaPipe", 40, 1)
        np.testing.assert_allclose(read.people[0].xy[:, 3], TRACKS.people[0].xy[:, 3], atol=1e-3)


def test_mmpose_frames_without_a_header_and_one_file_a_frame(tmp_path: Path) -> None:
    content = json.loads(write_keypoints(TRACKS, tmp_path / "x", "mmpose").read_text())
    for frame in content["instance_info"]:
        for one in frame["instances"]:  # ears, without which 17 points might be anything
            one["keypoints"][3:5], one["keypoint_scores"][3:5] = one["keypoints"][1:3], [0.5, 0.5]
    assert read_keypoints(_json(tmp_path, content["instance_info"])).layout == "coco17"
    (tmp_path / "frames").mkdir()
    for frame in content["instance_info"]:
        (tmp_path / "frames" / f"im_{frame['frame_id']:04d}.json").write_text(
            json.dumps(frame["instances"])
        )
    read = read_keypoints(tmp_path / "frames")
    assert (read.format, read.n_frames, [len(p.frames) for p in read.people]) == (
        "MMPose",
        40,
        [40, 36],
    )
    assert read.people[0].frames[0] == 0, "im_0001 is the first frame"


def test_crowds_unmarked_people_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    content = json.loads(write_keypoints(TRACKS, tmp_path / "x", "posetrack18").read_text())
    one = content["annotations"][0]
    content["annotations"] += [
        {**one, "keypoints": [0] * 51},
        {k: v for k, v in one.items() if k != "keypoints"},
    ]
    (tmp_path / "bom").write_text(json.dumps(content), encoding="utf-8-sig")
    assert [len(person.frames) for person in read_keypoints(tmp_path / "bom").people] == [40, 36]


def test_wholebody_keypoints_begin_with_the_body(tmp_path: Path) -> None:
    items = json.loads(write_keypoints(TRACKS, tmp_path / "x", "alphapose").read_text())
    for item in items:
        item["keypoints"] += [1.0, 2.0, 0.5] * 110
    read = read_keypoints(_json(tmp_path, items))
    np.testing.assert_allclose(read.people[0].xy[:, 10], TRACKS.people[0].xy[:, 10], atol=1e-3)


def test_recordings_below_a_folder(tmp_path: Path) -> None:
    write_keypoints(TRACKS, tmp_path / "b" / "video 1", "openpose")
    write_keypoints(TRACKS, tmp_path / "a.json", "alphapose")
    write_keypoints(TRACKS, tmp_path / "b" / "c.npz", "npz")
    (tmp_path / "notes.txt").write_text("nothing")
    assert [p.relative_to(tmp_path).as_posix() for p in recordings(tmp_path)] == [
        "a.json",
        "b/c.npz",
        "b/video 1",
    ]


# ---- broken files: how to make one, and the sentence it gives ----

Edit = Callable[[Any], Any]


def _spoil(form: str, edit: Edit) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        content = json.loads(write_keypoints(TRACKS, folder / "x", form).read_text())
        return _json(folder, edit(content))

    return make


def _first(**changes: Any) -> Edit:
    return lambda items: [{**items[0], **changes}, *items[1:]]


def _values(edit: Callable[[list[Any]], object], which: slice = slice(None)) -> Edit:
    """Edit the flat keypoints of some detections in place."""

    def apply(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in items[which]:
            edit(item["keypoints"])
        return items

    return apply


def _set(values: list[float], at: slice, to: Callable[[float], float]) -> None:
    values[at] = [to(v) for v in values[at]]


def _text(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "bad").write_text(text)
        return folder / "bad"

    return make


def _bytes(content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "bad").write_bytes(content)
        return folder / "bad"

    return make


def _npz(**arrays: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(
            folder / "bad.npz", **{"keypoints": TRACKS.people[0].xy, "layout": "h36m17", **arrays}
        )
        return folder / "bad.npz"

    return make


def _truncated(folder: Path) -> Path:
    path = write_keypoints(TRACKS, folder / "bad.json", "alphapose")
    path.write_text(path.read_text()[:5000])
    return path


def _two_kinds(folder: Path) -> Path:
    write_keypoints(TRACKS, folder / "f", "openpose")
    (folder / "f" / "zz_000000000099_keypoints.json").write_text("{}")
    return folder / "f"


def _empty_folder(folder: Path) -> Path:
    (folder / "f").mkdir()
    return folder / "f"


def _nobody(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "frames": [{"landmarks": []} for _ in content["frames"]]}


def _other(content: dict[str, Any], key: str, **changes: Any) -> dict[str, Any]:
    return {**content, key: [{**content[key][0], **changes}, *content[key][1:]]}


def _instance(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    frame = {**content["instance_info"][0]}
    frame["instances"] = [{**frame["instances"][0], **changes}]
    return {**content, "instance_info": [frame, *content["instance_info"][1:]]}


def _landmark(content: dict[str, Any], value: Any) -> dict[str, Any]:
    content["frames"][4]["landmarks"][0][0] = value
    return content


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "ragged": (
        _spoil("alphapose", _values(lambda v: v.__delitem__(slice(-3, None)), slice(5, 6))),
        "detection 5 has 25 keypoints, expected 26",
    ),
    "not threes": (
        _spoil("alphapose", _values(lambda v: v.pop(), slice(5, 6))),
        "detection 5 has 77 numbers",
    ),
    "wrong joint count": (
        _spoil("alphapose", _values(lambda v: v.__delitem__(slice(-24, None)))),
        "has 18 keypoints a person that do not lie as those of coco18",
    ),
    "endless": (
        _spoil("alphapose", _values(lambda v: v.__setitem__(15, float("inf")), slice(2, 3))),
        "coordinates must lie within",
    ),
    "endless score": (
        _spoil("coco", _values(lambda v: v.__setitem__(17, float("inf")), slice(2, 3))),
        "scores must be finite",
    ),
    "text for a number": (
        _spoil("alphapose", _values(lambda v: v.__setitem__(4, "much"), slice(3, 4))),
        "detection 3 is not made of numbers",
    ),
    "truncated": (_truncated, r"not valid JSON at line 1, column \d+, truncated\?"),
    "not JSON": (_text('{"people": [}'), "not valid JSON at line 1, column 13"),
    "other JSON": (
        _text('{"name": "package"}'),
        "unrecognised keypoint JSON, expected COCO results",
    ),
    "a number": (_text("[1, 2, 3]"), "landmarks of frame 0 must be a list, got a number"),
    "no person": (_text("[]"), "no person, expected at least one detection"),
    "nobody in any frame": (_spoil("mediapipe", _nobody), "no person in 40 frames"),
    "nobody visible": (
        _spoil("coco", _values(lambda v: _set(v, slice(2, None, 3), lambda c: 0))),
        "no person with a visible joint in 40 frames",
    ),
    "id twice": (_spoil("alphapose", _first(idx=2.0)), "frame 0 has person 2 twice"),
    "no keypoints": (
        _spoil("coco", lambda items: [{"image_id": 0, "bbox": []}]),
        "an entry has no 'keypoints', it has bbox, image_id",
    ),
    "no frame number": (
        _spoil("alphapose", _first(image_id="cat.jpg")),
        "image_id 'cat.jpg' holds no frame number",
    ),
    "negative frame": (
        _spoil("coco", _first(image_id=-3)),
        "image_id must be a whole number from 0 to .*, got -3",
    ),
    "stills, not a video": (
        _spoil("coco", lambda items: [{**items[i], "image_id": i * 99999} for i in range(9)]),
        "image_id runs up to 799992 in 9 images",
    ),
    "other program": (
        _text('{"0.jpg": {"version": 1, "bodies": []}}'),
        "run it without --format open or cmu",
    ),
    "two videos": (
        _spoil("posetrack18", lambda c: _other(c, "images", vid_id="000002")),
        "holds 2 videos",
    ),
    "sizes differ": (
        _spoil("posetrack18", lambda c: _other(c, "images", width=640)),
        "images have 2 different sizes",
    ),
    "unknown image": (
        _spoil("posetrack18", lambda c: _other(c, "annotations", image_id=5)),
        "an annotation names image 5, which the list of images lacks",
    ),
    "unknown names": (
        _spoil("posetrack18", lambda c: _other(c, "categories", keypoints=["a", "b"])),
        r"its 2 keypoints \(a, b\) are those of no known layout",
    ),
    "H36M order as COCO": (
        _spoil(
            "coco",
            lambda items: [
                {**item, "keypoints": np.c_[TRACKS.people[0].xy[0], np.ones(17)].ravel().tolist()}
                for item in items
            ],
        ),
        "should be coco17, but its points lie as those of h36m17",
    ),
    "scores missing": (
        _spoil("mmpose", lambda c: _instance(c, keypoint_scores=[1.0])),
        "frame 1 has not one score for each of its keypoints",
    ),
    "a landmark without y": (
        _spoil("mediapipe", lambda c: _landmark(c, {"x": 0.1})),
        "frame 4 has a landmark that is neither",
    ),
    "shares called pixels": (
        _spoil("mediapipe", lambda c: {**c, "units": "pixels"}),
        "says its coordinates are pixels, but they reach 0.",
    ),
    "pixels called shares": (
        _npz(units="normalised"),
        "says its coordinates are normalised, but they reach",
    ),
    "fps": (
        _spoil("mediapipe", lambda c: {**c, "fps": 0}),
        "fps must be a number from 1 to 2000, got 0",
    ),
    "other files in the folder": (_two_kinds, "zz_.*: not the keypoints of one frame"),
    "empty folder": (_empty_folder, "no .json file in this folder"),
    "empty file": (_bytes(b""), "is empty, expected keypoints"),
    "a video": (
        _bytes(b"\0\0\0\x20ftypisom" + bytes(50)),
        r"is a video \(MP4\), expected keypoints as JSON",
    ),
    "a sound file": (_bytes(b"RIFF\0\0\0\0WAVEfmt " + bytes(50)), "is a sound file"),
    "a picture": (_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50)), "is a picture"),
    "npz key": (
        _npz(keypoints=1, kp=2),
        r"keypoints has shape \(\), expected \(frames, K, 2 or 3\)",
    ),
    "npz zero frames": (
        _npz(keypoints=np.zeros((0, 17, 2))),
        r"keypoints has shape \(0, 17, 2\), expected",
    ),
    "npz confidence": (
        _npz(confidence=np.ones((40, 16))),
        r"confidence has shape \(40, 16\), expected one number",
    ),
    "npz layout": (_npz(layout="coco19"), "layout 'coco19' is not known, expected one of h36m17"),
    "npz other layout": (_npz(layout="body25"), "has 17 keypoints a person, expected 25 of body25"),
    "npz frames": (
        _npz(frames=np.arange(40) + 0.5),
        "frames must be a whole number from 0 to 5184000, got 0.5",
    ),
    "npz code": (_npz(keypoints=np.array([Path("x")], object)), "keypoints"),
    "csv header": (
        _text("time,joint,x,y\n"),
        "its first line has no columns frame, joint, x, y; found time",
    ),
    "csv short line": (
        _text("frame,joint,x,y\n0,0,1,2\n0,1,5\n"),
        "line 3 has 3 values, expected 4",
    ),
    "csv text": (_text("frame,joint,x,y\n0,0,1,two\n"), "line 2 holds something that is no number"),
    "csv joint twice": (
        _text("frame,joint,x,y\n0,0,1,2\n0,0,1,2\n"),
        "line 3 gives joint 0 of frame 0 a second time",
    ),
    "csv names": (
        _text("frame,joint,x,y\n0,tail,1,2\n"),
        r"its 1 keypoints \(tail\) are those of no known layout",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_one_sentence(fault: str, tmp_path: Path) -> None:
    make, sentence = BROKEN[fault]
    path = make(tmp_path)
    with pytest.raises(DataError, match=sentence) as caught:
        read_keypoints(path)
    assert str(caught.value).startswith(str(tmp_path)) and "\n" not in str(caught.value)


def test_swapped_and_wrong_sizes_are_found(tmp_path: Path) -> None:
    wide = replace(TRACKS, people=tuple(replace(p, xy=p.xy + (800, 0)) for p in TRACKS.people))
    path = write_keypoints(replace(wide, width=None), tmp_path / "x", "alphapose")
    read_keypoints(path, size=(1920, 1080))
    with pytest.raises(
        DataError, match="outside 1080 x 1920 but inside 1920 x 1080: width and height swapped"
    ):
        read_keypoints(path, size=(1080, 1920))
    with pytest.raises(
        DataError, match="outside 320 x 180 pixels; expected the size of the image the detector saw"
    ):
        read_keypoints(path, size=(320, 180))
    path = write_keypoints(TRACKS, tmp_path / "y", "csv")
    with pytest.raises(DataError, match="says its image is 1000 x 1002, not 1002 x 1000"):
        read_keypoints(path, size=(1002, 1000))


def test_shares_of_an_unknown_image_and_other_scales_are_refused(tmp_path: Path) -> None:
    content = json.loads(write_keypoints(TRACKS, tmp_path / "x", "mediapipe").read_text())
    with pytest.raises(
        DataError,
        match=r"shares of the image \(up to 0\.\d\d\), not pixels; give its width and height",
    ):
        read_keypoints(_json(tmp_path, {"frames": content["frames"]}))
    np.savez(tmp_path / "x.npz", keypoints=TRACKS.people[0].xy / 500 - 1, layout="h36m17")
    with pytest.raises(DataError, match=r"coordinates lie in -0\.\d\d .. 0\.\d\d, scaled in a way"):
        read_keypoints(tmp_path / "x.npz")


def test_what_the_caller_says_must_not_contradict_the_file(tmp_path: Path) -> None:
    path = write_keypoints(TRACKS, tmp_path / "x", "csv")
    with pytest.raises(DataError, match="says it has 50 frames a second, not 25"):
        read_keypoints(path, fps=25)
    with pytest.raises(DataError, match="says its layout is h36m17, not coco17"):
        read_keypoints(path, layout="coco17")
    np.savez(
        tmp_path / "x.npz",
        keypoints=np.where(np.arange(17)[:, None] > 8, TRACKS.people[0].xy, np.nan),
    )
    with pytest.raises(
        DataError,
        match="17 keypoints a person may be coco17, h36m17, posetrack18 or mpi_inf_3dhp17: name",
    ):
        read_keypoints(tmp_path / "x.npz")
