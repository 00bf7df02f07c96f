"""What a lift says of itself, what it leaves out, and that foreign text in its files is harmless."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.lifting import CAMERA, Flat, body, seen, tracks

from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Person
from m2v_lib.lift import command, save
from m2v_lib.lift.camera import BONES_MM, bone_lengths, measured_bones, place
from m2v_lib.lift.output.files import harmless_cell
from m2v_lib.lift.people import Motion, lift_tracks
from m2v_lib.lift.report import expected_error
from m2v_lib.lift.self_check import SelfCheck, self_check, worst
from m2v_lib.lift.windows import Lifter, load_lifter
from m2v_lib.skeletons import H36M17
from m2v_lib.skeletons.h36m import JOINTS
from m2v_lib.weights import own_weights

LIFTER = Lifter(Flat(), 27)
NOSE = JOINTS.index("nose")


@pytest.fixture
def without_nose() -> Motion:
    made = tracks(40)
    person = made.people[0]
    xy, confidence = person.xy.copy(), person.confidence.copy()
    xy[:, NOSE] = confidence[:, NOSE] = 0
    person = replace(person, xy=xy, confidence=confidence)
    return lift_tracks(replace(made, people=(person,), layout="lsp14", absent=(NOSE,)), LIFTER)


def test_an_absent_joint_is_in_no_file(without_nose: Motion, tmp_path: Path) -> None:
    for ending in (".npz", ".json", ".csv", ".html", ".bvh"):
        save(without_nose, tmp_path / f"x{ending}")
    with np.load(tmp_path / "x.npz") as held:
        assert np.flatnonzero(held["absent"]).tolist() == [NOSE]
        assert np.isnan(held["pose_mm"][:, NOSE]).all()
        assert np.isfinite(np.delete(held["pose_mm"], NOSE, axis=1)).all()
    text = (tmp_path / "x.json").read_text()
    assert "NaN" not in text
    (person,) = json.loads(text)["people"]
    assert person["pose_mm"][7][NOSE] == [None] * 3 and None not in person["pose_mm"][7][8]
    lines = (line for line in (tmp_path / "x.csv").read_text().splitlines() if line[0] != "#")
    rows = [row for row in csv.DictReader(lines) if row["joint"] == "nose"]
    assert len(rows) == 40 and {row["x_mm"] + row["y_mm"] + row["z_mm"] for row in rows} == {""}
    assert f'"absent": [{NOSE}]' in (tmp_path / "x.html").read_text()
    assert "nan" not in (tmp_path / "x.bvh").read_text().lower()
    assert without_nose.report["absent"].startswith("nose: not part of lsp14")
    assert np.isfinite(without_nose.people[0].pose_mm).all()


def test_the_network_is_shown_an_absent_joint_where_bodies_have_it(without_nose: Motion) -> None:
    right = seen(body(40, 25.0))
    given = without_nose.people[0].seen_px[:, NOSE]
    parent = np.linalg.norm(right[:, 8] - right[:, NOSE], axis=-1).mean()
    assert np.linalg.norm(given - right[:, NOSE], axis=-1).mean() < 0.7 * parent


def test_the_size_comes_from_the_bones_that_are_seen() -> None:
    """Of somebody cut off at the hips, whose legs the network guesses half as long."""
    joints = body(30)
    pose = joints - joints[:, :1]
    for knee, ankle in ((2, 3), (5, 6)):
        pose[:, knee] *= 0.5
        pose[:, ankle] *= 0.5
    scale = CAMERA.focal / joints[:, :1, 2:]
    known = np.ones(17, bool)
    known[[2, 3, 5, 6]] = False
    pixels, confidence = seen(joints), np.tile(known.astype(float), (30, 1))
    depth = {}
    for name, mask in (("all", None), ("seen", known)):
        _, root = place(pose * scale, pixels, confidence, CAMERA, 50, known=mask)
        depth[name] = np.median(root[:, 2] / joints[:, 0, 2])
    assert abs(depth["seen"] - 1) < 0.05 < abs(depth["all"] - 1)
    assert measured_bones(np.zeros(17, bool)) == list(range(16)), "nothing seen: all bones"
    one = np.arange(17) != 3  # a bone needs both its ends
    assert [H36M17.bones[bone][1] for bone in measured_bones(one)] == [*range(1, 3), *range(4, 17)]


def test_a_right_lift_passes_its_check_and_a_wrong_one_does_not() -> None:
    joints = body(30)
    pose, root, pixels = joints - joints[:, :1], joints[:, 0], seen(joints)
    filled = np.zeros((30, 17), bool)
    assert not self_check(pose, root, pixels, filled, CAMERA).doubts
    order = np.random.default_rng(0).permutation(17)
    doubts = self_check(pose[:, order], root, pixels, filled, CAMERA).doubts
    assert len(doubts) == 2 and "misses the keypoints" in doubts[0] and "proportions" in doubts[1]
    nothing = self_check(pose, root, pixels, ~filled, CAMERA)
    assert not nothing.doubts and np.isnan(nothing.reprojection)
    assert worst([SelfCheck(0.1, float("nan")), SelfCheck(0.2, 0.5)]) == SelfCheck(0.2, 0.5)
    np.testing.assert_allclose(np.median(bone_lengths(joints), 0), BONES_MM, rtol=1e-6)


def test_every_lift_reports_what_it_read_and_assumed() -> None:
    made = replace(tracks(60), notes=("a note",), layout_reason="as asked for")
    lifter = copy.copy(LIFTER)
    lifter.measured = True
    motion = lift_tracks(made, lifter)
    report = motion.report
    assert report["read as"] == "npz, layout h36m17 (as asked for)"
    assert report["recording"] == "1280 x 720 px, 25 frames a second, 60 frames, 1 person"
    assert report["filled in"] == "0% of the joints, 0 frames without a detection"
    assert "1.145 x the longer side, assumed" in report["assumed"]
    assert report["expected error"].startswith(f"{expected_error(25.0, 60):.0f} mm a joint")
    assert (
        lift_tracks(made, LIFTER, focal=900.0).report["assumed"].startswith("focal length 900 px,")
    )
    assert motion.notes == ("a note",)


def test_a_single_frame_is_one() -> None:
    report = lift_tracks(replace(tracks(1), fps=None), LIFTER).report
    assert report["recording"] == "1280 x 720 px, 1 frame, 1 person"


def test_the_expected_error_is_of_the_packages_network_alone() -> None:
    assert "expected error" not in lift_tracks(tracks(60), LIFTER).report
    assert load_lifter().measured and not load_lifter(own_weights()).measured


def test_input_beyond_what_the_network_knows_is_warned_of() -> None:
    made = tracks(60)
    hidden = made.people[0].confidence.copy()
    hidden[:, [2, 3, 5, 6]] = 0
    legless = replace(made, people=(replace(made.people[0], confidence=hidden),))
    text = " ".join(lift_tracks(legless, LIFTER).warnings)
    assert "hardly ever seen: right knee, right ankle, left knee, left ankle" in text
    assert "shorter than 0.2 s" in " ".join(lift_tracks(tracks(3), LIFTER).warnings)
    fast = Person("1", np.arange(60), made.people[0].xy.copy(), made.people[0].confidence)
    fast.xy[::2] += (900, 0)
    text = " ".join(lift_tracks(replace(made, people=(fast,)), LIFTER).warnings)
    assert "faster than any" in text


def test_one_short_or_half_seen_person_among_others_is_no_warning() -> None:
    made = tracks(60)
    hidden = made.people[0].confidence.copy()
    hidden[:, [3, 6]] = 0
    legless = replace(made.people[0], name="2", confidence=hidden, xy=made.people[0].xy + (300, 0))
    brief = Person("3", *(v[:3] for v in (legless.frames, made.people[0].xy - 50, hidden + 0.9)))
    for other in (legless, brief):
        assert not lift_tracks(replace(made, people=(made.people[0], other)), LIFTER).warnings


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_no_name_is_a_formula(name: str, tmp_path: Path) -> None:
    person = replace(tracks(5).people[0], name=name)
    made = replace(tracks(5), people=(person,), source='a,=cmd|"/C calc"!A0;@x', notes=("x,=1",))
    save(lift_tracks(made, LIFTER), tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    cells = [cell for row in rows for cell in row]
    numbers = [cell for cell in cells if cell.lstrip("-").replace(".", "").isdigit()]
    assert not [c for c in cells if c[:1] in ("=", "+", "-", "@", "\t") and c not in numbers]
    assert harmless_cell("1") == "1"


def test_nothing_is_written_beyond_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    motion = lift_tracks(tracks(40), LIFTER)
    monkeypatch.setattr(command, "MAX_TIMELINE_FRAMES", 10)
    for ending in (".bvh", ".gif", ".mp4"):
        with pytest.raises(DataError, match="must have at most 10 frames"):
            command.check_timeline(Path(f"x{ending}"), motion)
    command.check_timeline(Path("x.csv"), motion)
    monkeypatch.setattr("m2v_lib.lift.people.MAX_LIFTED_FRAMES", 10)
    with pytest.raises(DataError, match="must have at most 10 frames of all people together"):
        lift_tracks(tracks(40), LIFTER)

    made = tracks(11)
    gap = np.array([0, 1, 2, 8, 9, 10])  # bridged, so they count
    person = Person("1", gap, made.people[0].xy[gap], made.people[0].confidence[gap])
    with pytest.raises(DataError, match="got 11 at 25 a second"):
        lift_tracks(replace(made, people=(person,)), LIFTER)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stature": 170.0}, "stature .m. must be a number from 0.4 to 2.8, got 170"),
        ({"stature": -1.0}, "stature"),
        ({"focal": 0.0}, "focal length .px. must be a number from 1 to"),
        ({"focal": float("nan")}, "focal length"),
    ],
)
def test_assumptions_have_to_be_possible(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        lift_tracks(tracks(5), LIFTER, **change)
