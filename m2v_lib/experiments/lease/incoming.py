"""Records out of an archive, every one checked before any is filed; so too runs to go on with. What
is there already stays, unless it is the same run in an earlier state.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from m2v_lib.experiments.lease.archive import CHECKPOINT_FILE, MAX_FILE_BYTES
from m2v_lib.experiments.lease.soundness import ArchiveError, Files, step_reached, verify
from m2v_lib.experiments.queue.run import claim_file, is_running
from m2v_lib.runs.locks import try_lock
from m2v_lib.runs.records import RECORD_FILES, WEIGHTS_FILE, load_record, write_atomically

#: All that one archive may unpack to (bytes): text packs to a tenth, not to a thousandth.
MAX_UNPACKED_BYTES: Final = 400 << 20
#: In this order files are filed: what marks a run as resumable or done comes last, so that an
#: import that was killed is made good by the next one.
FILING_ORDER: Final = (
    "config.yaml",
    "env.json",
    "metrics.jsonl",
    "best.safetensors",
    CHECKPOINT_FILE,
    WEIGHTS_FILE,
    "result.json",
)
#: The step of a run that is done.
DONE: Final = 1 << 62

Say = Callable[[str], object]


def unpack(archive: Path, kept: Path, runs: Path, say: Say = print) -> list[Path]:
    """File the records of an archive under `kept`, and runs to be resumed or started from under
    `runs`; returns the folders.

    Nothing is filed unless everything is sound: files of a run and no others, a configuration
    whose digest is in the folder's name, a result that belongs to it, tensors that can be read.
    Of two results the one that is there stays, of two states of a run the one that is further on;
    `say` is told so. Raises ArchiveError.
    """
    found = _read(archive)
    for name, files in found.items():
        try:
            verify(name, files)
        except ArchiveError as error:
            raise ArchiveError(f"{archive}: {error}") from error

    filed = []
    for name, files in sorted(found.items()):
        if "result.json" in files:
            filed += _file_record(files, kept / name, say)
        if WEIGHTS_FILE in files or "result.json" not in files:
            filed += _file_run(files, runs / name, say)

    return filed


def _file_record(files: Files, target: Path, say: Say) -> list[Path]:
    there = target / "result.json"
    if there.exists():
        same = there.read_bytes() == files["result.json"]
        say(f"{target}: {'is already there' if same else 'another result is there, it stays'}")
        return []

    made_from = json.loads(files["result.json"]).get("commit", "unknown")
    if made_from == "unknown" or made_from.endswith("+changes"):
        say(f"{target}: made from commit {made_from}, which nobody can check out")
    _file({name: files[name] for name in RECORD_FILES}, target)
    load_record(target)
    return [target]


def _file_run(files: Files, target: Path, say: Say) -> list[Path]:
    """A run to go on with, unless what is there is as far or another process is at it."""
    if is_running(target):
        say(f"{target}: is being trained, it stays")
        return []

    target.parent.mkdir(parents=True, exist_ok=True)
    with claim_file(target).open("w") as stream:
        there = _step_there(target)
        if not try_lock(stream) or there >= _step_of(files):
            say(f"{target}: {'is done' if there == DONE else f'stays at step {there}'}")
            return []
        _file(files, target)

    if "result.json" in files:  # what only resuming needs
        for name in (CHECKPOINT_FILE, "best.safetensors"):
            (target / name).unlink(missing_ok=True)
    return [target]


def _step_of(files: Files) -> int:
    return DONE if WEIGHTS_FILE in files else step_reached(files[CHECKPOINT_FILE])


def _step_there(folder: Path) -> int:
    """How far the run in a folder is; a result without its weights is no more than a checkpoint."""
    if (folder / "result.json").exists() and (folder / WEIGHTS_FILE).exists():
        return DONE
    try:
        return step_reached((folder / CHECKPOINT_FILE).read_bytes())
    except (OSError, ArchiveError):
        return -1


def _file(files: Files, target: Path) -> None:
    for name in FILING_ORDER:
        if name in files:
            write_atomically(target / name, partial(_write, files[name]))


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _read(archive: Path) -> dict[str, dict[str, bytes]]:
    """Contents by run and file name."""
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            _check_entries(archive, entries)
            contents = [opened.read(entry) for entry in entries]
    except ArchiveError:
        raise
    except Exception as error:  # each way of packing has errors of its own
        raise ArchiveError(f"{archive}: cannot be read ({error})") from error

    found: dict[str, dict[str, bytes]] = {}
    for entry, content in zip(entries, contents, strict=True):
        name, _, file = entry.filename.partition("/")
        found.setdefault(name, {})[file] = content
    return found


def _check_entries(archive: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Names and sizes, before anything is unpacked. Raises ArchiveError."""
    for entry in entries:
        name, slash, file = entry.filename.partition("/")
        if not slash or name.startswith(".") or file not in FILING_ORDER:
            raise ArchiveError(
                f"{archive}: holds {entry.filename!r}, which is no file of a run record"
            )
        if entry.file_size > MAX_FILE_BYTES:
            raise ArchiveError(f"{archive}: {entry.filename} is {entry.file_size >> 20} MiB large")

    total = sum(entry.file_size for entry in entries)
    if total > MAX_UNPACKED_BYTES:
        raise ArchiveError(
            f"{archive}: unpacks to {total >> 20} MiB, more than the {MAX_UNPACKED_BYTES >> 20} of "
            "an archive of records"
        )
