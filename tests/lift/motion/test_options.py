"""--smooth, --fov and --distortion of `m2v lift`, and what the report says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.lifting import CAMERA, Flat, tracks
from fakes.walking import camera_world, person, seen_from, walk

from m2v_lib.cli import joined_values, main
from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints import Person
from m2v_lib.geometry import cameras
from m2v_lib.lift import SAMPLE, lift
from m2v_lib.lift.camera import MAX_VIEW, MIN_VIEW, Camera, assumed_camera, focal_of_view
from m2v_lib.lift.command import smoothing
from m2v_lib.lift.lens import parse_distortion, undistorted
from m2v_lib.lift.motion.treatment import steps, treat
from m2v_lib.lift.people import lift_tracks
from m2v_lib.lift.report import treatment_lines
from m2v_lib.lift.windows import Lifter
from m2v_lib.skeletons import H36M17

LIFTER = Lifter(Flat(), 27)


def trembling() -> np.ndarray:
    joints = seen_from(camera_world(12, 0), walk(300))
    return joints + np.random.default_rng(0).normal(0, 8, joints.shape)


def test_smoothing_can_be_left_out() -> None:
    off, on = person(trembling()), person(trembling())
    found = [treat([one], H36M17, 50.0, cutoff=hz) for one, hz in ((off, None), (on, 3.0))]
    accelerations = [np.abs(np.diff(one.joints_mm, 2, axis=0)).mean() for one in (off, on)]
    assert accelerations[0] > 5 * accelerations[1]
    np.testing.assert_allclose(off.root_mm, trembling()[:, 0], atol=1e-3)
    for one in found:
        assert one.world is not None and one.world.pitch == pytest.approx(12, abs=2)


def test_the_steps_come_in_order_and_the_last_is_the_motion() -> None:
    one, other = person(trembling()), person(trembling())
    names, feet = [], []
    for name, _ in steps([one], H36M17, 50.0):
        names.append(name)
        feet.append(np.linalg.norm(np.diff(one.joints_mm[:, 3], axis=0), axis=-1)[34:56].mean())
    assert names == ["bones", "smooth", "feet"]
    assert feet[2] < 0.7 * feet[1] < 0.7 * feet[0], "a foot that stands slides less and less"
    treat([other], H36M17, 50.0)
    np.testing.assert_array_equal(one.joints_mm, other.joints_mm)


def test_a_motion_says_what_was_done_to_it() -> None:
    motion = lift_tracks(tracks(60), LIFTER, smooth=4.0)
    assert motion.about["smooth_hz"] == 4.0
    assert "smoothed above 4 Hz without lag, standing feet held" in motion.report["motion"]
    off = lift_tracks(tracks(60), LIFTER, smooth=None)
    assert off.about["smooth_hz"] is None and "not smoothed" in off.report["motion"]
    one = person(trembling())
    text = treatment_lines(treat([one], H36M17, 50.0), 3.0)["world"]
    assert "camera 1.4 m above the floor, looking 12° down" in text and "must not move" in text
    level = lift_tracks(tracks(5), LIFTER).report["world"]
    assert level.startswith("camera taken as level, floor under the lowest point: ")


@pytest.mark.parametrize("hz", [0.0, -3.0, 1e9, float("nan")])
def test_a_smoothing_that_cannot_be_is_refused(hz: float) -> None:
    with pytest.raises(DataError, match=r"smooth \(Hz\) must be a number from 0.5 to 50"):
        lift_tracks(tracks(5), LIFTER, smooth=hz)
    assert smoothing("off") is None and smoothing("2.5") == 2.5


def test_a_field_of_view_is_a_focal_length() -> None:
    assert focal_of_view(90, 1280) == pytest.approx(640)
    motion = lift(SAMPLE, fov=60.0)
    assert motion.camera.focal == pytest.approx(640 / np.tan(np.radians(30)))
    assert "stances of feet" in motion.world.how
    with pytest.raises(
        DataError, match=r"field of view \(degrees\) must be a number from 1 to 170"
    ):
        lift(SAMPLE, fov=180.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fov", "60", "--focal", "900"], "say the same, give one"),
        (["--distortion", "0.1,0,0,0"], "distortion means nothing without the focal length"),
        (["--fov", "60", "--distortion", "0.1,0,0"], "distortion must be k1,k2,p1,p2"),
        (["--fov", "60", "--distortion", "0.1,0,0,x"], "distortion must be numbers, got 'x'"),
        (["--fov", "60", "--distortion=-5,0,0,0"], "cannot be undone at"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lift", str(SAMPLE), "-o", str(tmp_path / "x.npz"), *options]) != 0
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_distortion_is_undone() -> None:
    coefficients = parse_distortion("-0.2,0.05,0.001,-0.002,0.01")
    made = tracks(30)
    lens = cameras.Camera(
        "lens",
        np.eye(3),
        np.zeros(3),
        np.full(2, CAMERA.focal),
        CAMERA.middle,
        np.array([-0.2, 0.05, 0.01]),
        np.array([0.001, -0.002]),
        1280,
        720,
    )
    (one,) = made.people
    rays = (one.xy - CAMERA.middle) / CAMERA.focal
    bent = cameras.distort(rays, lens) * CAMERA.focal + CAMERA.middle
    confidence = one.confidence.copy()
    confidence[:, 5], bent[:, 5] = 0, 0
    assert np.linalg.norm(bent - one.xy, axis=-1)[:, :5].max() > 2
    shown = replace(made, people=(Person("1", one.frames, bent, confidence),))
    (found,) = undistorted(shown, coefficients, CAMERA).people
    seen = confidence > 0
    np.testing.assert_allclose(found.xy[seen], one.xy[seen], atol=0.01)
    assert not found.xy[:, 5].any(), "what was not seen stays where it is"


def test_a_value_that_begins_with_a_minus_is_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["lift", "nowhere.json", "-o", "x.npz", "--fov", "60", "--distortion", "-0.2,.05,0,0"]
    assert main(given) == 2
    assert "nowhere.json" in capsys.readouterr().err
    joined = joined_values(["--a", "-.5", "--b=1", "-2", "-o", "-3", "--c", "-x"])
    assert joined == ["--a=-.5", "--b=1", "-2", "-o", "-3", "--c", "-x"]


def test_a_joint_where_the_distortion_cannot_be_undone_is_unseen() -> None:
    camera = Camera(500.0, 1280, 720)
    made = tracks(40)
    person = made.people[0]
    xy = person.xy.copy()
    xy[3, 9] = 1900, 400
    bent = replace(made, people=(replace(person, xy=xy),))
    straight = undistorted(bent, (-0.3, 0.1, 0.0, 0.0), camera)
    assert straight.people[0].confidence[3, 9] == 0 and np.isfinite(straight.people[0].xy).all()
    assert (straight.people[0].confidence > 0).sum() == 40 * 17 - 1
    assert "1 joints lie where the distortion cannot be undone" in straight.notes[-1]


@pytest.mark.parametrize("focal", [26.0, 1e6])
def test_a_focal_length_of_no_lens_is_refused(focal: float) -> None:
    with pytest.raises(DataError, match=r"focal length must be 56 to 73337 px of 1280 x 720 px"):
        assumed_camera(1280, 720, focal)
    for view, width in ((MIN_VIEW, 720), (MAX_VIEW, 720), (MAX_VIEW, 1280)):
        assumed_camera(width, 1280, focal_of_view(view, width))
