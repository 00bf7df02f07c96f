"""A detector of one's own as a command: what it wrote is read, at the video's size and times; what goes
wrong is one sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes.films import film, picture
from fakes.lifting import body, seen

from m2v_lib import cli
from m2v_lib.data.checks import DataError
from m2v_lib.lift import lift, read_tracks, save
from m2v_lib.lift.video import read_video

pytest.importorskip("av")
SIZE = (128, 72)
#: the walker of `fakes.lifting` in a picture of SIZE, as rows of COCO's 17 keypoints
POINTS = seen(body(60, 25)) / 10

#: writes a .npz of the first argument's video to the second argument
DETECTOR = """
import sys, numpy as np
video, out = sys.argv[1:3]
assert open(video, "rb").read(12)[4:8] == b"ftyp"
points = np.load({points!r})
np.savez(out + ".npz", keypoints=np.stack([points, points + (30, 0)], axis=1)[:{n}], layout="h36m17")
"""


@pytest.fixture
def detector(tmp_path: Path) -> Callable[[str | None], str]:
    """The command of a detector that is a program of these lines (default: two walkers)."""
    np.save(tmp_path / "points.npy", POINTS)

    def command(lines: str | None = None, n: int = 60) -> str:
        own = DETECTOR.format(points=str(tmp_path / "points.npy"), n=n)
        (tmp_path / "my detector.py").write_text(own if lines is None else lines)
        return f"{sys.executable} '{tmp_path / 'my detector.py'}' {{video}} {{out}}"

    return command


def walk(path: Path, n: int = 60, **options: object) -> Path:
    return film(path, [picture(60 + t, SIZE) for t in range(n)], **options)  # type: ignore[arg-type]


def test_what_the_command_wrote_is_read_at_the_videos_size_and_rate(
    detector: Callable[..., str], tmp_path: Path
) -> None:
    tracks = read_video(walk(tmp_path / "a walk.mp4"), detector=detector())
    assert (tracks.source, tracks.layout, len(tracks.people)) == ("a walk.mp4", "h36m17", 2)
    assert (tracks.width, tracks.height, tracks.fps, tracks.n_frames) == (*SIZE, 25, 60)
    np.testing.assert_allclose(tracks.people[0].xy[:, 0], POINTS[:, 0], atol=1e-3)
    assert tracks.footage is not None and tracks.footage.name == "a walk.mp4"
    with pytest.raises(DataError, match="is 128x72 as it is seen, --size says 64x48"):
        read_video(tmp_path / "a walk.mp4", detector=detector(), size=(64, 48))


def test_a_part_is_numbered_from_its_first_frame(
    detector: Callable[..., str], tmp_path: Path
) -> None:
    path = walk(tmp_path / "x.mp4")
    tracks = read_video(path, detector=detector(), start=0.8, end=1.6)
    assert tracks.people[0].frames.tolist() == list(range(20)) and tracks.n_frames == 20
    np.testing.assert_allclose(tracks.people[0].xy[3, 0], POINTS[23, 0], atol=1e-3)
    assert tracks.footage is not None and tracks.footage.start == pytest.approx(0.8)
    with pytest.raises(DataError, match=r"x.mp4: nobody is found from 1.2 to 2 s"):
        read_video(path, detector=detector(n=25), start=1.2, end=2.0)


def test_uneven_times_are_those_of_the_video(detector: Callable[..., str], tmp_path: Path) -> None:
    times = [40 * t + (t > 20) * 200 for t in range(60)]  # a fifth of a second is not filmed
    path = walk(tmp_path / "x.mp4", times=times, clock=1000)
    tracks = read_video(path, detector=detector())
    assert tracks.fps == pytest.approx(25, abs=0.01)
    assert tracks.people[0].frames.tolist() == [*range(21), *range(26, 65)]


def test_each_shot_has_people_of_its_own(detector: Callable[..., str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 255, (9, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in "ab"]
    path = film(tmp_path / "x.mp4", [scenes[t >= 30] for t in range(60)])
    tracks = read_video(path, detector=detector())
    assert sorted(p.name for p in tracks.people) == [
        f"{name} shot {shot}" for name in (0, 1) for shot in (1, 2)
    ]
    for person in tracks.people:
        late = person.name.endswith("2")
        assert person.frames.tolist() == list(range(30, 60) if late else range(30))
    assert any("the camera cuts at 1.20 s: each shot is lifted" in note for note in tracks.notes)


def test_an_ending_of_its_own_or_a_folder(detector: Callable[..., str], tmp_path: Path) -> None:
    folder = """
import json, os, sys
os.mkdir(sys.argv[2])
for t in range(30):
    flat = [v for k in range(25) for v in (40 + k % 5 * 3 + t, 10 + 2 * k, 0.9)]
    people = [{"person_id": [-1], "pose_keypoints_2d": flat}]
    with open(f"{sys.argv[2]}/walk_{t:012d}_keypoints.json", "w") as file:
        json.dump({"version": 1.3, "people": people}, file)
"""
    tracks = read_video(walk(tmp_path / "x.mp4", 30), detector=detector(folder), layout="body25")
    assert (tracks.layout, tracks.n_frames, tracks.fps) == ("body25", 30, 25)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("print('loading')\nprint('no weights here')\nraise SystemExit(3)",
         "the detector ended with code 3, it said: no weights here"),
        ("", "the detector wrote nothing to {out}"),
        ("import sys\nopen(sys.argv[2] + '.json', 'w').write('[1, 2')",
         "what the detector wrote: not valid JSON"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_sentence(
    detector: Callable[..., str], tmp_path: Path, lines: str, sentence: str
) -> None:
    path = walk(tmp_path / "x.mp4", 5)
    with pytest.raises(DataError) as error:
        read_video(path, detector=detector(lines))
    said = str(error.value)
    assert sentence in said and said.startswith(f"{path}: ") and "\n" not in said
    assert "keypoints.json" not in said, "no path of a folder that is gone"


def test_options_that_cannot_be(detector: Callable[..., str], tmp_path: Path) -> None:
    path = walk(tmp_path / "x.mp4", 5)
    for options, sentence in (
        ({"detector": "yolo"}, "must be one of mediapipe, rtmlib, ultralytics, or a command with"),
        ({"detector": "find {video}"}, "or a command with {video} and {out}, got 'find {video}'"),
        ({"detector": "nowhere/to/find {video} {out}"}, "cannot be started .* install it or give"),
        ({"detector": "'a {video} {out}"}, "the detector's command cannot be read"),
        ({"start": 3.0, "end": 2.0}, "end must come after start, got 3 to 2 s"),
        ({"start": -1.0}, "start"),
    ):
        with pytest.raises(DataError, match=sentence):
            read_video(path, **options)
    np.savez(tmp_path / "k.npz", keypoints=POINTS, layout="h36m17")
    with pytest.raises(DataError, match="k.npz: is no video, --start and --end must be left out"):
        read_tracks(tmp_path / "k.npz", size=SIZE, fps=25, start=1.0, end=2.0)


def test_from_video_to_page_in_one_command(
    detector: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = walk(tmp_path / "walk.mp4", 40)
    arguments = [str(path), "-o", str(tmp_path / "x.html"), str(tmp_path / "x.bvh"), "--up", "z"]
    assert cli.main(["lift", *arguments, "--detector", detector(), "--start", "0.4"]) == 0
    said = capsys.readouterr()
    assert "into Blender with scale 0.001, Y forward, Z up" in said.err
    assert [(tmp_path / f"x-{n}.bvh").exists() for n in (1, 2)] == [True, True]
    page = (tmp_path / "x.html").read_text()
    assert '<video id="film" src="./walk.mp4"' in page
    assert '"video": {"name": "walk.mp4", "start": 0.4, "fps": 25.0}' in page

    motion = lift(path, detector=detector())
    assert motion.about["video"] == {"name": "walk.mp4", "start": 0.0, "fps": 25.0}
    save(motion, tmp_path / "y.json")
