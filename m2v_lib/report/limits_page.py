"""`docs/limits.md`: how large what comes from outside may be, made from the limits in the code and
the reasons beside them.
"""

from __future__ import annotations

import inspect

from m2v_lib.config.validation import LIMITS
from m2v_lib.data import limits

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
    return "\n".join([*lines, ""])


def _reason(lines: list[str]) -> str:
    """The comment as one line; where limits share one it stands at the first."""
    text = " ".join(lines)
    return text[:1].upper() + text[1:]
