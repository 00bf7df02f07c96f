"""Settings: one door for change, one clear sentence for every mistake, digests that name what
decides a result.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.config import PRESETS, RECIPES, ConfigError, Experiment

BASE = Experiment.preset("base")
RECORDS = Path(__file__).resolve().parents[2] / "reports" / "records"


def refused(changes: dict[str, Any], start: Experiment = BASE) -> str:
    with pytest.raises(ConfigError) as caught:
        start.override(changes)
    message = str(caught.value)
    assert "\n" not in message and message
    return message


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.dims", "model.dim"),
        ("modle.dim", "model.dim"),
        ("dim", "model.dim"),
        ("pretrain.mask_probability", "pretrain.mask_prob"),
        ("optim.learning_rate", "optim.warmup_steps"),
        ("finetune.epoch", "finetune.epochs"),
    ],
)
def test_unknown_key_names_a_known_one(key: str, nearest: str) -> None:
    message = refused({key: 1})
    assert repr(key) in message
    if key != "optim.learning_rate":  # nothing is near; any key of the tree will do
        assert repr(nearest) in message


@pytest.mark.parametrize(
    ("make", "wrong", "near"),
    [
        (lambda: Experiment.preset("bse"), "preset 'bse'", "base"),
        (lambda: Experiment.preset("base", "release"), "recipe 'release'", "released"),
        (lambda: BASE.digest("finetuning"), "stage 'finetuning'", "finetune"),
        (lambda: Experiment.from_dict({"modle": {}}), "section 'modle'", "model"),
        (lambda: Experiment.from_dict({"model": 3}), "section 'model'", "table"),
        (lambda: Experiment.from_dict({"model": {"dims": 3}}), "setting 'model.dims'", "model.dim"),
    ],
)
def test_unknown_names(make: Any, wrong: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert wrong in str(caught.value) and near in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model.dim", "64", "int"),
        ("model.dim", 64.0, "int"),
        ("model.dim", True, "int"),
        ("model.dim", None, "int"),
        ("data.flip_train", 1, "bool"),
        ("data.flip_train", "yes", "bool"),
        ("optim.lr", "5e-4", "float"),
        ("optim.lr", True, "float"),
        ("data.name", 3, "str"),
        ("model.streams", "all", "both, transformer, gcn"),
        ("pretrain.teacher", "moving", "ema, frozen"),
    ],
)
def test_wrong_type_says_what_was_expected(key: str, value: Any, expected: str) -> None:
    message = refused({key: value})
    assert key in message and expected in message and repr(value) in message


def test_an_integer_passes_for_a_float() -> None:
    lr = BASE.override({"optim.lr": 1}).optim.lr
    assert isinstance(lr, float) and lr == 1.0


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"model.dim": 100}, ("model.dim=100", "model.n_heads=8")),
        ({"pretrain.target_layers": 17}, ("pretrain.target_layers=17", "model.n_layers=16")),
        ({"model.n_layers": 4}, ("pretrain.target_layers=8", "model.n_layers=4")),
        ({"pretrain.mask_prob": 0.0}, ("pretrain.mask_prob", "0.0")),
        ({"pretrain.mask_prob": 1.0}, ("pretrain.mask_prob", "1.0")),
        ({"pretrain.mask_prob": float("nan")}, ("pretrain.mask_prob", "nan")),
        ({"pretrain.tau_start": 1.0}, ("tau", "0.9999")),
        ({"pretrain.tau_end": 1.5}, ("tau", "1.5")),
        ({"model.n_heads": 0}, ("model.n_heads", "at least 1")),
        ({"model.n_layers": -1}, ("model.n_layers", "at least 1")),
        ({"pretrain.n_masks": 0}, ("pretrain.n_masks", "positive")),
        ({"pretrain.target_layers": 0}, ("pretrain.target_layers", "positive")),
        ({"optim.lr": 0.0}, ("optim.lr", "positive")),
        ({"optim.lr": float("nan")}, ("optim.lr", "positive")),
        ({"run.checkpoint_every": 0}, ("run.checkpoint_every", "positive")),
        ({"run.max_steps": -1}, ("run.max_steps", "negative")),
        ({"optim.warmup_steps": -5}, ("optim.warmup_steps", "negative")),
        ({"data.train_stride": 0}, ("data.train_stride", "positive")),
        ({"model.layer_scale": -1e-5}, ("model.layer_scale", "at least 0")),
        ({"finetune.w_velocity": -1.0}, ("loss weights", "negative")),
        ({"action.dropout": 1.0}, ("action.dropout", "1.0")),
        ({"action.hidden": 0}, ("action.hidden", "positive")),
        (
            {"model.temporal_graph": "similarity", "model.n_neighbours": 300},
            ("n_neighbours=300", "n_frames=243"),
        ),
        (
            {"finetune.select": "best-on-val", "data.validation": False},
            ("best-on-val", "data.validation"),
        ),
    ],
)
def test_what_cannot_work_is_one_sentence(changes: dict[str, Any], names: tuple[str, ...]) -> None:
    message = refused(changes)
    assert all(name in message for name in names), message


def test_sense_is_checked_after_all_changes() -> None:
    """Width and heads that only fit together may arrive together."""
    assert BASE.override({"model.dim": 90, "model.n_heads": 9}).model.dim == 90


def test_override_makes_a_copy_of_a_frozen_tree() -> None:
    changed = BASE.override({"model.dim": 64})
    assert (BASE.model.dim, changed.model.dim) == (128, 64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.model.dim = 32


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_yaml_round_trip(preset: str, recipe: str, tmp_path: Path) -> None:
    exp = Experiment.preset(preset, recipe).override(
        {"optim.lr": 3e-5, "data.name": "mocap", "run.seed": 7}
    )
    file = tmp_path / "config.yaml"
    file.write_text(exp.to_yaml(), encoding="utf-8")
    assert Experiment.from_yaml(file) == exp
    assert Experiment.from_dict(exp.to_dict()) == exp


def test_settings_left_out_keep_the_presets_values(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("preset: large\nrecipe: released\nmodel: {n_layers: 6}\n")
    assert Experiment.from_yaml(file) == Experiment.preset("large", "released").override(
        {"model.n_layers": 6}
    )


@pytest.mark.parametrize("text", ["model: [", "- 1\n- 2\n", "", "a: b: c", None])
def test_a_file_that_is_no_table_is_named(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml") as caught:
        Experiment.from_yaml(file)
    assert "\n" not in str(caught.value)


# Audit section G, and spec sections 2 to 4, at the size of the paper's base model.
SWITCHES = {
    "model.temporal_graph": ("chain", "similarity"),
    "model.spatial_graph": ("bones", "released"),
    "model.gcn_block": ("literal", "prenorm"),
    "model.bn_axis": ("channels", "nodes"),
    "model.layer_scale": (0.0, 1e-5),
    "model.qk_scale": ("head", "head"),
    "model.n_neighbours": (2, 2),
    "pretrain.teacher": ("ema", "frozen"),
    "pretrain.tau_start": (0.999, 0.999),
    "pretrain.tau_end": (0.9999, 0.9999),
    "pretrain.norm_targets": (True, False),
    "pretrain.target_layers": (8, 6),
    "pretrain.mask": ("tokens", "joint-spans"),
    "pretrain.mask_prob": (0.7, 0.6),
    "pretrain.n_masks": (3, 3),
    "pretrain.fill": ("noise", "learned"),
    "pretrain.mask_noise_std": (0.01, 0.01),
    "pretrain.keep_spatial_pos": (True, False),
    "pretrain.loss_scale": ("none", "sqrt-dim"),
    "pretrain.splits": ("train", "train+test"),
    "pretrain.epochs": (15, 60),
    "pretrain.batch_size": (4, 4),
    "finetune.w_scale": (0.5, 0.5),
    "finetune.w_velocity": (20.0, 20.0),
    "finetune.epochs": (60, 60),
    "finetune.batch_size": (8, 8),
    "finetune.select": ("last", "best-on-test"),
    "action.confidence": ("remapped", "coco-order"),
    "action.head": ("flatten", "flatten"),
    "action.hidden": (2048, 2048),
    "action.dropout": (0.5, 0.5),
    "action.n_persons": (2, 2),
    "action.lr": (1e-4, 1e-4),
    "action.epochs": (60, 60),
    "action.batch_size": (6, 6),
    "action.select": ("last", "best-on-test"),
    "optim.lr": (5e-4, 5e-4),
    "optim.weight_decay": (0.01, 0.01),
    "optim.lr_decay": (0.99, 0.99),
    "data.train_stride": (81, 81),
    "data.test_stride": (243, 243),
    "data.validation": (False, False),  # the paper trains on all five training subjects
}


def test_the_recipes_are_the_audits_switch_table() -> None:
    paper, released = BASE.flat(), Experiment.preset("base", "released").flat()
    assert {key: (paper[key], released[key]) for key in SWITCHES} == SWITCHES
    differing = {key for key in paper if paper[key] != released[key]}
    assert differing == {key for key, (one, other) in SWITCHES.items() if one != other}


@pytest.mark.parametrize(("preset", "dim"), [("base", 128), ("large", 256)])
def test_paper_sizes(preset: str, dim: int) -> None:
    m = Experiment.preset(preset).model
    assert (m.n_layers, m.dim, m.n_frames, m.n_heads, m.mlp_ratio, m.dim_rep) == (
        16,
        dim,
        243,
        8,
        4,
        512,
    )


IGNORED = {
    "run.seed": 3,
    "run.device": "cuda",
    "run.threads": 2,
    "run.log_every": 7,
    "run.checkpoint_every": 9,
    "run.eval_every": 11,
    "run.devices": 2,
    "run.path": "reference",
    "run.compile": True,
    "run.max_minutes": 5.0,
}
ALWAYS = {
    "optim.lr": 1e-3,
    "model.dim": 64,
    "data.name": "mocap",
    "data.flip_train": False,
    "run.max_steps": 10,
    "run.precision": "bf16",
}


def test_digest_names_what_decides_the_result() -> None:
    for stage in ("pretrain", "finetune", "action"):
        digest = BASE.digest(stage)
        assert len(digest) == 8 and int(digest, 16) >= 0
        assert BASE.override(IGNORED).digest(stage) == digest
        others = [BASE.override({key: value}).digest(stage) for key, value in ALWAYS.items()]
        assert len({digest, *others}) == 1 + len(ALWAYS)


def test_each_stage_ignores_the_other_unless_it_builds_on_it() -> None:
    masks, weight = {"pretrain.n_masks": 1}, {"finetune.w_scale": 0.1}
    assert BASE.override(weight).digest("pretrain") == BASE.digest("pretrain")
    assert BASE.override(masks).digest("pretrain") != BASE.digest("pretrain")
    assert BASE.override(masks).digest("finetune") == BASE.digest("finetune")
    started = BASE.override({"finetune.init": "pretrained"})
    assert started.override(masks).digest("finetune") != started.digest("finetune")
    assert started.digest("finetune") != BASE.digest("finetune")


def test_stage_1_does_not_care_how_many_labels_stage_2_may_use() -> None:
    every = Experiment.preset("smoke").override({"finetune.init": "pretrained"})
    few = every.override({"data.label_fraction": 0.1})
    assert few.digest("pretrain") == every.digest("pretrain") and few.digest(
        "finetune"
    ) != every.digest("finetune")
    with pytest.raises(ConfigError, match="data.label_fraction"):
        every.override({"data.label_fraction": 0.0})


def test_the_action_stage_stands_beside_the_others() -> None:
    dropout = {"action.dropout": 0.1}
    for stage in ("pretrain", "finetune"):
        assert BASE.override(dropout).digest(stage) == BASE.digest(stage)
    assert BASE.override(dropout).digest("action") != BASE.digest("action")
    assert BASE.override({"finetune.w_scale": 0.1}).digest("action") == BASE.digest("action")
    masks, started = {"pretrain.n_masks": 1}, BASE.override({"action.init": "pretrained"})
    assert BASE.override(masks).digest("action") == BASE.digest("action")
    assert (
        started.override(masks).digest("action")
        != started.digest("action")
        != BASE.digest("action")
    )
    elsewhere = started.override({"action.pretrained_on": "h36m"})
    assert elsewhere.digest("action") != started.digest("action")
    assert elsewhere.digest("pretrain") == started.digest("pretrain")


def test_when_a_best_epoch_is_picked_the_moments_of_validation_count() -> None:
    rare = {"run.eval_every": 100}
    assert BASE.override(rare).digest("finetune") == BASE.digest("finetune")
    for stage in ("finetune", "action"):
        picked = BASE.override({f"{stage}.select": "best-on-test"})
        assert picked.override(rare).digest(stage) != picked.digest(stage)
    assert picked.override(rare).digest("pretrain") == BASE.digest("pretrain")


def test_digest_is_the_same_in_every_process() -> None:
    code = (
        "from m2v_lib.config import Experiment; print(Experiment.preset('base').digest('pretrain'))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "99"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.strip() == BASE.digest("pretrain")


def test_run_name_holds_what_a_reader_looks_for() -> None:
    exp = BASE.override({"data.name": "mocap", "run.seed": 4})
    assert exp.run_name("finetune") == f"finetune-mocap-base-paper-{exp.digest('finetune')}-s4"


def test_digest_holds_the_validation_interval_where_it_decides_which_weights_are_best() -> None:
    often = {"run.eval_every": 7}
    assert BASE.override(often).digest("finetune") == BASE.digest("finetune")
    picky = BASE.override({"finetune.select": "best-on-test"})
    assert picky.override(often).digest("finetune") != picky.digest("finetune")


def test_committed_records_still_have_the_digest_of_their_settings() -> None:
    """A field added later must not rename the runs that exist."""
    folders = sorted(RECORDS.glob("*/config.yaml"))
    assert folders
    for path in folders:
        stage = path.parent.name.partition("-")[0]
        assert Experiment.from_yaml(path).run_name(stage) == path.parent.name
