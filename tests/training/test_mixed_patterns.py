"""Training on many joint patterns and lengths at once, and from one skeleton's weights to another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.clips import Clips, evaluation_clips
from m2v_lib.data.store import Store
from m2v_lib.evaluation.protocols import evaluate_lifting
from m2v_lib.models.base import Lifter
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.state_files import CheckpointError
from m2v_lib.runs.records import StoppedEarly, read_metrics
from m2v_lib.training.checkpoint import load_checkpoint
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain
from m2v_lib.training.pretraining.objective import MaskedPrediction

STAGES: dict[str, Callable[[Experiment, Path], Path]] = {"pretrain": pretrain, "finetune": finetune}

MINE = """
name: mine
joints:
  - {name: root, parent: null}
  - {name: right hip, parent: root, twin: left hip, side: right}
  - {name: left hip, parent: root, twin: right hip, side: left}
  - {name: throat, parent: root, word: lower neck}
"""
#: Every step draws one of two skeletons or a random one, and one of two lengths.
MIXED = {
    "model.joint_embedding": "name",
    "model.pos_init_std": 0.5,
    "data.skeletons": "h36m17,mine.yaml,random",
    "data.lengths": "4,9",
    "data.short_videos": "pad",
    "run.max_steps": 8,
    "run.checkpoint_every": 3,
}


@pytest.fixture
def mixed(
    tiny_store: Store,
    tiny_experiment: Callable[..., Experiment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Experiment]:
    """`mixed({key: value})`: the tiny experiment on mixed patterns of the tiny store."""
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return lambda changes=None: tiny_experiment("paper", {**MIXED, **(changes or {})})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_run_stopped_and_resumed_draws_the_same_patterns(
    stage: str, mixed: Callable[..., Experiment], tmp_path: Path
) -> None:
    whole = STAGES[stage](mixed(), tmp_path / "whole")

    hurried = mixed({"run.max_minutes": 1e-9})
    for _ in range(7):
        with pytest.raises(StoppedEarly):
            STAGES[stage](hurried, tmp_path / "parts")
    parts = STAGES[stage](hurried, tmp_path / "parts")

    first, second = weights(whole), weights(parts)
    assert all(torch.equal(first[name], second[name]) for name in first)
    without_time = [
        [
            {k: v for k, v in line.items() if k != "seconds"}
            for line in read_metrics(f / "metrics.jsonl")
        ]
        for f in (whole, parts)
    ]
    assert without_time[0] == without_time[1]


def test_every_named_skeleton_is_evaluated(
    mixed: Callable[..., Experiment], tmp_path: Path
) -> None:
    folder = finetune(mixed(), tmp_path)
    test = json.loads((folder / "result.json").read_text(encoding="utf-8"))["test"]

    found = test["by_skeleton"]
    assert {name: len(found[name]["per_joint"]) for name in found} == {"h36m17": 17, "mine": 4}
    assert test["mpjpe"] == found["h36m17"]["mpjpe"] != found["mine"]["mpjpe"]


def test_rows_of_joints_that_no_step_had_stay_as_they_started(
    mixed: Callable[..., Experiment], tmp_path: Path
) -> None:
    """A step on three joints moves three rows alone: without weight decay the others keep their
    start.
    """
    exp = mixed({"data.skeletons": "mine.yaml", "optim.weight_decay": 0.0})
    model, _ = load_checkpoint(finetune(exp, tmp_path))
    moved = (
        (model.get_parameter("pos_embed") - fresh(exp).get_parameter("pos_embed"))
        .detach()
        .abs()
        .sum(-1)[0]
    )

    from m2v_lib.skeletons import VOCABULARY

    names = {VOCABULARY.joints[row] for row in moved.nonzero().flatten().tolist()}
    assert names == {"root", "right hip", "left hip", "lower neck"}


def fresh(exp: Experiment) -> Lifter:
    from m2v_lib.models.registry import build_model

    return build_model(exp.model, seed=exp.run.seed)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.joint_embedding": "order"}, "must have a model for any skeleton"),
        ({"data.skeletons": "body25"}, "body25 has .*not among the 17 joints"),
        ({"data.lengths": "10"}, "data.lengths must be whole numbers of 1 to model.n_frames=9"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    changes: dict[str, Any], said: str, mixed: Callable[..., Experiment], tmp_path: Path
) -> None:
    for stage in STAGES.values():
        with pytest.raises(ConfigError, match=said):
            stage(mixed(changes), tmp_path)


def test_a_network_bound_to_frames_takes_no_lengths(
    tiny_store: Store, tiny_experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    for setting in ({"data.lengths": "4,9"}, {"data.short_videos": "pad"}):
        exp = tiny_experiment("released", setting)
        with pytest.raises(ConfigError, match=f"{next(iter(setting))}.* must have a dual stream"):
            finetune(exp, tmp_path)


def test_another_runs_weights_go_to_another_skeleton_by_name(
    mixed: Callable[..., Experiment], tiny_experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    order = {k: v for k, v in MIXED.items() if k.startswith(("model.pos", "run"))}
    source = finetune(tiny_experiment("paper", order), tmp_path)
    start = {"finetune.init": f"weights:{source}", "finetune.freeze": "encoder"}
    exp = mixed({**start, "data.skeletons": "mine.yaml"})

    folder = finetune(exp, tmp_path)
    before, after = weights(source), weights(folder)

    assert json.loads((folder / "result.json").read_text())["init"] == f"weights:{source}"
    for name in before:
        if name.startswith(("head.", "rep_logit.")):
            assert not torch.equal(before[name], after[name]), name
        elif name != "pos_embed":
            assert torch.equal(before[name], after[name]), name

    from m2v_lib.skeletons import H36M17, VOCABULARY

    row = VOCABULARY.joints.index("lower neck")
    torch.testing.assert_close(
        after["pos_embed"][0, row], before["pos_embed"][0, H36M17.index("neck")], rtol=0, atol=0
    )
    unknown = VOCABULARY.joints.index("left heel")
    assert torch.equal(
        after["pos_embed"][0, unknown], fresh(exp).get_parameter("pos_embed")[0, unknown]
    )


def test_weights_that_do_not_fit_are_refused(
    mixed: Callable[..., Experiment], tiny_experiment: Callable[..., Experiment], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no such file, and no such run"):
        finetune(mixed({"finetune.init": "weights:nothing"}), tmp_path)
    with pytest.raises(ConfigError, match="must be one of"):
        mixed({"finetune.init": "weights:"})

    source = finetune(tiny_experiment("paper", {"run.max_steps": 1}), tmp_path)
    wider = mixed({"finetune.init": f"weights:{source.name}", "model.dim": 16})
    with pytest.raises(CheckpointError, match=r"pos_embed must be \(1, 17, 16\)"):
        finetune(wider, tmp_path)


class Echo(torch.nn.Module):
    """Gives the label back, and at padding nonsense."""

    def __init__(self, clips: Clips) -> None:
        super().__init__()
        self.clips = clips

    def forward(self, x_BTJ3: torch.Tensor, present_BT: torch.Tensor | None = None) -> torch.Tensor:
        match = (self.clips.input_nJ3[:, None] - x_BTJ3.reshape(-1, *x_BTJ3.shape[2:])).abs()
        label = self.clips.label_nJ3[match.sum((2, 3)).argmin(0)].view_as(x_BTJ3).clone()
        if present_BT is not None:
            label[~present_BT] = 9.0
        return label


@pytest.mark.parametrize("n_frames", [7, 50])
def test_padded_clips_evaluate_every_frame_once_and_no_padding(
    n_frames: int, tiny_store: Store
) -> None:
    whole = replace(tiny_store, meta=replace(tiny_store.meta, blocked_sources=()))
    clips = evaluation_clips(
        whole, "test", n_frames, n_frames, input_2d="detected", device="cpu", pad=True
    )
    assert clips.present_CT is not None
    frames = clips.index_CT[clips.present_CT]
    assert sorted(frames.tolist()) == [*range(len(clips.input_nJ3))]

    result = evaluate_lifting(Echo(clips), clips, flip_test=False)

    assert result["n_frames"] == pytest.approx(len(clips.input_nJ3), abs=0)
    for name in ("mpjpe", "mpjve", "accel", "p_mpjpe"):
        assert result[name] < 1.0, name
    assert max(result["per_joint"]) < 1.0

    worse = replace(clips, truth_nJ3=np.asarray(clips.truth_nJ3) + 5.0)
    assert evaluate_lifting(Echo(clips), worse, flip_test=False)["mpjpe"] > 5.0


def test_one_network_is_evaluated_with_any_joints_and_frames(
    mixed: Callable[..., Experiment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finetune(mixed(), tmp_path)
    capsys.readouterr()
    asked = ["--skeleton", "h36m17", "mine.yaml", "--frames", "9", "50", "--keep", str(folder)]

    assert main(["evaluate", str(folder), *asked]) == 0

    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["skeleton"], line["frames"]) for line in said] == [
        ("h36m17", 9),
        ("h36m17", 50),
        ("mine.yaml", 9),
        ("mine.yaml", 50),
    ]
    kept = json.loads((folder / "evaluations.json").read_text(encoding="utf-8"))
    assert [line["mpjpe"] for line in kept] == [line["mpjpe"] for line in said]
    assert kept[0]["n_frames"] == kept[1]["n_frames"]  # all frames, whatever the length


def test_a_bound_network_is_evaluated_with_its_own_joints_alone(
    tiny_store: Store,
    tiny_experiment: Callable[..., Experiment],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = finetune(tiny_experiment("paper", {"run.max_steps": 1}), tmp_path)

    assert main(["evaluate", str(folder), "--skeleton", "coco17"]) == 2
    assert "is bound to h36m17" in capsys.readouterr().err


def test_padding_is_never_hidden_in_pretraining(
    mixed: Callable[..., Experiment],
) -> None:
    exp = mixed()
    generator = torch.Generator().manual_seed(0)
    student = cast(DualStreamModel, fresh(exp))
    objective = MaskedPrediction(student, exp.pretrain, generator)
    present = torch.ones(3, 9, dtype=torch.bool)
    present[1, 4:] = False

    drawn = objective.draw((3, 9, 17), generator, present_BT=present)

    masked = drawn["mask"].view(3, -1, 9, 17)
    assert not masked[1, :, 4:].any() and masked[1, :, :4].any() and masked[0, :, 4:].any()
    assert drawn["n_masked"] == masked.sum()
