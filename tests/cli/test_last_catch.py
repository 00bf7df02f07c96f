"""An error that nothing foresaw: one sentence, a report, exit code 70; in tests the error itself."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from m2v_lib import cli, data


@pytest.fixture(params=[TypeError, ValueError])
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A ValueError of Python or numpy is a fault of ours, not what the user gave."""

    def fail(name: str) -> str:
        raise request.param("unhashable\nkind")

    monkeypatch.setattr(data, "verify_store", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_a_sentence_and_a_report(
    broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("M2V_RAISE")
    assert cli.main(["data", "verify", "x"]) == 70
    error = capsys.readouterr().err
    (report,) = broken.glob("m2v-report-*.txt")
    assert error.count("\n") == 1 and str(report) in error and "Error)" in error
    assert "unhashable" in report.read_text() and "verify" in report.read_text()


def test_tests_see_the_error_itself(broken: Path) -> None:
    with pytest.raises((TypeError, ValueError), match="unhashable"):
        cli.main(["data", "verify", "x"])


def test_the_systems_errors_name_file_and_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> str:
        raise OSError(30, "Read-only file system", "/there/x.npz.tmp")

    monkeypatch.setattr(data, "verify_store", fail)
    assert cli.main(["data", "verify", "x"]) == 2
    assert capsys.readouterr().err == "m2v: /there/x.npz.tmp: Read-only file system\n"
