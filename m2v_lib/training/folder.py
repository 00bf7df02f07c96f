"""The folder of a run: one process trains in it at a time, and a finished run says on which data
it was trained.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from m2v_lib.models.state_files import CheckpointError
from m2v_lib.runs.locks import try_lock, wait_for_lock
from m2v_lib.runs.records import StoppedEarly
from m2v_lib.training.engine.distributed import SINGLE, ProcessGroup


@contextlib.contextmanager
def run_folder_lock(folder: Path, group: ProcessGroup = SINGLE) -> Iterator[None]:
    """Wait until no other run trains in `folder` (a killed workflow can leave one), then keep
    others out.
    """
    if not group.is_main:
        group.wait()
        yield
        return

    folder.parent.mkdir(parents=True, exist_ok=True)

    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        if not try_lock(lock):
            print(f"waiting for another process that trains in {folder}", flush=True)
            wait_for_lock(lock)

        group.wait()
        yield


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Whether the run in `folder` is done. Raises CheckpointError when its data were others of
    the same name.
    """
    result = folder / "result.json"
    if not result.exists():
        return False

    trained_on = json.loads(result.read_text(encoding="utf-8"))["data"]["fingerprint"]
    if trained_on != fingerprint:
        raise CheckpointError(
            f"{folder}: was trained on data with fingerprint {trained_on[:12]}, the store now has "
            f"{fingerprint[:12]}; "
            "delete the folder to train again"
        )

    return True


def check_finished(folder: Path) -> Path:
    """The folder of a run that other processes have made. Raises StoppedEarly when it is to be
    resumed.
    """
    if not (folder / "result.json").exists():
        raise StoppedEarly(f"{folder.name}: stopped at a checkpoint, to be resumed")
    return folder
