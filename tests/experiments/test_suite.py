"""The jobs of a suite: one a row and seed, shared where two rows would train the same thing."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from fakes.suite import notebook, parameters

from m2v_lib.config import ConfigError
from m2v_lib.experiments.suite import Suite, jobs, plan, short_label
from m2v_lib.results.tables import rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Notebooks with and without parameters, and one whose name makes it no chapter."""
    for name in (
        "00_start_here",
        "13_synthetic_motion",
        "32_pretrain",
        "40_finetune",
        "58_table8",
        "notes",
    ):
        source = (
            "preset: str = 'smoke'  # sizes"
            if name != "13_synthetic_motion"
            else "seed: int = 0  # seed"
        )
        nbformat.write(notebook(parameters(source)), str(tmp_path / f"{name}.ipynb"))
    return tmp_path


def test_every_row_is_trained_for_every_seed_and_none_twice(folder: Path) -> None:
    suite = Suite(seeds=(0, 1))
    finetuning = [job for job in jobs(suite, folder) if job.kind == "finetune"]
    every = [row for table in ("table8", "teachers") for row in rows(table)]
    for seed in (0, 1):
        labels = [job.label for job in finetuning if job.parameters["seed"] == seed]
        assert [
            row.name
            for row in every
            if not any(short_label(row, "smoke") in label for label in labels)
        ] == []
    assert len(finetuning) == 2 * len(
        {suite.experiment(row, 0).digest("finetune") for row in every}
    )


def test_rows_that_pretrain_alike_share_one_job(folder: Path) -> None:
    made = jobs(Suite(), folder)
    pretraining = [job for job in made if job.kind == "pretrain"]
    digests = {
        Suite().experiment(row, 0).digest("pretrain")
        for table in ("table8", "teachers")
        for row in rows(table)
        if row.overrides["finetune.init"] == "pretrained"
    }
    assert len(pretraining) == len(digests)
    assert len({job.name for job in made}) == len(made)


def test_only_rows_that_start_pretrained_wait_for_pretraining(folder: Path) -> None:
    for job in jobs(Suite(), folder):
        if job.kind == "finetune":
            waits = job.parameters["overrides"]["finetune.init"] == "pretrained"
            assert len(job.needs) == int(waits), job
            assert all(name.startswith("32_pretrain-") for name in job.needs)


def test_chapters_run_once_and_results_wait_for_training(folder: Path) -> None:
    made = {job.name: job for job in jobs(Suite(preset="small", data="mocap", seeds=(3,)), folder)}
    assert "notes" not in made and "32_pretrain" not in made
    assert (
        made["00_start_here"].parameters == {"preset": "small"}
        and made["00_start_here"].needs == ()
    )
    assert made["13_synthetic_motion"].parameters == {"seed": 3}
    assert set(made["58_table8"].needs) == {
        name for name in made if name.startswith("40_finetune-")
    }


def test_chapters_with_data_of_their_own_run_as_they_stand_in_other_suites(folder: Path) -> None:
    """Otherwise a night of mocap would train once more on mocap in another layout."""
    nbformat.write(
        notebook(parameters("data: str = 'synthetic'  # data")),
        str(folder / "41_finetune_3dhp.ipynb"),
    )
    chapter = {
        data: {job.name: job for job in jobs(Suite(data=data), folder)}
        for data in ("mocap", "mpi_inf_3dhp")
    }
    assert chapter["mocap"]["41_finetune_3dhp"].parameters == {}
    assert chapter["mpi_inf_3dhp"]["41_finetune_3dhp"].parameters == {"data": "mpi_inf_3dhp"}


def test_a_row_wins_over_the_users_override_of_the_same_key(folder: Path) -> None:
    suite = Suite(overrides={"model.streams": "both", "model.dim": 32})
    (gcn,) = [
        job
        for job in jobs(suite, folder)
        if job.kind == "finetune" and "GCN stream only" in job.label
    ]
    assert gcn.parameters["overrides"] == {
        "model.streams": "gcn",
        "model.dim": 32,
        "finetune.init": "pretrained",
    }


def test_a_table_alone_trains_its_rows_and_its_chapter_waits_for_them(folder: Path) -> None:
    for name in ("54_figure6", "57_table7"):
        nbformat.write(
            notebook(parameters("preset: str = 'smoke'  # sizes")), str(folder / f"{name}.ipynb")
        )
    made = {job.name: job for job in jobs(Suite.from_config({"tables": "table7"}), folder)}
    finetuning = {name for name in made if name.startswith("40_finetune-")}
    assert (
        len(finetuning) == 15
        and len([name for name in made if name.startswith("32_pretrain-")]) == 1
    )
    assert set(made["57_table7"].needs) == finetuning
    curves = {
        job.name: job
        for job in jobs(Suite.from_config({"tables": ["figure6"], "preset": "small"}), folder)
    }
    assert not [name for name in curves if name.startswith("40_finetune-")]
    assert set(curves["54_figure6"].needs) == {
        f"32_pretrain-figure6-row{i}-s0" for i in range(1, 7)
    }
    assert (
        curves["32_pretrain-figure6-row4-s0"].label == "P=0.7, M=1, K=4 of N=8 blocks, d=32, seed 0"
    )


def test_a_row_with_a_recipe_of_its_own_keeps_it(folder: Path) -> None:
    made = jobs(Suite.from_config({"tables": "label-scarcity", "recipe": "released"}), folder)
    recipes = [job.parameters["recipe"] for job in made if job.kind == "finetune"]
    assert recipes == ["paper"] * 6 + ["released"] * 4 + ["paper"] * 12


@pytest.mark.parametrize("given", [3, "3", [3], "3 4", "3,4", (3, 4)])
def test_seeds_in_any_form(given: object) -> None:
    assert Suite.from_config({"seeds": given}).seeds in ((3,), (3, 4))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"presett": "smoke"}, "unknown config key 'presett'"),
        ({"seeds": "one"}, "seeds must be whole numbers"),
        ({"preset": "huge"}, "unknown preset 'huge'"),
        ({"tables": "table9"}, "no table of experiments 'table9'"),
        ({"tables": "table4"}, "the suite trains no rows of table4: each is a call of m2v action"),
        ({"overrides": {"model.dims": 3}}, "the nearest is 'model.dim'"),
    ],
)
def test_a_bad_config_is_refused_before_anything_runs(
    folder: Path, config: dict, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        plan(Suite.from_config(config), folder)


def test_of_one_table_only_its_chapter_is_planned(folder: Path) -> None:
    suite = Suite.from_config({"tables": "teachers", "chapters": "58_table8"})
    made = plan(suite, folder)["jobs"]
    assert [job["name"] for job in made if job["kind"] in ("chapter", "result")] == ["58_table8"]
    assert any(job["kind"] == "finetune" for job in made)
    with pytest.raises(ConfigError, match="58_table8"):
        jobs(Suite(chapters=("58_table9",)), folder)
