"""Running one notebook: bad parameters stop before a kernel starts, and whatever happens later
leaves a trace.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from fakes.suite import code, notebook, parameters

from m2v_lib.config import ConfigError
from m2v_lib.experiments.run_notebook import (
    check_parameters,
    declared_parameters,
    run_notebook,
    status_path,
)
from m2v_lib.runs.records import RESUME_EXIT_CODE

PARAMETERS = """
preset: str = "smoke"  # sizes
recipe: str = "paper"  # whose settings
seed: int = 0  # random seed
share: float = 0.5  # between 0 and 1
overrides: dict = {}  # changed settings
"""


def written(folder: Path, *sources: str) -> Path:
    path = folder / "10_sample.ipynb"
    made = notebook(parameters(PARAMETERS), *(code(source) for source in sources))
    nbformat.write(made, str(path))
    return path


def test_declared_parameters_are_read_without_a_kernel(tmp_path: Path) -> None:
    expected = {"preset": "smoke", "recipe": "paper", "seed": 0, "share": 0.5, "overrides": {}}
    assert declared_parameters(written(tmp_path)) == expected


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sed": 3}, r"10_sample.ipynb has no parameter 'sed'; the nearest it has is 'seed'"),
        ({"seed": "three"}, r"parameter 'seed' must be int, got 'three'"),
        ({"seed": True}, r"parameter 'seed' must be int, got True"),
        (
            {"overrides": {"model.dims": 8}},
            r"unknown setting 'model.dims'; the nearest is 'model.dim'",
        ),
        ({"preset": "smok"}, r"unknown preset 'smok'"),
    ],
)
def test_a_bad_parameter_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, given: dict, sentence: str
) -> None:
    path, out = written(tmp_path), tmp_path / "out" / "10_sample.ipynb"
    with pytest.raises(ConfigError, match=sentence) as caught:
        run_notebook(path, out, given)
    assert "\n" not in str(caught.value)
    assert not out.parent.exists()


def test_a_whole_number_passes_for_a_fraction(tmp_path: Path) -> None:
    check_parameters(written(tmp_path), {"share": 1})


def test_what_is_no_notebook_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no notebook"):
        declared_parameters(tmp_path / "missing.ipynb")
    (tmp_path / "broken.ipynb").write_text('{"cells": [', encoding="utf-8")
    with pytest.raises(ConfigError, match="broken.ipynb is not a notebook"):
        declared_parameters(tmp_path / "broken.ipynb")


def outcome(out: Path) -> dict:
    return json.loads(status_path(out).read_text(encoding="utf-8"))


def test_a_run_keeps_its_notebook_its_parameters_and_its_time(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "10_sample.ipynb"
    end = "get_ipython().kernel.log.error('KeyboardInterrupt caught in kernel.')"  # as some do
    assert run_notebook(written(tmp_path, "print('seed', seed)", end), out, {"seed": 7}) == 0
    assert "".join(capfd.readouterr()) == "", "nothing is said of a run that went well"
    assert "seed 7" in out.read_text(encoding="utf-8")
    status = outcome(out)
    assert (status["state"], status["parameters"], status["error"]) == ("ok", {"seed": 7}, None)
    assert status["seconds"] > 0 and status["commit"] and status["notebook"] == "10_sample.ipynb"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise ValueError('store has 16 joints')", "cell [2]: ValueError: store has 16 joints"),
        ("import os; os.kill(os.getpid(), 9)", "the kernel died"),
    ],
    ids=["error", "killed kernel"],
)
def test_a_failure_is_recorded_and_the_notebook_kept(
    tmp_path: Path, source: str, error: str
) -> None:
    out = tmp_path / "out" / "10_sample.ipynb"
    assert run_notebook(written(tmp_path, "print('before')", source), out, {}) == 1
    assert "before" in out.read_text(encoding="utf-8")
    assert (
        outcome(out)["state"] == "failed" and error.replace("[2]", "[3]") in outcome(out)["error"]
    )


def test_training_that_stopped_early_is_no_failure(tmp_path: Path) -> None:
    out = tmp_path / "out" / "10_sample.ipynb"
    source = (
        "from m2v_lib.runs.records import StoppedEarly; raise StoppedEarly('run x: stopped at "
        "step 3 of 9')"
    )
    assert run_notebook(written(tmp_path, source), out, {}) == RESUME_EXIT_CODE
    assert outcome(out)["state"] == "stopped" and "step 3 of 9" in outcome(out)["error"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_reaches_the_kernel(number: signal.Signals, tmp_path: Path) -> None:
    """As when a cluster ends a job, or a user does: the kernel's own handler runs."""
    source = (
        "import signal, sys, time\n"
        "from m2v_lib.training.engine.stopping import StopRequest\n"
        "from m2v_lib.runs.records import StoppedEarly\n"
        "from pathlib import Path\n"
        f"ready = Path({str(tmp_path / 'ready')!r})\n"
        "with StopRequest(0) as stop:\n"
        "    ready.touch()\n"
        "    while not stop: time.sleep(0.05)\n"
        "raise StoppedEarly('asked to')"
    )
    path, out = written(tmp_path, source), tmp_path / "out" / "10_sample.ipynb"
    program = (
        "import sys; from m2v_lib.experiments.run_notebook import run_notebook as r; "
        "sys.exit(r(sys.argv[1], sys.argv[2], {}))"
    )
    running = subprocess.Popen([sys.executable, "-c", program, str(path), str(out)])
    while not (tmp_path / "ready").exists():
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(number)
    assert running.wait(60) == RESUME_EXIT_CODE
    assert outcome(out)["state"] == "stopped"


def test_a_killed_process_leaves_a_run_that_never_ended(tmp_path: Path) -> None:
    """The process dies, not the kernel: nobody is left to write 'failed', so 'running' has to
    stand there already.
    """
    path, out = written(tmp_path, "1"), tmp_path / "out" / "10_sample.ipynb"
    program = (
        "import os, sys, m2v_lib.experiments.run_notebook as n\n"
        "n._execute = lambda *_: os._exit(9)\n"
        "n.run_notebook(sys.argv[1], sys.argv[2], {})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(out)], env=os.environ, check=False
    )
    assert done.returncode == 9
    assert outcome(out)["state"] == "running"
