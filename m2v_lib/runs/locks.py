"""Locks between processes, that end when the block is left or its process dies: `flock` where
there is one, byte locks on Windows.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Seconds between two tries where the system cannot wait by itself.
_INTERVAL: Final = 0.2


def try_lock(stream: IO[Any]) -> bool:
    """Lock an open file until it is closed; False where another process, or another opening,
    holds it.
    """
    try:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _lock_first_byte(stream)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _lock_first_byte(stream: IO[Any]) -> None:
    import msvcrt

    stream.seek(0)
    lock: Any = msvcrt  # its functions are known to mypy on Windows alone
    lock.locking(stream.fileno(), lock.LK_NBLCK, 1)


def wait_for_lock(stream: IO[Any]) -> None:
    """Lock an open file until it is closed, as soon as no other holds it."""
    if fcntl is not None:
        fcntl.flock(stream, fcntl.LOCK_EX)
        return
    while not try_lock(stream):
        time.sleep(_INTERVAL)


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep out other processes that lock the folder. Where folders cannot be opened, a file in it,
    `.lock`, stands for it.
    """
    if fcntl is None:
        with (folder / ".lock").open("a") as stream:
            wait_for_lock(stream)
            yield
        return

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
