"""One set of requirements, said once: pyproject, its conda twin, the pinned versions and the
files that must travel.
"""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
CONDA_NAMES = {"torch": "pytorch"}
#: what a conda environment has beside the requirements
CONDA_ONLY = {"python", "pip"}


def wanted(*lists: list[str]) -> dict[str, SpecifierSet]:
    """Requirements by canonical name, without the extras that point at this package itself."""
    parsed = [Requirement(line) for lines in lists for line in lines]
    return {
        canonicalize_name(r.name): r.specifier
        for r in parsed
        if canonicalize_name(r.name) != "m2v-lib"
    }


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition(";")[0].strip() for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.partition("==")[0]): pin.partition("==")[2] for pin in pins}


def test_training_needs_five_packages() -> None:
    assert set(wanted(PROJECT["project"]["dependencies"])) == {
        "numpy",
        "pyyaml",
        "safetensors",
        "torch",
        "tqdm",
    }


def test_all_is_every_extra() -> None:
    """But for clusters: a laptop has none."""
    (line,) = EXTRAS["all"]
    assert Requirement(line).extras == set(EXTRAS) - {"all", "cluster"}


def test_a_package_has_one_range_in_all_extras() -> None:
    ranges: dict[str, set[str]] = {}
    for lines in [PROJECT["project"]["dependencies"], *EXTRAS.values()]:
        for name, specifier in wanted(lines).items():
            ranges.setdefault(name, set()).add(str(specifier))
    assert {name: found for name, found in ranges.items() if len(found) > 1} == {}


def test_environment_is_pyprojects_twin() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    lines: list[str] = []
    for entry in environment["dependencies"]:
        lines += entry["pip"] if isinstance(entry, dict) else [entry]
    conda = {name: spec for name, spec in wanted(lines).items() if name not in CONDA_ONLY}
    pip = wanted(PROJECT["project"]["dependencies"], *EXTRAS.values())
    assert conda == {CONDA_NAMES.get(name, name): spec for name, spec in pip.items()}
    assert wanted(lines)["python"] == SpecifierSet(PROJECT["project"]["requires-python"])


def test_constraints_pin_every_requirement_within_its_range() -> None:
    pins = constraints()
    for name, specifier in wanted(PROJECT["project"]["dependencies"], *EXTRAS.values()).items():
        assert name in pins, f"{name} is not pinned in constraints.txt"
        assert pins[name] in specifier, (
            f"constraints.txt pins {name} {pins[name]}, pyproject wants {specifier}"
        )


def test_constraints_name_no_place() -> None:
    """A pin with an address or a local version (`+cpu`) installs on one machine only."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    for pin in pins:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*( ; .+)?", pin), pin
    assert constraints()["torch"] == "2.13.0"


def test_every_data_file_of_the_package_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [
        path
        for path in (ROOT / "m2v_lib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    data = [path for path in files if path.suffix not in (".py", ".pyc")]
    assert data
    assert [
        path.name for path in data if not any(fnmatch(path.name, pattern) for pattern in patterns)
    ] == []
    assert [
        path
        for path in data
        if not (path.parent / "__init__.py").exists() and path.parent.name != "static"
    ] == []


def test_command_line_is_installed() -> None:
    scripts = entry_points(group="console_scripts", name="m2v")
    if not scripts:
        pytest.skip("m2v_lib is not installed here")
    assert callable(next(iter(scripts)).load())


@pytest.mark.parametrize("name", ["LICENSE", "THIRD_PARTY.md", "CITATION.cff", "README.md"])
def test_a_reader_finds(name: str) -> None:
    assert (ROOT / name).stat().st_size > 500


def test_acknowledgement_of_the_motion_capture_data() -> None:
    text = " ".join((ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8").split())
    assert "The data used in this project was obtained from mocap.cs.cmu.edu." in text
    assert "NSF EIA-0196217" in text
