"""`m2v table`: a table in the forms that papers and spreadsheets take; `m2v cite`: what stands
behind a number, and BibTeX.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from m2v_lib.runs.records import find_records, project_root, runs_root

if TYPE_CHECKING:
    from m2v_lib.results.leaderboard.board import Cost


def add(commands: Any) -> None:
    table = commands.add_parser(
        "table",
        help="a table as text, CSV, Markdown or LaTeX",
        description="What the paper prints, and what was measured by the committed records.",
    )
    table.add_argument(
        "table",
        metavar="TABLE",
        help="table1 ... table8, figure6, scarcity, leaderboard, or a group of rows such as teachers",
    )
    table.add_argument(
        "--as",
        dest="form",
        choices=("text", "csv", "markdown", "latex"),
        default="text",
        help="default: text",
    )
    table.add_argument(
        "--suite",
        metavar="SUITE",
        help="DATA-PRESET-RECIPE: runs of these settings, of your own as well as committed ones",
    )
    table.set_defaults(command=_table)

    cite = commands.add_parser("cite", help="what stands behind a measured number, and BibTeX")
    cite.add_argument(
        "number",
        nargs="?",
        metavar="ROW|RUN",
        help="a row of a table (table8/2), or a run by a part of its name; default: BibTeX alone",
    )
    cite.set_defaults(command=_cite)


def _table(args: argparse.Namespace) -> int:
    from m2v_lib.results.named_table import named_table, suite_settings
    from m2v_lib.results.text_forms import FORMS

    kept = project_root() / "reports" / "records"
    suite = suite_settings(args.suite) if args.suite else None
    records = find_records(*([runs_root(), kept] if suite else [kept]))
    if not records:
        print(f"m2v: no run records under {kept}: nothing measured to show", file=sys.stderr)

    found = named_table(args.table, records, _costs, suite)
    print(FORMS[args.form](found).rstrip("\n"))
    return 0


def _cite(args: argparse.Namespace) -> int:
    from m2v_lib.experiments.rows import groups, row_of
    from m2v_lib.results.citation import bibtex, facts_of_row, facts_of_runs
    from m2v_lib.results.run_rows import find_run
    from m2v_lib.runs.shipped import shipped

    kept = find_records(project_root() / "reports" / "records")
    number = args.number or ""
    if number.partition("/")[0] in groups():
        found = list(facts_of_row(row_of(number), kept))
    elif number:
        found = [facts_of_runs([find_run(number, kept)])]
    else:
        found = []

    for facts in found:
        print("\n".join(f"{key:12} {value}" for key, value in facts.items()), end="\n\n")
    print(bibtex(shipped("CITATION.cff")))
    return 0


def _costs(table: str, settings: Mapping[str, Any]) -> dict[int, Cost]:
    """Parameters and products of each row's network, counted."""
    from m2v_lib.experiments.rows import rows
    from m2v_lib.models.complexity import count
    from m2v_lib.models.matched_sizes import cost
    from m2v_lib.results.leaderboard.board import Cost

    found = {}
    for row in rows(table):
        model = row.experiment(**settings).model
        found[row.row] = Cost(count(model).parameters, cost(model))
    return found
