"""Tables: the right runs in the right rows, and no number ever set beside one it cannot be
compared with.
"""

from __future__ import annotations

import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.experiments import rows as named_rows
from m2v_lib.experiments.rows import Row
from m2v_lib.results import tables
from m2v_lib.results.tables import PUBLISHED_PROTOCOL, build_table, rows
from m2v_lib.runs.records import Record

FULL = {"steps": 100_000, "epochs_done": 60.0, "epochs_full": 60, "partial": False}
SHORT = {"steps": 60, "epochs_done": 2.5, "epochs_full": 60, "partial": True}


def record(
    row: int = 1, *, data: str = "synthetic", preset: str = "smoke", seed: int = 0, **changes: Any
) -> Record:
    """A fine-tuning record of a row of Table VIII as training would leave it."""
    exp = rows("table8")[row - 1].experiment(
        data=data, preset=preset, overrides=changes.pop("overrides", None)
    )
    result: dict[str, Any] = {
        "stage": "finetune",
        "data": {
            "name": data,
            "protocol": PUBLISHED_PROTOCOL,
            "fingerprint": "f00d",
            "input_2d": "detected",
        },
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
    assert (
        positions
        == [only_spatial] * 2 + [(False, True), (True, True), (False, False)] + [only_spatial] * 3
    )
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
        assert (exp.model.streams != "gcn", exp.model.streams != "transformer") == (
            mark["TrS"],
            mark["GS"],
        )
        assert (exp.model.fusion == "mean") is mark["SF"]


EVERY = (
    "table1",
    "table1-gt",
    "table4",
    "table5",
    "table6",
    "table7",
    "table8",
    "teachers",
    "label-scarcity",
)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("recipe", ["paper", "released"])
@pytest.mark.parametrize("preset", ["smoke", "small", "base", "large"])
def test_rows_are_different_experiments_under_every_preset_and_recipe(
    name: str, recipe: str, preset: str
) -> None:
    if preset == "large" and name in ("table1", "table1-gt", "table4"):
        pytest.skip("these tables hold both sizes, so they are asked for with preset base")
    asked = [row.experiment(data="synthetic", preset=preset, recipe=recipe) for row in rows(name)]
    assert len({exp.digest(tables.measure_of(name).stage) for exp in asked}) == len(asked)


def printed_rows(name: str) -> list[Row]:
    """A table's rows that stand in the paper: a reader may add others."""
    return [row for row in rows(name) if row.published]


def marks(name: str, *columns: str) -> list[tuple[Any, ...]]:
    """The labels of the printed rows of a table, in order."""
    return [
        tuple(line[c] for c in columns)
        for line in tables.paper.table(name)
        if line["metric"] == "MPJPE"
    ]


def test_rows_of_tables_5_to_7_are_the_printed_ones() -> None:
    exps = {
        name: [row.experiment(data="h36m", preset="base") for row in printed_rows(name)]
        for name in EVERY[3:6]
    }
    stage_1 = [
        (e.pretrain.mask_prob, e.pretrain.n_masks, e.pretrain.target_layers) for e in exps["table5"]
    ]
    assert stage_1 == marks("table5", "P", "M", "K")
    assert [(e.model.n_layers, e.model.dim) for e in exps["table6"]] == marks("table6", "N", "d")
    weights = [(e.finetune.w_scale, e.finetune.w_velocity) for e in exps["table7"]]
    printed = marks("table7", "lambda_1", "lambda_2")
    assert [i for i, pair in enumerate(weights) if pair != printed[i]] == [12], (
        "the row whose label is printed twice"
    )
    assert all(e.finetune.init == "pretrained" for group in exps.values() for e in group)
    full = rows("table8")[0].experiment(data="h36m", preset="base").digest("finetune")
    assert [
        exps[name][i].digest("finetune")
        for name, i in (("table5", 1), ("table6", 3), ("table7", 0))
    ] == [full] * 3


def test_figure_6_is_the_pre_training_of_table_5() -> None:
    for preset in ("small", "base"):
        pairs = zip(rows("figure6"), printed_rows("table5"), strict=True)
        asked = [
            [r.experiment(data="mocap", preset=preset).digest("pretrain") for r in pair]
            for pair in pairs
        ]
        assert all(curve == row for curve, row in asked) and len({curve for curve, _ in asked}) == 6


@pytest.mark.parametrize("name", ["table5", "table6", "table7", "table8"])
def test_each_ablation_row_stands_beside_its_printed_values(name: str) -> None:
    frame = build_table(name, [], data="h36m", preset="base")
    for key, metric in (("mpjpe", "MPJPE"), ("p_mpjpe", "P-MPJPE")):
        printed = [line["value"] for line in tables.paper.table(name) if line["metric"] == metric]
        assert list(frame[f"published_{key}"].dropna()) == printed


def test_no_difference_where_the_printed_label_is_uncertain() -> None:
    run = record(1, data="h36m", preset="base")
    lines = {}
    for row in (9, 13):
        exp = rows("table7")[row - 1].experiment(data="h36m", preset="base")
        run.result["digest"] = exp.digest("finetune")
        frame = build_table("table7", [run], data="h36m", preset="base")
        lines[row] = frame.iloc[row - 1]
        assert lines[row]["state"] == "reproduced"
    assert lines[9]["difference_mpjpe"] == pytest.approx(50.0 - 39.4) and math.isnan(
        lines[13]["difference_mpjpe"]
    )


def other_record(table: str, row: int, data: str, test: dict[str, float], **about: Any) -> Record:
    exp = rows(table)[row - 1].experiment(data=data, preset="base")
    stage = tables.measure_of(table).stage
    result = {
        "stage": stage,
        "data": {"name": data, "fingerprint": "f00d", **about},
        "preset": "base",
        "seed": 0,
        "digest": exp.digest(stage),
        "schedule": FULL,
        "selected": "last",
        "test": test,
    }
    return Record(Path(f"{stage}-{data}"), exp.to_dict(), result, [], {})


PCK = {"mpjpe": 20.0, "pck": 97.0, "auc": 80.0}
WHOLE_3DHP = (
    "MPI-INF-3DHP: S1-S8 train, TS1-TS6 test, ground-truth 2D, universal skeleton; valid frames; "
    "one unit"
)
NTU = {"classes": ["a"] * 60, "n_train": 40_000, "split": "xsub"}


@pytest.mark.parametrize(
    ("table", "run", "state", "difference"),
    [
        (
            "mpi_inf_3dhp",
            other_record("mpi_inf_3dhp", 2, "mpi_inf_3dhp", PCK, protocol=WHOLE_3DHP),
            "reproduced",
            3.5,
        ),
        (
            "mpi_inf_3dhp",
            other_record("mpi_inf_3dhp", 2, "mpi_inf_3dhp", PCK, protocol="other data"),
            "partial schedule",
            None,
        ),
        (
            "mpi_inf_3dhp",
            other_record("mpi_inf_3dhp", 2, "mocap", {"mpjpe": 20.0}, protocol=""),
            "mocap",
            None,
        ),
        ("table4", other_record("table4", 1, "ntu60", {"top1": 80.0}, **NTU), "reproduced", -7.0),
        (
            "table4",
            other_record("table4", 1, "ntu60", {"top1": 80.0}, **{**NTU, "n_train": 90}),
            "partial schedule",
            None,
        ),
        ("table4", other_record("table4", 1, "mocap", {"top1": 80.0}, **NTU), "mocap", None),
        (
            "table1-gt",
            other_record(
                "table1-gt", 1, "h36m", {"mpjpe": 30.0}, protocol=PUBLISHED_PROTOCOL, input_2d="gt"
            ),
            "reproduced",
            9.4,
        ),
        (
            "table1-gt",
            other_record(
                "table1-gt",
                1,
                "h36m",
                {"mpjpe": 30.0},
                protocol=PUBLISHED_PROTOCOL,
                input_2d="detected",
            ),
            "partial schedule",
            None,
        ),
    ],
)
def test_other_data_sets_have_their_own_metrics_and_conditions(
    table: str, run: Record, state: str, difference: float | None
) -> None:
    frame = build_table(table, [run], data=run.result["data"]["name"], preset="base")
    (line,) = [line for line in frame.to_dict("records") if line["n_seeds"]]
    key = next(iter(tables.measure_of(table).metrics))
    assert line["state"] == state
    assert (
        line[f"difference_{key}"] == pytest.approx(difference, nan_ok=True) if difference else True
    )
    assert math.isnan(line[f"difference_{key}"]) == (difference is None)
    text = tables.to_markdown(frame)
    assert ("beside the paper" in text) == (state != "mocap") and (
        "not to be compared" in text
    ) == (state == "mocap")


def test_teachers_share_their_runs_with_table8() -> None:
    scratch, frozen, moving = (
        r.experiment(data="synthetic", preset="smoke") for r in rows("teachers")
    )
    full, without = (r.experiment(data="synthetic", preset="smoke") for r in rows("table8")[:2])
    assert scratch.digest("finetune") == without.digest("finetune")
    assert moving.digest("finetune") == full.digest("finetune") and moving.digest(
        "pretrain"
    ) == full.digest("pretrain")
    assert frozen.pretrain.teacher == "frozen" and frozen.digest("pretrain") != moving.digest(
        "pretrain"
    )


def test_nothing_run_gives_eight_rows_that_say_so() -> None:
    frame = table()
    assert list(frame["state"]) == ["not run"] * 8 and list(frame["n_seeds"]) == [0] * 8
    assert frame["mpjpe"].isna().all() and frame["difference_mpjpe"].isna().all()
    assert list(frame["published_mpjpe"]) == [38.4, 38.6, 39.0, 39.0, 40.1, 40.0, 40.3, 40.4]
    assert frame["source"][1] == "Table VIII, row 2"


def test_a_run_lands_in_its_row_and_nowhere_else() -> None:
    frame = table(record(3))
    assert list(frame["state"]) == ["not run", "not run", "synthetic", *["not run"] * 5]
    assert (
        frame["mpjpe"][2] == 50.0
        and frame["schedule"][2] == "60 steps (2.5 of 60 epochs), last epoch"
    )


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
def test_no_difference_otherwise(
    data: str, preset: str, changes: dict[str, Any], state: str
) -> None:
    frame = table(record(1, data=data, preset=preset, **changes), data=data, preset=preset)
    assert frame["state"][0] == state
    assert frame[["difference_mpjpe", "difference_p_mpjpe"]].isna().all(axis=None)


def test_one_partial_seed_takes_the_difference_away() -> None:
    runs = [
        record(1, data="h36m", preset="base"),
        record(1, data="h36m", preset="base", seed=1, schedule=SHORT),
    ]
    frame = table(*runs, data="h36m", preset="base")
    assert frame["state"][0] == "partial schedule" and math.isnan(frame["difference_mpjpe"][0])


def test_one_partial_seed_marks_the_row_on_other_data_too() -> None:
    runs = [
        record(1, data="mocap", preset="base"),
        record(1, data="mocap", preset="base", seed=1, schedule=SHORT),
    ]
    frame = table(*runs, data="mocap", preset="base")
    assert frame["state"][0] == "mocap, partial schedule"
    assert frame["by_seed"][0] == {
        0: {"mpjpe": 50.0, "p_mpjpe": 40.0},
        1: {"mpjpe": 51.0, "p_mpjpe": 41.0},
    }
    assert (
        '<tr class="m2v-mocap-partial-schedule" data-runs="finetune-mocap-base-'
        in tables.to_html(frame)
    )


def test_on_other_data_published_values_stand_in_a_table_of_their_own() -> None:
    text = tables.to_markdown(table(record(1, data="mocap", preset="smoke"), data="mocap"))
    measured, published = text.split("**Published")
    assert "50.0" in measured and "mocap" in measured and "38.4" not in measured
    assert "38.4" in published and "50.0" not in published and "not to be compared" in published
    assert "difference" not in text


def test_on_human36m_they_stand_side_by_side() -> None:
    text = tables.to_markdown(
        table(record(1, data="h36m", preset="base"), data="h36m", preset="base")
    )
    (line,) = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert "| 38.4 | 32.1 | 50.0 | 40.0 | 1 | reproduced |" in line and "| +11.6 / +7.9 |" in line
    assert "**Published" not in text


def test_rows_the_paper_does_not_have_are_not_in_the_published_block() -> None:
    text = tables.to_markdown(build_table("teachers", [], data="synthetic", preset="smoke"))
    measured, published = text.split("**Published")
    assert "frozen" in measured and "frozen" not in published


def test_a_published_value_stands_beside_what_the_paper_ran_not_beside_a_smaller_network() -> None:
    text = tables.to_markdown(build_table("table6", [], data="mocap", preset="small"))
    measured, published = text.split("**Published")
    assert "| 4 | N=8, d=32 (for N=16, d=128) |" in measured
    assert "| 4 | N=16, d=128 | 38.4 | 32.1 |" in published and "d=32" not in published


def test_html_is_balanced_stable_escaped_and_marks_states() -> None:
    frame = table(record(1, selected="<b>last</b>"))
    page = tables.to_html(frame)
    assert page == tables.to_html(table(record(1, selected="<b>last</b>")))
    assert all(f'<tr class="m2v-{state}"' in page for state in ("synthetic", "not-run", "paper"))
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
    with pytest.raises(
        ConfigError,
        match="no table of experiments 'table9'; choose one of table1, table1-gt, table8",
    ):
        rows("table9")
    with pytest.raises(ConfigError, match="nearest is 'model.dim'"):
        table(overrides={"model.dimm": 3})


def test_the_listing_of_rows_loads_neither_pandas_nor_torch() -> None:
    code = (
        "import sys, m2v_lib.results.tables as t; t.rows('table8'); assert not "
        "{'pandas', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digest_is_the_one_a_notebook_run_gets() -> None:
    exp = Experiment.preset("smoke").override(
        {"data.name": "synthetic", "run.seed": 3, **rows("table8")[1].overrides}
    )
    assert rows("table8")[1].experiment(data="synthetic", preset="smoke").digest(
        "finetune"
    ) == exp.digest("finetune")


def test_motion_capture_shows_base_where_it_ran_and_else_the_budget_of_small() -> None:
    def run(preset: str, row: int, **changes: Any) -> Record:
        return record(
            row, data="mocap", preset=preset, overrides=tables.budget(preset, "table8"), **changes
        )

    assert tables.on_motion_capture("table8", []).attrs["preset"] == "small"
    small = tables.on_motion_capture(
        "table8", [run("small", 2, schedule=SHORT), record(2, data="mocap")]
    )
    assert small.attrs["preset"] == "small" and small["state"][1] == "mocap, partial schedule"
    both = tables.on_motion_capture("table8", [run("small", 2), run("base", 3)])
    assert both.attrs["preset"] == "base" and list(both["n_seeds"]) == [0, 0, 1, 0, 0, 0, 0, 0]
    begun = tables.on_motion_capture("table8", [run("small", 2), run("small", 3), run("base", 3)])
    assert begun.attrs["preset"] == "small", "a queue half done hides no row"
    nearly = [*(run("small", row) for row in (2, 3, 4)), run("base", 2), run("base", 3)]
    assert tables.on_motion_capture("table8", nearly).attrs["preset"] == "base"
    asked = tables.on_motion_capture("table8", nearly, "small")
    assert asked.attrs["preset"] == "small" and sum(asked["n_seeds"]) == 3


def test_what_each_row_changes_against_another() -> None:
    changes = tables.against("table7", 1, preset="base")["changes"]
    assert changes[1] == "" and changes[3] == "finetune.w_velocity: 20.0 → 0.0"
    scaled = tables.against("table6", 4, preset="small")
    assert (
        scaled["experiment"][6] == "N=8, d=64 (for N=16, d=256)"
        and scaled["changes"][6] == "model.dim: 32 → 64"
    )


def test_of_two_copies_of_a_run_the_first_is_taken() -> None:
    """What is found first lies in the folder of runs, its copy among the kept ones."""
    first, copy = record(1, test={"mpjpe": 60.0}), record(1, test={"mpjpe": 70.0})
    assert table(first, copy)["mpjpe"][0] == 60.0
    assert table(copy, first)["mpjpe"][0] == 70.0


def test_a_row_number_stands_once_in_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"row": 3, "label": "x", "overrides": {}}
    monkeypatch.setattr(named_rows, "contents", lambda: {"groups": {"table8": [entry, entry]}})
    with pytest.raises(ConfigError, match="row table8/3 twice"):
        named_rows._experiments.__wrapped__()
