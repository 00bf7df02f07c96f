"""What a step of other presets costs on a lent device, of training, pre-training and inference:
milliseconds a clip of the equations as written, in float32 and eagerly, and of what the engine
makes of them.

`python -m m2v_lib.experiments.lease.presets JOBS --out FILE --presets medium base` takes data and
device of the first job. Each figure is written as soon as it is known; the compiler comes last.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from m2v_lib.bench.ceilings import ceilings
from m2v_lib.bench.worker import Bench
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
    "bfloat16": {"run.precision": "bf16", "run.cuda_graph": "off"},
    "recorded": {"run.precision": "fp32"},
    "recorded, bfloat16": {"run.precision": "bf16"},
    "bfloat16, compiled": {"run.precision": "bf16", "run.cuda_graph": "off", "run.compile": True},
    "recorded, bfloat16, compiled": {"run.precision": "bf16", "run.compile": True},
}
ON_CPU: Final = (WRITTEN, "fast")
#: What a GPU is asked, and the section of the settings that has a task's batch.
ON_GPU: Final = {
    "train": (WRITTEN, "fast", "recorded", "recorded, bfloat16", "recorded, bfloat16, compiled"),
    "pretrain": (WRITTEN, "recorded, bfloat16", "recorded, bfloat16, compiled"),
    "inference": (WRITTEN, "fast", "bfloat16", "bfloat16, compiled"),
}
SECTION: Final = {"train": "finetune", "pretrain": "pretrain", "inference": "finetune"}


def measure_presets(
    names: Sequence[str], job: Job, device: torch.device, seconds: float
) -> Iterator[dict[str, Any]]:
    """A row for each preset, task and variant: ms_per_clip and, beside the equations as written,
    speedup; or error.
    """
    loader, written = ClipLoader(), dict[tuple[str, str], float]()
    cases = [
        (name, task, variant)
        for name in names
        for task, variants in ON_GPU.items()
        for variant in (variants if device.type == "cuda" else ON_CPU)
    ]
    for name, task, variant in sorted(cases, key=lambda case: "run.compile" in VARIANTS[case[2]]):
        own = {"data.name": job.exp.data.name, "run.device": job.exp.run.device}
        exp = Experiment.preset(name).override({**own, **VARIANTS[variant]})
        batch = getattr(exp, SECTION[task]).batch_size
        row: dict[str, Any] = {
            "preset": name,
            "task": task,
            "variant": variant,
            "batch": batch,
            "frames": exp.model.n_frames,
        }
        try:
            rate = _steps_a_second(task, exp, device, loader, seconds)
        except Exception as error:
            said = next(iter(str(error).splitlines()), "")
            yield row | {"error": f"{type(error).__name__}: {said}"}
            continue

        ms = 1e3 / (rate * batch)
        if variant == WRITTEN:
            written[name, task] = ms
        beside = written.get((name, task))
        yield row | {
            "ms_per_clip": round(ms, 4),
            "speedup": round(beside / ms, 2) if beside else None,
        }


def _steps_a_second(
    task: str, exp: Experiment, device: torch.device, loader: ClipLoader, seconds: float
) -> float:
    """Of training as runs are trained, of inference as `m2v bench` times it."""
    if task != "inference":
        stage = SECTION[task]
        trial = Trial({stage: Job(stage, exp)}, device, loader)
        return trial.steps_a_second(stage, exp.run.cuda_graph, 1, seconds)

    bench = Bench()
    bench.build(exp.to_dict(), task)
    once = bench.batch(exp.finetune.batch_size)["seconds"]
    return 1 / bench.time(max(1, int(seconds / once)))["seconds"]


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
        say(f"bench: {row['preset']}, {row['task']}, {row['variant']}: {shown}")

    return 0


if __name__ == "__main__":
    follow_parent()
    sys.exit(main())
