"""Measured numbers in the README are those of the committed run records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from m2v_lib import cli, lift, weights
from m2v_lib.bench import load_bench
from m2v_lib.experiments import queue
from m2v_lib.results import effects, paper, tables
from m2v_lib.runs.records import find_records, load_record

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(
    r"^\| (?P<what>.+?) \| (?P<value>[\d.]+) \| \[.*?\]\((?P<record>reports/records/[^)]+)\) \|$",
    re.MULTILINE,
)
ROWS = [
    match.groupdict() for match in ROW.finditer((ROOT / "README.md").read_text(encoding="utf-8"))
]

#: what a row gives of a run
VALUE = {"finetune": "mpjpe", "action": "top1"}


def test_every_committed_record_is_in_the_readme_or_a_run_of_the_queue() -> None:
    """The queue's runs are the cells of the tables; any other number has to be named here."""
    kept = {
        f"reports/records/{result.parent.name}"
        for result in (ROOT / "reports/records").glob("*/result.json")
    }
    wanted = {
        f"reports/records/{item.name}"
        for preset in ("small", "base")
        for item in queue.items(preset)
    }
    named = {row["record"] for row in ROWS}
    assert kept and named <= kept and kept - named <= wanted


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["what"])
def test_a_measured_number_is_its_records(row: dict[str, str]) -> None:
    result = load_record(ROOT / row["record"]).result
    assert row["value"] == f"{result['test'][VALUE[result['stage']]]:.1f}"


def test_the_floors_are_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (run,) = (row for row in ROWS if row["what"].startswith("preset `small`, 14,000 steps"))
    floors = load_record(ROOT / run["record"]).result["baselines"]
    assert f"{floors['ridge']['mpjpe']:.1f} mm" in text
    assert f"{floors['mean_pose']['mpjpe']:.1f} mm" in text


def test_the_speeds_are_the_bench_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    about = re.search(
        r"`base` (\S+)x in inference and (\S+)x in training \(compiled (\S+)x\),\s+`small` (\S+)x",
        text,
    )
    assert about
    places = [
        ("base", "inference", "fast"),
        ("base", "train", "fast"),
        ("base", "train", "fast-compiled"),
        ("small", "train", "fast-bf16-compiled"),
    ]
    for said, (preset, task, variant) in zip(about.groups(), places, strict=True):
        record = load_bench(ROOT / f"reports/records/bench-cpu2-{preset}-paper")
        (found,) = (
            row
            for row in record["measurements"]
            if (row["task"], row["variant"]) == (task, variant)
        )
        assert said == f"{found['speedup']['median']:.2f}"


def test_what_is_said_of_pretraining_is_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    records = {run.path.name: run for run in find_records(ROOT / "reports" / "records")}
    question = tables.on_motion_capture("pretraining-question", records.values())
    scratch, runs = (question.set_index("row")[column] for column in ("mpjpe", "runs"))
    floors = dict[str, float]()
    for labels, rows in {"all": (1, 2, 3), "10 %": (4, 5, 6), "1 %": (11, 12, 13)}.items():
        floors[labels] = records[runs[rows[0]][0]].result["baselines"]["ridge"]["mpjpe"]
        gaps = [effects.effect_of_row(question, row, rows[0]) for row in rows[1:]]
        assert [gap.n for gap in gaps] == [3, 3]
        said = " | ".join(effects.describe(gap).replace(", 3 seeds)", ")") for gap in gaps)
        assert f"| {labels} | {floors[labels]:.1f} | {scratch[rows[0]]:.1f} | {said} |" in text
    for row, other in ((8, 7), (10, 9)):
        size = effects.describe(effects.effect_of_row(question, row, other)).partition(": ")[0]
        start = f"{scratch[other]:.1f} mm"
        assert re.search(
            rf"{start}( from scratch, which pre-training changes|,) by {re.escape(size)}", text
        )
    assert "fewer labels make the network from scratch no worse" in text and scratch[1] > max(
        scratch[4], scratch[11]
    )
    assert (
        "though they do the ridge regression" in text
        and floors["all"] < floors["10 %"] < floors["1 %"]
    )
    assert question.attrs["preset"] == "small" and "1,000 steps of either stage" in text


def test_what_is_said_of_the_modules_is_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    records = find_records(ROOT / "reports" / "records")
    noise = effects.seed_noise(tables.on_motion_capture("pretraining-question", records))
    lines = effects.summarise(tables.on_motion_capture("table8", records), 1, noise).splitlines()
    rows = [line.split(": ", 2)[1:] for line in lines if line[0].isdigit() and line[1] == ":"]
    assert len(rows) == 7
    for label, words in rows:
        assert f"| {label} | {words} |" in text


def test_what_is_said_of_the_other_ablations_is_the_records() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    records = find_records(ROOT / "reports" / "records")
    masks, sizes, losses = (tables.on_motion_capture(f"table{n}", records) for n in (5, 6, 7))
    noise = effects.seed_noise(tables.on_motion_capture("pretraining-question", records))
    assert f"differ in their seed alone differ by {noise:.1f} mm" in text
    assert (
        f"effect that the paper claims for stage 1 is {paper.said('stage1-mpjpe', 'gain')} mm"
        in text
    )
    furthest = max(abs(gap.mean) for gap in effects.effects_of_all_rows(masks, 2).values())
    assert (
        f"no row is further than {furthest:.1f} mm from the best printed one" in text
        and furthest < noise
    )
    weak = [
        gap.mean
        for row, gap in effects.effects_of_all_rows(losses, 1).items()
        if row in (2, 3, 4, 5, 6, 11)
    ]
    assert f"is worth {-max(weak):.1f} to {-min(weak):.1f} mm" in text
    deep = effects.effect_of_row(sizes, 1, 5).mean
    assert f"network is {deep:.1f} mm behind the deepest" in text


def test_what_is_said_of_the_actions_is_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (run,) = (
        row for row in ROWS if row["what"].startswith("preset `small` from scratch, 1,500 steps")
    )
    result = load_record(ROOT / run["record"]).result
    floor, classes = result["baselines"]["majority"], result["data"]["classes"]
    assert f"Always answering `{floor['class']}` is right in {floor['top1']:.1f} %" in text
    rows = enumerate(zip(classes, result["test"]["confusion"], strict=True))
    named = {name: (row[i], sum(row)) for i, (name, row) in rows}
    assert "({} of {}, {} of {})".format(*named["walk"], *named["run"]) in text
    others = [sum(named[name][i] for name in ("jump/hop", "martial/fight")) for i in (0, 1)]
    assert "({} of {})".format(*others) in text


def test_what_is_said_of_lifting_is_so() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Lift your own video\n")[1].split("\n## ")[0]
    off = load_record(weights.FOLDER).result["test"]["mpjpe"]
    assert f"is off by {off:.1f} mm" in section
    endings = set(re.findall(r"`(\.\w+)`", section))
    assert endings == set(lift.WRITERS)
    for command in re.findall(r"^m2v (.+?)(?:\s{2,}#.*)?$", section, re.MULTILINE):
        cli.parser().parse_args(command.split())  # exits where an option is not known
