"""Stage 1 on the tiny store: what moves, what is logged, which clips are seen, what a run leaves
behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.data.store import DataError, Store
from m2v_lib.models.registry import build_model
from m2v_lib.runs.records import read_metrics
from m2v_lib.training.checkpoint import load_checkpoint
from m2v_lib.training.engine import loop
from m2v_lib.training.pretrain import pretrain, unlabelled_clips
from m2v_lib.training.pretraining.teacher import Teacher, tau_at

Make = Callable[..., Experiment]
CPU = torch.device("cpu")


def final_state(exp: Experiment, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, Tensor]]:
    """Run folder, and student and teacher as they were when the last checkpoint was written."""
    kept: dict[str, Tensor] = {}
    save = loop.save_tensors

    def watch(path: Path, tensors: dict[str, Tensor], state: Any) -> None:
        if path.name == "checkpoint.safetensors":
            kept.clear()
            kept.update(
                {
                    k.removeprefix("module."): v.clone()
                    for k, v in tensors.items()
                    if k.startswith("module.")
                }
            )
        save(path, tensors, state)

    monkeypatch.setattr(loop, "save_tensors", watch)
    return pretrain(exp), kept


def test_a_released_teacher_is_unchanged_by_training(
    tiny_store: Store, tiny_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    exp = tiny_experiment("released")
    folder, state = final_state(exp, monkeypatch)
    fresh = build_model(exp.model, seed=0).layers.state_dict()
    assert all(torch.equal(state[f"teacher.layers.{name}"], value) for name, value in fresh.items())
    moved = [
        name for name in fresh if not torch.equal(state[f"student.layers.{name}"], fresh[name])
    ]
    assert len(moved) > 0.8 * len(fresh)
    lines = read_metrics(folder / "metrics.jsonl")
    assert {line["tau"] for line in lines} == {1.0} and lines[-1]["teacher_distance"] > 0


def test_a_paper_teacher_follows_by_one_minus_tau_a_step(
    tiny_store: Store, tiny_experiment: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step's update is written out again: theta <- theta + (1 - tau)(student - theta), tau
    rising linearly.
    """
    exp = tiny_experiment("paper", {"pretrain.tau_start": 0.9, "pretrain.tau_end": 0.99})
    expected = {
        name: p.detach().clone()
        for name, p in build_model(exp.model, seed=0).layers.named_parameters()
    }
    steps: list[float] = []
    follow = Teacher.follow

    def watch(self: Teacher, student_layers: torch.nn.ModuleList, share: Tensor) -> None:
        steps.append(1 - float(share))
        for name, p in student_layers.named_parameters():
            expected[name] += float(share) * (p.detach() - expected[name])
        follow(self, student_layers, share)

    monkeypatch.setattr(Teacher, "follow", watch)
    folder, state = final_state(exp, monkeypatch)
    assert steps == pytest.approx([0.9 + 0.09 * i / 11 for i in range(12)])
    for name, value in expected.items():
        torch.testing.assert_close(state[f"teacher.layers.{name}"], value, rtol=1e-5, atol=1e-7)
        apart = not torch.equal(state[f"student.layers.{name}"], value)
        assert apart or name.endswith("bias")
    buffers = [
        name
        for name in state
        if name.startswith("teacher.") and "batch_norm" in name and "running" in name
    ]
    assert len(buffers) == 2 * 2 * 2
    assert all(
        torch.equal(state[name], state[name.replace("teacher.", "student.")]) for name in buffers
    )
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["tau"] for line in lines] == pytest.approx(
        [tau_at(s, 12, 0.9, 0.99) for s in range(2, 13, 2)]
    )


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_what_a_run_leaves_behind(
    recipe: str, tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    exp = tiny_experiment(recipe)
    folder = pretrain(exp)
    assert folder == tmp_path / "runs" / exp.run_name("pretrain")
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.yaml",
        "env.json",
        "metrics.jsonl",
        "result.json",
        "weights.safetensors",
    ]
    lines = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]
    signs = {
        "loss",
        "target_std",
        "target_rank",
        "target_from_input",
        "teacher_distance",
        "tau",
        "mask_ratio",
    }
    assert all(signs <= line.keys() for line in lines)
    ratio = round(0.7 * 153) / 153 if recipe == "paper" else None
    assert ratio is None or lines[0]["mask_ratio"] == pytest.approx(ratio, rel=1e-5)
    result = json.loads((folder / "result.json").read_text())
    assert (
        result["stage"] == "pretrain"
        and result["final"] == {k: v for k, v in lines[-1].items() if k != "seconds"}
        and result["recipe"] == recipe
    )
    assert (
        result["digest"] == exp.digest("pretrain")
        and result["data"]["fingerprint"] == tiny_store.meta.fingerprint
    )
    assert result["schedule"]["steps"] == 12 and result["schedule"]["partial"]
    assert Experiment.from_yaml(folder / "config.yaml") == exp
    model, found = load_checkpoint(folder)
    assert found == exp and result["n_parameters"] == sum(p.numel() for p in model.parameters())


def test_a_finished_run_is_left_as_it_is(tiny_store: Store, tiny_experiment: Make) -> None:
    folder = pretrain(tiny_experiment())
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}
    assert pretrain(tiny_experiment()) == folder
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()} == before


def test_the_same_seed_gives_the_same_numbers(
    tiny_store: Store, tiny_experiment: Make, tmp_path: Path
) -> None:
    def outcome(root: str, seed: int) -> tuple[list[float], Tensor]:
        folder = pretrain(tiny_experiment("paper", {"run.seed": seed}), tmp_path / root)
        weights = load_file(folder / "weights.safetensors")
        return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")], weights[
            "joints_embed.weight"
        ]

    torch.manual_seed(0)
    first = outcome("a", 0)
    torch.manual_seed(1)
    same, other = outcome("b", 0), outcome("c", 1)
    assert first[0] == same[0] and torch.equal(first[1], same[1])
    assert first[0] != other[0] and not torch.equal(first[1], other[1])


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_the_loss_falls(recipe: str, tiny_store: Store, tiny_experiment: Make) -> None:
    exp = tiny_experiment(
        recipe, {"run.max_steps": 80, "run.log_every": 10, "optim.lr": 0.01, "data.train_stride": 9}
    )
    losses = [line["loss"] for line in read_metrics(pretrain(exp) / "metrics.jsonl")]
    assert losses[-1] < 0.75 * losses[0]


def test_released_pretraining_sees_the_test_clips_too(
    tiny_store: Store, tiny_experiment: Make
) -> None:
    """Audit E8. The clips point at the right frames of both splits, and blocked videos stay out."""
    paper = unlabelled_clips(tiny_experiment("paper"), tiny_store, CPU)
    both = unlabelled_clips(
        tiny_experiment("paper", {"pretrain.splits": "train+test"}), tiny_store, CPU
    )
    n_train = tiny_store.split("train").n_frames
    assert torch.equal(both.index_CT[: len(paper)], paper.index_CT) and len(both) == len(paper) + 7
    added = both.index_CT[len(paper) :] - n_train
    assert added.min() == 0
    test = tiny_store.split("test")
    x, _ = both.batch(torch.arange(len(paper), len(both)))
    width = torch.tensor([v.width for v in test.videos for _ in range(v.n_frames)])
    expected = (
        torch.from_numpy(test.joint_2d.copy())[added][..., 0] * 2 / width[added][..., None] - 1
    )
    torch.testing.assert_close(x[..., 0], expected, atol=1e-5, rtol=0)


def test_no_store_says_how_to_make_it(tiny_store: Store, tiny_experiment: Make) -> None:
    with pytest.raises(DataError, match="m2v data prepare absent"):
        pretrain(tiny_experiment("paper", {"data.name": "absent"}))


@pytest.mark.parametrize(
    "more", [{}, {"pretrain.extra_2d": "tiny"}, {"pretrain.splits": "train+test"}]
)
def test_validation_subjects_are_in_no_clip_of_stage_1(
    more: dict[str, Any], tiny_store: Store, tiny_experiment: Make
) -> None:
    clips = unlabelled_clips(
        tiny_experiment("paper", {"data.validation": True, **more}), tiny_store, CPU
    )
    train, test = (tiny_store.split(name) for name in ("train", "test"))
    n_train, second = train.n_frames, train if "pretrain.extra_2d" in more else test
    everybody = [
        v.subject for split in (train, second) for v in split.videos for _ in range(v.n_frames)
    ]
    seen = [everybody[frame] for frame in clips.index_CT.flatten().tolist()]
    assert {"S1", "S2"} <= set(seen) and "S5" not in seen
    assert (clips.index_CT.max() >= n_train) == bool(more)


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_the_heads_come_out_of_stage_1_as_they_went_in(
    recipe: str, tiny_store: Store, tiny_experiment: Make
) -> None:
    """No loss reaches them, so neither gradient nor weight decay may move them."""
    exp = tiny_experiment(recipe, {"optim.weight_decay": 0.5})
    after = load_file(pretrain(exp) / "weights.safetensors")
    before = build_model(exp.model, seed=exp.run.seed).state_dict()
    heads = {name for name in before if name.startswith(("head.", "rep_logit."))}
    assert len(heads) == 4 and all(torch.equal(after[name], before[name]) for name in heads)
    assert not torch.equal(after["joints_embed.weight"], before["joints_embed.weight"])
