"""The front page's answer to 'does it learn?': the committed record against the mean pose and
ridge regression.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m2v_lib.config.models import DUAL_STREAM
from m2v_lib.runs.records import Record

PRESET_ORDER = ("smoke", "small", "compact", "medium", "base", "large")


def headline_records(records: Sequence[Record]) -> list[Record]:
    """For each protocol the paper's network in its fine-tuning record of the largest preset and,
    within it, of the longest training.

    Never the one with the lowest error: that would be a selection on test subjects. Stores of one
    protocol that differ in their joints alone are one. Generated motion comes last.
    """
    chosen: dict[str, Record] = {}
    for record in records:
        result, model = record.result, record.config.get("model", {})
        of_the_paper = model.get("name", DUAL_STREAM) == DUAL_STREAM
        if result.get("stage") != "finetune" or not result.get("baselines") or not of_the_paper:
            continue
        protocol = result["data"]["protocol"].partition("; joints ")[0]
        if protocol not in chosen or _effort(record) > _effort(chosen[protocol]):
            chosen[protocol] = record

    def order(record: Record) -> tuple[bool, str]:
        name = record.result["data"]["name"]
        return name == "synthetic", name

    return sorted(chosen.values(), key=order)


def _effort(record: Record) -> tuple[int, int]:
    return PRESET_ORDER.index(record.result["preset"]), record.result["schedule"]["steps"]


def headline(records: Sequence[Record], source: Path) -> str:
    """Markdown for the front page; draws each record's learning curve into `source`."""
    chosen = headline_records(records)
    if not chosen:
        return "No run record is committed under `reports/records/` yet.\n"
    return "\n".join(_one(record, source) for record in chosen)


def _one(record: Record, source: Path) -> str:
    result, data = record.result, record.result["data"]
    ours = result["test"]["mpjpe"]
    ridge, mean = (result["baselines"][name]["mpjpe"] for name in ("ridge", "mean_pose"))
    lines = [
        f"MPJPE on the test subjects of **{data['name']}** ({data['protocol']}; 2D input: "
        f"{_detector(record)}):",
        "",
        "| | MPJPE (mm) | of ridge |",
        "|---|--:|--:|",
        f"| mean pose of the training subjects | {mean:.1f} | {mean / ridge:.2f} |",
        f"| ridge regression, 2D to 3D, frame by frame | {ridge:.1f} | 1.00 |",
        f"| **Motion2vec** ({result['preset']}, {result['recipe']} recipe) | **{ours:.1f}** | "
        f"**{ours / ridge:.2f}** |",
        "",
        f"P-MPJPE {result['test']['p_mpjpe']:.1f} mm; {_schedule(result)}; epoch: "
        f"{result['selected']}; "
        f"n = 1, seed {result['seed']}; {result['device']}, {_duration(result['seconds'])}; "
        f"commit {result['commit']}; record `{record.name}`.",
        "",
    ]

    curve = _draw_curve(
        record, source, {"ridge, on test subjects": ridge, "mean pose, on test subjects": mean}
    )
    if curve:
        levels = (
            f"on the test subjects ridge stands at {ridge:.0f} mm, the mean pose at {mean:.0f} mm"
        )
        lines += [
            f"![Learning curve: validation MPJPE ends at {curve[1]:.0f} mm; {levels}]({curve[0]})",
            "",
        ]
        lines += ["The curve is on the validation subjects, other people than the table's.", ""]

    return "\n".join(lines)


def _detector(record: Record) -> str:
    return str(record.config.get("data", {}).get("input_2d", "detected"))


def _schedule(result: dict[str, Any]) -> str:
    schedule = result["schedule"]
    kind = "partial schedule" if schedule.get("partial") else "full schedule"
    return (
        f"{kind}, {schedule['steps']:,} steps, {schedule['epochs_done']:.3g} of "
        f"{schedule['epochs_full']:g} epochs"
    )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _draw_curve(
    record: Record, source: Path, references: dict[str, float]
) -> tuple[str, float] | None:
    """Draw the validation error into `source`, with a sidecar; its file name and last value,
    None without points.
    """
    points = [
        (line["step"], line["mpjpe"])
        for line in record.metrics
        if line.get("kind") == "val" and "mpjpe" in line
    ]
    if not points:
        return None

    from m2v_lib.notebook import plots

    steps, values = zip(*points, strict=True)
    name = f"curve-{record.result['data']['name']}.svg"
    figure = plots.learning_curve(
        steps, values, references=references, quantity="validation MPJPE (mm)"
    )
    figure.savefig(source / name, metadata={"Date": None})
    sidecar = {
        "function": "m2v_lib.report.headline",
        "runs": [record.name],
        "commit": record.result["commit"],
    }
    (source / f"{name}.json").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")

    return name, values[-1]
