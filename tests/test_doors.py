"""The ways in from outside: profiles for clusters, public CI, images, Binder, Colab. What they call
is there; what can be run without a cluster is run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from m2v_lib import cli

ROOT = Path(__file__).resolve().parents[1]
CI: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
STEPS = [step for job in CI["jobs"].values() for step in job["steps"]]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def make_targets(text: str) -> list[str]:
    calls = re.findall(r"\bmake ((?:[a-z]+\d? ?)+)", text)
    return [target for call in calls for target in call.split()]


def is_target(name: str) -> bool:
    return bool(re.search(rf"^(?:[a-z%]+ )*{name}(?: [a-z%]+)*:", MAKEFILE, re.MULTILINE))


def test_public_ci_calls_targets_and_files_that_exist() -> None:
    commands = [step["run"] for step in STEPS if "run" in step]
    assert {"make lint", "make unit", "make notebooks", "make reproduce"} <= set(commands)
    assert all(map(is_target, make_targets("\n".join(commands))))
    for path in re.findall(r"python (\S+\.py)", "\n".join(commands)):
        assert (ROOT / path).is_file()


def test_public_ci_tries_each_version_and_system() -> None:
    assert CI["jobs"]["unit"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    systems = {entry["os"] for entry in CI["jobs"]["wheel"]["strategy"]["matrix"]["include"]}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}


def test_actions_have_a_version() -> None:
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", name) for name in used)


def test_the_calls_of_an_installed_wheel_are_commands() -> None:
    from installed import CALLS

    for call in CALLS[1:]:
        cli.parser().parse_args(call.format(sample="x.npz", run="run").split())


def test_the_image_has_two_stages_and_copies_what_setup_reads() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE)
    assert stages == ["base", "cuda", "cpu"]  # the last is what `docker build .` makes
    targets = [
        t for line in re.findall(r"^RUN .*$", text, re.MULTILINE) for t in make_targets(line)
    ]
    assert set(targets) == {"setup", "cluster"} and all(map(is_target, targets))
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["build"]["target"] in stages

    ignored = (ROOT / ".dockerignore").read_text().split()
    needed = re.findall(r"^\$\(STAMP\): (.+)$", MAKEFILE, re.MULTILINE)[0].split()
    assert needed == ["pyproject.toml", "constraints.txt"] and not set(needed) & set(ignored)


def test_binder_installs_an_extra_that_exists() -> None:
    script = ROOT / ".binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert '-e ".[notebooks]"' in script.read_text()
    assert (ROOT / ".binder/runtime.txt").read_text().strip() == "python-3.12"


def test_the_colab_page_calls_commands_that_exist() -> None:
    cells = json.loads((ROOT / "docs" / "colab.ipynb").read_text())["cells"]
    source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    commands = re.findall(r"m2v ([a-z].+)$", source, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["chapters", "notebook"]
    for command in commands:
        cli.parser().parse_args(shlex.split(command.format(chapter="21_attention")))
    (chapter,) = re.findall(r'^chapter = "(\w+)"', source, re.MULTILINE)
    assert (ROOT / "notebooks" / f"{chapter}.ipynb").is_file()


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_profile_has_options_of_snakemake_or_its_executor(name: str) -> None:
    from snakemake.cli import get_argument_parser

    profile = yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
    known = {w for action in get_argument_parser()._actions for w in action.option_strings}
    executor = profile["executor"]
    for key in profile:
        assert f"--{key}" in known or key.startswith(f"{executor}-"), key
    for line in profile.values():
        for script in re.findall(r"profiles/\S+", str(line)):
            assert os.access(ROOT / script, os.X_OK)


@pytest.fixture
def kubectl(tmp_path: Path) -> dict[str, str]:
    """An environment whose kubectl writes down what it was called with."""
    fake = tmp_path / "kubectl"
    fake.write_text(
        '#!/bin/sh\necho "$@" >> "$0.calls"\n'
        'case "$1" in create) cat > "$0.yaml"; echo job.batch/m2v-x1 ;; get) cat "$0.status" ;; esac\n'
    )
    fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "M2V_IMAGE": "m2v:0.2.0", "M2V_CLAIM": "files"}


def call(script: str, *words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "profiles/kubernetes" / script), *words]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_job_of_kubernetes_runs_the_script_on_the_volume(
    kubectl: dict[str, str], tmp_path: Path
) -> None:
    done = call("submit.sh", "6000", "1", "/m2v/.snakemake/job.sh", env=kubectl)
    assert (done.returncode, done.stdout) == (0, "job.batch/m2v-x1\n"), done.stderr
    spec = yaml.safe_load((tmp_path / "kubectl.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["sh", "/m2v/.snakemake/job.sh"]
    assert (container["image"], container["workingDir"]) == ("m2v:0.2.0", str(ROOT))
    assert container["resources"]["limits"]["memory"] == "6000Mi"
    assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "files"}
    assert container["volumeMounts"][0]["mountPath"] == "/m2v"

    without = {key: value for key, value in kubectl.items() if key != "M2V_CLAIM"}
    refused = call("submit.sh", "6000", "1", "job.sh", env=without)
    assert refused.returncode and "must name the persistent volume claim" in refused.stderr


@pytest.mark.parametrize(
    ("counts", "state"), [("/", "running"), ("1/", "success"), ("/1", "failed"), ("gone", "failed")]
)
def test_the_state_of_a_job(
    kubectl: dict[str, str], tmp_path: Path, counts: str, state: str
) -> None:
    if counts != "gone":
        (tmp_path / "kubectl.status").write_text(counts)
    assert call("status.sh", "job.batch/m2v-x1", env=kubectl).stdout == f"{state}\n"
    assert call("cancel.sh", "job.batch/a", "job.batch/b", env=kubectl).returncode == 0
    calls = (tmp_path / "kubectl.calls").read_text()
    assert "delete --wait=false job.batch/a job.batch/b" in calls
