"""`m2v lift` on what is not as it should be: one sentence or a marked gap, never a silent wrong
pose.
"""

from __future__ import annotations

import json
import re
import stat
import sys
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.lifting import CAMERA, Flat, body, seen, tracks

from m2v_lib import cli
from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Person, read_keypoints
from m2v_lib.lift import windows as lift_model
from m2v_lib.lift.people import lift_tracks
from m2v_lib.lift.windows import Lifter

SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"
ONE = [[float(x), float(y), 0.9] for x, y in seen(body(1))[0]]


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which the command refuses; it leaves no file."""
    out = Path(arguments[0]).with_name("out.npz")
    assert cli.main(["lift", *arguments, "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("m2v: ") and error.count("\n") == 1 and not out.exists()
    return error


def frames(*people: list[Any], **head: Any) -> str:
    """A file in the suite's own JSON: a list of people a frame, each a row x, y, confidence a
    keypoint.
    """
    entries = [{"frame": t, "landmarks": some} for t, some in enumerate(people)]
    return json.dumps({"layout": "h36m17", "fps": 25, **head, "frames": entries})


FILES = {
    "nobody": (frames([], [], []), "no person in 3 frames"),
    "nobody visible": (frames([[[5.0, 5.0, 0.0]] * 17]), "no person with a visible joint"),
    "a score that is none": (
        frames([[[9.0, 9.0, float("inf")], *ONE[1:]]]),
        "scores must be finite",
    ),
    "a place that is none": (
        frames([[[float("inf"), 9.0, 0.5], *ONE[1:]]]),
        "coordinates must lie within",
    ),
    "shares of an unknown image": (
        frames([[[x / 1280, y / 720, c] for x, y, c in ONE]]),
        "are shares of the image",
    ),
    "pixels called shares": (
        frames([ONE], units="normalised", width=1280, height=720),
        "says its coordinates are n",
    ),
    "shares called pixels": (
        frames(
            [[[x / 1280, y / 720, c] for x, y, c in ONE]], units="pixels", width=1280, height=720
        ),
        "says its coordinates are pixels, but they reach 0",
    ),
    "no size": (frames([ONE]), r"does not say how large its image is; give it \(--size 1280x720\)"),
    "too many keypoints": (
        frames([[*ONE, ONE[0]]]),
        "has 18 keypoints a person, expected 17 of h36m17",
    ),
    "empty": ("", "is empty, expected keypoints as JSON"),
    "cut": (frames([ONE])[:-9], "not valid JSON at line 1.*truncated"),
}


@pytest.fixture(autouse=True)
def any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lift_model, "load_lifter", lambda *_: Lifter(Flat(), 27))


@pytest.mark.parametrize("fault", FILES)
def test_a_faulty_file_is_one_sentence(
    fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, sentence = FILES[fault]
    (tmp_path / "kp.json").write_text(text)
    error = said([str(tmp_path / "kp.json")], capsys)
    assert str(tmp_path / "kp.json") in error or error.startswith("m2v: kp.json"), error
    assert re.search(sentence, error), error


def test_the_size_of_another_image_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kp.json").write_text(frames([ONE]))
    assert "expected the size of the image" in said(
        [str(tmp_path / "kp.json"), "--size", "160x90"], capsys
    )


def test_two_people_who_cross_stay_two(tmp_path: Path) -> None:
    """A file without ids, both behind each other for some frames: each keeps a path without
    jumps, or ends and begins anew; nobody becomes the other.
    """
    n = 100
    one = body(n, 25.0)
    other = body(n, 25.0)[::-1] + (0, 0, 1500)  # comes the way the first one goes, farther away
    xy = [seen(one), seen(other)]
    near = np.abs(xy[0][:, 0, 0] - xy[1][:, 0, 0]) < 40
    assert 2 <= near.sum() <= 20, "they do cross"
    people = [
        [
            np.c_[xy[k][t], np.full(17, 0.9)].tolist()
            for k in (t % 2, 1 - t % 2)
            if not (near[t] and k == 1)
        ]
        for t in range(n)
    ]
    (tmp_path / "kp.json").write_text(frames(*people, width=CAMERA.width, height=CAMERA.height))
    motion = lift_tracks(
        read_keypoints(tmp_path / "kp.json"), Lifter(Flat(), 27), focal=CAMERA.focal
    )
    assert {person.name for person in motion.people} == {"0", "1"}
    for person in motion.people:
        off = [
            np.linalg.norm(person.seen_px - truth[person.start :][: person.n_frames], axis=-1)
            for truth in xy
        ]
        mine = min(off, key=np.median)
        assert mine[~person.filled].max() < 1, "every joint that is not marked is this person's own"


def test_a_joint_that_is_never_seen_is_marked_in_every_frame() -> None:
    made = tracks(40)
    confidence = made.people[0].confidence.copy()
    confidence[:, [13, 16]] = 0
    person = replace(made.people[0], confidence=confidence)
    (lifted,) = lift_tracks(replace(made, people=(person,)), Lifter(Flat(), 27)).people
    assert (
        lifted.filled[:, [13, 16]].all()
        and lifted.filled.sum() == 80
        and np.isfinite(lifted.pose_mm).all()
    )


def test_who_is_away_for_long_leaves_a_gap() -> None:
    made = tracks(100)
    one = made.people[0]
    kept = np.r_[0:30, 60:100]
    motion = lift_tracks(
        replace(made, people=(Person("1", kept, one.xy[kept], one.confidence[kept]),)),
        Lifter(Flat(), 27),
    )
    assert [(person.start, person.n_frames) for person in motion.people] == [(0, 30), (60, 40)]


# ---- videos ----


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script itself, with a detector that sees one standing person in whatever picture it is
    shown.
    """
    (tmp_path / "act.py").write_text(
        f"import sys\nsys.path.insert(0, {str(SCRIPTS)!r})\nimport video_to_keypoints as v\n"
        "person = [[0.4 + 0.003 * k, 0.2 + 0.015 * k, 0.0, 0.9] for k in range(33)]\n"
        "v.DETECTORS['mediapipe'] = (lambda: lambda picture: [person], 'mediapipe33', '')\n"
        "sys.exit(v.main(sys.argv[2:]))\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "act.py"} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("M2V_VIDEO_PYTHON", str(python))


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_a_video_without_a_frame(
    form: str, tmp_path: Path, detector: None, capsys: pytest.CaptureFixture[str]
) -> None:
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film"), "w", format=form) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert re.search(
        "film: holds no (frame|picture), expected a video", said([str(tmp_path / "film")], capsys)
    )


def test_sound_is_no_video(
    tmp_path: Path, detector: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with wave.open(str(tmp_path / "x.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    assert "x.mp4: is a sound file, expected keypoints" in said([str(tmp_path / "x.mp4")], capsys)
    av = pytest.importorskip("av")
    # begins as a video does
    with av.open(str(tmp_path / "x.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 4096), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert "x.m4a: holds no picture, expected a video (this is sound)" in said(
        [str(tmp_path / "x.m4a")], capsys
    )


def test_a_still_in_4k_is_a_motion_of_one_frame(
    tmp_path: Path, detector: None, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("av")
    image.new("RGB", (3840, 2160), "white").save(tmp_path / "x.png")
    assert cli.main(["lift", str(tmp_path / "x.png"), "-o", str(tmp_path / "out.npz")]) == 0
    with np.load(tmp_path / "out.npz") as file:
        about = json.loads(str(file["about"]))
        assert (about["width"], about["height"], about["n_frames"]) == (3840, 2160, 1)
        assert np.isfinite(file["pose_mm"]).all() and file["pose_mm"].shape == (1, 17, 3)


def low_scores(rows: Any) -> Any:
    """A walk of 40 frames of which some are scored 0.05."""
    made = tracks(40)
    person = made.people[0]
    confidence = person.confidence.copy()
    confidence[rows] = 0.05
    return replace(made, people=(replace(person, confidence=confidence),))


def test_frames_without_a_trusted_joint_are_frames_without_the_person() -> None:
    low = low_scores(np.r_[:3, 20:38])  # 18 frames are a gap, the last two a piece of their own
    motion = lift_tracks(low, Lifter(Flat(), 27))
    assert [(p.start, p.n_frames) for p in motion.people] == [(3, 17), (38, 2)]
    assert any(
        "left out 21 detections in which no joint has a score above 0.1" in n for n in motion.notes
    )


def test_a_person_without_a_trusted_joint_is_left_out_and_nobody_left_is_refused() -> None:
    ghost = replace(low_scores(slice(None)).people[0], name="ghost")
    both = replace(tracks(40), people=(ghost, *tracks(40).people))
    motion = lift_tracks(both, Lifter(Flat(), 27))
    assert {person.name for person in motion.people} == {"1"}
    assert any("left out 1 of 2 people" in note for note in motion.notes)

    with pytest.raises(DataError, match="nobody can be lifted, in all frames no joint has a score"):
        lift_tracks(low_scores(slice(None)), Lifter(Flat(), 27))


def test_a_pose_that_is_not_finite_is_never_a_motion() -> None:
    class Broken(Flat):
        def forward(self, x: Any) -> Any:
            return super().forward(x) * float("nan")

    with pytest.raises(DataError, match="poses must be finite, got 40 of 40 that are not"):
        lift_tracks(tracks(40), Lifter(Broken(), 27))

    motion = lift_tracks(tracks(40), Lifter(Flat(), 27))
    broken = replace(motion.people[0], root_mm=motion.people[0].root_mm * np.inf)
    with pytest.raises(DataError, match="made: person 1: poses must be finite"):
        replace(motion, people=(broken,))
