"""The front page's answer to 'does it reproduce?': what of the print holds, and what holds when
trained, by how much and how sure, each with the link to what shows it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m2v_lib.report.badges import badge, run_link
from m2v_lib.report.collect import SuiteRun
from m2v_lib.report.headline import headline_records
from m2v_lib.report.pages.results import QUESTION
from m2v_lib.results import effects, paper, tables
from m2v_lib.results.audit import CONTRADICTED, HOLDS, OPEN
from m2v_lib.results.effects import Effect
from m2v_lib.runs.records import Record

if TYPE_CHECKING:
    import pandas as pd

AUDIT = "59_paper_vs_code"
#: (chapter, heading under which the cell stands)
SHOWN = {
    "claims": (AUDIT, "The ledger"),
    "teacher": (AUDIT, "Stage 1, rerun: teacher and targets"),
    "masks": ("55_table5", "How much of it can be $P$ and $K$?"),
    "macs": ("52_table3", "Beside the print"),
    "gt": ("50_table1", "Averages recomputed"),
    "trained": ("58_table8", "On real motion"),
}
_COUNTS = re.compile(rf"(\d+) {HOLDS}, (\d+) {CONTRADICTED}, (\d+) {OPEN}")


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub and myst make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def claims_settled(suite: SuiteRun, notebooks: Path) -> tuple[int, int, int] | None:
    """How many of the paper's claims hold, are contradicted and stay open, as the audit's chapter
    printed it: in the suite, else as stored in `notebooks`; None where neither has run.
    """
    ran = [page.executed for page in suite.pages if page.name == AUDIT and page.executed]
    for path in (*ran, notebooks / f"{AUDIT}.ipynb"):
        try:
            outputs = json.dumps([c.get("outputs") for c in json.loads(path.read_text())["cells"]])
        except (OSError, ValueError, KeyError):
            continue
        if found := _COUNTS.search(outputs):
            holds, contradicted, still_open = map(int, found.groups())
            return holds, contradicted, still_open
    return None


def answers(
    chapters: Iterable[str], records: Sequence[Record], claims: tuple[int, int, int] | None
) -> str:
    """Two tables: statements of the print, and effects when trained on motion capture."""
    known = set(chapters)
    return "\n".join([_print_holds(known, claims), _trained(known, records)])


def _print_holds(known: set[str], claims: tuple[int, int, int] | None) -> str:
    spread = [
        line["value"]
        for line in paper.table("table5")
        if line["metric"] == "MPJPE" and line["M"] == 3
    ]
    base, other, large = (
        paper.value("table3", method=name, metric="MACs(G)")
        for name in ("Ours-B", "MotionAGFormer-B", "Ours-L")
    )
    rows = {
        "claims": ("The paper's statements, against its tables and code", _counts(claims)),
        "teacher": (
            "The released pre-training has a moving teacher",
            "no: it never moves; the target is the network's own input embedding",
        ),
        "masks": (
            f"Mask ratio and targets matter; stage 1 gains {paper.claim('stage1-mpjpe', 'gain')} mm",
            f"they change nothing in the code; rows of one run each are "
            f"{max(spread) - min(spread):.1f} mm apart",
        ),
        "macs": (
            "The costs of Table III",
            f"no: {base} G and {other} G are one network, counted in two ways; {large} G is "
            "impossible",
        ),
        "gt": (
            "The averages for ground-truth 2D",
            "no: they do not follow from the actions beside them",
        ),
    }
    lines = ["| In print | does it hold? | shown in |", "|---|---|---|"]
    lines += [f"| {q} | {answer} | {_see(key, known)} |" for key, (q, answer) in rows.items()]
    return "\n".join([*lines, ""])


def _counts(claims: tuple[int, int, int] | None) -> str:
    if claims is None:
        return badge("not run", "not-run")
    holds, contradicted, still_open = claims
    words = f"hold, **{contradicted}** are contradicted, {still_open} can't be decided here"
    return f"of {sum(claims)}, **{holds}** {words}"


def _trained(known: set[str], records: Sequence[Record]) -> str:
    lines = [
        "| When trained, on motion capture | by how much (MPJPE) | how sure | shown in |",
        "|---|---|---|---|",
    ]
    lines += [_lifting(record) for record in headline_records(records)[:1]]

    every = [_question(records, preset) for preset in tables.MOCAP_PRESETS]
    for labels, rows in QUESTION.items():
        lines += _pretraining(labels, rows, every)
    lines.append(_modules(tables.on_motion_capture("table8", records), known))
    return "\n".join([*lines, ""])


def _lifting(record: Record) -> str:
    result, ridge = record.result, record.result["baselines"]["ridge"]["mpjpe"]
    ours = result["test"]["mpjpe"]
    verdict = badge("better", "yes") if ours < ridge else badge("worse", "no")
    about = result["preset"]
    numbers = f"{ours - ridge:+.1f} mm ({ours:.1f} against {ridge:.1f})"
    seed = run_link(record.name, f"seed {result['seed']}")
    what = f"The network against ridge regression ({about})"
    return f"| {what} | {numbers} | {verdict} 1 seed | {seed} |"


def _question(records: Sequence[Record], preset: str) -> pd.DataFrame:
    return tables.on_motion_capture("label-scarcity", records, preset)


def _pretraining(
    labels: str, rows: tuple[int, int, int], frames: Sequence[pd.DataFrame]
) -> list[str]:
    """A line for each recipe of pre-training with this share of labels, of the first preset that
    ran (they begin with the longest training).
    """
    scratch, released, by_paper = rows
    lines = []
    for recipe, row in (("as in the paper", by_paper), ("as released", released)):
        for frame in frames:
            found = effects.effect_of_row(frame, row, scratch)
            if found.n:
                what = f"Pre-training {recipe}, {labels} labels ({frame.attrs['preset']})"
                lines.append(_effect_line(what, found, frame, (row, scratch)))
                break
    return lines


def _effect_line(what: str, found: Effect, frame: pd.DataFrame, rows: tuple[int, int]) -> str:
    runs: Mapping[int, tuple[str, ...]] = dict(zip(frame["row"], frame["runs"], strict=True))
    links = " ".join(run_link(runs[row][0], f"row {row}") for row in rows)
    return f"| {what} | {found.mean:+.1f} mm | {sureness(found)} | {links} |"


def sureness(found: Effect) -> str:
    """A badge and the interval: better, worse, or not told apart from seed noise."""
    seeds = "1 seed" if found.n == 1 else f"{found.n} seeds"
    if math.isnan(found.low):
        return f"{badge('unknown', 'open')} {seeds}"
    interval = f"95 % CI {found.low:+.1f} to {found.high:+.1f}, {seeds}"
    if not found.excludes_zero:
        return f"{badge('within seed noise', 'open')} {interval}"
    return f"{badge('better', 'yes') if found.mean < 0 else badge('worse', 'no')} {interval}"


def _modules(frame: pd.DataFrame, known: set[str]) -> str:
    """Table VIII in a line: how many of its rows differ from the full model."""
    every = effects.effects_of_all_rows(frame, 1)
    tried = {row: found.p for row, found in every.items() if not math.isnan(found.p)}
    if not tried:
        return f"| A module taken away (Table VIII) | {badge('not run', 'not-run')} | | |"

    labels: Mapping[int, Any] = dict(zip(frame["row"], frame["label"], strict=True))
    differing = [row for row, p in effects.holm(tried).items() if p < effects.SIGNIFICANCE]
    worse = [
        f"{labels[row].partition(' (')[0]} {every[row].mean:+.1f} mm" for row in sorted(differing)
    ]
    what = f"A module changed (Table VIII, {frame.attrs['preset']})"
    sure = f"{len(differing)} of {len(tried)} rows differ (Holm)"
    return (
        f"| {what} | {'; '.join(worse) or 'no row differs'} | {sure} | {_see('trained', known)} |"
    )


def _see(key: str, known: set[str]) -> str:
    chapter, heading = SHOWN[key]
    number = chapter[:2]
    return f"[{number}]({chapter}.ipynb#{slug(heading)})" if chapter in known else number
