"""Video to keypoints, with a detector that always sees the same person; and what is no video."""

from __future__ import annotations

import importlib
import json
import os
import stat
import sys
import wave
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fakes import films

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import read_keypoints
from m2v_lib.lift import video as lift_video

av = pytest.importorskip("av")
SCRIPTS = Path(__file__).resolve().parents[2] / "data_scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a detector that sees one person standing in the picture's middle."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("video_to_keypoints")
    person = [[0.4 + 0.01 * k, 0.2 + 0.015 * k, 0.0, 0.9] for k in range(33)]
    monkeypatch.setitem(
        module.DETECTORS,
        "mediapipe",
        (lambda: lambda picture: [person], "mediapipe33", "make video"),
    )
    return module


def film(path: Path, times: list[int], rate: int = 25, size: tuple[int, int] = (64, 48)) -> Path:
    """A film with a picture at each of the times (in frames of `rate`)."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
        for time in times:
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), 5 * (time % 50), np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_every_frame_with_its_time(script: ModuleType, tmp_path: Path) -> None:
    source = film(tmp_path / "no ending", list(range(30)))
    assert script.main([str(source), "-o", str(tmp_path / "kp.json")]) == 0
    tracks = read_keypoints(tmp_path / "kp.json")
    assert (tracks.format, tracks.layout, tracks.n_frames, tracks.fps) == (
        "MediaPipe",
        "mediapipe33",
        30,
        25,
    )
    assert (tracks.width, tracks.height) == (64, 48)
    np.testing.assert_allclose(tracks.people[0].xy[7, 9], (0.4 * 64, 0.2 * 48), atol=0.01)
    assert not (tmp_path / "kp.json.tmp").exists()


def test_dropped_pictures_are_gaps(script: ModuleType, tmp_path: Path) -> None:
    times = [t for t in range(40) if not 10 <= t < 14]
    content = script.convert(film(tmp_path / "x.mp4", times), tmp_path / "kp.json")
    seconds = np.array([frame["time"] for frame in content["frames"]])
    np.testing.assert_allclose(seconds, np.array(times) / 25, atol=1e-3)
    frames = read_keypoints(tmp_path / "kp.json").people[0].frames
    assert frames.tolist() == times and content["fps"] == 25


def test_uneven_times_keep_one_picture_a_moment(script: ModuleType, tmp_path: Path) -> None:
    content = script.convert(
        film(tmp_path / "x.mp4", [0, 10, 20, 22, 30, 40], rate=250), tmp_path / "kp.json"
    )
    assert [frame["frame"] for frame in content["frames"]] == [0, 1, 2, 3, 4] and content[
        "fps"
    ] == 25


def test_uneven_times_are_brought_to_even_ones(script: ModuleType) -> None:
    """A point that moves evenly does so afterwards, where one person is seen on both sides."""

    def frame(time: float, people: int = 1) -> dict[str, Any]:
        return {"frame": 0, "time": time, "landmarks": [[[time, 2 * time, 0.0, 0.9]]] * people}

    late = [0.0, 0.052, 0.07, 0.12, 0.171, 0.19, 0.24]
    found = script.on_grid([frame(t) for t in late], 25.0)
    assert [one["frame"] for one in found] == [0, 1, 2, 3, 4, 5, 6]
    for one in found:
        assert one["landmarks"][0][0][0] == pytest.approx(one["frame"] / 25, abs=2e-5)

    turning = [
        frame(t) | {"landmarks": [[[abs(t - 0.07), 0.0, 0.0, 0.9]]]}
        for t in (0.0, 0.04, 0.07, 0.12)
    ]
    found = script.on_grid(turning, 25.0)
    assert found[2]["landmarks"][0][0][0] == pytest.approx(0.01), "between its own neighbours"

    apart = script.on_grid([frame(0.0), frame(0.052), frame(0.08)], 25.0, shots=[0.052])
    assert apart[1]["landmarks"][0][0][0] == 0.052, "not over a cut"
    two = script.on_grid([frame(0.0, 2), frame(0.052, 2), frame(0.08, 2)], 25.0)
    assert two[1]["landmarks"][0][0][0] == 0.052, "who is who is not known here"


def test_parts_cuts_and_remarks_reach_the_tracks(
    detector: Path, script: ModuleType, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 255, (9, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in "ab"]
    source = films.film(tmp_path / "x.mp4", [scenes[t >= 30] for t in range(60)])
    detector.write_text(f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
import video_to_keypoints as script
person = [[0.4 + 0.01 * k, 0.2 + 0.015 * k, 0.0, 0.9] for k in range(33)]
script.DETECTORS["rtmlib"] = (lambda: lambda picture: [person], "mediapipe33", "")
sys.exit(script.main(sys.argv[2:]))
""")
    tracks = lift_video.read_video(source, detector="rtmlib", start=0.8, end=2.0)
    assert [p.name for p in tracks.people] == ["0 shot 2", "0 shot 1"]
    assert tracks.people[1].frames.tolist() == list(range(10)) and tracks.n_frames == 30
    assert tracks.footage is not None and tracks.footage.start == pytest.approx(0.8)
    assert any("the camera cuts at 0.40 s" in note for note in tracks.notes)


def test_the_rate_holds_over_an_hour(script: ModuleType) -> None:
    times = [round(n * 1001 / 30000, 6) for n in range(100_000) if n % 7]
    rate = script.rate_of([time - times[0] for time in times])
    assert rate == pytest.approx(30000 / 1001, rel=1e-6)
    assert script.rate_of([0.0]) == 25


def test_a_picture_is_a_film_of_one_frame(script: ModuleType, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (80, 60), "white").save(tmp_path / "still.png")
    content = script.convert(tmp_path / "still.png", tmp_path / "kp.json")
    assert len(content["frames"]) == 1 and (content["width"], content["height"]) == (80, 60)


def test_what_is_no_video_is_one_sentence(script: ModuleType, tmp_path: Path, capsys: Any) -> None:
    with wave.open(str(tmp_path / "sound"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    (tmp_path / "text").write_text("not a film")
    cut = film(tmp_path / "cut", list(range(50)))
    cut.write_bytes(cut.read_bytes()[:60])
    sentences = {
        "sound": "holds no picture, expected a video (this is sound)",
        "text": "cannot be opened as a video",
        "cut": "cannot be",
        "nowhere": "cannot be opened as a video",
    }
    for name, sentence in sentences.items():
        assert script.main([str(tmp_path / name), "-o", str(tmp_path / "kp.json")]) == 2
        said = capsys.readouterr().out
        assert sentence in said and str(tmp_path / name) in said and said.count("\n") == 1
    assert not (tmp_path / "kp.json").exists()


def test_a_detector_that_is_not_there_says_what_to_install(
    script: ModuleType, tmp_path: Path, capsys: Any
) -> None:
    for name, install in (
        ("rtmlib", "pip install rtmlib onnxruntime"),
        ("ultralytics", "pip install ultralytics"),
    ):
        if importlib.util.find_spec(name) is None:
            source = film(tmp_path / "x.mp4", [0])
            assert script.main([str(source), "-o", str(tmp_path / "y"), "--detector", name]) == 2
            assert (
                f"{name} is not installed here" in (said := capsys.readouterr().out)
                and install in said
            )


def test_pixels_of_other_detectors_become_shares(script: ModuleType) -> None:
    points, scores = np.full((2, 17, 2), (32.0, 12.0)), np.full((2, 17), 1.2)
    people = script._shares(points, scores, np.zeros((48, 64, 3)))
    assert len(people) == 2 and people[1][16] == [0.5, 0.25, 0.0, 1.0]


# ---- m2v lift VIDEO ----


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of the environment's Python: a program that does what `tmp_path/act.py` says."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "act.py"} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("M2V_VIDEO_PYTHON", str(python))
    return tmp_path / "act.py"


def test_a_video_is_known_by_its_content(tmp_path: Path) -> None:
    assert lift_video.is_video(film(tmp_path / "x.json", [0, 1]))
    (tmp_path / "x.mp4").write_text("[]")
    assert not lift_video.is_video(tmp_path / "x.mp4") and not lift_video.is_video(tmp_path)


def test_the_detectors_file_is_read(detector: Path, script: ModuleType, tmp_path: Path) -> None:
    script.convert(film(tmp_path / "walk.mp4", list(range(20))), tmp_path / "found.json")
    detector.write_text(
        f"import shutil, sys\nshutil.copy({str(tmp_path / 'found.json')!r}, sys.argv[-1])\n"
    )
    tracks = lift_video.read_video(tmp_path / "walk.mp4")
    assert (tracks.source, tracks.n_frames, tracks.notes) == ("walk.mp4", 20, ())


def test_what_the_detector_says_is_the_error(detector: Path, tmp_path: Path) -> None:
    source = film(tmp_path / "walk.mp4", [0])
    detector.write_text("import sys\nprint('walk.mp4: holds no picture')\nsys.exit(2)\n")
    with pytest.raises(DataError, match="^walk.mp4: holds no picture$"):
        lift_video.read_video(source)
    detector.write_text("import os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(DataError, match="walk.mp4: the detector ended with code"):
        lift_video.read_video(source)
    nobody = {"width": 64, "height": 48, "fps": 25, "frames": [{"frame": 0, "landmarks": []}]}
    detector.write_text(f"import sys\nopen(sys.argv[-1], 'w').write({json.dumps(nobody)!r})\n")
    with pytest.raises(DataError, match=f"^{source}: no person in 1 frames"):
        lift_video.read_video(source)


def test_without_the_detector_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2V_VIDEO_PYTHON", str(tmp_path / "none"))
    with pytest.raises(
        DataError, match="walk.mp4: a video needs a detector of keypoints; run `make video` once"
    ):
        lift_video.read_video(film(tmp_path / "walk.mp4", [0]))


@pytest.mark.skipif(
    not os.environ.get("M2V_VIDEO_PYTHON"), reason="M2V_VIDEO_PYTHON names no Python with MediaPipe"
)
def test_mediapipe_sees_nobody_in_an_empty_room(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no person in 3 frames"):
        lift_video.read_video(film(tmp_path / "walk.mp4", [0, 1, 2], size=(320, 240)))
