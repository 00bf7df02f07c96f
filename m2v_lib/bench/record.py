"""What `m2v bench` wrote down: `bench.json` in a folder of its own, and the tables made from it.
No torch here.

bench.json, schema 1 (s seconds, B bytes; times are of a whole step on a batch unless they say
"per clip"):

    schema, kind ("speed" or "scaling"), name, date (UTC), quick (true: too short to mean
    anything) preset, recipe, model {the settings} device (name), threads, load_average (of the
    machine, just before), fp32_products (torch's setting) python, platform, cpus, packages,
    commit ceilings {fp32_tflops, bf16_tflops, copy_gb_per_s, product_size}: the best of a second
    of each, before and after flops {task: of the matrix products of one clip's step, the
    essential work: see counts.count_flops} measurements [{task (train, pretrain, inference),
    batch, variant,
        seconds [a value a round], ms_per_clip {median, q25, q75}, loss (of the first step at
        this size; weights stay), speedup {median, low, high} of reference time / own time of the
        same round, null without a reference, tflops (flops x batch / median time), bytes (moved
        by eager operators; null: compiled), gb_per_s, peak_bytes}]
    masks {n_clips, n_masks, seconds, share_of_step}: drawing the masks against the pre-training
    step, per clip scaling [{axis (n_frames, n_layers, dim, batch), value, task (train, inference
    or a part of a block, forwards),
        and the keys of a measurement; flops is that of the variant's own path}]
    slopes [{axis, task, variant, low, high, time, flops, memory}]: log-log between the two
    largest values measured left_out [sentences: what was not measured, and why]
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from m2v_lib.errors import InputError

SCHEMA = 1
FILE = "bench.json"
Row = dict[str, Any]


def measurement(
    seconds: Sequence[float],
    reference: Sequence[float] | None,
    *,
    batch: int,
    flops: int,
    loss: float,
    n_bytes: int | None,
    peak_bytes: int,
) -> Row:
    """One variant's repetitions as the record has them; `reference` are the reference's in the
    same rounds.
    """
    low, median, high = np.percentile(seconds, [25, 50, 75]).tolist()
    speedup = None
    if reference is not None:
        ratios = np.asarray(reference) / np.asarray(seconds)
        speedup = {
            "median": float(np.median(ratios)),
            "low": float(ratios.min()),
            "high": float(ratios.max()),
        }

    return {
        "batch": batch,
        "seconds": [float(f"{s:.6g}") for s in seconds],
        "ms_per_clip": {
            "median": 1e3 * median / batch,
            "q25": 1e3 * low / batch,
            "q75": 1e3 * high / batch,
        },
        "loss": loss,
        "speedup": speedup,
        "tflops": 1e-12 * flops * batch / median,
        "bytes": n_bytes,
        "gb_per_s": None if n_bytes is None else 1e-9 * n_bytes / median,
        "peak_bytes": peak_bytes,
    }


def slopes(rows: Iterable[Row]) -> list[Row]:
    """How time, operations and memory grow along each axis: 1 is in proportion, 2 with the
    square.
    """
    lines: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row["axis"], row["task"], row["variant"]), []).append(row)

    found = []
    for (axis, task, variant), line in lines.items():
        if len(line) < 2:
            continue

        a, b = sorted(line, key=lambda row: row["value"])[-2:]
        pairs = {
            "time": [row["ms_per_clip"]["median"] * row["batch"] for row in (a, b)],
            "flops": [row["flops"] * row["batch"] for row in (a, b)],
            "memory": [row["peak_bytes"] for row in (a, b)],
        }
        grown = {k: _slope(a["value"], b["value"], *pair) for k, pair in pairs.items()}
        found.append(
            {
                "axis": axis,
                "task": task,
                "variant": variant,
                "low": a["value"],
                "high": b["value"],
                **grown,
            }
        )

    return found


def _slope(x0: float, x1: float, y0: float, y1: float) -> float | None:
    return math.log(y1 / y0) / math.log(x1 / x0) if y0 > 0 and y1 > 0 else None


def load_bench(folder: Path) -> dict[str, Any]:
    """The record in a folder. Raises InputError naming the file that is missing, broken or of
    another schema.
    """
    path = Path(folder) / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a bench record ({error})") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise InputError(f"{path}: expected schema {SCHEMA}; measure again with `m2v bench`")
    return record


def find_benches(*roots: Path) -> list[dict[str, Any]]:
    """Every bench record directly under the folders, by name."""
    folders = [path.parent for root in roots for path in Path(root).glob(f"*/{FILE}")]
    return sorted((load_bench(folder) for folder in folders), key=lambda record: record["name"])


SPEED_COLUMNS = (
    "step",
    "batch",
    "variant",
    "ms a clip",
    "quartiles",
    "x reference",
    "range",
    "TFLOP/s",
    "of its ceiling",
    "GB/s",
    "of a copy",
    "peak GiB",
)
SCALING_COLUMNS = ("along", "from", "to", "what", "variant", "time", "operations", "memory")


def speed_rows(record: dict[str, Any]) -> list[list[str]]:
    """The measurements as text, in the order of SPEED_COLUMNS."""
    return [_speed_row(row, record["ceilings"]) for row in record["measurements"]]


def _speed_row(row: Row, ceilings: dict[str, float]) -> list[str]:
    ms, speedup, rate = row["ms_per_clip"], row["speedup"], row["gb_per_s"]
    ceiling = ceilings["bf16_tflops" if "bf16" in row["variant"] else "fp32_tflops"]
    return [
        row["task"],
        str(row["batch"]),
        row["variant"],
        _digits(ms["median"]),
        f"{_digits(ms['q25'])} to {_digits(ms['q75'])}",
        f"{speedup['median']:.2f}" if speedup else "",
        f"{speedup['low']:.2f} to {speedup['high']:.2f}" if speedup else "",
        _digits(row["tflops"]),
        f"{row['tflops'] / ceiling:.0%}",
        "" if rate is None else _digits(rate),
        "" if rate is None else f"{rate / ceilings['copy_gb_per_s']:.0%}",
        f"{row['peak_bytes'] / 2**30:.2f}",
    ]


def scaling_rows(record: dict[str, Any]) -> list[list[str]]:
    """The slopes as text, in the order of SCALING_COLUMNS."""
    return [
        [
            s["axis"],
            str(s["low"]),
            str(s["high"]),
            s["task"],
            s["variant"],
            *("" if s[k] is None else f"{s[k]:.2f}" for k in ("time", "flops", "memory")),
        ]
        for s in record["slopes"]
    ]


def _digits(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def as_markdown(record: dict[str, Any]) -> str:
    """The record as a page: where it was measured, its table, what was left out."""
    c = record["ceilings"]
    lines = [
        f"# {record['name']}",
        "",
        f"{record['device']}, {record['threads']} threads, torch {record['packages']['torch']}, "
        f"commit {record['commit']}, {record['date']}; load average before: "
        f"{record['load_average']}.",
        "",
        f"Ceilings measured in the same run: matrix product {_digits(c['fp32_tflops'])} TFLOP/s "
        "in fp32, "
        f"{_digits(c['bf16_tflops'])} in bf16; copy {_digits(c['copy_gb_per_s'])} GB/s (read and "
        "write).",
        "",
    ]
    if record["quick"]:
        lines += ["A quick run: it shows that everything works; its times mean nothing.", ""]

    if record["measurements"]:
        lines += [*table(SPEED_COLUMNS, speed_rows(record)), ""]
        lines += [
            "TFLOP/s: the essential work over the median time. GB/s: operands and results of the "
            "eager operators "
            "over the median time. Speed-up: median and range of the ratios within one round.",
            "",
        ]

    if record["masks"]:
        m = record["masks"]
        lines += [
            f"Drawing {m['n_clips']} clips' masks, {m['n_masks']} each: {1e3 * m['seconds']:.1f} "
            "ms, "
            f"{m['share_of_step']:.3%} of the pre-training step per clip.",
            "",
        ]

    if record["slopes"]:
        lines += [
            "Growth between the two largest sizes (1: in proportion, 2: with the square):",
            "",
        ]
        lines += [*table(SCALING_COLUMNS, scaling_rows(record)), ""]

    if record["left_out"]:
        lines += ["Left out:", "", *(f"- {sentence}" for sentence in record["left_out"]), ""]
    return "\n".join(lines)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table whose columns stand straight as plain text too."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            + " |"
        )

    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return [line(columns), rule, *map(line, rows)]
