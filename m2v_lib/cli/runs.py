"""`m2v runs`: the finished runs by row of the tables, one of them, or two beside each other."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.runs.records import Record, find_records, project_root, runs_root

_EXAMPLES = """\
examples:
  m2v runs --row table8/2               the runs behind that row of Table VIII
  m2v runs show e5e1fc58                one run: settings, result, machine (part of its name does)
  m2v runs compare e5e1fc58 c30169ee    settings that differ, final numbers, each action
"""


def add(commands: Any) -> None:
    runs = commands.add_parser(
        "runs",
        help="list, show and compare finished runs",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    runs.add_argument(
        "--row", metavar="ROW", help="only runs of a row (table8/2) or a group of rows (table8)"
    )
    runs.set_defaults(command=_list)
    parts = runs.add_subparsers(metavar="show | compare")

    show = parts.add_parser("show", help="settings, result and machine of one run")
    show.add_argument("run", metavar="RUN", help="its name or a part of it that no other has")
    show.set_defaults(command=_show)

    compare = parts.add_parser("compare", help="settings that differ, final numbers, each action")
    compare.add_argument("runs", nargs=2, metavar="RUN")
    compare.set_defaults(command=_compare)


def _records() -> list[Record]:
    return find_records(runs_root(), project_root() / "reports" / "records")


def _list(args: argparse.Namespace) -> int:
    from m2v_lib.results.run_rows import condensed, outcome, rows_of_runs

    records = _records()
    rows = rows_of_runs(records)
    if args.row:
        wanted = _row_names(args.row)
        records = [record for record in records if wanted.intersection(rows[record.name])]

    for record in records:
        result = record.result
        about = f"{result['schedule']['steps']:>7,} steps  {outcome(result.get('test')):16}"
        print(f"{record.name:48} {about} {condensed(rows[record.name]) or '-'}")
    if not records:
        print(f"no finished run{f' of {args.row}' if args.row else ''} yet")
    return 0


def _row_names(text: str) -> set[str]:
    from m2v_lib.experiments.rows import row_of, rows

    found = [row_of(text)] if "/" in text else rows(text)
    return {f"{row.table}/{row.row}" for row in found}


def _show(args: argparse.Namespace) -> int:
    from m2v_lib.results.run_rows import condensed, find_run, rows_of_runs

    record = find_run(args.run, _records())
    result = record.result
    rows = condensed(rows_of_runs([record])[record.name])
    facts = {
        "run": record.name,
        "record": record.path,
        "rows": rows or "none",
        "data": f"{result['data']['name']}, fingerprint {result['data']['fingerprint'][:12]}",
        "schedule": ", ".join(f"{key} {value}" for key, value in result["schedule"].items()),
        "epoch": result.get("selected", ""),
        "init": result.get("init", ""),
        "device": f"{result.get('device', '?')}, {result.get('seconds', 0):.0f} s",
        "commit": result.get("commit", "?"),
    }
    _print_facts(facts)
    _print_facts({f"test {key}": value for key, value in _scalars(result.get("test") or {})})

    for section, values in record.config.items():
        if isinstance(values, Mapping):
            _print_facts({f"{section}.{key}": value for key, value in values.items()})
    return 0


def _scalars(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, float):
            yield key, round(value, 2)
        elif isinstance(value, int | str):
            yield key, value


def _print_facts(facts: Mapping[str, Any]) -> None:
    for key, value in facts.items():
        print(f"{key:26} {value}")


def _compare(args: argparse.Namespace) -> int:
    from m2v_lib.results.run_rows import (
        actions_of_both,
        find_run,
        numbers_of_both,
        settings_that_differ,
    )

    records = _records()
    a, b = (find_run(name, records) for name in args.runs)
    if a.result["stage"] != b.result["stage"]:
        stages = f"{a.result['stage']} and {b.result['stage']}"
        raise ConfigError(f"the two runs must be of one stage, got {stages}")

    print(f"A  {a.name}\nB  {b.name}\n")
    differing = settings_that_differ(a, b)
    print("settings that differ" if differing else "no setting differs")
    for key, (ours, theirs) in differing.items():
        print(f"  {key:26} {ours!s:>14} {theirs!s:>14}")

    for data in ("name", "fingerprint", "protocol"):
        if a.result["data"].get(data) != b.result["data"].get(data):
            print(f"  note: another data {data}; the numbers below are not comparable")

    _print_pairs("test subjects", numbers_of_both(a, b))
    _print_pairs("MPJPE by action (mm)", actions_of_both(a, b))
    return 0


def _print_pairs(title: str, pairs: Mapping[str, tuple[float, float]]) -> None:
    if pairs:
        print(f"\n{title:28} {'A':>14} {'B':>14} {'B - A':>10}")
    for key, (ours, theirs) in pairs.items():
        print(f"  {key:26} {ours:14.2f} {theirs:14.2f} {theirs - ours:+10.2f}")
