"""Settings as YAML from anybody: read, or refused in a sentence before anything grows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from m2v_lib import cli
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.errors import InputError
from m2v_lib.skeletons import Skeleton, SkeletonError
from m2v_lib.yaml_text import MAX_CHARACTERS, MAX_DEPTH, parse_yaml

BOMB = "a: &a [x, x]\n" + "".join(
    f"{n}: &{n} [*{p}, *{p}]\n" for p, n in zip("abcd", "bcde", strict=True)
)
REFUSED = {
    "flow": ("[" * 20_000, "at most 20 deep"),
    "tables": ("a: " + "{a: " * 20_000, "at most 20 deep"),
    "block": ("\n".join(" " * n + "a:" for n in range(300)), "at most 20 deep"),
    "bomb": (BOMB, "must not refer back to &a"),
    "loop": ("a: &a [*a]", "must not refer back to &a"),
    "long": ("#" * (MAX_CHARACTERS + 1), "at most 1048576 characters"),
    "no date": ("a: 2001-99-99", "cannot be read"),
    "no object": ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "cut": ("a: [1, 2", "expected"),
    "control": ("a: \x00", "control characters"),
    "digits": ("9" * 6000, "cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str, tmp_path: Path) -> None:
    text, reason = REFUSED[name]
    began = time.monotonic()
    with pytest.raises(InputError, match=reason):
        parse_yaml(text)
    assert time.monotonic() - began < 5

    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="c.yaml"):
        Experiment.from_yaml(path)
    with pytest.raises(SkeletonError, match="c.yaml"):
        Skeleton.from_yaml(path)


def test_what_is_nested_as_deep_as_allowed_is_read() -> None:
    found = parse_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for _ in range(MAX_DEPTH - 1):
        (found,) = found
    assert found == []


@pytest.mark.parametrize("value", ["{a: 1}", "[smoke]", "3", "null", "true", "1.5", "2001-01-01"])
@pytest.mark.parametrize("key", ["preset", "recipe"])
def test_a_preset_that_is_no_name_is_a_sentence(key: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{key}: {value}\n")
    with pytest.raises(ConfigError, match=f"{key} must be a name"):
        Experiment.from_yaml(path)


@pytest.mark.parametrize("text", ["1: {a: 2}", "data: [1]", "? [1, 2]\n: 3", "data: {1: 2}", "7"])
def test_what_is_no_table_of_settings_is_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        Experiment.from_yaml(path)


@pytest.mark.parametrize("device", ["foo", "cuda:77", "meta", ""])
@pytest.mark.parametrize("words", [["finetune", "--set"], ["evaluate", "x", "--device"]])
def test_a_device_that_is_not_there_is_a_sentence(
    words: list[str], device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = f"run.device={device}" if words[-1] == "--set" else device
    assert cli.main([*words, given]) == 2
    assert "device" in capsys.readouterr().err
