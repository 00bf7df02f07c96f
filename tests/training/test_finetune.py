"""Stage 2 on the tiny store: it learns, starts from stage 1 when asked, and reports last and
best apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.clips import Clips, evaluation_clips, make_clips, training_clips
from m2v_lib.data.store import Split, Store
from m2v_lib.evaluation.protocols import evaluate_3dhp, evaluate_pose
from m2v_lib.evaluation.trivial_baselines import evaluate_trivial_baselines
from m2v_lib.models.losses import pose_loss
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import CheckpointError
from m2v_lib.runs.records import load_record, read_metrics
from m2v_lib.training.checkpoint import load_checkpoint
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain
from m2v_lib.training.starting_weights import start_from_stage_1

Make = Callable[..., Experiment]


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def clips_of(store: Store, which: str) -> Clips:
    return evaluation_clips(store, which, 9, 9, input_2d="detected", device="cpu")


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_a_tiny_batch_is_overfit(
    recipe: str, make_people: Callable[..., Split], tiny_experiment: Make
) -> None:
    clips = make_clips(make_people((("a", "S1", "walk", 27, 1000, 1000),)), 9, 9)
    x, y = clips.batch(torch.arange(3))
    model = build_model(
        tiny_experiment(recipe, {"model.dim": 16, "model.dim_rep": 32}).model, seed=0
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(120):
        optimiser.zero_grad()
        loss, parts = pose_loss(model(x), y, 0.5, 2.0)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.15 * losses[0]
    assert parts["mpjpe"] < 0.15 * y.norm(dim=-1).mean()


def test_what_a_run_leaves_behind(tiny_store: Store, tiny_experiment: Make, tmp_path: Path) -> None:
    exp = tiny_experiment("paper", {"run.eval_every": 5})
    folder = finetune(exp)
    assert folder == tmp_path / "runs" / exp.run_name("finetune")
    record = load_record(folder)
    lines = record.metrics
    assert [line["step"] for line in lines if line["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    assert [line["step"] for line in lines if line["kind"] == "val"] == [5, 10, 12]
    for line in lines:
        if line["kind"] == "train":
            total = (
                line["mpjpe"] + 0.5 * line["n_mpjpe"] + exp.finetune.w_velocity * line["velocity"]
            )
            assert line["loss"] == pytest.approx(total, rel=1e-4)
    result = record.result
    assert (result["init"], result["selected"], result["stage"], result["seed"]) == (
        "scratch",
        "last",
        "finetune",
        0,
    )
    assert result["data"]["fingerprint"] == tiny_store.meta.fingerprint and result[
        "digest"
    ] == exp.digest("finetune")
    assert (
        result["test"] == result["last"]
        and result["best_on_test"] is None
        and result["best_on_val"] is None
    )
    model, found = load_checkpoint(folder)
    assert found == exp
    assert evaluate_pose(model, clips_of(tiny_store, "test")) == result["test"]
    assert evaluate_pose(model, clips_of(tiny_store, "val")) == result["val"]
    assert result["val"]["mpjpe"] == [line["mpjpe"] for line in lines if line["kind"] == "val"][-1]
    train = training_clips(tiny_store, 9, 4, input_2d="detected", validation=True, device="cpu")
    assert result["baselines"] == evaluate_trivial_baselines(train, clips_of(tiny_store, "test"))
    assert (
        not (folder / "checkpoint.safetensors").exists()
        and not (folder / "best.safetensors").exists()
    )


@pytest.mark.parametrize("select", ["best-on-val", "best-on-test"])
def test_the_best_epoch_is_named_and_kept_apart_from_the_last(
    select: str, tiny_store: Store, tiny_experiment: Make
) -> None:
    exp = tiny_experiment(
        "paper", {"finetune.select": select, "run.eval_every": 3, "optim.lr": 0.05}
    )
    folder = finetune(exp)
    result = result_of(folder)
    named = result[select.replace("-", "_")]
    seen = {
        line["step"]: line["mpjpe"]
        for line in read_metrics(folder / "metrics.jsonl")
        if line["kind"] == "val"
    }
    assert named["step"] == min(seen, key=lambda step: seen[step]) and result["test"] == named
    model, _ = load_checkpoint(folder)
    assert evaluate_pose(model, clips_of(tiny_store, "test"))["mpjpe"] == named["mpjpe"]
    if select == "best-on-test":
        assert named["mpjpe"] == min(seen.values())
        assert result["last"]["mpjpe"] == seen[12] and result["best_on_val"] is None
    else:
        assert evaluate_pose(model, clips_of(tiny_store, "val"))["mpjpe"] == min(seen.values())
        assert result["best_on_test"] is None


def test_without_validation_every_training_subject_trains(
    tiny_store: Store, tiny_experiment: Make
) -> None:
    held = finetune(tiny_experiment())
    every = finetune(tiny_experiment("paper", {"data.validation": False}))
    assert result_of(every)["val"] is None and result_of(held)["val"] is not None
    assert result_of(every)["schedule"]["n_clips"] > result_of(held)["schedule"]["n_clips"]
    assert not [line for line in read_metrics(every / "metrics.jsonl") if line["kind"] == "val"]


def test_starts_from_the_pretrained_encoder_with_a_fresh_head(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    exp = tiny_experiment("paper", {"finetune.init": "pretrained"})
    stage_1 = pretrain(exp)
    model = build_model(exp.model, seed=0)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    asked = {"setting": "finetune.init"}
    assert (
        start_from_stage_1(model, exp, tmp_path / "runs", tiny_store.meta.fingerprint, **asked)
        == stage_1.name
    )
    with pytest.raises(CheckpointError, match="was trained on data with fingerprint"):
        start_from_stage_1(model, exp, tmp_path / "runs", "0" * 64, **asked)
    student = load_file(stage_1 / "weights.safetensors")
    for name, value in model.state_dict().items():
        source = fresh if name.startswith(("head", "rep_logit")) else student
        assert torch.equal(value, source[name]), name
    assert any(
        not torch.equal(student[name], fresh[name]) for name in fresh if name.startswith("layers")
    )
    folder = finetune(exp)
    assert result_of(folder)["init"] == stage_1.name
    assert folder != finetune(tiny_experiment())
    first = [
        read_metrics(run / "metrics.jsonl")[0]["loss"]
        for run in (folder, finetune(tiny_experiment()))
    ]
    assert first[0] != first[1]


def test_a_missing_pretraining_run_says_what_to_run(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    exp = tiny_experiment("paper", {"finetune.init": "pretrained"})
    pretrain(exp.override({"run.seed": 1}))  # another seed's run does not count
    with pytest.raises(ConfigError) as caught:
        finetune(exp)
    message = str(caught.value)
    assert (
        "`m2v pretrain --data tiny`" in message
        and exp.run_name("pretrain") in message
        and "\n" not in message
    )
    assert not (tmp_path / "runs" / exp.run_name("finetune")).exists()


def test_the_same_seed_gives_the_same_numbers(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    def outcome(root: str, seed: int = 0, **changes: Any) -> tuple[list[float], dict[str, Any]]:
        exp = tiny_experiment("released", {"run.seed": seed, **changes})
        folder = finetune(exp, tmp_path / root)
        lines = read_metrics(folder / "metrics.jsonl")
        return [line["loss"] for line in lines if line["kind"] == "train"], result_of(folder)[
            "test"
        ]

    torch.manual_seed(0)
    first = outcome("a")
    torch.manual_seed(1)
    assert outcome("b") == first
    assert outcome("c", seed=1)[0] != first[0]
    assert outcome("d", **{"data.flip_train": False})[0] != first[0]


def test_a_store_of_mpi_inf_3dhp_is_trained_and_evaluated_by_its_own_protocol(
    tiny_store: Store, as_3dhp: Callable[..., Store], tiny_experiment: Make
) -> None:
    store = as_3dhp(tiny_store, [0, 12, 29, 33, 90])
    changes = {
        "data.name": "as-3dhp",
        "optim.algorithm": "adam-amsgrad",
        "optim.weight_decay": 0.0,
        "model.spatial_graph": "released-3dhp",
        "run.eval_every": 6,
    }
    folder = finetune(tiny_experiment("paper", changes))
    result, model = result_of(folder), load_checkpoint(folder)[0]
    train = training_clips(store, 9, 4, input_2d="detected", validation=True, device="cpu")
    assert result["schedule"]["n_clips"] == len(train) == sum(-(-n // 4) for n in (40, 31, 6, 22))
    test, val = (
        evaluation_clips(store, which, 9, 9, input_2d="detected", device="cpu")
        for which in ("test", "val")
    )
    assert result["test"] == evaluate_3dhp(model, test) and result["val"] == evaluate_3dhp(
        model, val
    )
    assert result["test"]["n_frames"] == 5 and set(result["test"]["per_sequence"]) == {
        "walk",
        "sit",
        "greet",
    }
    assert result["baselines"] == evaluate_trivial_baselines(train, test)
    lines = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "val"]
    assert [line["step"] for line in lines] == [6, 12] and lines[-1]["auc"] == result["val"]["auc"]
    assert result["data"]["protocol"] == store.meta.protocol


def test_a_finished_run_is_left_as_it_is(tiny_store: Store, tiny_experiment: Make) -> None:
    folder = finetune(tiny_experiment())
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert finetune(tiny_experiment()) == folder
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before


def test_a_run_on_other_data_of_the_same_name_is_not_taken_for_done(
    tiny_store: Store, tiny_experiment: Make
) -> None:
    folder = finetune(tiny_experiment())
    result = result_of(folder)
    result["data"]["fingerprint"] = "0" * 64
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(
        CheckpointError, match=rf"{folder.name}: was trained on data with fingerprint 000000000000"
    ):
        finetune(tiny_experiment())


def test_ground_truth_input_and_no_flip_reach_training_and_test(
    tiny_store: Store, tiny_experiment: Make
) -> None:
    exp = tiny_experiment("paper", {"data.input_2d": "gt", "finetune.flip_test": False})
    folder = finetune(exp)
    clips = evaluation_clips(tiny_store, "test", 9, 9, input_2d="gt", device="cpu")
    model, _ = load_checkpoint(folder)
    assert evaluate_pose(model, clips, flip_test=False) == result_of(folder)["test"]
    assert result_of(folder)["data"]["input_2d"] == "gt"


def test_fewer_labels_for_stage_2_leave_stage_1_all_its_clips(
    tiny_store: Store, tiny_experiment: Make
) -> None:
    exp = tiny_experiment("paper", {"finetune.init": "pretrained", "data.label_fraction": 0.5})
    first = result_of(pretrain(exp))
    result = result_of(finetune(exp))
    assert result["init"] == first["name"], "the pre-training run of all labels"
    assert 0 < result["schedule"]["n_clips"] < first["schedule"]["n_clips"]
    every = finetune(exp.override({"data.label_fraction": 1.0}))
    assert result_of(every)["schedule"]["n_clips"] == first["schedule"]["n_clips"]
