"""The list of wanted runs: every ablation row is on it, each run once, and its command makes
that very run.
"""

from __future__ import annotations

import pytest

from m2v_lib.cli import parser
from m2v_lib.cli.options import experiment_of
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.experiments import queue
from m2v_lib.experiments.queue.wanted import Item
from m2v_lib.experiments.rows import rows

ABLATIONS = ("table5", "table6", "table7", "table8", "figure6")


#: Rows by people and at equal steps are run where networks are trained to their end.
ONLY_COMPACT = range(14, 23)


@pytest.mark.parametrize("preset", ["small", "compact", "base"])
def test_each_ablation_row_is_wanted_and_each_run_once(preset: str) -> None:
    found = queue.items(preset)
    names = [item.name for item in found]
    assert len(set(names)) == len(names)
    for group in (*ABLATIONS, "label-scarcity", "teachers"):
        for row in rows(group):
            if preset != "compact" and group == "label-scarcity" and row.row in ONLY_COMPACT:
                continue
            asked = row.experiment(
                data="mocap", preset=preset, overrides=queue.budget(preset, group)
            )
            assert asked.run_name(row.stage) in names, row.name
    assert sum(bool(row.published) for group in ABLATIONS[:-1] for row in rows(group)) == 35


@pytest.mark.parametrize("preset", ["small", "base"])
def test_a_pre_training_stands_before_what_starts_from_it(preset: str) -> None:
    seen: set[str] = set()
    for item in queue.items(preset):
        if item.stage == "finetune" and item.exp.finetune.init == "pretrained":
            assert item.needs == item.exp.run_name("pretrain") and item.needs in seen, item.labels
        else:
            assert item.needs == ""
        seen.add(item.name)


def test_the_first_runs_answer_whether_pre_training_helps() -> None:
    first = [item for item in queue.items("base") if item.stage == "finetune"][:9]
    assert [item.exp.finetune.init for item in first] == ["scratch", "pretrained", "pretrained"] * 3
    assert [item.exp.run.seed for item in first] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert [item.exp.pretrain.teacher for item in first[1:3]] == ["frozen", "ema"]
    assert {item.exp.data.input_2d for item in first} == {"detected"} and first[
        0
    ].exp.model.n_frames == 243


@pytest.mark.parametrize("preset", ["small", "base"])
def test_the_command_of_an_item_makes_that_run(preset: str) -> None:
    for item in queue.items(preset):
        args = parser().parse_args(item.command({"run.device": "cuda"})[1:])
        exp = experiment_of(args)
        assert exp.run_name(item.stage) == item.name and exp.run.device == "cuda"
        if item.stage == "pretrain":
            assert (exp.finetune.init, exp.data.label_fraction) == ("scratch", 1.0), (
                "what stage 1 does not use"
            )


def test_only_small_networks_get_a_budget() -> None:
    assert all(item.exp.run.max_steps == 0 for item in queue.items("base"))
    steps = {item.exp.run.max_steps for item in queue.items("small")}
    assert steps == {500, 1000}, "a budget of steps, so that every cell is a partial schedule"
    question = [item for item in queue.items("small") if "scarcity" in item.labels[0]]
    assert {item.exp.run.max_steps for item in question} == {1000}
    with pytest.raises(ConfigError, match="no queue for preset 'large'"):
        queue.budget("large", "table5")


def test_scarce_labels_share_the_pre_training_of_all_clips() -> None:
    by_name = {item.name: item for item in queue.items("small")}
    asked = {
        "data": "mocap",
        "preset": "small",
        "overrides": queue.budget("small", "label-scarcity"),
    }
    every, few = (rows("label-scarcity")[i].experiment(**asked) for i in (2, 5))  # type: ignore[arg-type]
    needs = {by_name[exp.run_name("finetune")].needs for exp in (every, few)}
    assert needs == {every.run_name("pretrain")} and few.data.label_fraction == 0.1


def test_released_pre_training_is_the_whole_pretrain_section_of_the_released_recipe() -> None:
    asked = rows("label-scarcity")[1].experiment(data="mocap", preset="base")
    assert asked.pretrain == Experiment.preset("base", "released").pretrain
    assert asked.model == Experiment.preset("base", "paper").model, (
        "the network is the paper's: only stage 1 differs"
    )


def test_rows_that_do_not_fit_a_small_network_say_what_is_run_instead() -> None:
    for group in ("table5", "table6"):
        for row in (row for row in rows(group) if row.published):
            exp, paper_sized = (
                row.experiment(data="mocap", preset=preset) for preset in ("small", "base")
            )
            assert f"N={exp.model.n_layers}" in row.label_at(
                "small"
            ) and f"d={exp.model.dim}" in row.label_at("small")
            assert (
                row.label_at("base") == row.label
                and exp.model.n_layers * 2 == paper_sized.model.n_layers
            )
            assert exp.model.dim * 4 == paper_sized.model.dim
    for row in rows("table5"):
        exp, paper_sized = (
            row.experiment(data="mocap", preset=preset) for preset in ("small", "base")
        )
        assert exp.pretrain.target_layers * 2 == paper_sized.pretrain.target_layers
        assert f"K={exp.pretrain.target_layers} of" in row.label_at("small")


def test_an_item_is_named_as_its_run_folder() -> None:
    item = queue.items("small")[0]
    assert isinstance(item, Item) and item.name == item.exp.run_name("finetune")
