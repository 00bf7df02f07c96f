"""Whose mistake an error is: of what somebody gave, a sentence for them; of ours, a sentence and a
report, never a traceback.
"""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path
from typing import Final

#: Packages whose modules have another name.
_PACKAGES: Final = {"PIL": "pillow", "IPython": "ipykernel", "myst_nb": "myst-nb"}
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

    print(f"m2v: an unexpected error ({kind}); {place}", file=sys.stderr)
    return EX_SOFTWARE


def report_missing_package(error: ModuleNotFoundError) -> int:
    """Say which extra of the package brings what is missing; unexpected where none does."""
    module = str(error.name or "").partition(".")[0]
    package = _PACKAGES.get(module, module).lower()
    wanted = re.compile(rf"{re.escape(package)}\b(?!-).*extra == .(\w+)")
    extras = [m[1] for line in _requirements() if (m := wanted.match(line.lower()))]
    if not extras:
        return report_unexpected(error)

    print(
        f"m2v: this command needs the package {package}: pip install 'm2v_lib[{extras[0]}]'",
        file=sys.stderr,
    )
    return 2


def _requirements() -> list[str]:
    try:
        return metadata.requires("m2v_lib") or []
    except metadata.PackageNotFoundError:
        return []


def _write_report(error: Exception) -> Path:
    number, name = tempfile.mkstemp(prefix="m2v-report-", suffix=".txt")
    with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(f"{sys.version}\n{platform.platform()}\n{sys.argv[1:]!r:.2000}\n\n")
        stream.writelines(traceback.format_exception(error, limit=-40))
    return Path(name)
