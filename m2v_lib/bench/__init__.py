"""`m2v bench`: what a step costs here, both paths side by side in one run, against what this
device can do at best.

Importing this needs no torch; the workers (m2v_lib.bench.worker) bring it. The record's schema
is in `bench.record`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from m2v_lib.bench.client import Failed
from m2v_lib.bench.options import TASKS, Options, smallest_batch
from m2v_lib.bench.record import FILE, SCHEMA, Row, as_markdown, find_benches, load_bench, slopes
from m2v_lib.bench.turns import VARIANTS, InterleavedTimer, Point
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.runs.records import environment, project_root, runs_root, write_json, write_text

__all__ = ["PARTS", "TASKS", "VARIANTS", "Options", "bench", "find_benches", "load_bench"]

PARTS = ("att_spatial", "att_temporal", "graph_spatial", "graph_temporal", "fusion")
MASKED_CLIPS = 96
#: Sizes along each axis of a scaling run, all with one block, and the power with which cost
#: grows at most.
AXES: dict[str, tuple[tuple[int, ...], int]] = {
    "n_frames": ((27, 81, 243, 729, 2187), 2),
    "n_layers": ((1, 2, 4, 8), 1),
    "dim": ((32, 64, 128, 256), 2),
    "batch": ((1, 2, 4, 8, 16), 1),
}


def bench(
    exp: Experiment,
    options: Options,
    *,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Measure the experiment's model on its device with its threads; returns the record's
    folder.

    The folder lies in `out`: `reports/records`, or where the runs are for a quick one. `say`
    gets a line of progress at a time. Raises ConfigError where there is nothing to measure.
    """
    options.check()
    options.check_for(exp)
    turns = InterleavedTimer(
        exp, options.variants_for(exp), options.effort, options.limits_for(exp), say
    )
    load = [round(x, 2) for x in os.getloadavg()]
    root = out or (runs_root() if options.quick else project_root() / "reports" / "records")
    root.mkdir(parents=True, exist_ok=True)  # fails now, not after the work

    try:
        ceilings = turns.ask("counts", do="ceilings", experiment=exp.to_dict(), quick=options.quick)
        say(
            f"{ceilings['device']}, {ceilings['threads']} threads: products "
            f"{ceilings['fp32_tflops']:.3g} TFLOP/s in "
            f"fp32, {ceilings['bf16_tflops']:.3g} in bf16; copy {ceilings['copy_gb_per_s']:.3g} "
            "GB/s"
        )
        found = _scaling(turns) if options.scaling else _speed(turns, options.sizes_for(exp))
        again = turns.ask("counts", do="ceilings", experiment=exp.to_dict(), quick=options.quick)
    except Failed as failure:
        raise ConfigError(str(failure)) from failure
    finally:
        turns.close()

    if not found["measurements"] and not found["scaling"]:
        raise ConfigError(f"nothing could be measured: {turns.left_out[0]}")

    rates = {
        k: max(ceilings.pop(k), again[k])
        for k in ("fp32_tflops", "bf16_tflops", "copy_gb_per_s", "product_size")
    }
    record = {
        "schema": SCHEMA,
        "kind": "scaling" if options.scaling else "speed",
        "name": "",
        "quick": options.quick,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "preset": exp.preset_name,
        "recipe": exp.recipe,
        "model": exp.sections()["model"],
        "load_average": load,
        **environment(ceilings),
        "ceilings": rates,
        **found,
        "left_out": turns.left_out,
    }
    record["name"] = _name(exp, record)
    folder = root / record["name"]
    write_json(folder / FILE, record)
    write_text(folder / "bench.md", as_markdown(record))

    return folder


def _speed(turns: InterleavedTimer, main: dict[str, Sequence[int]]) -> dict[str, Any]:
    """Every task at batch sizes 1, 2, 4 ... by the eager variants, at its main sizes by all of
    them; the masks.
    """
    rows: list[Row] = []
    flops = {}
    masks = None
    for task in main:
        flops[task] = turns.count_flops(turns.exp.override(VARIANTS["fast"]), task)
        doubled = [2**k for k in range(turns.limits.batch.bit_length())]
        sizes = sorted({n for n in (*doubled, *main[task]) if n >= smallest_batch(turns.exp, task)})
        found = turns.measure_growing_sizes(
            [Point(turns.exp, task, n, main=n in main[task]) for n in sizes], 1, flops[task]
        )
        if task == "pretrain":
            masks = _masks(turns, found)
        rows += [
            {k: v for k, v in row.items() if k not in ("axis", "value", "flops")} for row in found
        ]

    return {"flops": flops, "measurements": rows, "masks": masks, "scaling": [], "slopes": []}


def _masks(turns: InterleavedTimer, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Drawing 96 clips' masks against the fastest pre-training step that was measured, both per
    clip.
    """
    if not rows:
        return None

    fastest = min(row["ms_per_clip"]["median"] for row in rows)
    exp = turns.exp.to_dict()
    seconds = turns.ask("counts", do="masks", experiment=exp, n_clips=MASKED_CLIPS)["seconds"]

    share = 1e3 * seconds / MASKED_CLIPS / fastest
    return {
        "n_clips": MASKED_CLIPS,
        "n_masks": turns.exp.pretrain.n_masks,
        "seconds": seconds,
        "share_of_step": share,
    }


def _scaling(turns: InterleavedTimer) -> dict[str, Any]:
    """One block, whole and in parts, along each axis."""
    one = turns.exp.override({"model.n_layers": 1, "pretrain.target_layers": 1})
    turns.variants = [v for v in turns.variants if not VARIANTS[v].get("run.compile")]

    rows: list[Row] = []
    for axis, (values, power) in AXES.items():
        if turns.effort.quick:
            values = values[:2]
        if axis == "batch":
            sized = [(one, n) for n in values]
        else:
            sized = [(one.override({f"model.{axis}": n}), 1) for n in values]
        for task in (*PARTS, "train") if axis == "n_frames" else ("train",):
            rows += turns.measure_growing_sizes(
                [Point(changed, task, n, axis) for changed, n in sized], power
            )

    return {"flops": {}, "measurements": [], "masks": None, "scaling": rows, "slopes": slopes(rows)}


def _name(exp: Experiment, record: dict[str, Any]) -> str:
    """bench-DEVICE-PRESET-RECIPE, with threads on a CPU and a digest where the model is not the
    preset's.
    """
    device = re.sub(r"[^a-z0-9]+", "-", record["device"].lower()).strip("-")
    if device == "cpu":
        device += f"{record['threads']}"
    words = ["bench", device, exp.preset_name, exp.recipe]

    if exp.model != Experiment.preset(exp.preset_name, exp.recipe).model:
        words.append(
            hashlib.sha256(json.dumps(record["model"], sort_keys=True).encode()).hexdigest()[:8]
        )

    words += ["scaling"] * (record["kind"] == "scaling") + ["quick"] * record["quick"]
    return "-".join(words)
