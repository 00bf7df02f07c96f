"""`docs/limits.md`: how large what comes from outside may be, made from the limits in the code and
the reasons beside them.
"""

from __future__ import annotations

import inspect
import json
from typing import Final

from m2v_lib.config.validation import LIMITS
from m2v_lib.data import limits
from m2v_lib.runs.records import project_root

#: keys of a row of the record, in words
_WORDS: Final = {
    "cpu_seconds": "CPU seconds",
    "poses_per_cpu_second": "poses a CPU second",
    "first_ms": "first answer ms",
    "median_ms": "median ms",
    "p99_ms": "99 % within ms",
    "largest_ms": "largest ms",
    "peak_mib": "peak MiB",
    "growth_mib": "growth MiB",
}
_HEAD = """\
# Limits

Every number in a file or an option is compared with its limit before memory, time or a path follows
from it; what is larger is refused in a sentence that names the limit. They lie far above what
anybody's data need. Made from `m2v_lib/data/limits.py` and `m2v_lib/config/validation.py`; `m2v
report` writes it.
"""


def limits_page() -> str:
    """The text of the page: a table for each part of the file, and one of settings."""
    lines = [_HEAD]
    reason: list[str] = []
    for line in inspect.getsource(limits).splitlines():
        if line.startswith("#: "):
            reason.append(line[3:])
        elif line.startswith("# "):
            lines.append(f"\n## {line[2:]}\n\n| limit | | why |\n|---|--:|---|")
        elif ": Final = " in line:
            name = line.partition(":")[0]
            lines.append(f"| `{name}` | {getattr(limits, name):,} | {_reason(reason)} |")
            reason = []
        elif reason and not line.startswith("#"):
            reason = []

    lines.append("\n## Settings\n\n| setting | at most |\n|---|--:|")
    lines += [f"| `{key}` | {value:,} |" for key, value in LIMITS.items()]
    return "\n".join([*lines, *_largest(), ""])


def _largest() -> list[str]:
    """What the largest inputs took, from the record of `m2v bench --lift`."""
    lines = []
    for path in sorted((project_root() / "reports" / "records").glob("bench-lift-*/lifting.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        packages = record["packages"]
        lines.append(
            f"\n## Lifting at its largest\n\nMeasured by `m2v bench --lift` on {record['processor']}, one "
            f"of {record['cpus']} cores, torch {packages['torch']}, commit {record['commit']}; a "
            "stream's times are from a line in to its answer, the first, which loads the network, left "
            "out of the rest.\n\n| case | frames | what it took |\n|---|--:|---|"
        )
        for row in record["rows"]:
            took = (f"{_WORDS[key]} {row[key]:,g}" for key in _WORDS if key in row)
            lines.append(f"| {row['case']} | {row['n_frames']:,} | {', '.join(took)} |")
    return lines


def _reason(lines: list[str]) -> str:
    """The comment as one line; where limits share one it stands at the first."""
    text = " ".join(lines)
    return text[:1].upper() + text[1:]
