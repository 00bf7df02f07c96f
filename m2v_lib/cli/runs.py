"""`m2v runs`: the finished runs by row of the tables, or one of them; `m2v compare`: several
beside each other.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.runs.records import Record, find_records, project_root, runs_root


def add(commands: Any) -> None:
    runs = commands.add_parser("runs", help="list and show finished runs")
    runs.add_argument(
        "--row", metavar="ROW", help="only runs of a row (table8/2) or a group of rows (table8)"
    )
    runs.set_defaults(command=_list)
    parts = runs.add_subparsers(metavar="show | tensorboard")

    show = parts.add_parser("show", help="settings, result and machine of one run")
    show.add_argument("run", metavar="RUN", help="its name or a part of it that no other has")
    show.set_defaults(command=_show)

    events = parts.add_parser("tensorboard", help="write the logs of runs as TensorBoard events")
    events.add_argument("runs", nargs="+", metavar="RUN")
    events.add_argument("-o", dest="out", type=Path, required=True, metavar="FOLDER")
    events.set_defaults(command=_tensorboard)

    compare = commands.add_parser(
        "compare",
        help="runs beside each other: settings that differ, numbers, actions, curves, a paired test",
    )
    compare.add_argument(
        "runs", nargs="+", metavar="RUN", help="two or more; a part of a name does"
    )
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


def _tensorboard(args: argparse.Namespace) -> int:
    from m2v_lib.results.run_rows import find_run
    from m2v_lib.runs.event_files import write_events

    records = _records()
    for record in [find_run(name, records) for name in args.runs]:
        print(write_events(args.out / record.name, record.metrics))
    return 0


def _compare(args: argparse.Namespace) -> int:
    from m2v_lib.results.compare import common_actions, common_numbers, settings_that_differ
    from m2v_lib.results.run_rows import find_run

    records = _records()
    runs = [find_run(name, records) for name in args.runs]
    _check_comparable(runs)
    letters = ascii_uppercase[: len(runs)]
    for letter, run in zip(letters, runs, strict=True):
        print(f"{letter}  {run.name}")

    differing = settings_that_differ(runs)
    _print_lines("settings that differ", letters, differing)
    if not differing:
        print("\nno setting differs")
    for data in ("name", "fingerprint", "protocol"):
        if len({str(run.result["data"].get(data)) for run in runs}) > 1:
            print(f"  note: another data {data}; the numbers below are not comparable")

    actions = common_actions(runs)
    _print_lines("test subjects", letters, common_numbers(runs))
    _print_lines("MPJPE by action (mm)", letters, actions)
    _print_tests(letters, list(zip(*actions.values(), strict=True)))
    _print_curves(letters, runs)
    return 0


def _check_comparable(runs: Sequence[Record]) -> None:
    if not 2 <= len(runs) <= len(ascii_uppercase):
        raise ConfigError(f"compare takes 2 to {len(ascii_uppercase)} runs, got {len(runs)}")
    stages = list(dict.fromkeys(run.result["stage"] for run in runs))
    if len(stages) > 1:
        raise ConfigError(f"the runs must be of one stage, got {' and '.join(stages)}")


def _print_lines(title: str, letters: str, lines: Mapping[str, Sequence[Any]]) -> None:
    """A line for each key with the runs' values; of two numbers also their difference."""
    if not lines:
        return

    numbers = all(isinstance(value, float) for values in lines.values() for value in values)
    with_difference = numbers and len(letters) == 2
    head = "".join(f" {letter:>14}" for letter in letters)
    print(f"\n{title:28}{head}" + f" {'B - A':>10}" * with_difference)
    for key, values in lines.items():
        shown = (f"{value:.2f}" if numbers else str(value) for value in values)
        cells = "".join(f" {text:>14}" for text in shown)
        difference = f" {values[1] - values[0]:+10.2f}" if with_difference else ""
        print(f"  {key:26}{cells}{difference}")


def _print_tests(letters: str, by_run: Sequence[Sequence[float]]) -> None:
    """Each run against the first, over actions."""
    from m2v_lib.results.compare import MIN_PAIRS, paired_difference

    if not by_run or len(by_run[0]) < MIN_PAIRS:
        return
    print(f"\npaired over {len(by_run[0])} actions (what another seed would do is not in it)")
    for letter, errors in zip(letters[1:], by_run[1:], strict=True):
        found = paired_difference(errors, by_run[0])
        interval = f"95 % CI {found.low:+.2f} to {found.high:+.2f}, Wilcoxon p {found.p:.3f}"
        print(f"  {letter} - A {found.mean:+.2f} mm, {interval}")


def _print_curves(letters: str, runs: Sequence[Record]) -> None:
    """Learning curves on one scale."""
    from m2v_lib.results.compare import learning_curve, sparkline

    quantity = learning_curve(runs[0])[0]
    curves = [learning_curve(run, quantity)[1] for run in runs]
    values = [value for curve in curves for value in curve[1]]
    if not values:
        return

    last = max(step for curve in curves for step in curve[0])
    low, high = min(values), max(values)
    print(f"\n{quantity}, steps 1 to {last:,}, {low:.4g} (lowest) to {high:.4g} (highest)")
    for letter, curve in zip(letters, curves, strict=True):
        ends = f"{curve[1][0]:.4g} to {curve[1][-1]:.4g}" if curve[1] else "not logged"
        print(f"  {letter} {sparkline(curve, last, low, high)} {ends}")
