"""`m2v rerun`: does a committed record come out again?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    rerun = commands.add_parser(
        "rerun", help="train a record again from its own settings and compare every number"
    )
    rerun.add_argument("record", type=Path, nargs="+", help="folder such as reports/records/NAME")
    rerun.add_argument(
        "--into",
        type=Path,
        default=Path("reports/reruns"),
        help="where the second runs go (default: reports/reruns)",
    )
    rerun.add_argument(
        "--device", default="", help="train there, such as cpu (default: on the record's own)"
    )
    rerun.set_defaults(command=_rerun)


def _rerun(args: argparse.Namespace) -> int:
    """0 where all agree, 1 where one does not."""
    from m2v_lib.training.rerun import rerun

    agree = True
    for record in args.record:
        found = rerun(record, args.into, args.device)
        print(record.name, *found.lines(), sep="\n", flush=True)
        agree &= found.agrees

    return 0 if agree else 1
