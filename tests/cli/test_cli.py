"""The command line: values as typed, mistakes in one sentence, commands that do what the library
does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from m2v_lib.cli import main, parser
from m2v_lib.cli.options import experiment_of
from m2v_lib.config import Experiment
from m2v_lib.data.store import Store, open_store
from m2v_lib.runs.records import RESUME_EXIT_CODE

TINY = (
    *("model.n_layers=1", "model.dim=8", "model.n_heads=2", "model.dim_rep=8", "model.n_frames=9"),
    *(
        "data.train_stride=9",
        "data.test_stride=9",
        "pretrain.target_layers=1",
        "run.max_steps=2",
        "run.threads=1",
    ),
)


def settings(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.mark.parametrize(
    ("text", "value"), [("3e-4", 3e-4), ("0.001", 0.001), ("1e-05", 1e-5), ("1", 1.0)], ids=str
)
def test_numbers_as_people_type_them(text: str, value: float) -> None:
    args = parser().parse_args(["finetune", *settings(f"optim.lr={text}")])
    assert experiment_of(args).optim.lr == value


def test_options_settings_and_yaml_name_the_same_experiment(tmp_path: Path) -> None:
    words = [
        "finetune",
        "--preset",
        "small",
        "--recipe",
        "released",
        "--data",
        "mocap",
        "--seed",
        "3",
    ]
    typed = experiment_of(
        parser().parse_args([*words, *settings("model.fusion=mean", "data.flip_train=false")])
    )
    changes = {
        "data.name": "mocap",
        "run.seed": 3,
        "model.fusion": "mean",
        "data.flip_train": False,
    }
    assert typed == Experiment.preset("small", "released").override(changes)
    (tmp_path / "exp.yaml").write_text(typed.to_yaml())
    assert (
        experiment_of(parser().parse_args(["pretrain", "--config", str(tmp_path / "exp.yaml")]))
        == typed
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["finetune", "--set", "model.dm=3"], "the nearest is 'model.dim'"),
        (["finetune", "--set", "model.dim"], "expected KEY=VALUE, got 'model.dim'"),
        (["finetune", "--set", "model.dim=[1"], "model.dim: '[1' is not a value"),
        (["finetune", "--data", "nowhere"], "m2v data prepare nowhere"),
        (["evaluate", "no/such/run"], "no/such/run"),
        (["notebook", "notebooks/none.ipynb", "out.ipynb"], "notebooks/none.ipynb"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_mistake_is_one_sentence_and_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tiny_store: Store
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("m2v: ") and printed.err.count("\n") == 1
    assert said in printed.err


def test_a_named_size_is_shown_with_its_own_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--model", "mixste-81", "model.n_frames"]) == 0
    first, _, elsewhere = capsys.readouterr().out.splitlines()
    assert first == "model.n_frames = 81" and "smoke 27" in elsewhere and "base" not in elsewhere


def test_training_that_stopped_early_asks_to_be_resumed(
    tiny_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", "--data", tiny_store.meta.name, *settings(*TINY)]
    assert main([*words, "--max-minutes", "1e-9"]) == RESUME_EXIT_CODE == 75
    assert "to be resumed" in capsys.readouterr().err
    assert main(words) == 0
    assert "resumed at step 1" in (said := capsys.readouterr().out)
    assert "trained before" not in said
    assert main(words) == 0
    assert "trained before, at commit" in capsys.readouterr().out


def test_train_evaluate_and_keep(
    tiny_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--data", tiny_store.meta.name, *settings(*TINY, "finetune.init=pretrained")]
    assert main(["pretrain", *words]) == 0
    assert main(["finetune", *words, "--keep-record"]) == 0
    kept = Path(capsys.readouterr().out.splitlines()[-1])
    assert kept.parent == Path("reports/records")
    assert {p.name for p in kept.iterdir()} == {
        "config.yaml",
        "metrics.jsonl",
        "result.json",
        "env.json",
    }
    result = json.loads((kept / "result.json").read_text())
    assert main(["evaluate", str(tmp_path / "runs" / kept.name)]) == 0
    assert json.loads(capsys.readouterr().out)["mpjpe"] == pytest.approx(
        result["test"]["mpjpe"], rel=1e-5
    )


def test_prepare_makes_a_store_of_any_name_from_a_pack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from m2v_lib.data.sources.mocap import Clip, Pack, write_pack

    base = open_poses()
    clips = tuple(Clip(f"{s}_1#0", s, "walking", "walk", base) for s in ("P1", "P2"))
    pack = write_pack(tmp_path / "mine.npz", Pack(clips, 50.0))
    words = [
        "data",
        "prepare",
        "mocap",
        "--source",
        str(pack),
        "--name",
        "mine",
        "--test-subjects",
        "P2",
    ]
    assert main(words) == 0, capsys.readouterr().err
    assert {v.subject for v in open_store("mine").split("test").videos} == {"P2"}
    assert main(["data", "list"]) == 0
    assert "mine" in capsys.readouterr().out


def open_poses() -> np.ndarray:
    """A standing person for 12 frames, world mm, z up (12, 17, 3)."""
    heights = [
        950,
        950,
        500,
        80,
        950,
        500,
        80,
        1150,
        1400,
        1500,
        1650,
        1400,
        1150,
        950,
        1400,
        1150,
        950,
    ]
    sides = [0, -90, -90, -90, 90, 90, 90, 0, 0, 0, 0, 170, 200, 210, -170, -200, -210]
    pose = np.stack([np.asarray(sides), np.zeros(17), np.asarray(heights)], axis=-1).astype(
        np.float32
    )
    return np.repeat(pose[None], 12, axis=0)


@pytest.mark.skipif(os.name != "posix", reason="processes end by signals on POSIX alone")
def test_ctrl_c_is_a_sentence_and_ends_the_process_by_the_signal() -> None:
    program = (
        "from types import SimpleNamespace as Made\n"
        "from m2v_lib import cli\n"
        "def stop(args): raise KeyboardInterrupt\n"
        "cli.parser = lambda: Made(parse_args=lambda argv: Made(command=stop))\n"
        "cli.main([])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "m2v: interrupted\n")


@pytest.mark.parametrize("given", [["--seed", "-1"], ["--set", "run.seed=-1"]])
def test_a_negative_seed_is_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "--preset", "smoke", "--data", "synthetic", *given]) == 2
    assert "run.seed must not be negative, got -1" in capsys.readouterr().err
