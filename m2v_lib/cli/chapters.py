"""`m2v chapters`: the notebooks of the course, copied out of the installation."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.runs.shipped import shipped


def add(commands: Any) -> None:
    chapters = commands.add_parser(
        "chapters", help="copy the notebooks of the course into a new folder"
    )
    chapters.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that is not there")
    chapters.set_defaults(command=_chapters)


def _chapters(args: argparse.Namespace) -> int:
    source = shipped("notebooks")
    if args.folder.exists():
        raise ConfigError(f"{args.folder}: must be a new folder, it is there already")

    ignored = shutil.ignore_patterns(".ipynb_checkpoints")
    shutil.copytree(source, args.folder, ignore=ignored)
    n = len(list(args.folder.glob("*.ipynb")))
    print(
        f"{n} chapters; to run them: pip install 'm2v_lib[notebooks]' && jupyter lab {args.folder}"
    )
    return 0
