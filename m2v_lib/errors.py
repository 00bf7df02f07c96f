"""Whose mistake an error is: of what somebody gave, a sentence for them; of ours, a sentence and a
report, never a traceback.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Final

#: exit code of an internal software error (sysexits.h)
EX_SOFTWARE: Final = 70
#: set where errors have to be seen whole: in tests, so that no catch hides a bug
RAISE_VARIABLE: Final = "M2V_RAISE"


class InputError(ValueError):
    """What somebody gave cannot be used: a setting, a file, an option. Its text is a sentence for
    them; any other ValueError is a fault of this package.
    """


def report_unexpected(error: Exception) -> int:
    """Write the traceback to a file of its own, say where it is, and return the exit code."""
    if os.environ.get(RAISE_VARIABLE):
        raise error

    kind = type(error).__name__

    try:
        file = _write_report(error)
        place = f"a report is in {file}"
    except OSError:
        place = "a report could not be written"

    print(f"m2v: an unexpected error ({kind}); nothing was saved, {place}", file=sys.stderr)
    return EX_SOFTWARE


def _write_report(error: Exception) -> Path:
    number, name = tempfile.mkstemp(prefix="m2v-report-", suffix=".txt")
    with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"{sys.version}\n{platform.platform()}\n{sys.argv[1:]!r:.2000}\n\n")
        stream.writelines(traceback.format_exception(error, limit=-40))
    return Path(name)
