"""A process that is asked to end and has something to finish first."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Final

#: What a queue sends before it takes a machine back, and Ctrl-C.
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def noting_signals() -> Iterator[list[str]]:
    """The names of the signals that came while the block runs, which they do not end (in a main
    thread, where signals can be handled).
    """
    came: list[str] = []
    before = {}
    with contextlib.suppress(ValueError):
        for number in SIGNALS:
            before[number] = signal.signal(
                number, lambda which, _: came.append(signal.Signals(which).name)
            )

    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
