"""Notebook helpers: what they show is stable, and an exercise never stops a run."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from m2v_lib.config import Experiment
from m2v_lib.notebook import nb
from m2v_lib.skeletons import h36m as skeleton


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of everything displayed."""
    texts: list[str] = []
    monkeypatch.setattr(nb, "display", lambda item: texts.append(item.data))
    return texts


def test_show_source_names_the_place_in_the_repository(shown: list[str]) -> None:
    nb.show_source(skeleton.bone_adjacency)
    line = skeleton.bone_adjacency.__code__.co_firstlineno
    assert f"`bone_adjacency` in `m2v_lib/skeletons/h36m.py:{line}`" in shown[0]
    assert "~~~~python\ndef bone_adjacency" in shown[0]


def test_show_source_of_a_method_is_dedented_and_of_an_instance_is_its_class(
    shown: list[str],
) -> None:
    nb.show_source(Experiment.digest)
    nb.show_source(Experiment.preset("smoke"))
    assert "~~~~python\ndef digest(self" in shown[0]
    assert "`Experiment` in `m2v_lib/config/experiment.py:" in shown[1]


def test_show_source_looks_through_wrappers_and_shows_no_absolute_path(shown: list[str]) -> None:
    @functools.wraps(skeleton.released_adjacency)
    def wrapped() -> None: ...

    nb.show_source(wrapped)
    nb.show_source(torch.nn.Linear)
    assert "def released_adjacency" in shown[0]
    assert "`Linear` in `linear.py:" in shown[1]


def test_show_source_is_the_same_twice(shown: list[str]) -> None:
    nb.show_source(nb.check)
    nb.show_source(nb.check)
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (3, 3.0),
        (torch.tensor([1.0, 2.0], requires_grad=True), np.array([1.0, 2.0])),
        ([[1, 2], [3, 4]], torch.tensor([[1, 2], [3, 4]])),
        (" Left ", "left"),
        ({1, 2}, {2, 1}),
        (True, True),
    ],
)
def test_check_accepts(
    capsys: pytest.CaptureFixture[str], answer: object, expected: object
) -> None:
    nb.check(answer, expected)
    assert capsys.readouterr().out == "right\n"


@pytest.mark.parametrize(
    ("answer", "expected", "message"),
    [
        (4, 3, "too large"),
        (2, 3, "too small"),
        (float("nan"), 3, "not a number"),
        ([1, 2, 3], [1, 2], "shape (3,), expected is (2,)"),
        ([1, 2, 3], [1, 2, 4], "1 of 3 entries differ"),
        ("right", "left", "another word"),
        ({1}, {2}, "differs"),
        (False, True, "differs"),
        (object(), 3, "could not be compared"),
        ("three", 3, "could not be compared"),
        ([[1], [2, 3]], [1, 2], "could not be compared"),
    ],
)
def test_check_explains_without_raising(
    capsys: pytest.CaptureFixture[str], answer: object, expected: object, message: str
) -> None:
    nb.check(answer, expected, hint="count the bones")
    out = capsys.readouterr().out
    assert out.startswith("not yet: ") and message in out and "hint: count the bones" in out


def test_check_tolerance(capsys: pytest.CaptureFixture[str]) -> None:
    nb.check(11.72, 11.723811, tol=1e-3)
    nb.check(11.72, 11.723811)
    assert capsys.readouterr().out.splitlines() == ["right", "not yet: too small"]


def test_an_untried_exercise_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    nb.check(None, 3, hint="never shown")
    out = capsys.readouterr().out
    assert "not tried yet" in out and "never shown" not in out


def test_shapes_and_hint(shown: list[str]) -> None:
    nb.shapes(
        x_BTJD=torch.zeros(2, 27, 17, 16), loss=torch.tensor(1.0), mask=np.zeros((27, 17), bool)
    )
    nb.hint("look at the <b>root</b>")
    assert "| `x_BTJD` | 2 × 27 × 17 × 16 | float32 |" in shown[0]
    assert "| `loss` | scalar | float32 |" in shown[0] and "| `mask` | 27 × 17 | bool |" in shown[0]
    assert shown[1].startswith("<details>") and "<b>root</b>" in shown[1]


def test_a_sealed_answer_is_recognised_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    sealed = nb.seal((200, 0, 400))
    assert "200" not in sealed
    nb.check((200.04, 1e-5, 400), sealed=sealed)
    nb.check(torch.tensor([200.0, 3.0, 400.0]), sealed=sealed, hint="the second")
    nb.check(" Partial Schedule", sealed=nb.seal("partial schedule"))
    nb.check(None, sealed=sealed)
    nb.check("three", sealed=nb.seal(3))
    right, wrong, hint, word, untried, text = capsys.readouterr().out.splitlines()
    assert (right, word) == ("right", "right")
    assert wrong == "not yet: another answer is asked for; 3 significant digits count"
    assert hint == "hint: the second" and untried.startswith("not tried")
    assert text.startswith("not yet")


def test_a_readers_function_is_compared_with_the_proven_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x = torch.arange(6.0).view(2, 3)
    cases = ((x,), (2 * x,))
    nb.check_code(None, torch.sum, *cases)
    nb.check_code(lambda x: sum(sum(row) for row in x), torch.sum, *cases)
    nb.check_code(lambda x: x.sum().clamp(max=20), torch.sum, *cases, hint="no limit")
    nb.check_code(lambda x: x.sum(0), torch.sum, *cases)
    nb.check_code(lambda x: 1 / 0, torch.sum, *cases)
    nb.check_code(lambda x: None, torch.sum, *cases)
    untried, right, *rest = capsys.readouterr().out.splitlines()
    assert untried.startswith("not tried yet") and right == "right"
    assert rest[:2] == ["not yet: case 2 of 2: too small", "hint: no limit"]
    assert "case 1 of 2: the answer has shape (3,)" in rest[2] and "ZeroDivisionError" in rest[3]
    assert rest[4].startswith("not yet: case 1")


def test_scratch_folders_go_with_the_process(tmp_path: Path) -> None:
    code = (
        "from m2v_lib.notebook import nb; print(nb.scratch_folder().joinpath('x').write_text('1'))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.stdout.split() == [b"1"] and not list(tmp_path.iterdir())
