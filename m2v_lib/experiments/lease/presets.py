"""What a training step of other presets costs on a lent device: milliseconds a clip of the equations
as written, in float32 and eagerly, and of what the engine makes of them.

`python -m m2v_lib.experiments.lease.presets JOBS --out FILE --presets medium base` takes data and
device of the first job. Each figure is written as soon as it is known.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from m2v_lib.bench.ceilings import ceilings
from m2v_lib.config import PRESETS, Experiment
from m2v_lib.experiments.lease.jobs import Job, read_jobs
from m2v_lib.experiments.lease.trial import Trial
from m2v_lib.runs.parents import follow_parent
from m2v_lib.runs.records import environment, write_json
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.device import describe, pick_device

#: What is compared, the first with the others; a compiler only where its minute is worth it.
WRITTEN: Final = "as written, float32"
VARIANTS: Final[dict[str, dict[str, Any]]] = {
    WRITTEN: {"run.path": "reference", "run.precision": "fp32", "run.cuda_graph": "off"},
    "fast": {"run.precision": "fp32", "run.cuda_graph": "off"},
    "recorded": {"run.precision": "fp32"},
    "recorded, bfloat16": {"run.precision": "bf16"},
    "recorded, bfloat16, compiled": {"run.precision": "bf16", "run.compile": True},
}
WITHOUT_GPU: Final = (WRITTEN, "fast")


def measure_presets(
    names: Sequence[str], job: Job, device: torch.device, seconds: float
) -> Iterator[dict[str, Any]]:
    """A row for each preset and variant: ms_per_clip and, beside the first, speedup; or error."""
    loader = ClipLoader()
    for name in names:
        written = None
        for variant, settings in VARIANTS.items():
            if device.type != "cuda" and variant not in WITHOUT_GPU:
                continue
            own = {"data.name": job.exp.data.name, "run.device": job.exp.run.device}
            exp = Experiment.preset(name).override({**own, **settings})
            row: dict[str, Any] = {
                "preset": name,
                "variant": variant,
                "batch": exp.finetune.batch_size,
                "frames": exp.model.n_frames,
            }
            try:
                trial = Trial({"finetune": Job("finetune", exp)}, device, loader)
                rate = trial.steps_a_second("finetune", exp.run.cuda_graph, 1, seconds)
            except Exception as error:
                said = next(iter(str(error).splitlines()), "")
                yield row | {"error": f"{type(error).__name__}: {said}"}
                continue

            ms = 1e3 / (rate * exp.finetune.batch_size)
            written = ms if variant == WRITTEN else written
            yield row | {
                "ms_per_clip": round(ms, 4),
                "speedup": round(written / ms, 2) if written else None,
            }


def main(argv: Sequence[str] | None = None, say: Callable[[str], None] = print) -> int:
    parser = argparse.ArgumentParser(prog="python -m m2v_lib.experiments.lease.presets")
    parser.add_argument("jobs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    args = parser.parse_args(argv)

    job, *_ = read_jobs(args.jobs)
    device = pick_device(job.exp)
    head = {"schema": 2, **environment({"device": describe(device)})}
    head["ceilings"] = ceilings(device, quick=args.seconds < 1)
    rows: list[dict[str, Any]] = []
    for row in measure_presets(args.presets, job, device, args.seconds):
        rows.append(row)
        write_json(args.out, {**head, "rows": rows})
        shown = row.get("error") or f"{row['ms_per_clip']:.2f} ms a clip, x{row['speedup']}"
        say(f"bench: {row['preset']}, {row['variant']}: {shown}")

    return 0


if __name__ == "__main__":
    follow_parent()
    sys.exit(main())
