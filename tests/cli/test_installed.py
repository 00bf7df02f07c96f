"""The command line where the repository is not: chapters from a wheel, what is missing in a
sentence, output that nobody reads to its end.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import nn

from m2v_lib import cli
from m2v_lib.errors import report_missing_package
from m2v_lib.evaluation import protocols
from m2v_lib.runs import shipped

ROOT = Path(__file__).resolve().parents[2]


def test_chapters_are_copied_to_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "site-packages" / "m2v_lib"
    (wheel / "shipped" / "notebooks" / "images").mkdir(parents=True)
    (wheel / "shipped" / "notebooks" / "10_a.ipynb").write_text("{}")
    monkeypatch.setattr(shipped, "_PACKAGE", wheel)
    assert cli.main(["chapters", str(tmp_path / "course")]) == 0
    assert (tmp_path / "course" / "10_a.ipynb").is_file()
    assert capsys.readouterr().out.startswith("1 chapters; to run them:")
    assert cli.main(["chapters", str(tmp_path / "course")]) == 2
    assert "must be a new folder" in capsys.readouterr().err


def test_a_checkout_has_them_beside_the_package_and_an_empty_place_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shipped.shipped("notebooks") == ROOT / "notebooks"
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "m2v_lib")
    with pytest.raises(FileNotFoundError, match="CITATION.cff is neither in this installation"):
        shipped.shipped("CITATION.cff")


def test_the_book_is_refused_outside_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report"]) == 2
    assert "report builds the book of a checkout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("pandas.core", "pandas", "notebooks"),
        ("PIL", "pillow", "lift"),
        ("sphinx", "sphinx", "book"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    module: str,
    package: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = [
        "torch<3,>=2.6",
        'sphinx-book-theme<2,>=1.1; extra == "other"',
        'pandas<4,>=2.2; extra == "notebooks"',
        'pandas<4,>=2.2; extra == "book"',
        'pillow>=10; extra == "lift"',
        'sphinx<10,>=8.1; extra == "book"',
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: listed)
    assert report_missing_package(ModuleNotFoundError("no", name=module)) == 2
    wanted = f"needs the package {package}: pip install 'm2v_lib[{extra}]'\n"
    assert capsys.readouterr().err.endswith(wanted)
    with pytest.raises(ModuleNotFoundError):  # of no extra: a fault of ours
        report_missing_package(ModuleNotFoundError("no", name="elsewhere"))


def test_who_stops_reading_ends_the_command_without_a_word() -> None:
    command = [sys.executable, "-m", "m2v_lib.cli", "settings"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        error = process.stderr.read().decode()
    assert (process.returncode, error) == (cli.BROKEN_PIPE_EXIT_CODE, "")


def test_evaluation_shows_progress_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def bar(batches: object, **options: object) -> object:
        seen.update(options)
        return batches

    class Clips:
        index_CT = torch.zeros(3, 2, dtype=torch.long)
        input_nJ3 = torch.zeros(1, 17, 3)
        skeleton = protocols.H36M17
        evaluated = slice(None)

        def __len__(self) -> int:
            return 3

        def present(self, chosen: object) -> None:
            return None

    monkeypatch.setattr(protocols, "tqdm", bar)
    protocols.predict_normalised(nn.Identity(), Clips())  # type: ignore[arg-type]
    assert seen["disable"] is None and seen["leave"] is False
