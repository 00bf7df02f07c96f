"""`RESULTS.md`: runs that no table takes are named with what they changed."""

from __future__ import annotations

from pathlib import Path

from m2v_lib.config import Experiment
from m2v_lib.report.pages.results import _changes
from m2v_lib.runs.records import Record


def test_a_run_of_another_model_is_told_by_its_own_settings() -> None:
    """Its other settings are the model's under the preset and recipe, and no changes."""
    changed = {"model.name": "videopose3d", "model.causal": True, "optim.lr": 2e-3}
    exp = Experiment.preset("compact", "own").override(changed)
    run = Record(Path("run"), exp.to_dict(), {}, [], {})
    assert _changes(run) == "model.name videopose3d, model.causal True, optim.lr 0.002"
