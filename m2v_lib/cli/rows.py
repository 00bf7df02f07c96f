"""`m2v rows`: the named experiments; `m2v settings`: every setting, its values and meaning."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from m2v_lib.config import PRESETS, RECIPES, ConfigError, Experiment
from m2v_lib.config.models import entries


def add(commands: Any) -> None:
    rows = commands.add_parser("rows", help="the rows of the tables: named experiments")
    rows.add_argument(
        "table",
        nargs="?",
        metavar="TABLE",
        help="a table (table5, leaderboard) or a group of rows; default: all",
    )
    rows.add_argument(
        "--targets",
        action="store_true",
        help="print the chapter and the groups of a table, as the Makefile needs them",
    )
    rows.set_defaults(command=_rows)

    settings = commands.add_parser("settings", help="what each setting means, and its values")
    settings.add_argument(
        "key", nargs="?", metavar="KEY", help="a setting (model.dim) or section (model)"
    )
    settings.add_argument("--model", default="dual_stream", help="whose settings `model.` are")
    settings.set_defaults(command=_settings)


def _rows(args: argparse.Namespace) -> int:
    from m2v_lib.experiments.rows import groups, rows
    from m2v_lib.experiments.tables import table_of, tables

    if args.targets:
        table = table_of(args.table or "")
        print(table.chapter, *table.groups)
        return 0

    by_target = {table.make: list(table.groups) for table in tables() if table.make}

    chosen = by_target.get(args.table, [args.table]) if args.table else groups()
    for group in chosen:
        for row in rows(group):
            changes = ", ".join(f"{key}={value}" for key, value in row.overrides.items())
            print(f"{f'{group}/{row.row}':24} {row.label}")
            print(f"{'':24} {changes}")

    return 0


def _settings(args: argparse.Namespace) -> int:
    exp = Experiment.preset("base")
    if args.model != exp.model.name:
        exp = exp.override({"model.name": args.model})

    keys = [k for k in exp.flat() if args.key in (None, k, k.partition(".")[0])]
    if not keys:
        from m2v_lib.config.fields import require_known

        require_known("setting", args.key, exp.flat())

    for key in keys:
        print("\n".join(describe(exp, key, args.model)))
    if "model.name" in keys:
        print(f"--model is one of {', '.join(entries())}")

    return 0


def describe(exp: Experiment, key: str, model: str) -> list[str]:
    """A setting's meaning, choices, default, and its value where a preset or recipe differs, of a
    model or a named size.
    """
    section, name = key.split(".", 1)
    (field,) = (f for f in dataclasses.fields(getattr(exp, section)) if f.name == name)
    default = exp.flat()[key]
    lines = [f"{key} = {_shown(default)}", f"    {field.metadata['meaning']}"]
    if "choices" in field.metadata:
        lines.append(f"    one of {', '.join(field.metadata['choices'])}")

    differing = []
    for preset in PRESETS:
        for recipe in RECIPES:
            value = _value(preset, recipe, model, key)
            plain = _value(preset, "paper", model, key)
            if recipe == "paper" and value != default:
                differing.append(f"{preset} {_shown(value)}")
            elif recipe != "paper" and value != plain:
                differing.append(f"{preset}, recipe {recipe}: {_shown(value)}")

    if differing:
        lines.append(f"    elsewhere: {'; '.join(differing)}")
    return lines


def _value(preset: str, recipe: str, model: str, key: str) -> Any:
    try:
        exp = Experiment.preset(preset, recipe)
        made = exp if model == exp.model.name else exp.override({"model.name": model})
    except ConfigError:  # the model cannot be had so; then there is no value
        return None
    return made.flat().get(key)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)
