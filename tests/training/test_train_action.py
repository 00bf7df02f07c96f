"""Training of the action classifier on a tiny store: it learns, resumes, starts from stage 1,
labels last and best.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.action_clips import for_testing, make_samples
from m2v_lib.data.actions import open_actions
from m2v_lib.data.export.ntu import export
from m2v_lib.data.sources.ntu import prepare_ntu60
from m2v_lib.data.store import Store, open_store
from m2v_lib.evaluation.protocols import evaluate_action, score_actions
from m2v_lib.models.action_classifier import build_action_model
from m2v_lib.models.state_files import CheckpointError
from m2v_lib.runs.records import load_record, read_metrics
from m2v_lib.training.action import load_action, load_stage_1, majority, train_action
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain

Make = Callable[..., Experiment]
LEARNS = {
    "run.max_steps": 100,
    "action.lr": 3e-3,
    "action.dropout": 0.1,
    "optim.schedule": "cosine",
}


@pytest.fixture
def acted(
    write_acted_store: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Store:
    monkeypatch.setenv("M2V_STORE", str(tmp_path / "stores"))
    monkeypatch.setenv("M2V_RUNS", str(tmp_path / "runs"))
    write_acted_store(tmp_path / "stores")
    return open_store("acted")


@pytest.fixture
def make(tiny_experiment: Make) -> Make:
    def experiment(changes: dict[str, Any] | None = None, recipe: str = "paper") -> Experiment:
        tiny: dict[str, Any] = {
            "data.name": "acted",
            "data.validation": False,
            "action.batch_size": 5,
            "action.hidden": 16,
            "run.eval_every": 4,
        }
        return tiny_experiment(recipe, {**tiny, **(changes or {})})

    return experiment


def test_scores_by_hand() -> None:
    scores = np.array(
        [[9, 1, 2, 3, 4, 5, 0], [1, 9, 2, 3, 4, 5, 0], [9, 8, 7, 6, 5, 4, 3], [0, 1, 2, 3, 4, 5, 9]]
    )
    label = np.array(
        [0, 0, 5, 2]
    )  # right; named 1, true last but one; named 0, sixth; named 6, fifth
    seen = score_actions(scores, label)
    assert (seen["top1"], seen["top5"], seen["n_samples"]) == (25.0, 50.0, 4)
    assert seen["class_mean"] == pytest.approx(100 * (0.5 + 0 + 0) / 3)
    confusion = np.zeros((7, 7), int)
    confusion[0, 0] = confusion[0, 1] = confusion[5, 0] = confusion[2, 6] = 1
    assert seen["confusion"] == confusion.tolist()
    assert (
        score_actions(scores[:, :3], np.array([0, 1, 0, 2]))["top5"] == 100.0
    )  # fewer than five classes


def test_evaluation_is_the_models_arg_max(acted: Store, make: Make) -> None:
    exp = make()
    samples = make_samples(open_actions("acted").data, "xsub", n_frames=9, n_persons=1)["test"]
    model = build_action_model(exp.model, exp.action, 2, seed=0)
    seen = evaluate_action(model, samples, batch_size=3)
    assert model.training
    model.eval()
    named = [
        int(model(for_testing(samples.batch(torch.tensor([i]))[0])).argmax())
        for i in range(len(samples))
    ]
    assert seen["top1"] == pytest.approx(100 * np.mean(np.array(named) == samples.label_S.numpy()))
    assert seen["n_samples"] == 4 and np.sum(seen["confusion"]) == 4


@pytest.mark.parametrize(
    "changes", [{}, {"action.head": "gap", "action.n_persons": 2, "action.split": "xview"}], ids=str
)
def test_it_learns_to_tell_actions_apart(changes: dict[str, Any], acted: Store, make: Make) -> None:
    folder = train_action(make({**LEARNS, **changes}))
    record = load_record(folder)
    losses = [line["loss"] for line in record.metrics if line["kind"] == "train"]
    assert losses[-1] < 0.5 * losses[0]
    assert (
        record.result["test"]["top1"]
        == 100.0
        > record.result["baselines"]["majority"]["top1"]
        == 50.0
    )


def test_what_a_run_leaves_behind(acted: Store, make: Make, tmp_path: Path) -> None:
    exp = make()
    folder = train_action(exp)
    assert folder == tmp_path / "runs" / exp.run_name("action") and folder.name.startswith(
        "action-acted-smoke-paper-"
    )
    record = load_record(folder)
    result, lines = record.result, record.metrics
    assert [line["step"] for line in lines if line["kind"] == "val"] == [4, 8, 12]
    assert all(line["lr"] <= exp.action.lr for line in lines if line["kind"] == "train")
    assert (result["stage"], result["init"], result["selected"], result["seed"]) == (
        "action",
        "scratch",
        "last",
        0,
    )
    assert (
        result["digest"] == exp.digest("action")
        and result["data"]["fingerprint"] == acted.meta.fingerprint
    )
    assert result["data"]["classes"] == ["big", "small"] and result["data"]["n_train"] == 12
    assert result["test"] == result["last"] and result["schedule"]["n_clips"] == 12
    seen = [line for line in lines if line["kind"] == "val"]
    assert result["best_on_test"]["top1"] == max(line["top1"] for line in seen)
    assert result["last"]["top1"] == seen[-1]["top1"]
    model, found = load_action(folder)
    assert found == exp and not model.training
    samples = make_samples(open_actions("acted").data, "xsub", n_frames=9, n_persons=1)
    assert evaluate_action(model, samples["test"]) == result["test"]
    assert result["baselines"] == {"majority": majority(samples)}
    assert train_action(exp) == folder  # finished: only named


def test_the_best_epoch_is_kept_apart_from_the_last(acted: Store, make: Make) -> None:
    exp = make({"action.select": "best-on-test", "action.lr": 0.05, "run.max_steps": 24})
    result = load_record(train_action(exp)).result
    seen = {
        line["step"]: line
        for line in read_metrics(train_action(exp) / "metrics.jsonl")
        if line["kind"] == "val"
    }
    best = max(seen, key=lambda step: (seen[step]["top1"], -step))
    assert result["best_on_test"]["step"] == best and result["test"]["top1"] == seen[best]["top1"]
    assert result["last"]["top1"] == seen[24]["top1"]
    model, _ = load_action(train_action(exp))
    samples = make_samples(open_actions("acted").data, "xsub", n_frames=9, n_persons=1)["test"]
    assert evaluate_action(model, samples) == result["test"]


def test_the_schedule_is_its_own_where_it_has_one(acted: Store, make: Make) -> None:
    result = load_record(train_action(make({"action.max_steps": 6}))).result
    assert result["schedule"]["steps"] == 6
    whole = make(
        {"run.max_steps": 0, "action.epochs": 2, "optim.schedule": "decay", "optim.lr_decay": 0.5}
    )
    record = load_record(train_action(whole))
    assert record.result["schedule"]["steps"] == 2 * 3 and not record.result["schedule"]["partial"]
    rates = [line["lr"] for line in record.metrics if line["kind"] == "train"]
    assert rates == pytest.approx([whole.action.lr, whole.action.lr / 2, whole.action.lr / 2])


def test_starts_from_the_pretrained_encoder_of_its_own_or_other_data(
    acted: Store, make: Make, tmp_path: Path
) -> None:
    exp = make({"action.init": "pretrained"})
    stage_1 = pretrain(exp)
    model = build_action_model(exp.model, exp.action, 2, seed=0)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    assert load_stage_1(model, exp, tmp_path / "runs") == stage_1.name
    student = load_file(stage_1 / "weights.safetensors")
    moved = 0
    for name, value in model.state_dict().items():
        inner = name.removeprefix("backbone.")
        from_student = name != inner and not inner.startswith("rep_logit")
        assert torch.equal(value, student[inner] if from_student else fresh[name]), name
        moved += from_student and not torch.equal(value, fresh[name])
    assert moved > 10
    assert load_record(train_action(exp)).result["init"] == stage_1.name

    prepare_ntu60(tmp_path / "stores", "file", [export(acted, tmp_path)[0]], recipe="")
    elsewhere = exp.override({"data.name": "file", "action.pretrained_on": "acted"})
    assert load_record(train_action(elsewhere)).result["init"] == stage_1.name


@pytest.mark.parametrize(
    ("key", "value"),
    [("run.devices", 2), ("data.label_fraction", 0.5), ("data.input_2d", "gt")],
    ids=str,
)
def test_what_does_not_apply_is_refused(
    key: str, value: Any, acted: Store, make: Make, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=f"{key}={value}: action recognition (trains|reads)"
    ) as caught:
        train_action(make({key: value}))
    assert "\n" not in str(caught.value) and not (tmp_path / "runs").exists()


def test_a_missing_pretraining_run_says_what_to_run(
    acted: Store, make: Make, tmp_path: Path
) -> None:
    exp = make({"action.init": "pretrained"})
    with pytest.raises(
        ConfigError, match="run `m2v pretrain --data acted` with the same options first"
    ) as caught:
        train_action(exp)
    assert (
        "\n" not in str(caught.value) and not (tmp_path / "runs" / exp.run_name("action")).exists()
    )


def test_the_exported_file_gives_the_direct_paths_accuracy(
    acted: Store, make: Make, tmp_path: Path
) -> None:
    prepare_ntu60(tmp_path / "stores", "file", [export(acted, tmp_path)[0]], recipe="")
    exp = make(LEARNS)
    direct, file = (
        load_record(train_action(exp.override({"data.name": n}))) for n in ("acted", "file")
    )
    assert direct.result["test"] == file.result["test"] and direct.result["test"]["top1"] == 100.0
    losses = [
        [line["loss"] for line in run.metrics if line["kind"] == "train"][:2]
        for run in (direct, file)
    ]
    np.testing.assert_allclose(
        losses[0], losses[1], rtol=0.02
    )  # the file's keypoints are float16; training adds up


def test_a_killed_run_resumes_to_the_same_numbers(
    acted: Store, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = make({"run.checkpoint_every": 5})
    whole = train_action(exp, tmp_path / "whole")
    one_step = Trainer.one_step

    def dies(self: Trainer, *args: Any) -> Any:
        if self.step == 7:
            raise KeyboardInterrupt
        return one_step(self, *args)

    monkeypatch.setattr(Trainer, "one_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train_action(exp, tmp_path / "killed")
    monkeypatch.setattr(Trainer, "one_step", one_step)
    resumed = train_action(exp, tmp_path / "killed")
    a, b = (load_file(folder / "weights.safetensors") for folder in (whole, resumed))
    assert all(torch.equal(a[name], b[name]) for name in a)
    results = [
        json.loads((folder / "result.json").read_text())["test"] for folder in (whole, resumed)
    ]
    assert results[0] == results[1]


def test_a_batch_of_one_trains(acted: Store, make: Make) -> None:
    """Twelve samples in batches of eleven leave one over, of which a batch norm cannot take a
    spread.
    """
    folder = train_action(make({"action.batch_size": 11, "run.max_steps": 4, "run.log_every": 1}))
    assert all(
        np.isfinite(line["loss"])
        for line in read_metrics(folder / "metrics.jsonl")
        if line["kind"] == "train"
    )


def test_a_lifting_runs_weights_are_refused(acted: Store, make: Make) -> None:
    with pytest.raises(
        CheckpointError, match="is no action model; expected a file that `m2v action` wrote"
    ):
        load_action(finetune(make()))


def test_the_command_line_trains_and_says_the_accuracy(
    acted: Store, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exp = make()
    (tmp_path / "exp.yaml").write_text(exp.to_yaml())
    assert main(["action", "--config", str(tmp_path / "exp.yaml")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(tmp_path / "runs" / exp.run_name("action"))
    top1 = load_record(Path(said[-1])).result["test"]["top1"]
    assert said[-2].startswith(f"X-Sub top-1 {top1:.1f} %")


def test_evaluate_gives_the_runs_numbers_again_also_on_other_data(
    acted: Store, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train_action(make(LEARNS))
    prepare_ntu60(tmp_path / "stores", "file", [export(acted, tmp_path)[0]], recipe="")
    test = load_record(folder).result["test"]
    for words in (
        [str(folder)],
        [str(folder / "weights.safetensors")],
        [str(folder), "--data", "file"],
    ):
        capsys.readouterr()
        assert main(["evaluate", *words]) == 0
        assert json.loads(capsys.readouterr().out) == test
    assert main(["evaluate", str(folder), "--split", "val"]) == 2
    assert "no validation people" in capsys.readouterr().err
