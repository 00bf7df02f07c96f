"""Stopping a long run at a checkpoint: after so many minutes, or when SIGTERM asks for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType

#: Names a file: processes of the launcher stop when it is there (the launcher itself ends
#: noisily on SIGTERM).
STOP_FILE = "M2V_STOP_FILE"


class StopRequest:
    """Whether training should stop: SIGTERM came, or the time is up. Use it as a context around
    the loop.
    """

    def __init__(self, max_minutes: float) -> None:
        self.terminated = False
        self.file = Path(os.environ[STOP_FILE]) if STOP_FILE in os.environ else None
        self.deadline = time.monotonic() + 60 * max_minutes if max_minutes else float("inf")

    def __enter__(self) -> StopRequest:
        try:
            self.before = signal.signal(signal.SIGTERM, self._terminate)
        except ValueError:  # not in the main thread: only time can stop it
            self.before = None
        return self

    def __exit__(self, *error: object) -> None:
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.terminated = True

    def __bool__(self) -> bool:
        asked = self.terminated or (self.file is not None and self.file.exists())
        return asked or time.monotonic() >= self.deadline
