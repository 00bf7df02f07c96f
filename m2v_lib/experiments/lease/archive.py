"""Run records in a few small files, and out of them again where every record is checked before
it is filed; so too what a later lease goes on from: checkpoints of runs that had begun, weights of
stage 1 that runs wait for.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from m2v_lib.config import Experiment
from m2v_lib.errors import InputError
from m2v_lib.runs.records import RECORD_FILES, WEIGHTS_FILE, load_record, write_atomically
from m2v_lib.yaml_text import parse_yaml

#: Size that a file for exchange may have (bytes).
MAX_ARCHIVE_BYTES = 15 << 20
#: Largest file that goes into an archive and is taken out of it (bytes).
MAX_FILE_BYTES = 15 << 20
#: What of a run that waits to be resumed is packed, where it is there; and of a finished one that
#: others start from, beside its record.
RESUMED_FILES = (
    "config.yaml",
    "env.json",
    "metrics.jsonl",
    "checkpoint.safetensors",
    "best.safetensors",
)
#: All that is taken along beside the records, at most (bytes).
MAX_RESUMED_BYTES = 40 << 20
KNOWN_FILES = {*RECORD_FILES, *RESUMED_FILES, WEIGHTS_FILE}


class ArchiveError(InputError):
    """An archive that is damaged, or holds what is no record of this package."""


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
    their weights, then runs that have begun, as many as `most` bytes hold.
    """
    chosen: list[tuple[Path, list[str]]] = []
    size = 0
    wanted = [(folder, [*RECORD_FILES, WEIGHTS_FILE]) for folder in needed]
    for folder, names in [*wanted, *((folder, list(RESUMED_FILES)) for folder in begun)]:
        there = [name for name in names if (folder / name).exists()]
        sizes = [(folder / name).stat().st_size for name in there]
        if max(sizes, default=0) <= min(MAX_FILE_BYTES, limit) and size + sum(sizes) <= most:
            chosen.append((folder, there))
            size += sum(sizes)

    return _in_parts(chosen, target, limit)


def _in_parts(chosen: Sequence[tuple[Path, list[str]]], target: Path, limit: int) -> list[Path]:
    """The files of each folder in `target` and further archives beside it; [] of none."""
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

    return written


def _zipped(folders: Sequence[tuple[Path, list[str]]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, names in folders:
            for name in names:
                archive.writestr(f"{folder.name}/{name}", (folder / name).read_bytes())
    return buffer.getvalue()


def unpack(archive: Path, kept: Path, runs: Path) -> list[Path]:
    """File the records of an archive under `kept`, and runs to be resumed or started from under
    `runs`; returns the folders.

    Nothing is filed unless everything is sound: files of a run and no others, a configuration
    whose digest is in the folder's name, a result that belongs to it. What is there already must
    be the same run; it stays. Raises ArchiveError.
    """
    found = _read(archive)
    for name, files in found.items():
        _verify(archive, name, files)

    filed = []
    for name, files in sorted(found.items()):
        if "result.json" in files and not (kept / name / "result.json").exists():
            record = {file: files[file] for file in RECORD_FILES}
            filed.append(_file(record, kept / name))
            load_record(kept / name)

        to_go_on = WEIGHTS_FILE in files or "result.json" not in files
        if to_go_on and not (runs / name / "config.yaml").exists():
            filed.append(_file(files, runs / name))

    return filed


def _file(files: Mapping[str, bytes], target: Path) -> Path:
    for file, content in files.items():
        write_atomically(target / file, partial(_write, content))
    return target


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _read(archive: Path) -> dict[str, dict[str, bytes]]:
    """Contents by run and file name."""
    found: dict[str, dict[str, bytes]] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                name, slash, file = entry.filename.partition("/")
                if not slash or name.startswith(".") or file not in KNOWN_FILES:
                    raise ArchiveError(
                        f"{archive}: holds {entry.filename!r}, which is no file of a run record"
                    )
                if entry.file_size > MAX_FILE_BYTES:
                    raise ArchiveError(
                        f"{archive}: {entry.filename} is {entry.file_size >> 20} MiB large"
                    )

                found.setdefault(name, {})[file] = opened.read(entry)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ArchiveError(f"{archive}: cannot be read ({error})") from error

    return found


def _verify(archive: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Raises ArchiveError unless the files are those of a run with the settings that the folder's
    name says: a whole record where there is a result, else a run that has begun.
    """
    finished = "result.json" in files
    expected = RECORD_FILES if finished else RESUMED_FILES[:4]
    if missing := [file for file in expected if file not in files]:
        raise ArchiveError(f"{archive}: {name} has no {missing[0]}")

    try:
        exp, lines = _told(files)
        result = json.loads(files["result.json"]) if finished else {}
        stage = result["stage"] if finished else name.partition("-")[0]
        own = exp.run_name(stage)
        last = max((line["step"] for line in lines if line.get("kind") == "train"), default=0)
        said = (
            [result["name"], result["digest"], result["seed"], result["schedule"]["steps"]]
            if finished
            else []
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(
            f"{archive}: {name} is no record of a run ({type(error).__name__}: {error})"
        ) from error

    if name != own:
        raise ArchiveError(f"{archive}: {name} has the settings of {own}")
    if finished and said != [own, exp.digest(stage), exp.run.seed, last]:
        raise ArchiveError(f"{archive}: {name} has the result of another run")


def _told(files: Mapping[str, bytes]) -> tuple[Experiment, list[dict[str, Any]]]:
    """A run's settings and its log; its machine must be readable too."""
    exp = Experiment.from_dict(parse_yaml(files["config.yaml"].decode()))
    json.loads(files["env.json"])
    return exp, [json.loads(line) for line in files["metrics.jsonl"].splitlines()]
