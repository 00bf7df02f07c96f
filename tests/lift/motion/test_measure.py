"""The measure of motion: what is filmed is the truth, a motion that is the truth has no error, and
the page says what was measured.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes.lifting import Flat
from fakes.walking import person

from m2v_lib import cli
from m2v_lib.config import ConfigError
from m2v_lib.data import prepare
from m2v_lib.data.sources.packs import write_pack
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import Store, open_store
from m2v_lib.evaluation.camera_grid import Cell
from m2v_lib.lift.motion import measure as measuring
from m2v_lib.lift.motion.filmed import Film, chosen_clips, films
from m2v_lib.lift.motion.gravity import Found
from m2v_lib.lift.motion.measure import motion_errors
from m2v_lib.lift.motion.smooth import smooth
from m2v_lib.lift.motion.world import LEVEL_UP, upright_world
from m2v_lib.lift.windows import Lifter
from m2v_lib.report.pages.motion import page_of
from m2v_lib.skeletons import H36M17

ROLLED = Cell(1.5, 4.0, 60.0, 30.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("home")
    plan = Plan(n_train=2, n_test=1, n_frames=120, styles=("walk", "wave"))
    file = write_pack(root / "pack.npz", make_pack(plan))
    options: dict[str, Any] = {"test_subjects": ["SYN_3"], "val_subjects": ["SYN_2"]}
    prepare("people", root=root / "stores", source=file, **options)
    return open_store("people", root / "stores")


@pytest.fixture(scope="module")
def shown(store: Store) -> list[tuple[Cell | None, Film]]:
    return list(films(store, chosen_clips(store, "test", 2), [None, ROLLED]))


def test_films_are_of_the_motion_that_they_say(
    store: Store, shown: list[tuple[Cell | None, Film]]
) -> None:
    assert [cell for cell, _ in shown] == [None, ROLLED] * 2
    for cell, film in shown:
        (seen,) = film.tracks.people
        middle = np.array([film.tracks.width, film.tracks.height]) / 2
        at = film.joints_mm[..., :2] / film.joints_mm[..., 2:] * film.focal + middle
        assert np.median(np.linalg.norm(at - seen.xy, axis=-1)) < 25
        assert (np.abs(at - middle) < 1.1 * middle).all(), "everybody is in the image"
        lowest = (film.joints_mm @ film.up).min() + film.camera_height
        assert abs(lowest) < 120, "the floor is under the feet"
        if cell:
            assert film.camera_height == pytest.approx(1500, abs=1)
            assert np.degrees(np.arctan2(-film.up[0], -film.up[1])) == pytest.approx(30, abs=1)
            assert film.focal == pytest.approx(500 / np.tan(np.radians(30)))

    names = [clip.subject for clip in chosen_clips(store, "val", 9)]
    assert set(names) == {"SYN_2"} and len(names) == 2
    nobody = SimpleNamespace(meta=SimpleNamespace(val_subjects=()), path="x")
    with pytest.raises(ConfigError, match="x: the store names no validation subjects"):
        chosen_clips(nobody, "val", 3)  # type: ignore[arg-type]


def test_the_truth_has_no_error_and_an_error_its_size(
    shown: list[tuple[Cell | None, Film]],
) -> None:
    film = shown[0][1]
    right = motion_errors(film, person(film.joints_mm), H36M17)
    for key in ("mpjpe", "p_mpjpe", "accel", "root"):
        assert right[key] < 0.1, key
    assert right["slide"] == pytest.approx(right["slide_true"], abs=0.1)

    moved = film.joints_mm + np.array([30.0, 0, 40.0])
    moved[:, 16] += 170
    wrong = motion_errors(film, person(moved), H36M17)
    assert wrong["root"] == pytest.approx(50, abs=0.1)
    assert wrong["mpjpe"] == pytest.approx(170 * np.sqrt(3) / 17, abs=0.1)

    sideways = np.cross(film.up, (0, 0, 1))
    sliding = film.joints_mm + np.arange(len(moved))[:, None, None] * 4 * sideways
    assert motion_errors(film, person(sliding), H36M17)["slide"] > right["slide"] + 50
    smoothed = film.joints_mm - film.joints_mm[:, :1]
    smooth(smoothed, film.fps, 4.0)
    found = motion_errors(film, person(smoothed + film.joints_mm[:, :1]), H36M17, cutoff=4.0)
    assert found["accel"] == pytest.approx(found["accel_smooth_truth"], rel=1e-3)
    assert 0 < found["accel_smooth_truth"] < right["accel_smooth_truth"] < right["accel_still"]

    still = motion_errors(film, person(0 * moved + moved[:1]), H36M17)
    assert still["accel"] == pytest.approx(still["accel_still"]) and still["slide"] < 0.1


def test_up_is_off_by_the_angle_between(shown: list[tuple[Cell | None, Film]]) -> None:
    film = shown[1][1]
    level = measuring._up_errors(film, Found(None, ""))
    assert level["found"] == level["level"] > 25 and np.isnan(level["height_mm"])
    world = upright_world(film.up, film.camera_height - 70, "")
    found = measuring._up_errors(film, Found(world, "", (3.0, 4.0)))
    assert found["found"] < 0.01 and found["said"] == 5
    assert found["height_mm"] == pytest.approx(70)
    assert level["level"] == pytest.approx(np.degrees(np.arccos(film.up @ LEVEL_UP)), abs=1e-4)


def test_the_share_within_the_spread(shown: list[tuple[Cell | None, Film]]) -> None:
    film = shown[0][1]
    off = film.joints_mm.copy()
    off[:, 1:9] += (0, 0, 15)
    one = replace(person(off), spread_mm=np.full(off.shape[:2], 10.0))
    found = measuring._within(film, one, 0)
    assert found["within_1"] == 0.5 and found["within_2"] == 1 and found["spread_mm"] == 10


def test_all_is_measured_and_the_page_says_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = {"name": "run", "data": {"name": "mocap"}, "schedule": {"partial": True}}
    monkeypatch.setattr(measuring, "load_record", lambda folder: SimpleNamespace(result=result))
    monkeypatch.setattr(measuring, "load_lifter", lambda folder: Lifter(Flat(), 27))
    monkeypatch.setattr(measuring, "N_CLIPS", 1)
    monkeypatch.setattr(measuring, "CELLS", (ROLLED,))
    monkeypatch.setattr("m2v_lib.data.store.open_store", lambda name: store)
    (tmp_path / "run").mkdir()
    out = tmp_path / "motion.json"
    assert cli.main(["evaluate", str(tmp_path / "run"), "--motion", str(out)]) == 0
    found = json.loads(out.read_text())

    steps = [(row["cameras"], row["focal"], row["step"]) for row in found["rows"]]
    names = ("lifted", "bones", "smooth", "feet")
    assert steps == [
        (cameras, focal, step)
        for cameras in ("own", "grid")
        for focal in ("known", "assumed")
        for step in names
    ]
    rows = dict(zip(steps, found["rows"], strict=True))
    assert rows["own", "known", "bones"]["bone_spread"] < 0.1
    assert (
        rows["own", "known", "bones"]["bone_spread"] < rows["own", "known", "lifted"]["bone_spread"]
    )
    assert rows["own", "known", "smooth"]["accel"] < rows["own", "known", "bones"]["accel"]
    assert [row["cameras"] for row in found["up"]] == ["own", "1.5 m high"]
    assert [row["hz"] for row in found["smoothing"]] == list(measuring.CUTOFFS)

    by_cutoff = [row["accel_smooth_truth"] for row in found["smoothing"]]
    assert by_cutoff == sorted(by_cutoff, reverse=True) and len(set(by_cutoff)) == len(by_cutoff)

    page = page_of(found)
    feet = rows["grid", "assumed", "feet"]
    assert f"| + feet | {feet['mpjpe']:.1f} | {feet['p_mpjpe']:.1f} |" in page
    assert page.count("| as lifted |") == 4 and "## How much smoothing" in page
