"""Memory beside the poses does not grow with the length: not in lifting, and not in writing what
is written by rows.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes.lifting import Flat, tracks

from m2v_lib.lift import camera, people, save
from m2v_lib.lift.output import files, rig
from m2v_lib.lift.people import lift_tracks
from m2v_lib.lift.windows import Lifter

LIFTER = Lifter(Flat(), 27, batch=4, flip=False)
SHORT, LONG = 1500, 6000
#: bytes a frame of what is in use at once while feet are held: the ankles' paths, how surely they
#: stand, and the body's correction
FEET = 20 * 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a block is small beside the whole."""
    for module in (rig, camera, files, people):
        monkeypatch.setattr(module, "BLOCK", 64)


def peak(work: Callable[[], object]) -> int:
    """The most bytes that Python and numpy hold at once in `work`, what it returns included."""
    tracemalloc.start()
    try:
        made = work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        del made
        tracemalloc.stop()


def test_lifting_holds_its_result_and_a_block() -> None:
    rest = {}
    lift_tracks(tracks(100, 50), LIFTER)  # what is made once, and kept
    for n in (SHORT, LONG):
        made = tracks(n, 50)
        rest[n] = peak(partial(lift_tracks, made, LIFTER)) - lift_tracks(made, LIFTER).n_bytes
    assert rest[LONG] - rest[SHORT] < FEET * (LONG - SHORT), rest


@pytest.mark.parametrize("ending", [".json", ".csv", ".bvh"])
def test_writing_holds_a_block(tmp_path: Path, ending: str) -> None:
    used = {}
    for n in (SHORT, LONG):
        motion = lift_tracks(tracks(n, 50), LIFTER)
        used[n] = peak(partial(save, motion, tmp_path / f"x{ending}"))
    joints = (
        17 * 3 * np.float32().nbytes
    )  # a .bvh needs the whole path for the length of the bones, and these
    assert used[LONG] - used[SHORT] < 2 * joints * (LONG - SHORT) * (ending == ".bvh") + 100_000, (
        used
    )
