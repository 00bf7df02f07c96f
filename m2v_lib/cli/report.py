"""`m2v notebook`: one chapter with parameters; `m2v report`: the book of what has run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from m2v_lib.cli.options import pair
from m2v_lib.config import ConfigError
from m2v_lib.runs.records import project_root


def add(commands: Any) -> None:
    notebook = commands.add_parser(
        "notebook", help="run one notebook with parameters, through papermill"
    )
    notebook.add_argument("notebook", type=Path)
    notebook.add_argument("out", type=Path)
    notebook.add_argument("-p", dest="parameters", action="append", default=[], metavar="KEY=VALUE")
    notebook.set_defaults(command=_notebook)

    report = commands.add_parser("report", help="build the book from what has run")
    report.add_argument("--suite", help="DATA-PRESET-RECIPE of the suite to show")
    report.set_defaults(command=_report)


def _notebook(args: argparse.Namespace) -> int:
    from m2v_lib.experiments.run_notebook import run_notebook

    return run_notebook(args.notebook, args.out, dict(pair(text) for text in args.parameters))


def _report(args: argparse.Namespace) -> int:
    if not (project_root() / "Snakefile").is_file():
        raise ConfigError(
            "report builds the book of a checkout of the repository, and this folder is in none"
        )

    from m2v_lib.report import build

    print(build(suite=args.suite) if args.suite else build())
    return 0
