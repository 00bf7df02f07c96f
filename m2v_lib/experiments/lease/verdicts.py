"""What the checks of a lease's first minute mean for its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Numbers of streams that are tried on a GPU; the fastest is used where none is asked for, and
#: so many where the bench did not end.
TRIED_LANES = (1, 8)
UNMEASURED_LANES = 4

Found = Mapping[str, Any]


def held(found: Found, claim: str, stage: str = "") -> bool | None:
    """Whether a claim about the engine was found to hold; None where it was not looked at."""
    name = f"{claim}, {stage}" if stage else claim
    return next((c["holds"] for c in found.get("checks", []) if c["name"] == name), None)


def graphs_hold(found: Found, stage: str) -> bool:
    """Whether a stage's recorded steps were seen to be right: what was not seen does not count."""
    claims = ("graph = eager", "stopped and resumed = whole")
    return all(held(found, claim, stage) for claim in claims)


def failed(found: Found, claim: str, stages: Iterable[str]) -> list[str]:
    """The stages for which a claim was found not to hold."""
    return [stage for stage in stages if held(found, claim, stage) is False]


def fastest(found: Found) -> int:
    """The number of streams with the most steps a second, in the stage of which most was measured."""
    measured: dict[int, float] = {}
    bench: dict[str, dict[str, float]] = found.get("bench", {})

    rates = max(bench.values(), key=len, default={})
    for name, rate in rates.items():
        if name.startswith("graph") or not any(other.startswith("graph") for other in rates):
            measured[int(name.split(", ")[1].split(" at")[0])] = rate

    if len(measured) < 2:  # the bench did not get far
        return UNMEASURED_LANES

    return max(measured, key=lambda key: measured[key])
