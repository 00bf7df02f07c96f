"""Files as other programs write them that were once read wrong, each with what is right.

They lie beside the checkout, in `../shared/cases/keypoints`; elsewhere these tests are skipped.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from m2v_lib.data.checks import DataError
from m2v_lib.lift import lift
from m2v_lib.lift.people import Lifted, Motion

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "keypoints"
FOUND: dict[str, Any] = (
    json.loads((CASES / "cases.json").read_text()) if (CASES / "cases.json").is_file() else {}
)


@cache
def reference(name: str) -> Lifted:
    return lift(CASES / name).people[0]


@pytest.mark.skipif(not FOUND, reason=f"the handed cases are not here ({CASES})")
@pytest.mark.parametrize("name", FOUND)
def test_a_handed_file_is_lifted_right_or_refused(name: str) -> None:
    case, arguments = FOUND[name], dict(FOUND[name]["args"])
    expect = case["expect"]
    if "size" in arguments:
        arguments["size"] = tuple(int(side) for side in arguments["size"].split("x"))
    try:
        motion = lift(CASES / case["input"], **arguments)
    except DataError as error:
        assert expect.get("error") or expect.get("or_error"), error
        words = expect.get("says_any", [""])
        assert any(word in str(error).split(": ", 1)[-1] for word in words)
        return
    assert not expect.get("error"), "refused is right"
    _check(motion, expect)


def _check(motion: Motion, expect: dict[str, Any]) -> None:
    best = motion.people[0]
    if "same_as" in expect:
        off, best = min(
            ((_off(p, expect["same_as"]), p) for p in motion.people), key=lambda x: x[0]
        )
        assert off <= expect["tol_mm"]
    assert len(motion.people) == expect.get("people", len(motion.people))
    assert [best.start, best.start + best.n_frames - 1] == expect["frames"]
    if "max_depth_m" in expect:
        assert max(p.root_mm[:, 2].max() for p in motion.people) <= 1000 * expect["max_depth_m"]
    if "depth_ratio" in expect:
        name, tolerance = expect["depth_ratio"]
        depth, right = (np.median(p.root_mm[:, 2]) for p in (best, reference(name)))
        assert abs(depth / right - 1) <= tolerance


def _off(person: Lifted, name: str) -> float:
    right = reference(name)
    frames = np.arange(person.start, person.start + person.n_frames) - right.start
    inside = (frames >= 0) & (frames < right.n_frames)
    if not inside.any():
        return np.inf
    apart = person.pose_mm[inside] - right.pose_mm[frames[inside]]
    return float(np.linalg.norm(apart, axis=-1).mean())
