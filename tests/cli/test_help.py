"""Every command says what it is for with an example that it would take; the version is one."""

from __future__ import annotations

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import m2v_lib
from m2v_lib import cli
from m2v_lib.cli.examples import EXAMPLES

ROOT = Path(__file__).resolve().parents[2]


def commands(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that can be run, with its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from commands(command, (*words, name))
    if parser.get_default("command"):
        yield " ".join(words), parser


COMMANDS = dict(commands(cli.parser()))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_its_help_with_examples_that_it_takes(name: str) -> None:
    text = COMMANDS[name].format_help()
    examples = re.findall(r"^  (m2v .+?)(?:   .*)?$", text.partition("example")[2], re.MULTILINE)
    assert examples, text
    for example in examples:
        assert example.startswith(f"m2v {name}")
        cli.parser().parse_args(shlex.split(example)[1:])


def test_no_example_is_of_a_command_that_is_gone() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


def test_the_version_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"m2v {m2v_lib.__version__}\n"

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(cff["version"]) == m2v_lib.__version__
    changes = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\S+)", changes, re.MULTILINE)
    assert newest and newest[1] == m2v_lib.__version__
    assert f"## {cff['version']} ({cff['date-released']})" in changes
