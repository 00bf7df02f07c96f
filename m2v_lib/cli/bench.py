"""`m2v bench`: time, memory and speed-up of a step."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from m2v_lib.cli.options import experiment_of
from m2v_lib.config import PRESETS, RECIPES


def add(commands: Any) -> None:
    bench = commands.add_parser(
        "bench", help="time, memory and speed-up of a step, both paths side by side"
    )
    bench.add_argument(
        "--config", type=Path, help="YAML file of settings; the options below change it"
    )
    bench.add_argument("--preset", choices=PRESETS, help="default: smoke")
    bench.add_argument("--recipe", choices=RECIPES, help="default: paper")
    bench.add_argument("--device", help="cpu (default), cuda, cuda:1 ...")
    bench.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of each variant; default: torch's choice",
    )
    bench.add_argument(
        "--variants",
        nargs="+",
        default=(),
        metavar="V",
        help="reference fast fast-compiled fast-bf16 "
        "fast-bf16-compiled; default: all, of a large model on a CPU the first three; reference is a "
        "path of the dual stream alone",
    )
    bench.add_argument(
        "--tasks",
        nargs="+",
        default=(),
        metavar="TASK",
        help="train pretrain inference; default: all",
    )
    bench.add_argument(
        "--batch",
        type=int,
        nargs="+",
        default=(),
        metavar="B",
        help="sizes at which all variants are "
        "compared; default: the preset's, on a GPU also 32, of a large model on a CPU 1",
    )
    bench.add_argument(
        "--max-batch",
        type=int,
        metavar="B",
        help="largest of the sizes 1, 2, 4 ... that the eager "
        "variants go through; default: 32 on a CPU, 4096 on a GPU; 0 for none",
    )
    bench.add_argument(
        "--max-memory", type=float, metavar="GIB", help="a step's most; default: 4 on a CPU"
    )
    bench.add_argument(
        "--max-seconds",
        type=float,
        metavar="S",
        help="a step's most; default: 2 on a CPU, 10 on a GPU",
    )
    bench.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        help="repetitions of each variant; default: 7, fewer if slow",
    )
    bench.add_argument(
        "--scaling",
        action="store_true",
        help="instead: cost against frames, blocks, features, batch",
    )
    bench.add_argument(
        "--lift",
        action="store_true",
        help="instead: `m2v lift` of an hour's recording, a crowd and long streams",
    )
    bench.add_argument(
        "--quick", action="store_true", help="seconds; shows that all works, the times mean nothing"
    )
    bench.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="default: reports/records; of a quick run the runs",
    )
    bench.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    bench.set_defaults(command=_bench, data=None, seed=None, devices=None, max_minutes=None)


def _bench(args: argparse.Namespace) -> int:
    if args.lift:
        return _lifting(args)

    from m2v_lib.bench import Options, bench

    exp = experiment_of(args)
    if args.threads is not None:
        exp = exp.override({"run.threads": args.threads})
    options = Options(
        variants=args.variants,
        tasks=args.tasks,
        batches=args.batch,
        max_batch=args.max_batch,
        max_memory=args.max_memory,
        max_seconds=args.max_seconds,
        rounds=args.rounds,
        scaling=args.scaling,
        quick=args.quick,
    )
    folder = bench(exp, options, out=args.out, say=partial(print, flush=True))
    print((folder / "bench.md").read_text(encoding="utf-8"))
    print(folder)

    return 0


def _lifting(args: argparse.Namespace) -> int:
    from m2v_lib.bench.lifting import bench_lifting

    print(bench_lifting(quick=args.quick, out=args.out, say=partial(print, flush=True)))

    return 0
