"""Run records in a few small files; so too what a later lease goes on from: checkpoints of runs
that had begun, weights of stage 1 that runs wait for. `incoming` takes them out again.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from m2v_lib.runs.records import RECORD_FILES, WEIGHTS_FILE, write_atomically

#: Size that a file for exchange may have (bytes).
MAX_ARCHIVE_BYTES = 15 << 20
#: Largest file that goes into an archive and is taken out of it (bytes).
MAX_FILE_BYTES = 15 << 20
CHECKPOINT_FILE = "checkpoint.safetensors"
#: What of a run that waits to be resumed is packed, where it is there; and of a finished one that
#: others start from, beside its record.
RESUMED_FILES = (
    "config.yaml",
    "env.json",
    "metrics.jsonl",
    CHECKPOINT_FILE,
    "best.safetensors",
)
#: All that is taken along beside the records, at most (bytes).
MAX_RESUMED_BYTES = 40 << 20


def pack(folders: Iterable[Path], target: Path, limit: int = MAX_ARCHIVE_BYTES) -> list[Path]:
    """The records of finished runs in `target`, and in further files beside it where one would
    pass the limit.
    """
    return _in_parts([(folder, list(RECORD_FILES)) for folder in sorted(folders)], target, limit)


def pack_to_resume(
    begun: Iterable[Path],
    needed: Iterable[Path],
    target: Path,
    limit: int = MAX_ARCHIVE_BYTES,
    most: int = MAX_RESUMED_BYTES,
) -> list[Path]:
    """What a later lease goes on from, as `pack` does it: finished runs that others need, with
    their weights, then runs that have a checkpoint, as many as `most` bytes hold.
    """
    chosen: list[tuple[Path, list[str]]] = []
    size = 0
    wanted = [(folder, [*RECORD_FILES, WEIGHTS_FILE]) for folder in needed]
    to_resume = [folder for folder in begun if (folder / CHECKPOINT_FILE).exists()]
    for folder, names in [*wanted, *((folder, list(RESUMED_FILES)) for folder in to_resume)]:
        there = [name for name in names if (folder / name).exists()]
        sizes = [(folder / name).stat().st_size for name in there]
        if max(sizes, default=0) <= min(MAX_FILE_BYTES, limit) and size + sum(sizes) <= most:
            chosen.append((folder, there))
            size += sum(sizes)

    return _in_parts(chosen, target, limit)


def _in_parts(chosen: Sequence[tuple[Path, list[str]]], target: Path, limit: int) -> list[Path]:
    """The files of each folder in `target` and further archives beside it; [] of none. Those of
    an earlier packing go.
    """
    parts: list[list[tuple[Path, list[str]]]] = []
    size = 0
    for entry in chosen:
        grown = size + len(_zipped([entry]))
        if not parts or grown > limit:
            parts.append([])
            grown = grown - size
        parts[-1].append(entry)
        size = grown

    written = []
    for number, part in enumerate(parts, 1):
        path = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        write_atomically(path, partial(_write, _zipped(part)))
        written.append(path)

    older = re.compile(rf"{re.escape(target.stem)}(-\d+)?{re.escape(target.suffix)}")
    for path in target.parent.iterdir():
        if older.fullmatch(path.name) and path not in written:
            path.unlink()

    return written


def _zipped(folders: Sequence[tuple[Path, list[str]]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, names in folders:
            for name in names:
                archive.writestr(f"{folder.name}/{name}", (folder / name).read_bytes())
    return buffer.getvalue()


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
