"""The Snakefile, run by Snakemake over small notebooks: order, failures, resuming. Training
itself is not run here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest
from fakes.suite import code, notebook, parameters

from m2v_lib.experiments.suite import Suite, jobs
from m2v_lib.runs.records import RESUME_EXIT_CODE

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
EXECUTED = "reports/executed/synthetic-smoke-paper"
NAMES = ("00_start_here", "13_broken", "14_stops", "32_pretrain", "40_finetune", "58_table8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Snakefile, five notebooks of which one fails, and a command `m2v` that
    takes no time.
    """
    folder = tmp_path_factory.mktemp("project")
    shutil.copyfile(ROOT / "Snakefile", folder / "Snakefile")
    (folder / "notebooks").mkdir()
    for name in NAMES:
        write_chapter(folder, name, "raise ValueError('on purpose')" if "broken" in name else "1")
    (folder / "bin").mkdir()
    command = folder / "bin" / "m2v"
    command.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fakes" / "m2v.py"}" "$@"\n', encoding="utf-8"
    )
    command.chmod(0o755)
    return folder


def write_chapter(folder: Path, name: str, source: str) -> None:
    made = notebook(parameters("preset: str = 'smoke'  # sizes"), code(source), title=name)
    nbformat.write(made, str(folder / "notebooks" / f"{name}.ipynb"))


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(
        [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    python = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PATH": path, "PYTHONPATH": python, "M2V_STORE": str(folder / "stores")}
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--keep-going",
        "--scheduler",
        "greedy",
        *words,
    ]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


def calls(folder: Path) -> list[str]:
    """The `m2v` commands since the last look, each as its command and notebook."""
    log = folder / "calls.txt"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [" ".join(line.split()[:3]) for line in lines]


def runs(made: list[str]) -> list[str]:
    return [Path(line.split()[2]).stem for line in made if line.startswith("notebook ")]


def test_a_dry_run_lists_one_job_a_row_and_a_chapter(project: Path) -> None:
    done = snakemake(project, "--dry-run", "--quiet", "rules", "host", "--config", "seeds=0 1")
    assert done.returncode == 0, done.stderr
    counts = {
        rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)
    }
    made = jobs(Suite(seeds=(0, 1)), project / "notebooks")
    kinds = {
        "pretrain": "pretrain",
        "finetune": "finetune",
        "chapter": "chapter",
        "results": "result",
    }
    assert {rule: counts[rule] for rule in kinds} == {
        rule: sum(job.kind == kind for job in made) for rule, kind in kinds.items()
    }
    assert counts["book"] == counts["prepare"] == 1
    assert calls(project) == []


def test_one_table_alone_trains_its_rows_and_runs_its_chapter(project: Path) -> None:
    """What `make table8` asks for, with fewer rows."""
    targets = [f"{EXECUTED}/suite.json", f"{EXECUTED}/58_table8.ok"]
    done = snakemake(
        project,
        "--dry-run",
        "--quiet",
        "rules",
        "host",
        "--config",
        "tables=teachers",
        "--",
        *targets,
    )
    assert done.returncode == 0, done.stderr
    counts = {
        rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE)
    }
    assert counts == {
        "plan": 1,
        "prepare": 1,
        "pretrain": 2,
        "finetune": 3,
        "results": 1,
        "total": 8,
    }


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [("presett=base", "unknown config key 'presett'"), ("preset=smok", "the nearest is 'smoke'")],
)
def test_an_unknown_setting_stops_before_any_job(
    project: Path, setting: str, sentence: str
) -> None:
    done = snakemake(project, "--config", setting)
    assert done.returncode != 0 and sentence in done.stderr
    assert "Traceback" not in done.stderr and "m2v_lib/" not in done.stderr
    assert calls(project) == []


def test_an_interrupted_job_waits_for_the_checkpoint_and_does_not_go_on(tmp_path: Path) -> None:
    """The shell of a training job, with Ctrl-C reaching all processes of the terminal."""
    (text,) = re.findall(r"^RUN = (\(.*?^\))", (ROOT / "Snakefile").read_text(), re.S | re.M)
    words = {"{threads}": "1", "{input.notebook}": "n", "{params.out}": "o", "{output}": "done"}
    script = eval(text, {"RESUME_EXIT_CODE": RESUME_EXIT_CODE}).replace("{params.arguments:q}", "")
    for name, value in words.items():
        script = script.replace(name, value)

    m2v = tmp_path / "m2v"
    m2v.write_text(
        "#!/bin/sh\ntrap 'sleep 0.3; echo to be resumed; exit 75' INT\n"
        "touch ready\nwhile :; do sleep 0.05; done\n"
    )
    m2v.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-c", f"set -euo pipefail; {script}"]
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # of a job in the background Ctrl-C is ignored, and a shell cannot undo that
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "ready").exists():
        assert running.poll() is None
        time.sleep(0.02)

    os.killpg(running.pid, signal.SIGINT)
    try:
        assert running.communicate(timeout=30)[0] == "to be resumed\n"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 1 and not (tmp_path / "done").exists()


def test_a_failed_notebook_is_red_in_the_book_and_a_later_run_does_only_it(project: Path) -> None:
    done = snakemake(project)
    made = calls(project)
    expected = {job.name for job in jobs(Suite(), project / "notebooks")}
    assert done.returncode != 0
    assert set(runs(made)) == expected, "the other jobs go on"
    assert runs(made).count("14_stops") == 2, "what stopped at a checkpoint goes on at once"
    order = runs(made)
    for job in jobs(Suite(), project / "notebooks"):
        assert all(order.index(name) < order.index(job.name) for name in job.needs), job.name
    assert made[0].startswith("data prepare") and made[-1].startswith("report")
    front = (project / "reports/html/index.html").read_text(encoding="utf-8")
    assert f"Of {len(expected)} notebook runs 1 failed" in front
    assert "This notebook failed" in (project / "reports/html/13_broken.html").read_text(
        encoding="utf-8"
    )
    assert (project / EXECUTED / "13_broken.ipynb").exists()

    write_chapter(project, "13_broken", "print('mended')")
    assert snakemake(project).returncode == 0
    made = calls(project)
    assert runs(made) == ["13_broken"] and made[-1].startswith("report")
    front = (project / "reports/html/index.html").read_text(encoding="utf-8")
    assert f"All {len(expected)} notebook runs of the suite" in front

    assert snakemake(project).returncode == 0
    assert calls(project) == [], "a third call has nothing to do"

    (project / EXECUTED / "13_broken.ok").unlink()
    (project / "reports/html/index.html").touch()
    assert snakemake(project).returncode == 0
    assert runs(calls(project)) == ["13_broken"], "a newer book does not stand for the chapters"
