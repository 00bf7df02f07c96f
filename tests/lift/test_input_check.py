"""Recordings that lift without an error to a wrong motion are warned of."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fakes.lifting import CAMERA, Flat, tracks

from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.lift.input_check import input_doubts, lean, without_unsure
from m2v_lib.lift.people import lift_tracks
from m2v_lib.lift.windows import Lifter
from m2v_lib.skeletons import H36M17


def with_xy(change: Callable[[np.ndarray], np.ndarray]) -> Tracks:
    made = tracks(60)
    person = made.people[0]
    return replace(made, people=(replace(person, xy=change(person.xy).astype(np.float32)),))


def turned(degrees: float) -> Callable[[np.ndarray], np.ndarray]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    middle = np.array([CAMERA.width, CAMERA.height]) / 2
    return lambda xy: (xy - middle) @ np.array([[c, s], [-s, c]]) + middle


WRONG = {
    "upside down": (lambda xy: xy * (1, -1) + (0, 720), "upside down in 100% .* y must count"),
    "swapped": (lambda xy: xy[..., ::-1], "lie on their side .* x and y are swapped"),
    "half": (lambda xy: xy / 2, "upper left .*: is that the image"),
    "per cent": (lambda xy: xy / (12.8, 7.2), "upper left .*: is that the image"),
}


@pytest.mark.parametrize("name", WRONG)
def test_coordinates_that_are_none_of_the_image_are_said_and_no_error_is_promised(
    name: str,
) -> None:
    change, message = WRONG[name]
    lifter = copy.copy(Lifter(Flat(), 27))
    lifter.measured = True
    motion = lift_tracks(with_xy(change), lifter)
    assert re.search(message, " ".join(motion.warnings))
    assert motion.report["expected error"].startswith("not known")


def test_a_walk_is_not_doubted() -> None:
    made = tracks(60)
    assert input_doubts(made, 25.0) == ()
    assert np.abs(lean(made.people[0], H36M17)).max() < 30


@pytest.mark.parametrize("degrees", [0, 50, 90, 130, 180])
def test_the_angle_is_that_of_the_picture(degrees: float) -> None:
    straight = lean(tracks(60).people[0], H36M17)
    angle = lean(with_xy(turned(degrees)).people[0], H36M17)
    assert np.abs(angle - degrees).max() <= straight.max() + 1e-3


def test_frames_that_are_times_are_said() -> None:
    made = tracks(30)
    person = replace(made.people[0], frames=np.arange(30) * 40)
    far = replace(made, people=(person,), n_frames=1161)
    assert "numbered 0, 40, 80 ..." in input_doubts(far, 25.0)[0]
    assert input_doubts(far, 100.0) == ()


def test_who_is_seen_in_most_frames_comes_first() -> None:
    made = tracks(60)
    person = made.people[0]
    unsure = np.where(np.arange(60)[:, None] < 40, 0.01, person.confidence)
    shorter = replace(person, name="2", confidence=unsure)
    longer = Person("3", person.frames[:30], person.xy[:30], person.confidence[:30])
    found = without_unsure(replace(made, people=(shorter, longer)), 0.1)
    assert [(one.name, len(one.frames)) for one in found.people] == [("3", 30), ("2", 20)]
