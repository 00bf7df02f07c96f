"""Tables: the right runs in the right rows, and no number ever set beside one it cannot be compared with."""

from __future__ import annotations

import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from m2v_lib import tables
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.records import Record
from m2v_lib.tables import PUBLISHED_PROTOCOL, build_table, rows

FULL = {"steps": 100_000, "epochs_done": 60.0, "epochs_full": 60, "partial": False}
SHORT = {"steps": 60, "epochs_done": 2.5, "epochs_full": 60, "partial": True}


def record(row: int = 1, *, data: str = "synthetic", preset: str = "smoke", seed: int = 0, **changes: Any) -> Record:
    """A fine-tuning record of a row of Table VIII as training would leave it."""
    exp = rows("table8")[row - 1].experiment(data=data, preset=preset, overrides=changes.pop("overrides", None))
    result: dict[str, Any] = {
        "stage": "finetune",
        "data": {"name": data, "protocol": PUBLISHED_PROTOCOL, "fingerprint": "f00d", "input_2d": "detected"},
        "preset": preset,
        "recipe": "paper",
        "digest": exp.digest("finetune"),
        "seed": seed,
        "schedule": SHORT if preset == "smoke" else FULL,
        "selected": "last",
        "test": {"mpjpe": 50.0 + seed, "p_mpjpe": 40.0 + seed},
    }
    result["data"].update(changes.pop("about_data", {}))
    path = Path(f"finetune-{data}-{preset}-{result['digest']}-s{seed}")
    return Record(path=path, config=exp.to_dict(), result={**result, **changes}, metrics=[], env={})


def table(*records: Any, data: str = "synthetic", preset: str = "smoke", **kwargs: Any) -> Any:
    return build_table("table8", records, data=data, preset=preset, **kwargs)


def test_table8_has_the_papers_rows_and_each_changes_what_audit_a5_says() -> None:
    exps = [row.experiment(data="h36m", preset="base") for row in rows("table8")]
    assert [exp.finetune.init for exp in exps] == ["pretrained", "scratch", *["pretrained"] * 6]
    positions = [(exp.model.spatial_pos, exp.model.temporal_pos) for exp in exps]
    only_spatial = (True, False)
    assert positions == [only_spatial] * 2 + [(False, True), (True, True), (False, False)] + [only_spatial] * 3
    assert [exp.model.fusion for exp in exps] == ["adaptive"] * 5 + ["mean"] + ["adaptive"] * 2
    assert [exp.model.streams for exp in exps] == ["both"] * 6 + ["transformer", "gcn"]
    assert [row.name for row in rows("table8")] == [f"table8-row{i}" for i in range(1, 9)]
    assert "mean" in rows("table8")[5].label and "as released" in rows("table8")[5].label


def test_table8_labels_agree_with_the_marks_the_paper_prints() -> None:
    marks = {row["row"]: row for row in tables.paper.table("table8")}
    for row in rows("table8"):
        exp, mark = row.experiment(data="h36m", preset="base"), marks[row.row]
        assert (exp.finetune.init == "pretrained") is mark["S1"]
        assert (exp.model.spatial_pos, exp.model.temporal_pos) == (mark["SPE"], mark["TPE"])
        assert (exp.model.streams != "gcn", exp.model.streams != "transformer") == (mark["TrS"], mark["GS"])
        assert (exp.model.fusion == "mean") is mark["SF"]


@pytest.mark.parametrize("name", ["table8", "teachers"])
@pytest.mark.parametrize("recipe", ["paper", "released"])
@pytest.mark.parametrize("preset", ["smoke", "small", "base", "large"])
def test_rows_are_different_experiments_under_every_preset_and_recipe(name: str, recipe: str, preset: str) -> None:
    asked = [row.experiment(data="synthetic", preset=preset, recipe=recipe) for row in rows(name)]
    assert len({exp.digest("finetune") for exp in asked}) == len(asked)


def test_teachers_share_their_runs_with_table8() -> None:
    scratch, frozen, moving = (r.experiment(data="synthetic", preset="smoke") for r in rows("teachers"))
    full, without = (r.experiment(data="synthetic", preset="smoke") for r in rows("table8")[:2])
    assert scratch.digest("finetune") == without.digest("finetune")
    assert moving.digest("finetune") == full.digest("finetune") and moving.digest("pretrain") == full.digest("pretrain")
    assert frozen.pretrain.teacher == "frozen" and frozen.digest("pretrain") != moving.digest("pretrain")


def test_nothing_run_gives_eight_rows_that_say_so() -> None:
    frame = table()
    assert list(frame["state"]) == ["not run"] * 8 and list(frame["n_seeds"]) == [0] * 8
    assert frame["mpjpe"].isna().all() and frame["difference_mpjpe"].isna().all()
    assert list(frame["published_mpjpe"]) == [38.4, 38.6, 39.0, 39.0, 40.1, 40.0, 40.3, 40.4]
    assert frame["source"][1] == "Table VIII, row 2"


def test_a_run_lands_in_its_row_and_nowhere_else() -> None:
    frame = table(record(3))
    assert list(frame["state"]) == ["not run", "not run", "synthetic", *["not run"] * 5]
    assert frame["mpjpe"][2] == 50.0 and frame["schedule"][2] == "60 steps (2.5 of 60 epochs), last epoch"


@pytest.mark.parametrize(
    "other",
    [
        record(1, preset="small"),
        record(1, data="mocap"),
        record(1, overrides={"model.dim": 32}),
        record(1, stage="pretrain"),
        record(1, seed=7),
    ],
)
def test_a_run_with_other_settings_is_left_out(other: Any) -> None:
    assert set(table(other, seeds=[0, 1])["state"]) == {"not run"}


def test_user_overrides_are_part_of_the_match() -> None:
    wide = record(1, overrides={"model.dim": 32})
    assert table(wide, overrides={"model.dim": 32})["state"][0] == "synthetic"


def test_seeds_give_mean_and_spread() -> None:
    runs = [record(2, seed=s) for s in (0, 1, 2)]
    frame = table(*runs)
    assert (frame["mpjpe"][1], frame["mpjpe_spread"][1], frame["n_seeds"][1]) == (51.0, 1.0, 3)
    assert table(*runs, seeds=[0, 1])["mpjpe"][1] == 50.5
    assert math.isnan(table(runs[0])["mpjpe_spread"][1])
    assert table(*runs, seeds=[])["state"][1] == "not run"


def test_a_run_kept_in_two_places_counts_once() -> None:
    assert table(record(1), record(1))["n_seeds"][0] == 1


def test_a_difference_needs_the_papers_data_protocol_network_and_schedule() -> None:
    good = record(1, data="h36m", preset="base")
    frame = table(good, data="h36m", preset="base")
    assert frame["state"][0] == "reproduced"
    assert frame["difference_mpjpe"][0] == pytest.approx(50.0 - 38.4)
    assert frame["difference_p_mpjpe"][0] == pytest.approx(40.0 - 32.1)


@pytest.mark.parametrize(
    ("data", "preset", "changes", "state"),
    [
        ("mocap", "base", {}, "mocap"),
        ("my-capture", "base", {}, "mocap"),
        ("mocap", "base", {"schedule": SHORT}, "mocap, partial schedule"),
        ("synthetic", "base", {}, "synthetic"),
        ("h36m", "base", {"schedule": SHORT}, "partial schedule"),
        ("h36m", "small", {}, "partial schedule"),
        ("h36m", "base", {"about_data": {"protocol": "S9 only"}}, "partial schedule"),
        ("h36m", "base", {"about_data": {"input_2d": "gt"}}, "partial schedule"),
    ],
)
def test_no_difference_otherwise(data: str, preset: str, changes: dict[str, Any], state: str) -> None:
    frame = table(record(1, data=data, preset=preset, **changes), data=data, preset=preset)
    assert frame["state"][0] == state
    assert frame[["difference_mpjpe", "difference_p_mpjpe"]].isna().all(axis=None)


def test_one_partial_seed_takes_the_difference_away() -> None:
    runs = [record(1, data="h36m", preset="base"), record(1, data="h36m", preset="base", seed=1, schedule=SHORT)]
    frame = table(*runs, data="h36m", preset="base")
    assert frame["state"][0] == "partial schedule" and math.isnan(frame["difference_mpjpe"][0])


def test_one_partial_seed_marks_the_row_on_other_data_too() -> None:
    runs = [record(1, data="mocap", preset="base"), record(1, data="mocap", preset="base", seed=1, schedule=SHORT)]
    frame = table(*runs, data="mocap", preset="base")
    assert frame["state"][0] == "mocap, partial schedule"
    assert frame["by_seed"][0] == {0: {"mpjpe": 50.0, "p_mpjpe": 40.0}, 1: {"mpjpe": 51.0, "p_mpjpe": 41.0}}
    assert '<tr class="m2v-mocap-partial-schedule">' in tables.to_html(frame)


def test_on_other_data_published_values_stand_in_a_table_of_their_own() -> None:
    text = tables.to_markdown(table(record(1, data="mocap", preset="smoke"), data="mocap"))
    measured, published = text.split("**Published")
    assert "50.0" in measured and "mocap" in measured and "38.4" not in measured
    assert "38.4" in published and "50.0" not in published and "not to be compared" in published
    assert "difference" not in text


def test_on_human36m_they_stand_side_by_side() -> None:
    text = tables.to_markdown(table(record(1, data="h36m", preset="base"), data="h36m", preset="base"))
    (line,) = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert "| 38.4 | 32.1 | 50.0 | 40.0 | 1 | reproduced |" in line and "| +11.6 / +7.9 |" in line
    assert "**Published" not in text


def test_rows_the_paper_does_not_have_are_not_in_the_published_block() -> None:
    text = tables.to_markdown(build_table("teachers", [], data="synthetic", preset="smoke"))
    measured, published = text.split("**Published")
    assert "frozen" in measured and "frozen" not in published


def test_html_is_balanced_stable_escaped_and_marks_states() -> None:
    frame = table(record(1, selected="<b>last</b>"))
    page = tables.to_html(frame)
    assert page == tables.to_html(table(record(1, selected="<b>last</b>")))
    assert all(f'<tr class="m2v-{state}">' in page for state in ("synthetic", "not-run", "paper"))
    assert "<b>" not in page and " id=" not in page and "<script" not in page

    class Balance(HTMLParser):
        depth: list[str] = []

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.depth.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.depth.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.depth == []


def test_a_notebook_shows_the_table() -> None:
    shown = tables.show(table())
    assert shown._repr_html_() == tables.to_html(table()) and repr(shown) == "table8: 8 rows"
    assert "not run" in shown._repr_markdown_()


def test_mixed_builds_of_the_data_are_pointed_out() -> None:
    mixed = [record(1), record(2, about_data={"fingerprint": "beef"})]
    assert "different builds" in tables.to_markdown(table(*mixed))
    assert "different builds" not in tables.to_markdown(table(record(1), record(2)))


def test_unknown_table_and_setting() -> None:
    with pytest.raises(ConfigError, match="no table of experiments 'table9'; choose one of table8, table5"):
        rows("table9")
    with pytest.raises(ConfigError, match="nearest is 'model.dim'"):
        table(overrides={"model.dimm": 3})


def test_the_listing_of_rows_loads_neither_pandas_nor_torch() -> None:
    code = "import sys, m2v_lib.tables as t; t.rows('table8'); assert not {'pandas', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digest_is_the_one_a_notebook_run_gets() -> None:
    exp = Experiment.preset("smoke").override({"data.name": "synthetic", "run.seed": 3, **rows("table8")[1].overrides})
    assert rows("table8")[1].experiment(data="synthetic", preset="smoke").digest("finetune") == exp.digest("finetune")
