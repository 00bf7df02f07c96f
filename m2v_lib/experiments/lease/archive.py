"""Run records in a few small files, and out of them again where every record is checked before
it is filed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from m2v_lib.config import Experiment
from m2v_lib.errors import InputError
from m2v_lib.runs.records import RECORD_FILES, load_record, write_atomically
from m2v_lib.yaml_text import parse_yaml

#: Size that a file for exchange may have (bytes).
MAX_ARCHIVE_BYTES = 15 << 20
#: Largest file of a record that is taken out of an archive (bytes).
MAX_FILE_BYTES = 8 << 20


class ArchiveError(InputError):
    """An archive that is damaged, or holds what is no record of this package."""


def pack(folders: Iterable[Path], target: Path, limit: int = MAX_ARCHIVE_BYTES) -> list[Path]:
    """The records of finished runs in `target`, and in further files beside it where one would
    pass the limit.
    """
    parts: list[list[Path]] = [[]]
    size = 0
    for folder in sorted(folders):
        grown = size + len(_zipped([folder]))
        if parts[-1] and grown > limit:
            parts.append([])
            grown = grown - size
        parts[-1].append(folder)
        size = grown

    written = []
    for number, chosen in enumerate(parts, 1):
        path = target if number == 1 else target.with_stem(f"{target.stem}-{number}")
        content = _zipped(chosen)
        write_atomically(path, lambda beside, content=content: beside.write_bytes(content))  # type: ignore[misc]
        written.append(path)

    return written


def _zipped(folders: Sequence[Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            for name in RECORD_FILES:
                archive.writestr(f"{folder.name}/{name}", (folder / name).read_bytes())
    return buffer.getvalue()


def unpack(archive: Path, kept: Path) -> list[Path]:
    """File the records of an archive under `kept`; returns their folders.

    Nothing is filed unless everything is sound: the four files of a run and no others, a
    configuration whose digest is in the folder's name, a result that belongs to it. A record
    that is there already must be the same run; it stays. Raises ArchiveError.
    """
    found = _read(archive)
    for name, files in found.items():
        _verify(archive, name, files)

    filed = []
    for name, files in sorted(found.items()):
        target = kept / name
        if (target / "result.json").exists():
            continue
        for file in RECORD_FILES:
            write_atomically(target / file, partial(_write, files[file]))
        load_record(target)
        filed.append(target)

    return filed


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _read(archive: Path) -> dict[str, dict[str, bytes]]:
    """Contents by run and file name."""
    found: dict[str, dict[str, bytes]] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                name, slash, file = entry.filename.partition("/")
                if not slash or name.startswith(".") or file not in RECORD_FILES:
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


def _verify(archive: Path, name: str, files: dict[str, bytes]) -> None:
    """Raises ArchiveError unless the files are a whole record of the run that the folder's name
    says.
    """
    if missing := [file for file in RECORD_FILES if file not in files]:
        raise ArchiveError(f"{archive}: {name} has no {missing[0]}")

    try:
        exp = Experiment.from_dict(parse_yaml(files["config.yaml"].decode()))
        result = json.loads(files["result.json"])
        json.loads(files["env.json"])
        lines = [json.loads(line) for line in files["metrics.jsonl"].splitlines()]
        stage = result["stage"]
        expected = exp.run_name(stage)
        own = (result["name"], result["digest"], result["seed"], result["schedule"]["steps"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(
            f"{archive}: {name} is no record of a run ({type(error).__name__}: {error})"
        ) from error

    if name != expected:
        raise ArchiveError(f"{archive}: {name} has the settings of {expected}")

    last = max((line["step"] for line in lines if line.get("kind") == "train"), default=0)
    if own[:3] != (expected, exp.digest(stage), exp.run.seed) or own[3] != last:
        raise ArchiveError(f"{archive}: {name} has the result of another run")
