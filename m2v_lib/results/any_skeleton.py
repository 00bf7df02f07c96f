"""What it costs to lift any skeleton: one network for all against one bound to each, from run records
alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.experiments.rows import rows
from m2v_lib.results.effects import describe, effect, pooled_noise
from m2v_lib.results.leaderboard.board import mean_and_half
from m2v_lib.results.tables import by_digest_and_seed

if TYPE_CHECKING:
    import pandas as pd

    from m2v_lib.runs.records import Record

GROUP: Final = "any-skeleton"
#: The row of the network for all skeletons; the others are bound to `model.skeleton`.
GENERALIST: Final = 1
#: The row of the one that predicts joints that it is not given.
PREDICTS_HIDDEN: Final = 6
#: What `m2v evaluate --keep` adds to a record.
EVALUATIONS: Final = "evaluations.json"


def price_of_generality(records: Iterable[Record], preset: str = "compact") -> pd.DataFrame:
    """Test MPJPE (mm) by skeleton: columns any, any_half, bound, bound_half (mean over seeds and half
    the 95 % confidence interval by the noise that all rows share), price (any - bound, mm) in words,
    ridge, seeds_any, seeds_bound.
    """
    import pandas as pd

    found = by_digest_and_seed(records, "finetune", None)
    results: dict[int, dict[int, Mapping[str, Any]]] = {}
    skeletons: dict[int, str] = {}
    for row in (row for row in rows(GROUP) if row.row != PREDICTS_HIDDEN):
        exp = row.experiment(data="", preset=preset)
        runs = found.get(exp.digest("finetune"), {})
        results[row.row] = {seed: record.result for seed, record in runs.items()}
        skeletons[row.row] = exp.model.skeleton

    errors = {
        (skeleton, number == GENERALIST): {
            seed: _error(result["test"], skeleton) for seed, result in results[number].items()
        }
        for number, skeleton in _columns(skeletons)
    }
    noise = pooled_noise([list(by_seed.values()) for by_seed in errors.values()])

    lines = {}
    for number, skeleton in skeletons.items():
        if number == GENERALIST:
            continue
        of_all, of_one = errors[skeleton, True], errors[skeleton, False]
        ridge = [result["baselines"]["ridge"]["mpjpe"] for result in results[number].values()]
        lines[skeleton] = {
            **dict(
                zip(("any", "any_half"), mean_and_half(list(of_all.values()), noise), strict=True)
            ),
            **dict(
                zip(
                    ("bound", "bound_half"),
                    mean_and_half(list(of_one.values()), noise),
                    strict=True,
                )
            ),
            "price": describe(effect(of_all, of_one, noise if noise.freedom else None)),
            "ridge": ridge[0] if ridge else math.nan,
            "seeds_any": len(of_all),
            "seeds_bound": len(of_one),
        }
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("skeleton")


def _columns(skeletons: Mapping[int, str]) -> Iterable[tuple[int, str]]:
    """Every cell: a bound row with its skeleton, the general one with each of them."""
    for number, skeleton in skeletons.items():
        if number != GENERALIST:
            yield number, skeleton
            yield GENERALIST, skeleton


def _error(test: Mapping[str, Any], skeleton: str) -> float:
    return test.get("by_skeleton", {skeleton: test})[skeleton]["mpjpe"]


def by_length(records: Iterable[Record], preset: str = "compact") -> pd.DataFrame:
    """Test MPJPE (mm, mean over seeds) of the network for all skeletons, by skeleton and number of
    frames that it sees at once: what `m2v evaluate RUN --skeleton .. --frames .. --keep` has found.
    """
    import pandas as pd

    lines = [line for line in _evaluations(records, GENERALIST, preset) if not line.get("given")]
    if not lines:
        return pd.DataFrame()
    frame = pd.DataFrame(lines)
    return frame.pivot_table(index="skeleton", columns="frames", values="mpjpe", aggfunc="mean")


def hidden_errors(records: Iterable[Record], preset: str = "compact") -> pd.DataFrame:
    """Test error (mm, mean over seeds) of joints that the network which learnt to predict hidden ones
    was not given, by joint and by the skeleton that it was given.
    """
    import pandas as pd

    lines = [
        {"joint": joint, "given": line["given"], "error": error}
        for line in _evaluations(records, PREDICTS_HIDDEN, preset)
        for joint, error in line.get("hidden", {}).items()
    ]
    if not lines:
        return pd.DataFrame()
    frame = pd.DataFrame(lines)
    return frame.pivot_table(index="joint", columns="given", values="error", aggfunc="mean")


def _evaluations(records: Iterable[Record], number: int, preset: str) -> list[dict[str, Any]]:
    """What `m2v evaluate --keep` has added to the records of a row."""
    (row,) = (row for row in rows(GROUP) if row.row == number)
    digest = row.experiment(data="", preset=preset).digest("finetune")
    runs = by_digest_and_seed(records, "finetune", None).get(digest, {})
    files = [record.path / EVALUATIONS for record in runs.values()]
    return [
        line
        for file in files
        if file.exists()
        for line in json.loads(file.read_text(encoding="utf-8"))
    ]
