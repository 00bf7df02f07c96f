"""The leaderboard from records: who stands first, what is not known, and the words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.experiments.rows import rows
from m2v_lib.models.complexity import count
from m2v_lib.results.effects import SeedNoise, pooled_noise
from m2v_lib.results.leaderboard.board import Cost, as_shown, leaderboard, mean_and_half
from m2v_lib.results.leaderboard.over_recordings import bootstrap_interval, compare_over_recordings
from m2v_lib.results.leaderboard.words import conclusions
from m2v_lib.results.tables import build_table
from m2v_lib.runs.records import Record

ROWS = rows("leaderboard")
COSTS = {row.row: Cost(1000 * row.row, 1e6 * row.row) for row in ROWS}


def record(
    row: int,
    seed: int,
    mpjpe: float,
    n_frames: int = 500,
    over_frames: float | None = None,
    ridge: float = 60.0,
) -> Record:
    (asked,) = (r for r in ROWS if r.row == row)
    exp = asked.experiment(data="synthetic", preset="smoke", overrides={"run.seed": seed})
    test = {"mpjpe": mpjpe, "p_mpjpe": mpjpe / 2, "accel": 1.0, "n_frames": n_frames}
    test["frame_mean_mpjpe"] = mpjpe if over_frames is None else over_frames
    result: dict[str, Any] = {
        "stage": "finetune",
        "digest": exp.digest("finetune"),
        "seed": seed,
        "preset": "smoke",
        "recipe": exp.recipe,
        "selected": "last",
        "schedule": {"partial": True, "steps": 1, "epochs_done": 1, "epochs_full": 2},
        "data": {"name": "synthetic", "fingerprint": "f", "protocol": "p", "input_2d": "detected"},
        "test": test,
        "device": "cpu",
        "baselines": {"ridge": {"mpjpe": ridge, "frame_mean_mpjpe": ridge}},
    }
    return Record(Path(exp.run_name("finetune")), {}, result, [], {})


def board(*records: Record) -> Any:
    table = build_table("leaderboard", records, data="synthetic", preset="smoke")
    return leaderboard(table, records, COSTS)


def test_what_was_not_run_has_its_costs_alone() -> None:
    empty = board()
    assert list(empty["state"].unique()) == ["not run"] and len(empty) == len(ROWS)
    assert as_shown(empty).loc[3, "MPJPE"] == "-"
    assert as_shown(empty).loc[3, "M MACs a frame"] == "3.00"
    assert conclusions(empty) == f"None of the {len(ROWS)} rows has been run under these settings."


def test_systems_better_than_the_papers_are_named_by_the_noise() -> None:
    def words(better: float) -> str:
        runs = [record(1, s, 54.0 + s) for s in (0, 1)] + [record(4, s, better + s) for s in (0, 1)]
        return conclusions(board(*runs))

    assert "Below Motion2vec's network, 54.5 ± 2.2 mm, by more than" in words(45.0)
    assert "noise: VideoPose3D." in words(45.0)
    assert not any("elow Motion2vec" in words(value) for value in (53.0, 60.0))
    # each half is 2.15, that of the difference 3.04 (not 4.3, their sum)
    assert "Below Motion2vec" in words(50.8) and "elow Motion2vec" not in words(51.2)


def test_one_average_alone_makes_no_better_system() -> None:
    ours = [record(1, s, 54.0 + s) for s in (0, 1)]
    lower = [record(4, s, 45.0 + s, over_frames=54.0 + s) for s in (0, 1)]
    words = conclusions(board(*ours, *lower))
    assert "Below Motion2vec" not in words
    assert "By the mean over actions, not by that over frames, also below Motion2vec" in words


def test_systems_are_compared_by_their_distance_from_ridge_on_their_own_frames() -> None:
    ours = [record(1, s, 54.0 + s) for s in (0, 1)]
    easier = [record(4, s, 50.0 + s, ridge=55.0, n_frames=510) for s in (0, 1)]
    words = conclusions(board(*ours, *easier))
    assert "elow Motion2vec" not in words, "its frames are easier by more than it is better"
    assert "Ridge regression is at 55.0 to 60.0 mm on them" in words
    assert "below ridge regression's 55.0 to 60.0 mm" in words


def test_recordings_are_drawn_as_well_as_seeds() -> None:
    """One recording of four decides: over seeds alone the difference is sure, over recordings not."""
    gap_R, weight_R = np.array([-8.0, 0.5, 0.5, 0.5]), np.array([1.0, 1.0, 1.0, 1.0])
    sure = SeedNoise(0.01, 20)
    low, high = bootstrap_interval(gap_R, weight_R, sure)
    assert low < -3 and high == pytest.approx(0.5, abs=0.1)

    low, high = bootstrap_interval(0 * gap_R, weight_R, SeedNoise(10.0, 20))
    assert low == pytest.approx(-20.9, abs=1) and high == pytest.approx(20.9, abs=1)  # 2.09 sd

    low, high = bootstrap_interval(gap_R, np.array([97.0, 1, 1, 1]), sure)
    assert low == pytest.approx(-8, abs=0.3) and high > 0, "frames weigh"


@pytest.mark.parametrize("over_recordings", [0.0, 3.0])
def test_intervals_of_two_seeds_each_hold_the_truth_as_often_as_they_say(
    over_recordings: float,
) -> None:
    """With the board's own noise between seeds, about 0.6 mm, and that of a recording, 1.3 mm."""
    rng = np.random.default_rng(3)
    weight_R = rng.uniform(200, 3000, 60)
    pooled = pooled_noise(rng.normal(0, 0.6, (24, 3)).tolist())

    def runs(gap_R: np.ndarray) -> list[dict[str, Any]]:
        errors_SR = gap_R + rng.normal(0, 0.6, (2, 1)) + rng.normal(0, 1.3, (2, 60))
        return [{"test": {"per_recording": _by_name(row, weight_R)}} for row in errors_SR]

    held = 0
    for _ in range(150):
        found = compare_over_recordings(
            runs(5 + rng.normal(0, over_recordings, 60)), runs(np.zeros(60)), pooled
        )
        assert found is not None
        held += found.low <= 5 <= found.high
    assert 0.91 <= held / 150 <= 0.995


def _by_name(errors_R: np.ndarray, weight_R: np.ndarray) -> dict[str, Any]:
    pairs = enumerate(zip(errors_R, weight_R, strict=True))
    return {f"{n:02}": {"mpjpe": error, "n_frames": frames} for n, (error, frames) in pairs}


def test_runs_that_say_their_recordings_are_set_against_the_papers_network() -> None:
    def with_recordings(row: int, seed: int, mpjpe: float) -> Record:
        made = record(row, seed, mpjpe)
        made.result["test"]["per_recording"] = {
            "a": {"mpjpe": mpjpe - 1, "n_frames": 300},
            "b": {"mpjpe": mpjpe + 2, "n_frames": 100},
        }
        return made

    ours = [with_recordings(1, s, 54.0 + s) for s in (0, 1)]
    theirs = [with_recordings(4, s, 45.0 + s) for s in (0, 1)]
    noise = SeedNoise(math.sqrt(0.5), 2)
    of_theirs, of_ours = ([r.result for r in runs] for runs in (theirs, ours))
    found = compare_over_recordings(of_theirs, of_ours, noise)
    assert found is not None and found.mean == pytest.approx(-9) and found.high < 0
    assert found.high - found.low == pytest.approx(2 * 4.30 * math.sqrt(0.5), rel=0.15)
    said = f"VideoPose3D -9.0 mm ({found.low:+.1f} to {found.high:+.1f}; 2 seeds) (95 %;"
    assert said in conclusions(board(*ours, *theirs))
    assert compare_over_recordings(of_theirs, of_ours, SeedNoise(math.nan, 0)) is None


def test_runs_whose_motion_was_not_measured_count_in_the_other_columns() -> None:
    runs = [record(1, s, 54.0 + s) for s in (0, 1)]
    del runs[0].result["test"]["accel"]
    seen = board(*runs)
    assert (seen.loc[1, "accel"], seen.loc[1, "mpjpe"]) == (1.0, 54.5)


def test_a_row_tested_on_a_share_of_the_frames_is_named() -> None:
    words = conclusions(board(record(1, 0, 50.0), record(4, 0, 40.0, n_frames=30)))
    assert "as few as 30 of 500 frames, and so not to be compared: VideoPose3D" in words
    assert "tails" not in words


@pytest.mark.parametrize("group", ["leaderboard", "leaderboard-own"])
@pytest.mark.parametrize("preset", ["compact", "small"])
def test_systems_that_give_the_centre_are_tested_about_every_frame(group: str, preset: str) -> None:
    for row in rows(group):
        exp = row.experiment(data="mocap", preset=preset)
        if count(exp.model).n_frames == 1 < exp.model.n_frames:
            assert exp.data.test_stride == 1, row.label


def test_the_best_stands_first_and_intervals_decide_the_words() -> None:
    seen = board(
        record(1, 0, 50.0),
        record(1, 1, 52.0),
        record(10, 0, 51.5),
        record(10, 1, 53.0),
        record(4, 0, 70.0, n_frames=600),
    )
    assert list(seen.index[:3]) == [1, 10, 4]
    # two rows of two seeds, variances 2 and 1.125: two degrees of freedom, t = 4.303
    half = 4.303 * math.sqrt((2 + 1.125) / 2) / math.sqrt(2)
    assert seen.loc[1, "mpjpe_half"] == pytest.approx(half, abs=0.01)
    assert as_shown(seen).loc[1, "MPJPE"] == f"51.0 ± {half:.1f}"

    words = conclusions(seen)
    assert f"3 of {len(ROWS)} rows have runs, of 1 to 2 seeds, 5 on cpu." in words
    assert "that of Motion2vec's network, 51.0 ± 3.8 mm" in words
    assert "it may as well be MixSTE." in words
    assert "Above ridge regression's 60.0 mm, and so not trained to any use: VideoPose3D." in words
    assert "500 to 600" in words


def test_mean_and_interval() -> None:
    unknown, known = SeedNoise(math.nan, 0), SeedNoise(2.0, 2)
    assert mean_and_half([], known) == pytest.approx((math.nan, math.nan), nan_ok=True)
    assert mean_and_half([3.0], unknown) == pytest.approx((3.0, math.nan), nan_ok=True)
    assert mean_and_half([1.0, 3.0], known) == pytest.approx((2.0, 4.303 * 2 / 2**0.5), abs=1e-3)
    words = conclusions(board(record(1, 0, 50.0), record(4, 0, 40.0)))
    assert "so the noise is not known" in words
    assert "may as well" not in words and "elow Motion2vec" not in words


def test_rows_of_a_small_part_of_their_authors_epochs_say_so() -> None:
    own = [record(row, 0, 50.0 + row) for row in (1, 4)]
    for one in own:
        one.result["schedule"] |= {"epochs_done": 0.01, "epochs_full": 2}
    assert "authors' epochs" not in conclusions(board(*own)), "the recipe is not their authors'"

    for one, done in zip(own, (0.01, 0.3), strict=True):
        one.result["recipe"] = "own"
        one.result["schedule"] |= {"epochs_done": done, "epochs_full": 2}
    assert "Trained for 0.5 to 15.0 % of their authors' epochs" in conclusions(board(*own))
    own[0].result["schedule"]["epochs_done"] = own[1].result["schedule"]["epochs_done"] = 1.5
    assert "authors' epochs" not in conclusions(board(*own))
