"""A record trained again: the same bits on the same machine, promised bounds on another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.store import Store
from m2v_lib.errors import InputError
from m2v_lib.runs.records import load_record
from m2v_lib.training.finetune import finetune
from m2v_lib.training.rerun import _how, compare, rerun

#: Twenty steps of preset smoke on generated motion, committed.
COMMITTED = sorted((Path(__file__).parent / "records").iterdir())


@pytest.fixture
def record(tiny_store: Store, tiny_experiment: Callable[..., Experiment], tmp_path: Path) -> Path:
    return finetune(tiny_experiment("paper", {"run.max_steps": 4}), tmp_path / "runs")


def changed(record: Path, file: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the record with one file changed."""
    copy = record.parent.parent / "changed" / record.name
    shutil.copytree(record, copy)
    content = json.loads((copy / file).read_text(encoding="utf-8"))
    change(content)
    (copy / file).write_text(json.dumps(content), encoding="utf-8")
    return copy


def test_the_same_machine_gives_the_same_bits(record: Path, tmp_path: Path) -> None:
    found = rerun(record, tmp_path / "again")

    assert found.agrees and not found.differences and not found.other_machine
    assert found.n_numbers > 50
    assert "same numbers to the last bit" in "\n".join(found.lines())


def test_a_number_that_does_not_come_out_is_named(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def a_little_better(result: dict[str, Any]) -> None:
        result["test"]["mpjpe"] *= 0.99999

    told = changed(record, "result.json", a_little_better)

    assert main(["rerun", str(told), "--into", str(tmp_path / "again")]) == 1
    said = capsys.readouterr().out
    assert "test.mpjpe" in said and said.rstrip().endswith("does not agree")


def test_another_machine_has_bounds(record: Path, tmp_path: Path) -> None:
    again = load_record(rerun(record, tmp_path / "again").rerun)

    def elsewhere(share: float) -> Any:
        told = load_record(changed(record, "env.json", lambda env: env.update(processor="another")))
        shutil.rmtree(told.path.parent)
        told.result["test"]["mpjpe"] *= 1 + share
        return compare(told, again)

    assert elsewhere(0.03).agrees
    assert not elsewhere(0.05).agrees
    assert "processor another" in elsewhere(0.0).other_machine[0]


def test_the_first_line_of_a_run_from_stage_1_has_a_wider_bound(
    record: Path, tmp_path: Path
) -> None:
    again = load_record(rerun(record, tmp_path / "again").rerun)

    def elsewhere(share: float, init: str) -> bool:
        told = load_record(changed(record, "env.json", lambda env: env.update(processor="another")))
        shutil.rmtree(told.path.parent)
        told.metrics[0]["loss"] *= 1 + share
        told.result["init"] = init
        return compare(told, again).agrees

    assert elsewhere(0.005, "scratch") and not elsewhere(0.1, "scratch")
    assert elsewhere(0.1, "pretrain-tiny-s0") and not elsewhere(0.2, "pretrain-tiny-s0")


def test_a_store_that_has_changed_is_said(record: Path, tmp_path: Path) -> None:
    told = changed(
        record, "result.json", lambda result: result["data"].update(fingerprint="0" * 64)
    )

    with pytest.raises(ConfigError, match="store tiny of fingerprint 000000000000, today's has"):
        rerun(told, tmp_path / "again")


def test_how_to_prepare_motion_capture_as_it_was_is_said() -> None:
    said = _how("mocap", "split by subject; 2.5D frames of four Human3.6M cameras")
    assert said.endswith("m2v data prepare mocap --set joints=h36m17 --name mocap")
    of_own = _how("mocap_vocabulary", "split by subject; joints vocabulary")
    assert "--set joints=vocabulary --name mocap_vocabulary" in of_own
    assert _how("h36m", "protocol 1") == " (protocol 1)"


def test_settings_that_are_not_the_records_are_said(record: Path, tmp_path: Path) -> None:
    told = changed(record, "result.json", lambda result: result.update(digest="00000000"))

    with pytest.raises(ConfigError, match="no longer give its digest"):
        rerun(told, tmp_path / "again")


@pytest.mark.parametrize("committed", COMMITTED, ids=lambda path: path.name)
def test_committed_records_come_out_again(
    committed: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever machine this is: within the bounds for another one."""
    shared = tmp_path_factory.getbasetemp() / "generated"
    monkeypatch.setenv("M2V_STORE", str(shared))
    if not (shared / "synthetic").exists():
        assert main(["data", "prepare", "synthetic"]) == 0
    told = load_record(committed)
    told.env["processor"] = "another"

    again = load_record(rerun(committed, shared / "again").rerun)
    found = compare(told, again)

    assert found.n_numbers > 10
    assert found.agrees, "\n".join(found.lines())


def test_a_number_that_is_gone_is_no_agreement(record: Path, tmp_path: Path) -> None:
    again = load_record(rerun(record, tmp_path / "again").rerun)
    told = load_record(record)
    del told.result["test"]["per_recording"]
    assert compare(told, again).agrees, "an evaluation may have learnt to measure more"

    del again.result["test"]["mpjpe"]
    assert not compare(told, again).agrees


def test_a_record_is_not_compared_with_itself(record: Path) -> None:
    with pytest.raises(ConfigError, match="would be compared with itself"):
        rerun(record, record.parent)


def without_errors(record: Path) -> None:
    (record / "metrics.jsonl").write_text("", encoding="utf-8")


def ends_early(record: Path) -> None:
    lines = (record / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    (record / "metrics.jsonl").write_text(f"{lines[0]}\n{lines[1][:40]}", encoding="utf-8")


def says_nothing(record: Path) -> None:
    (record / "result.json").write_text("[]", encoding="utf-8")


def is_no_training(record: Path) -> None:
    (record / "result.json").write_text('{"stage": "bench", "digest": "0"}', encoding="utf-8")


@pytest.mark.parametrize("damage", [without_errors, ends_early, says_nothing, is_no_training])
def test_a_damaged_record_is_refused_before_training(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    told = tmp_path / COMMITTED[0].name
    shutil.copytree(COMMITTED[0], told)
    damage(told)

    with pytest.raises(InputError, match="must reach step 20|not the result of a training run"):
        rerun(told, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_it_is_said_which_code_trained(record: Path, tmp_path: Path) -> None:
    first = rerun(record, tmp_path / "again")
    made = first.rerun / "result.json"
    made.write_text(made.read_text().replace(first.commits[1], "0123456789ab"), encoding="utf-8")

    assert "trained again at 0123456789ab" in next(iter(rerun(record, tmp_path / "again").lines()))


def test_numbers_that_nobody_wrote_down_do_not_agree(record: Path, tmp_path: Path) -> None:
    told = load_record(record)
    told.metrics.clear()
    for part in ("test", "val", "last", "baselines"):
        del told.result[part]
    found = compare(told, load_record(record))
    assert not found.n_numbers and not found.agrees


def test_a_record_of_another_device_can_be_trained_on_this_one(
    record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = changed(record, "env.json", lambda env: env.update(device="NVIDIA H200"))
    config = told / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("device: cpu", "device: cuda"), encoding="utf-8")

    assert main(["rerun", str(told), "--into", str(tmp_path / "again"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "another machine (device NVIDIA H200, now cpu)" in said and "agrees" in said
