"""How to cite: BibTeX of the paper and of this software, and what stands behind a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from m2v_lib.experiments.rows import Row
from m2v_lib.results import tables
from m2v_lib.results.cell_states import measure_of
from m2v_lib.runs.records import Record, commit_day

if TYPE_CHECKING:
    import pandas as pd


def bibtex(citation: Path) -> str:
    """The entries of a `CITATION.cff`: what it asks to cite first, then the software itself."""
    given = yaml.safe_load(citation.read_text(encoding="utf-8"))
    paper, software = given["preferred-citation"], given
    version = {"version": str(given["version"]), "year": str(given["date-released"])[:4]}
    return "\n\n".join(
        [
            _entry(paper.get("type", "misc"), "motion2vec", paper, {}),
            _entry("software", "m2v", software, version),
        ]
    )


def _entry(kind: str, key: str, given: Mapping[str, Any], more: Mapping[str, str]) -> str:
    fields = {"title": f"{{{given['title']}}}", "author": _authors(given["authors"]), **more}
    if "url" in given or "repository-code" in given:
        fields["url"] = str(given.get("url", given.get("repository-code")))
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _authors(authors: Sequence[Mapping[str, str]]) -> str:
    """Persons as BibTeX takes them; a name that is no person's stays in one piece."""
    names = (
        f"{a['family-names']}, {a['given-names']}" if "family-names" in a else f"{{{a['name']}}}"
        for a in authors
    )
    return " and ".join(names)


def facts_of_row(row: Row, records: Sequence[Record]) -> Iterator[dict[str, str]]:
    """What stands behind the numbers of a row, of each data set that it ran on; of a row that
    never ran only what is printed.
    """
    for frame in tables.frames_that_ran(row.table, records):
        (line,) = (line for line in frame.to_dict("records") if line["row"] == row.row)
        runs = [record for record in records if record.name in line["runs"]]
        yield _of_line(row, frame, line) | (facts_of_runs(runs) if runs else {})


def _of_line(row: Row, frame: pd.DataFrame, line: Mapping[Any, Any]) -> dict[str, str]:
    found = {"row": f"{row.table}/{row.row}: {line['label']}", "state": line["state"]}
    for key, (_, title) in measure_of(row.table).metrics.items():
        if line["n_seeds"]:
            spread = f" ± {line[f'{key}_spread']:.1f}" if line["n_seeds"] > 1 else ""
            found[title] = f"{line[key]:.1f}{spread} (n = {line['n_seeds']})"
    if line["source"]:
        printed = (f"{line[f'published_{key}']:.1f}" for key in measure_of(row.table).metrics)
        found["printed"] = f"{' / '.join(printed)} ({line['source']}; not the same quantity)"
        if line["state"] == "reproduced":
            found["printed"] = found["printed"].replace("; not the same quantity", "")
    return found


def facts_of_runs(runs: Sequence[Record]) -> dict[str, str]:
    """Where, from what and when numbers came, of runs that differ in their seed alone: records have
    no date, so it is that of the code they ran.
    """
    results = [run.result for run in runs]
    return {
        "records": " ".join(run.name for run in runs),
        "data": _each(f"{r['data']['name']} {r['data']['fingerprint'][:12]}" for r in results),
        "protocol": _each(r["data"]["protocol"] for r in results),
        "preset": _each(f"{r['preset']}, recipe {r['recipe']}" for r in results),
        "steps": _each(f"{r['schedule']['steps']}" for r in results),
        "seeds": _each(str(r["seed"]) for r in results),
        "epoch": _each(r.get("selected", "") for r in results),
        "commit": _each(_dated(r.get("commit", "unknown")) for r in results),
        "device": _each(r.get("device", "unknown") for r in results),
    }


def _dated(name: str) -> str:
    """A commit with its day, where git knows it."""
    day = commit_day(name.partition("+")[0])
    return f"{name} of {day}" if day else name


def _each(values: Iterator[str]) -> str:
    return "; ".join(dict.fromkeys(values))
