"""Finished runs beside each other: settings that differ, numbers, learning curves, and a paired
test over what they were all tested on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from m2v_lib.config import Experiment
from m2v_lib.results.effects import SIGNIFICANCE, Effect
from m2v_lib.runs.records import Record

#: Settings of `run.` that change a result; the others say where and how it was computed.
_DECIDING: Final = ("run.seed", "run.max_steps", "run.precision", "run.eval_every")
#: Fewer pairs have no interval worth reading.
MIN_PAIRS: Final = 3

#: A curve with fewer shows nothing of how a run went.
MIN_POINTS: Final = 3
#: Of a curve as text, lowest first.
HEIGHTS: Final = "▁▂▃▄▅▆▇█"

Curve = tuple[list[int], list[float]]


def settings_that_differ(runs: Sequence[Record]) -> dict[str, tuple[Any, ...]]:
    """The runs' values of each setting in which they differ, without those of the machine."""
    flat = [Experiment.from_dict(run.config).flat() for run in runs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    found = {key: tuple(settings.get(key) for settings in flat) for key in keys}
    return {
        key: values
        for key, values in found.items()
        if any(value != values[0] for value in values)
        and (key in _DECIDING or not key.startswith("run."))
    }


def common_numbers(runs: Sequence[Record]) -> dict[str, tuple[float, ...]]:
    """Final numbers on the test subjects that all runs have, by metric."""
    tests = [run.result.get("test") or {} for run in runs]
    return {
        key: tuple(float(test[key]) for test in tests)
        for key in tests[0]
        if all(_is_number(test.get(key)) for test in tests)
    }


def common_actions(runs: Sequence[Record], metric: str = "mpjpe") -> dict[str, tuple[float, ...]]:
    """The metric of each action that all runs were tested on."""
    by_run = [(run.result.get("test") or {}).get("per_action", {}) for run in runs]
    return {
        action: tuple(float(actions[action][metric]) for actions in by_run)
        for action in by_run[0]
        if all(metric in actions.get(action, {}) for actions in by_run)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def paired_difference(ours: Sequence[float], reference: Sequence[float]) -> Effect:
    """The mean of the differences of pairs with its 95 % confidence interval (paired t), and the
    p value of Wilcoxon's signed-rank test; nan where there are fewer than `MIN_PAIRS` pairs or all
    differences are the same.

    The pairs are actions: what two trained networks do on other motion of these kinds. What another
    seed would do is not in it.
    """
    differences = [a - b for a, b in zip(ours, reference, strict=True)]
    n = len(differences)
    mean = math.fsum(differences) / n if n else math.nan
    if n < MIN_PAIRS or max(differences) == min(differences):
        return Effect(n, mean, math.nan, math.nan)

    from scipy import stats

    interval = stats.ttest_rel(ours, reference).confidence_interval(1 - SIGNIFICANCE)
    p = stats.wilcoxon(differences).pvalue
    return Effect(n, mean, float(interval.low), float(interval.high), float(p))


def learning_curve(run: Record, quantity: str = "") -> tuple[str, Curve]:
    """A run's curve and what it shows: the named quantity of its log, else the validation error
    where that was looked at often enough, else the training loss.
    """
    for kind, name in (("val", "mpjpe"), ("val", "top1"), ("train", "loss")):
        lines = [line for line in run.metrics if line["kind"] == kind and name in line]
        if quantity == f"{kind} {name}" or (not quantity and len(lines) >= MIN_POINTS):
            return f"{kind} {name}", ([x["step"] for x in lines], [x[name] for x in lines])
    return "", ([], [])


def sparkline(curve: Curve, last_step: int, low: float, high: float, width: int = 48) -> str:
    """A curve as a line of text: steps from 1 to `last_step` from left to right, eight heights
    between `low` and `high`; where nothing was logged the last value stands, and blanks follow the
    run's end.
    """
    text, at = "", 0
    steps, values = curve
    for column in range(width):
        until = (column + 1) * last_step / width
        while at + 1 < len(steps) and steps[at + 1] <= until:
            at += 1
        if not steps or column * last_step / width >= steps[-1]:
            break
        share = (values[at] - low) / (high - low) if high > low else 0.0
        text += HEIGHTS[round(share * (len(HEIGHTS) - 1))]
    return text.ljust(width)
