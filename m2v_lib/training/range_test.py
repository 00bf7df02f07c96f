"""The learning-rate range test (Smith, 2017, section 3.3): one short run whose rate rises at every
step shows between which rates a network learns at all.

It costs some hundred steps where a sweep costs whole runs, and answers less: it finds the decade,
for the best rate of a whole schedule may be a few times the one at which a first loss is lowest.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from torch import Tensor

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.runs.records import RANGE_TESTS, StoppedEarly, environment, runs_root, write_json
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.device import describe, pick_device
from m2v_lib.training.engine.coroutine import Fetched, Steps
from m2v_lib.training.engine.distributed import SINGLE
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.engine.stopping import StopRequest
from m2v_lib.training.schedule import matrix_rate_ratio
from m2v_lib.training.stage import Stage, own_stream
from m2v_lib.training.stages import STAGES

#: The fewest steps of a test.
FEWEST: Final = 40
#: Losses on either side that a rate's average takes in: batches differ.
NEIGHBOURS: Final = 10
#: The test ends where the latest average is so many times the lowest one.
DIVERGED: Final = 3.0


@dataclass(frozen=True)
class RangeTest:
    """Rates (N,), one a step, and the losses (N,) of their batches, as far as the test went."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: bool

    @property
    def averages(self) -> tuple[float, ...]:
        """Each loss and its neighbours' mean: as many before as after, so that no rate gets the
        losses of lower ones.
        """
        n = len(self.losses)
        reach = [min(i, n - 1 - i, NEIGHBOURS) for i in range(n)]
        return tuple(float(np.mean(self.losses[i - r : i + r + 1])) for i, r in enumerate(reach))

    @property
    def lowest(self) -> float:
        """The rate at which the average is lowest, of those with all their neighbours."""
        judged = self.averages[NEIGHBOURS : len(self.losses) - NEIGHBOURS]
        return self.rates[NEIGHBOURS + int(np.argmin(judged))]

    @property
    def steepest(self) -> float:
        """The rate below `lowest` at which the average falls fastest, as a share of itself, by
        factor of rate.
        """
        slopes = np.gradient(np.log(self.averages), np.log(self.rates))
        before = slice(NEIGHBOURS, self.rates.index(self.lowest) + 1)
        return self.rates[NEIGHBOURS + int(np.argmin(slopes[before]))]

    def lines(self, n: int = 12) -> Iterator[str]:
        """What to say of it: `n` rates with their average losses, then what follows."""
        yield f"{'rate':>9}  {'loss':>8}"
        averages = self.averages
        for i in np.linspace(0, len(self.rates) - 1, min(n, len(self.rates))).round().astype(int):
            yield f"{self.rates[i]:9.2g}  {averages[i]:8.4f}"

        end = (
            f"diverges at {self.rates[-1]:.2g}"
            if self.diverged
            else f"does not diverge up to {self.rates[-1]:.2g}"
        )
        yield f"falls fastest at {self.steepest:.2g}, is lowest at {self.lowest:.2g}, {end}"


def keep_range_test(found: RangeTest, exp: Experiment, stage: str, records: Path) -> Path:
    """File a test under `records`; returns the file."""
    path = records / RANGE_TESTS / f"{exp.run_name(stage)}.json"
    shown = {
        "schema": 1,
        "stage": stage,
        "experiment": exp.to_dict(),
        "falls_fastest_at": found.steepest,
        "lowest_at": found.lowest,
        "last_rate": found.rates[-1],
        "diverged": found.diverged,
        "rates": found.rates,
        "losses": found.losses,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**environment({"device": describe(pick_device(exp))}), **shown})
    return path


def range_test(
    exp: Experiment,
    stage: str = "finetune",
    *,
    first: float = 1e-5,
    last: float = 0.3,
    steps: int = 200,
) -> RangeTest:
    """Train with a rate that rises from `first` to `last` by the same factor at every step.

    The blocks' matrices keep their ratio to it (`optim.matrix_lr` over `optim.lr`). Nothing is
    written and nothing evaluated; only training subjects are seen. Raises ConfigError for rates
    or numbers of steps that make no test, StoppedEarly where it is interrupted.
    """
    if not 0 < first < last < math.inf:
        raise ConfigError(
            f"the first rate, {first:g}, must be above 0 and below the last, {last:g}"
        )
    if steps < FEWEST:
        raise ConfigError(f"{steps} steps are too few for a test, {FEWEST} are needed")

    exp = exp.override({"run.max_steps": steps, "run.log_every": 1, "run.checkpoint_every": steps})
    kind, device = STAGES[stage], pick_device(exp)
    kind.check_settings(exp)
    data, _ = kind.open_data(exp)
    rates = tuple(float(rate) for rate in np.geomspace(first, last, steps))

    with tempfile.TemporaryDirectory() as folder, own_stream(device, SINGLE):
        built = kind.build(exp, runs_root(), data, device, SINGLE, ClipLoader())
        built.has_validation = False
        trainer = _Rising(built, Path(folder), rates)
        try:
            trainer.run()
        except StoppedEarly:
            if not trainer.diverged:
                raise StoppedEarly("range test: stopped before its end; nothing is kept") from None

    seen = trainer.losses
    if len(seen) <= 2 * NEIGHBOURS:
        raise ConfigError(f"training diverges at the first rates, {first:g} and up; begin lower")
    return RangeTest(rates[: len(seen)], tuple(seen), trainer.diverged)


class _Rising(Trainer):
    """A run at given rates, of which only the losses are kept."""

    def __init__(self, stage: Stage, folder: Path, rates: tuple[float, ...]) -> None:
        self.rates = rates
        self.losses: list[float] = []
        self.floor = math.inf
        self.diverged = False
        super().__init__(stage, folder)

    def values_at(self, step: int) -> dict[str, float]:
        rate = self.rates[step]
        given = {"rate": rate, "matrix_rate": rate * matrix_rate_ratio(self.stage.optim)}
        return super().values_at(step) | given

    def write_log(self, extras: dict[str, Tensor]) -> Steps:
        sums = self.training_step.sums
        fetched = Fetched(sums["loss"].reshape(1).clone())
        for total in sums.values():
            total.zero_()
        (loss,) = yield fetched
        if not math.isfinite(loss):
            self.diverged = True
            return

        self.losses.append(loss)
        if len(self.losses) > 2 * NEIGHBOURS:
            latest = float(np.mean(self.losses[-NEIGHBOURS:]))
            self.floor = min(self.floor, latest)
            self.diverged = latest > DIVERGED * self.floor

    def must_stop(self, stop: StopRequest) -> bool:
        return self.diverged or super().must_stop(stop)
