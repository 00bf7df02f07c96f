"""Options that commands share, and the experiment that they describe."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from m2v_lib.config import PRESETS, RECIPES, ConfigError, Experiment
from m2v_lib.errors import InputError
from m2v_lib.runs.records import RESUME_EXIT_CODE
from m2v_lib.yaml_text import parse_yaml


def add_experiment(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config", type=Path, help="YAML file of settings; the options below change it"
    )
    command.add_argument("--preset", choices=PRESETS, help="default: smoke")
    command.add_argument("--recipe", choices=RECIPES, help="default: paper")
    command.add_argument("--data", help="prepared data set; default: synthetic")
    command.add_argument("--seed", type=int)
    command.add_argument("--device", help="cpu (default), cuda, cuda:1 ...")
    command.add_argument(
        "--devices", type=int, metavar="N", help="train one run in N processes, one a device"
    )
    command.add_argument(
        "--max-minutes",
        type=float,
        metavar="M",
        help=f"stop at a checkpoint after M minutes with exit code {RESUME_EXIT_CODE}",
    )
    command.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")


def experiment_of(args: argparse.Namespace) -> Experiment:
    """The experiment that the options describe. Raises ConfigError."""
    if args.config:
        if args.preset or args.recipe:
            raise ConfigError(
                "--config names its own preset and recipe; leave out --preset and --recipe"
            )
        exp = Experiment.from_yaml(args.config)
    else:
        exp = Experiment.preset(args.preset or "smoke", recipe=args.recipe or "paper")

    changes = dict(pair(text) for text in args.settings)
    given = {
        "data.name": args.data,
        "run.seed": args.seed,
        "run.device": args.device,
        "run.devices": args.devices,
        "run.max_minutes": args.max_minutes,
    }
    changes |= {key: value for key, value in given.items() if value is not None}

    return exp.override(changes)


def pair(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as JSON, else as YAML: 3, 1e-3, true, text, {"a": 1}, {a: 1}."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"expected KEY=VALUE, got {text!r}")

    with contextlib.suppress(ValueError, RecursionError):  # YAML 1.1 takes 1e-3 for text
        return key, json.loads(value)

    try:
        return key, parse_yaml(value)
    except InputError as error:
        raise ConfigError(f"{key}: {value[:80]!r} is not a value ({error})") from error
