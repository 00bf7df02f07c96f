"""Sizes of equal cost: what each system's file says is what the rule gives, and what the page
prints.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from m2v_lib.config.models import DUAL_STREAM
from m2v_lib.experiments.rows import rows
from m2v_lib.models import matched_sizes
from m2v_lib.models.matched_sizes import (
    PAGE,
    PRESETS,
    TOLERANCE,
    as_markdown,
    compared,
    cost,
    matched_width,
    price,
    settings_under,
    width_of,
    with_width,
)

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [name for name in compared() if name != DUAL_STREAM]


@pytest.fixture(scope="module")
def prices() -> dict[str, float]:
    return {preset: price(preset) for preset in PRESETS}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", OTHERS)
def test_no_width_beside_it_is_nearer(name: str, preset: str, prices: dict[str, float]) -> None:
    settings, width = settings_under(preset, name), width_of(name)
    chosen = getattr(settings, width.setting)
    off = {
        value: abs(cost(with_width(settings, value)) / prices[preset] - 1)
        for value in (chosen - width.step, chosen, chosen + width.step)
    }
    assert off[chosen] < TOLERANCE
    assert min(off, key=off.__getitem__) == chosen
    assert with_width(settings, chosen) == settings  # what is tied to the width is tied


def test_the_width_of_a_new_system_is_found(prices: dict[str, float]) -> None:
    settings = settings_under("small", "mixste")
    assert matched_width(with_width(settings, 4), prices["small"]) == getattr(settings, "dim", 0)


def test_the_page_says_what_the_settings_are() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == as_markdown()


def test_every_system_of_the_leaderboard_has_a_size_of_equal_cost() -> None:
    """One without would run at its published size, and be missing from the page."""
    systems = {row.overrides.get("model.name", DUAL_STREAM) for row in rows("leaderboard")}
    assert systems <= {*compared()}, "preset_sizes in the model's file must say its width"


def test_a_mirror_image_inside_is_not_paid_twice() -> None:
    twice = matched_sizes.count(settings_under("small", "d3dp")).macs_per_frame
    assert cost(settings_under("small", "d3dp")) == twice / 2
