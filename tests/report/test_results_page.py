"""`RESULTS.md`: runs that no table takes are named with what they changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from m2v_lib.config import Experiment
from m2v_lib.report.pages.comparisons import told_apart
from m2v_lib.report.pages.results import _changes
from m2v_lib.runs.records import Record


def test_a_run_of_another_model_is_told_by_its_own_settings() -> None:
    """Its other settings are the model's under the preset and recipe, and no changes."""
    changed = {"model.name": "videopose3d", "model.causal": True, "optim.lr": 2e-3}
    exp = Experiment.preset("compact", "own").override(changed)
    run = Record(Path("run"), exp.to_dict(), {}, [], {})
    assert _changes(run) == "model.name videopose3d, model.causal True, optim.lr 0.002"


def test_validation_errors_of_one_seed_are_read_with_their_noise() -> None:
    """Of the paper's network with all labels: another system's noise, or a start's, is not its."""

    def run(error: float, changes: dict[str, Any] | None = None) -> Record:
        settings = {"data.name": "mocap", **(changes or {})}
        exp = Experiment.preset("compact", "paper").override(settings)
        result: dict[str, Any] = {"stage": "finetune", "preset": "compact"}
        result |= {"digest": exp.digest("finetune"), "val": {"mpjpe": error}}
        return Record(Path("run"), exp.to_dict(), result, [], {})

    pairs = [run(70.0), run(72.0), run(80.0, {"optim.lr": 0.01}), run(82.0, {"optim.lr": 0.01})]
    others = [
        run(error, {setting: value})
        for error in (50.0, 90.0)
        for setting, value in {
            "model.name": "mixste",
            "data.label_fraction": 0.1,
            "data.label_subjects": 1,
            "data.name": "synthetic",
        }.items()
    ]

    # 2 mm apart in each pair: sd 1.41 of 2 degrees; times sqrt 2 and t's 4.30
    said = told_apart([*pairs, *others], "compact")
    assert "1.4 mm\n(2 degrees of freedom)" in said and "less than 8.6 mm apart" in said
    assert "is unknown" in told_apart([pairs[0], *others], "compact")
