"""Lifting line by line: the same poses as from a file, a fixed number of frames late, in
constant memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.lifting import CAMERA, Flat, body, seen

from m2v_lib import cli
from m2v_lib.config import Experiment
from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.lift.camera import Camera
from m2v_lib.lift.stream import Stream, stream_lines
from m2v_lib.lift.stream_input import LineReader
from m2v_lib.lift.windows import Lifter
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import save_tensors

LIFTER = Lifter(Flat(), 27)


def lines(n: int, fps: float = 25.0, **person: Any) -> list[str]:
    """One body, as lines of H36M joints."""
    triples = np.concatenate([seen(body(n, fps)), np.full((n, 17, 1), 0.9)], axis=-1).round(4)
    return [json.dumps({"people": [{"keypoints": t.ravel().tolist(), **person}]}) for t in triples]


def lifted(source: list[str], **options: Any) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in stream_lines(source, LIFTER, CAMERA, 25.0, layout="h36m17", **options)
    ]


@pytest.mark.parametrize("latency", [0, 1, 7, 20])
@pytest.mark.parametrize("n", [1, 5, 60])
def test_each_frame_comes_once_in_order_and_on_its_keypoints(latency: int, n: int) -> None:
    poses = lifted(lines(n), latency=latency)
    assert [pose["frame"] for pose in poses] == list(range(n)) and {
        pose["person"] for pose in poses
    } == {"0"}
    joints = (
        np.array([pose["pose_mm"] for pose in poses])
        + np.array([pose["root_mm"] for pose in poses])[:, None]
    )
    off = np.linalg.norm(seen(joints) - seen(body(n, 25)), axis=-1)
    assert off.max() < (1.5 if n == 60 else 25) and off[13:].max(initial=0) < 1.5


def test_plain_numbers_are_taken_two_people_in_a_line() -> None:
    """Whether by commas or blanks; the second comes and goes."""
    triples = np.concatenate([seen(body(40, 25)), np.full((40, 17, 1), 0.9)], axis=-1).round(4)
    other = triples + (300, 0, 0)
    plain = []
    for t in range(40):
        one = ",".join(map(str, triples[t].ravel()))
        two = " ".join(map(str, other[t].ravel())) if 5 <= t < 30 else ""
        plain.append(f"{one} ; {two}\n" if t % 2 else f"{two};{one}\n")

    poses = lifted(plain, latency=3)
    names = [[p["frame"] for p in poses if p["person"] == name] for name in ("0", "1")]
    assert names == [list(range(40)), list(range(5, 30))]
    alone = lifted(lines(40), latency=3)
    for pose, expected in zip((p for p in poses if p["person"] == "0"), alone, strict=True):
        np.testing.assert_allclose(pose["pose_mm"], expected["pose_mm"], atol=0.11)
    assert lifted(["", ";", *plain[:3]], latency=0)[0]["frame"] == 2


@pytest.mark.parametrize("fps", [25, 30, 50, 60])
def test_any_rate(fps: int) -> None:
    poses = [
        json.loads(line)
        for line in stream_lines(lines(80, fps), LIFTER, CAMERA, fps, layout="h36m17")
    ]
    joints = (
        np.array([pose["pose_mm"] for pose in poses])
        + np.array([pose["root_mm"] for pose in poses])[:, None]
    )
    assert np.linalg.norm(seen(joints) - seen(body(80, fps)), axis=-1)[fps // 2 :].max() < 1.5


def test_a_pose_comes_as_many_frames_late_as_said() -> None:
    source = lines(30)
    given: list[int] = []

    def feed() -> Iterator[str]:
        for i, line in enumerate(source):
            given.append(i)
            yield line

    out = stream_lines(feed(), LIFTER, CAMERA, 25.0, layout="h36m17", latency=4)
    for frame in range(25):
        assert json.loads(next(out))["frame"] == frame and given[-1] == frame + 4


def test_memory_is_constant() -> None:
    stream = Stream(LIFTER, CAMERA, 25.0, latency=5)
    xy, confidence = seen(body(1))[0], np.ones(17)
    for _ in range(200):
        stream.push({"1": (xy, confidence)})
        assert len(stream.bodies["1"].xy) <= 30
    for _ in range(20):
        stream.push({})
    assert stream.bodies == {}


def test_gaps_people_and_missing_joints() -> None:
    source = lines(60, id="a")
    for t in range(20, 24):
        source[t] = "" if t % 2 else "{}"
    hidden = json.loads(source[40])
    hidden["people"][0]["keypoints"][3 * 13 + 2] = 0
    source[40] = json.dumps(hidden)
    for t in range(50, 56):  # somebody else comes by
        other = json.loads(source[t])
        shifted = np.array(other["people"][0]["keypoints"]) + np.tile((200, 0, 0), 17)
        other["people"].append({"id": "b", "keypoints": shifted.tolist()})
        source[t] = json.dumps(other)
    poses = lifted(source, latency=7)
    assert [p["frame"] for p in poses if p["person"] == "a"] == list(range(60))
    assert [p["frame"] for p in poses if p["person"] == "b"] == list(range(50, 56))
    by_frame = {p["frame"]: p["filled"] for p in poses if p["person"] == "a"}
    assert by_frame[21] == list(range(17)) and by_frame[40] == [13] and by_frame[39] == []


def test_somebody_gone_for_long_leaves_a_gap() -> None:
    source = lines(80, id="a")
    source[30:60] = ["{}"] * 30
    assert [p["frame"] for p in lifted(source, latency=3)] == [*range(30), *range(60, 80)]


def test_openpose_lines_and_people_without_ids() -> None:
    joints = np.concatenate([seen(body(20, 25)), np.full((20, 17, 1), 0.9)], axis=-1)
    points, scores = LAYOUTS["body25"].from_h36m(joints[..., :2], joints[..., 2])
    people = np.concatenate([points, scores[..., None]], axis=-1)
    moved = people + (250, 0, 0)
    source = [
        json.dumps(
            {
                "version": 1.3,
                "people": [
                    {"person_id": [-1], "pose_keypoints_2d": one.ravel().tolist()}
                    for one in pair[:: 1 if t % 2 else -1]
                ],
            }
        )
        for t, pair in enumerate(zip(people, moved, strict=True))
    ]
    poses = [json.loads(line) for line in stream_lines(source, LIFTER, CAMERA, 25.0, latency=2)]
    left = {p["person"] for p in poses if p["root_mm"][0] < 0}
    assert len(poses) == 40 and len(left) == 1, "told apart, whichever comes first in a line"


FAULTS = {
    "two numbers a keypoint": (
        "1,2 " * 17,
        "line 3: must have three numbers x,y,c a keypoint, got 34",
    ),
    "a word among numbers": (
        "1,2,x",
        "line 3: must be numbers x,y,c a keypoint, got 'x'",
    ),
    "not JSON": ("{", "line 3: is not JSON, expected an object with a list `people`"),
    "a list": ("[1]", "line 3 must be an object of named values, got a list"),
    "ragged": (
        '{"people": [{"keypoints": [1, 2]}]}',
        "line 3: detection 0 has 2 numbers, expected x, y, confidence",
    ),
    "other layout": (
        '{"people": [{"keypoints": [1, 2, 0.5]}]}',
        "line 3: has 1 keypoints a person, expected 17",
    ),
    "nan": (
        json.dumps({"people": [{"keypoints": [float("inf"), 2, 0.5] * 17}]}),
        "line 3: coordinates must lie within",
    ),
    "confidence": (
        json.dumps({"people": [{"keypoints": [1, 2, 1e9] * 17}]}),
        "line 3: scores must be finite",
    ),
    "nothing": ('{"people": [{}]}', "line 3: detection 0 has 0 keypoints"),
    "id twice": (
        json.dumps({"people": [{"id": 1, "keypoints": [v, 20, 0.5] * 17} for v in (10, 700)]}),
        "line 3: has two people",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_line_is_named(fault: str) -> None:
    line, sentence = FAULTS[fault]
    with pytest.raises(DataError, match=sentence) as caught:
        lifted([*lines(2), line])
    assert "\n" not in str(caught.value)


def test_options_that_cannot_be() -> None:
    with pytest.raises(DataError, match="layout 'coco' is not known, expected one of h36m17"):
        list(stream_lines([], LIFTER, CAMERA, 25.0, layout="coco"))
    with pytest.raises(DataError, match="latency must be a whole number from 0 to 10000, got -1"):
        list(stream_lines([], LIFTER, CAMERA, 25.0, latency=-1))
    with pytest.raises(
        DataError, match=r"line 1: 14 keypoints a person may be lsp14 or crowdpose14"
    ):
        two = json.dumps({"people": [{"keypoints": [10, 20, 0.5] * 14}]})
        list(stream_lines([two], LIFTER, CAMERA, 25.0))


def test_the_command_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exp = Experiment.preset("smoke")
    save_tensors(
        tmp_path / "weights.safetensors",
        build_model(exp.model, seed=0).state_dict(),
        {"experiment": exp.to_dict()},
    )
    command = ["lift", "-", "--model", str(tmp_path), "--size", "1280x720", "--layout", "h36m17"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines(12))))
    assert cli.main([*command, "--fps", "25", "--latency", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["frame"] for line in out] == list(range(12))
    assert cli.main(command) == 2
    assert "a stream needs --size 1280x720 and --fps 25" in capsys.readouterr().err
    assert cli.main(["lift", "x.json", "--model", str(tmp_path)]) == 2
    assert "x.json: no file to write, name one with -o" in capsys.readouterr().err


def test_a_first_frame_without_a_trusted_joint_is_not_a_sighting() -> None:
    source = lines(60)
    unsure = json.loads(source[0])
    unsure["people"][0]["keypoints"][2::3] = [0.05] * 17
    poses = lifted([json.dumps(unsure), *source[1:]])
    assert [pose["frame"] for pose in poses] == list(range(1, 60))
    assert np.isfinite([pose["pose_mm"] for pose in poses]).all()


def test_a_gap_longer_than_a_window_gives_no_pose() -> None:
    """With a long latency a person is waited for longer than a window is."""
    source = [*lines(60)[:20], *["{}"] * 30, *lines(60)[50:]]
    poses = lifted(source, latency=40)
    frames = [pose["frame"] for pose in poses]
    assert {*range(20), *range(50, 60)} <= set(frames) and 30 not in frames
    assert np.isfinite([pose["pose_mm"] for pose in poses]).all()


@pytest.mark.parametrize("n", [10, 60])
@pytest.mark.parametrize("size", [(320, 180), (720, 1280)])
def test_a_size_that_the_people_do_not_lie_in_is_refused(n: int, size: tuple[int, int]) -> None:
    camera = Camera(1000.0, *size)
    source = [json.dumps({"people": [{"keypoints": one}]}) for one in moved(n, (500, 0))]
    with pytest.raises(DataError, match=f"outside {size[0]} x {size[1]}"):
        list(stream_lines(source, LIFTER, camera, 25.0, layout="h36m17"))


def moved(n: int, by: tuple[int, int]) -> list[list[float]]:
    xy = seen(body(n, 25.0)) + by
    return [np.c_[row, np.full(17, 0.9)].ravel().round(4).tolist() for row in xy]


def test_a_place_that_marks_what_is_missing_is_learnt() -> None:
    source = moved(40, (0, 0))
    for one in source:
        one[13 * 3 : 13 * 3 + 2] = one[16 * 3 : 16 * 3 + 2] = [-50.0, -50.0]
    poses = lifted([json.dumps({"people": [{"keypoints": one}]}) for one in source], latency=0)
    assert {13, 16} <= set(poses[-1]["filled"]) and not poses[0]["filled"]


def test_lines_of_another_format_are_refused_and_marks_of_programs_understood() -> None:
    result = json.dumps({"image_id": 0, "keypoints": moved(1, (0, 0))[0]})
    with pytest.raises(DataError, match="line 1: has no list `people`, it has image_id, keypoints"):
        lifted([result])

    two = [{"pose_keypoints_2d": moved(1, by)[0], "person_id": [-1]} for by in ((0, 0), (300, 0))]
    first = "\ufeff" + json.dumps({"people": two})
    assert {pose["person"] for pose in lifted([first])} == {"0", "1"}
    two = [{"keypoints": person["pose_keypoints_2d"], "id": -1} for person in two]
    assert len(lifted([json.dumps({"people": two})])) == 2


@pytest.mark.parametrize(
    "options", [["--smooth", "5"], ["--joints", "all"], ["--start", "1"], ["--up", "z"]]
)
def test_an_option_that_a_stream_would_not_obey_is_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stream = ["lift", "-", "--size", "1280x720", "--fps", "25", "--layout", "h36m17"]
    assert cli.main([*stream, *options]) == 2
    assert f"{options[0]} must be left out of a stream" in capsys.readouterr().err


def test_latency_is_refused_for_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lift", "kp.json", "-o", "x.npz", "--latency", "3"]) == 2
    assert "--latency is of a stream" in capsys.readouterr().err


@pytest.mark.parametrize("n", [10, 60])
def test_a_stream_that_is_upside_down_is_warned_of_once(n: int) -> None:
    xy, notes = seen(body(n, 25.0)) * (1, -1) + (0, 720), list[str]()
    triples = [np.c_[row, np.full(17, 0.9)].ravel().tolist() for row in xy]
    lifted([json.dumps({"people": [{"keypoints": one}]}) for one in triples], note=notes.append)
    assert len(notes) == 1 and "people are upside down" in notes[0]


def test_depths_are_depths_to_the_end_of_a_stream() -> None:
    reader = LineReader(1280, 720, 25.0, "mediapipe33")
    points, _ = LAYOUTS["mediapipe33"].from_h36m(seen(body(2, 25.0)), np.full((2, 17), 0.9))
    for number, depth in enumerate((-0.3, 0.3)):
        triples = np.c_[points[number], np.full(33, depth)].ravel().tolist()
        people = reader.read(json.dumps({"people": [{"keypoints": triples}]}), number)
        assert people["0"][1].min() == 1.0
