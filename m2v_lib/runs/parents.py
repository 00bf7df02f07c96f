"""Processes that end when the one that started them does, however that ended: one killed with
SIGKILL can tell nobody, and what it started would train on, or wait for its like for ever.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Final

#: Names the process that started this one, which may be gone before this one can look for it.
PARENT: Final = "M2V_PARENT_PROCESS"
#: Seconds between two looks.
INTERVAL: Final = 0.5
#: Exit code of a process whose parent has gone; nobody is left to read it.
EXIT_CODE: Final = 1


def die_with_parent() -> None:
    """End this process within a second of its parent's end, from now on."""
    parent = int(os.environ.get(PARENT, os.getppid()))
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def follow_parent() -> None:
    """`die_with_parent`, and leave Ctrl-C to the parent: a terminal sends it to both."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _watch(parent: int) -> None:
    """An orphan has another parent: process 1, or whoever collects orphans."""
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    os._exit(EXIT_CODE)
