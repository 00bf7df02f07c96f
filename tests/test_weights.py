"""The model of the package: a finished run becomes it, a fresh process lifts with it, its note
is its record's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.lifting import tracks
from safetensors import safe_open

from m2v_lib import cli, weights
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.export.keypoints import write_keypoints
from m2v_lib.lift import windows as lift_model
from m2v_lib.lift.windows import load_lifter
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import save_tensors
from m2v_lib.runs.records import load_record, write_json

ROOT = Path(__file__).resolve().parents[1]


def finished(folder: Path, **changes: Any) -> Path:
    """A run folder as `m2v finetune` leaves it, of an untrained network."""
    exp = Experiment.preset("smoke").override({"data.name": "mocap"})
    model = build_model(exp.model, seed=0)
    save_tensors(folder / "weights.safetensors", model.state_dict(), {"experiment": exp.to_dict()})
    errors = {"mpjpe": 53.26, "p_mpjpe": 41.0}
    result = {
        "stage": "finetune",
        "preset": "smoke",
        "recipe": "paper",
        "seed": 0,
        "n_parameters": 1234567,
        "init": "scratch",
        "schedule": {"steps": 14000, "epochs_done": 4.622, "epochs_full": 60},
        "test": errors,
        "data": {"name": "mocap", "protocol": "split by subject"},
        "baselines": {"ridge": errors, "mean_pose": errors},
    }
    write_json(folder / "result.json", {**result, **changes})
    write_json(folder / "env.json", {"python": "3.11"})
    (folder / "config.yaml").write_text(exp.to_yaml())
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    return folder


def test_a_finished_run_becomes_the_model_of_the_package(tmp_path: Path) -> None:
    run, folder = finished(tmp_path / "finetune-mocap-x"), tmp_path / "package"
    folder.mkdir()
    (folder / weights.ACCURACY).write_text("of the model before")
    assert {path.name for path in weights.put(run, folder)} == {
        path.name for path in folder.iterdir()
    }
    said = (folder / "README.md").read_text()
    assert (
        "1,234,567 parameters" in said
        and "14,000 steps (4.6 of 60 epochs)" in said
        and "| 53.3 | 41.0 |" in said
    )
    assert "finetune-mocap-x" in said and "mocap.cs.cmu.edu" in said
    words = " ".join(said.split())
    assert "from scratch, without the method's stage 1. Cameras: the four" in words
    assert "## For what it is not fit" in said and " frames at 50 frames a second" in words
    assert load_lifter(folder).n_frames == load_lifter(run).n_frames
    assert load_record(folder).result["test"]["mpjpe"] == 53.26


def test_its_note_says_stage_1_and_its_cameras(tmp_path: Path) -> None:
    stage_1 = "pretrain-mocap-y"
    run = finished(tmp_path / "finetune-mocap-x", init=stage_1)
    exp = Experiment.from_dict(load_record(run).config)
    random = exp.override({"data.cameras": "random", "data.frame_step": 2})
    (run / "config.yaml").write_text(random.to_yaml())
    with pytest.raises(ValueError, match=f"{stage_1}: not a run record"):
        weights.put(run, tmp_path / "package")
    write_json(finished(tmp_path / stage_1) / "result.json", {"schedule": {"steps": 3385}})

    weights.put(run, tmp_path / "package")
    words = " ".join((tmp_path / "package" / "README.md").read_text().split())
    assert f"(`{stage_1}`, 3,385 steps), then stage 2" in words
    assert "at 25 frames a second" in words
    assert "0.3 to 4 m above the floor" in words and "25% of the windows" in words


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"data": {"name": "h36m"}},
            "is a finetune run on h36m; the package carries one of finetune on mocap",
        ),
        (
            {"stage": "pretrain"},
            "is a pretrain run on mocap; the package carries one of finetune on mocap",
        ),
    ],
)
def test_what_may_not_be_given_away_is_refused(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        weights.put(finished(tmp_path / "run", **changes), tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_what_is_too_large_or_not_finished_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path / "run")
    monkeypatch.setattr(weights, "LARGEST", 1 << 10)
    with pytest.raises(ConfigError, match=r"weights.safetensors: is 0\.\d MiB, expected at most"):
        weights.put(run, tmp_path / "package")
    (run / "result.json").unlink()
    with pytest.raises(ValueError, match="run: not a run record"):
        weights.put(run, tmp_path / "package")
    assert not (tmp_path / "package").exists()


def test_without_weights_a_run_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no weights; name a trained run"):
        weights.own_weights(tmp_path)


@pytest.mark.parametrize(("device", "kept"), [("cpu", 1), ("meta", 0)])
def test_lifting_on_a_cpu_keeps_freed_memory(
    device: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()
    monkeypatch.setattr(lift_model, "usable_device", lambda name: None)
    monkeypatch.setattr(lift_model, "keep_freed_memory", lambda: calls.append(1))
    load_lifter(finished(tmp_path / "run"), device)
    assert len(calls) == kept


def test_the_command_asks_for_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export"]) == 2
    assert "nothing to write; name a file (--onnx FILE)" in capsys.readouterr().err
    assert cli.main(["export", "--weights"]) == 2
    assert "--weights needs a run" in capsys.readouterr().err


# ---- the one that is there ----


def test_the_packages_model_is_small_safe_and_said_to_be_what_it_is() -> None:
    record = load_record(weights.FOLDER)
    said = " ".join((weights.FOLDER / "README.md").read_text(encoding="utf-8").split())
    assert weights.own_weights().stat().st_size <= weights.LARGEST
    with safe_open(weights.own_weights(), framework="np") as file:
        experiment = json.loads(file.metadata()["state"])["experiment"]
    assert Experiment.from_dict(experiment) == Experiment.from_dict(record.config)
    assert (
        f"| this model | {record.result['test']['mpjpe']:.1f} |" in said
        and "NSF EIA-0196217" in said
    )
    assert record.result["test"]["mpjpe"] < record.result["baselines"]["ridge"]["mpjpe"], (
        "worth shipping"
    )


@pytest.mark.parametrize("measured", [weights.ACCURACY, weights.MOTION, weights.GRID])
def test_its_accuracy_is_its_own(measured: str) -> None:
    accuracy = json.loads((weights.FOLDER / measured).read_text(encoding="utf-8"))
    result = load_record(weights.FOLDER).result
    assert accuracy["model"] == result["name"]
    assert accuracy["data"]["fingerprint"] == result["data"]["fingerprint"]


def test_it_is_the_method_and_keeps_what_it_was_trained_for() -> None:
    """Pre-trained and fine-tuned, for any camera, a hundred frames a second."""
    result = load_record(weights.FOLDER).result
    grid = json.loads((weights.FOLDER / weights.GRID).read_text(encoding="utf-8"))
    assert result["init"].startswith("pretrain-mocap")
    assert grid["framed"]["mean"] < 60
    rows = json.loads((weights.FOLDER / weights.ACCURACY).read_text(encoding="utf-8"))["rows"]
    assert min(row["frames_per_second"] for row in rows if row["length"] == 243) > 100


def test_a_fresh_process_lifts_with_it(tmp_path: Path) -> None:
    """Nothing but the package: no data, no runs, another folder."""
    keypoints = write_keypoints(tracks(60), tmp_path / "kp.json", "alphapose")
    command = [
        sys.executable,
        "-m",
        "m2v_lib.cli",
        "lift",
        str(keypoints),
        "-o",
        str(tmp_path / "x.npz"),
        "--size",
        "1280x720",
        "--fps",
        "25",
    ]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("M2V_")}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**plain, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "x.npz") as file:
        pose = file["pose_mm"]
    assert pose.shape == (60, 17, 3) and np.isfinite(pose).all()
    head, ankles = pose[:, 10, 1], pose[:, [3, 6], 1].mean(1)
    assert (ankles - head > 1000).all(), "upright (y points down), as tall as people are"
