"""`m2v queue`: the run plan, a sweep or a lease; `m2v records`: records of runs made elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from m2v_lib.cli.options import pair
from m2v_lib.config import PRESETS


def add(commands: Any) -> None:
    queue = commands.add_parser(
        "queue", help="the real runs wanted on motion capture: list them, or run what is left"
    )
    queue.add_argument(
        "--preset", choices=PRESETS, default="base", help="default: base; small has a step budget"
    )
    queue.add_argument("--data", default="mocap", help="prepared data set; default: mocap")
    queue.add_argument("--device", default="cpu")
    queue.add_argument(
        "--run", action="store_true", help="run them one after another, most wanted first"
    )
    queue.add_argument(
        "--max-minutes",
        type=float,
        default=0.0,
        metavar="M",
        help="stop at a checkpoint after M min",
    )
    queue.add_argument(
        "--compile",
        action="store_true",
        help="with torch.compile: faster steps after a minute's start",
    )
    queue.add_argument(
        "--sweep",
        metavar="NAME",
        help="instead of the run plan a sweep of queue/sweeps.yaml, or several, in order: "
        "compact-length,wanted",
    )
    queue.add_argument(
        "--table", action="store_true", help="show what is known of the sweep: validation errors"
    )
    queue.add_argument(
        "--cost", action="store_true", help="time a step of the sweep's variants on one core"
    )
    _add_lease(queue)
    queue.set_defaults(command=_queue)

    records = commands.add_parser("records", help="records of runs made elsewhere")
    importing = records.add_subparsers(required=True).add_parser(
        "import", help="verify the records in an archive and file them"
    )
    importing.add_argument("archive", type=Path, nargs="+")
    importing.add_argument("--into", type=Path, metavar="FOLDER", help="default: reports/records")
    importing.set_defaults(command=_records_import)


def _add_lease(queue: argparse.ArgumentParser) -> None:
    queue.add_argument(
        "--lease",
        type=float,
        metavar="MINUTES",
        help="check the engine, time it, run what fits into so many minutes, several runs at a "
        "time, and pack all records",
    )
    queue.add_argument(
        "--workers", type=int, default=1, metavar="W", help="processes of a lease; default: 1"
    )
    queue.add_argument(
        "--streams",
        type=int,
        default=0,
        metavar="K",
        help="streams of each process of a lease; default: the fastest on a GPU, 1 on a CPU",
    )
    queue.add_argument(
        "--bench",
        dest="presets",
        nargs="+",
        default=(),
        choices=PRESETS,
        metavar="PRESET",
        help="of a lease: what a step of these costs, measured before anything is trained",
    )
    queue.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where a lease leaves archive and report; default: reports/lease",
    )
    queue.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of a lease: a setting of `run` that decides no result, such as run.log_every=100",
    )


def _queue(args: argparse.Namespace) -> int:
    from m2v_lib.data.store import open_store
    from m2v_lib.experiments.queue import items
    from m2v_lib.experiments.queue.run import Queue, listing, run_queue
    from m2v_lib.experiments.queue.sweeps import read_cost, sweep_items, sweep_table
    from m2v_lib.runs.records import find_records, project_root, runs_root

    kept = project_root() / "reports" / "records"
    chosen = args.sweep.split(",") if args.sweep else ["wanted"]

    if args.sweep and args.table:
        for name in chosen:
            found = find_records(runs_root(), kept)
            table = sweep_table(name, found, args.data, cost=read_cost(name, kept))
            print(table or f"{name}: no run of it is there")
        return 0

    if args.sweep and args.cost:
        from m2v_lib.bench.sweep_cost import measure_cost

        for name in chosen:
            measure_cost(name, args.data, kept)
        return 0

    wanted: list[Any] = []
    for name in chosen:
        plan = items(args.preset, args.data) if name == "wanted" else sweep_items(name, args.data)
        wanted += plan

    queue = Queue(wanted, runs_root(), kept)
    if args.lease is not None:
        return _lease(args, queue.waiting())

    if args.run:
        open_store(args.data)  # one sentence now and not one a run
        settings = {"run.device": args.device, **({"run.compile": True} if args.compile else {})}
        return run_queue(queue, settings, max_minutes=args.max_minutes)

    print(listing(queue, find_records(runs_root(), kept), args.device.partition(":")[0]))
    return 0


def _lease(args: argparse.Namespace, wanted: Sequence[Any]) -> int:
    from m2v_lib.data.store import open_store
    from m2v_lib.experiments.lease.command import Lease
    from m2v_lib.experiments.lease.jobs import jobs_of
    from m2v_lib.runs.records import project_root, runs_root

    open_store(args.data)
    settings = {"run.device": args.device, **dict(pair(text) for text in args.settings)}
    out = args.out or project_root() / "reports" / "lease"
    jobs = jobs_of(wanted, settings)

    lease = Lease(
        jobs,
        args.lease,
        args.device,
        runs_root(),
        out,
        workers=args.workers,
        lanes=args.streams,
        compile=args.compile,
        presets=args.presets,
    )
    return lease.run()


def _records_import(args: argparse.Namespace) -> int:
    from m2v_lib.experiments.lease.incoming import unpack
    from m2v_lib.runs.records import project_root, runs_root

    kept = args.into or project_root() / "reports" / "records"
    for archive in args.archive:
        for folder in unpack(archive, kept, runs_root()):
            print(folder)
    return 0
