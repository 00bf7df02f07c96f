"""`m2v evaluate` cuts clips as the run did, so it repeats the run's own result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from m2v_lib import cli
from m2v_lib.config import Experiment
from m2v_lib.data.store import Store
from m2v_lib.training.finetune import finetune


@pytest.mark.parametrize("frame_step", [1, 2])
def test_the_runs_own_result_comes_back(
    frame_step: int,
    tiny_store: Store,
    tiny_experiment: Callable[..., Experiment],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changes = {"data.frame_step": frame_step, "run.max_steps": 4}
    run = finetune(tiny_experiment("paper", changes), tmp_path)
    result = json.loads((run / "result.json").read_text())
    for split in ("test", "val"):
        capsys.readouterr()
        assert cli.main(["evaluate", str(run), "--split", split]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["mpjpe"] == pytest.approx(result[split]["mpjpe"], rel=1e-6)
        assert said["n_frames"] == result[split]["n_frames"]
