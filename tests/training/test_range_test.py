"""The learning-rate range test: rates rise by one factor, a rate too high ends it, and what it
says of a known curve is right.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.store import Store
from m2v_lib.report.pages.results import results_page
from m2v_lib.runs.records import StoppedEarly
from m2v_lib.training.range_test import RangeTest, keep_range_test, range_test

Make = Callable[..., Experiment]


def steepest(log: np.ndarray, losses: np.ndarray) -> float:
    return float(log[np.gradient(np.log(losses), log).argmin()])


def test_a_valley_is_found_where_it_is() -> None:
    """A loss that falls around 1e-3 and rises from 1e-2 on."""
    rates = np.geomspace(1e-5, 1.0, 500)
    log = np.log10(rates)
    losses = 1 / (1 + np.exp(4 * (log + 3))) + np.exp(4 * (log + 1)) + 0.1
    found = RangeTest(tuple(rates), tuple(losses), diverged=False)
    assert found.steepest == pytest.approx(10 ** steepest(log, losses), rel=0.06)
    assert found.lowest == pytest.approx(10 ** log[losses.argmin()], rel=0.06)
    *_, last = found.lines()
    assert last.startswith("falls fastest at 0.00") and "does not diverge up to 1" in last
    assert len(list(found.lines(n=5))) == 7


def test_the_average_of_a_constant_is_that_constant() -> None:
    assert RangeTest((1.0, 2.0, 3.0), (4.0, 4.0, 4.0), False).averages == (4.0, 4.0, 4.0)
    assert RangeTest((1.0, 2.0, 3.0), (3.0, 0.0, 6.0), False).averages == (3.0, 3.0, 6.0)


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_the_rate_rises_and_a_rate_too_high_ends_the_test(
    stage: str, tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    exp = tiny_experiment("paper")
    found = range_test(exp, stage, first=1e-4, last=1e3, steps=60)
    assert found.diverged and 20 < len(found.rates) == len(found.losses) < 60
    factors = np.divide(found.rates[1:], found.rates[:-1])
    assert found.rates[0] == pytest.approx(1e-4)
    assert factors == pytest.approx(factors[0]) and factors[0] > 1
    assert np.isfinite(found.losses).all()

    again = range_test(exp, stage, first=1e-4, last=1e3, steps=60)
    assert again == found
    tame = range_test(exp, stage, first=1e-6, last=1e-5, steps=40)
    assert not tame.diverged and len(tame.rates) == 40


def test_what_diverges_at_once_or_is_interrupted_is_no_test(
    tiny_store: Store, tiny_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = tiny_experiment("paper")
    with pytest.raises(ConfigError, match="diverges at the first rates, 1e"):
        range_test(exp, first=1e9, last=1e30, steps=60)

    monkeypatch.setattr("m2v_lib.training.engine.loop.Trainer.must_stop", lambda run, stop: True)
    with pytest.raises(StoppedEarly, match="nothing is kept"):
        range_test(exp)


def test_matrices_keep_their_ratio(
    tiny_store: Store, tiny_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, float]] = []

    def look(self: object, by_step: list[dict[str, float]], device: object) -> None:
        seen.extend(by_step)
        raise KeyboardInterrupt

    monkeypatch.setattr("m2v_lib.training.engine.loop.ScheduledValues.__init__", look)
    muon = {"optim.algorithm": "muon", "optim.lr": 1e-3, "optim.matrix_lr": 5e-3}
    with pytest.raises(KeyboardInterrupt):
        range_test(tiny_experiment("paper", muon), first=1e-4, last=1e-2, steps=40)
    assert [values["matrix_rate"] for values in seen] == pytest.approx(
        [5 * values["rate"] for values in seen]
    )
    assert seen[0]["rate"] == pytest.approx(1e-4) and seen[-1]["rate"] == pytest.approx(1e-2)


@pytest.mark.parametrize(
    "given",
    [
        {"first": 0.0},
        {"first": 1.0, "last": 0.1},
        {"steps": 39},
        {"first": float("nan")},
        {"last": float("inf")},
    ],
)
def test_what_is_no_test_is_refused(
    given: dict[str, float], tiny_store: Store, tiny_experiment: Make
) -> None:
    with pytest.raises(ConfigError):
        range_test(tiny_experiment("paper"), **given)  # type: ignore[arg-type]


def test_a_kept_test_stands_in_the_results(tiny_experiment: Make, tmp_path: Path) -> None:
    exp = tiny_experiment("paper", {"run.seed": 3})
    found = RangeTest(tuple(np.geomspace(1e-4, 0.2, 60)), tuple(np.linspace(2, 1, 60)), True)
    path = keep_range_test(found, exp, "finetune", tmp_path)
    assert path.stem == exp.run_name("finetune")
    assert json.loads(path.read_text())["lowest_at"] == found.lowest
    line = next(n for n in results_page([], tmp_path).splitlines() if path.name in n)
    assert "| finetune | adamw | 3 | " in line and f"| {found.lowest:.2g} | 0.2 |" in line


def test_the_command_says_what_it_found(
    tiny_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "range-test --preset smoke --data tiny --steps 40 --last 0.01"
    assert main(words.split()) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("falls fastest at") and "finetune" not in said
