"""Run folders and run records: config, metrics, result and environment of one training run. No
torch here.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from m2v_lib.errors import InputError
from m2v_lib.yaml_text import parse_yaml

#: Exit code of a run that stopped early and wants the same command again (EX_TEMPFAIL of
#: sysexits.h).
RESUME_EXIT_CODE = 75

#: The result last: where it is, the others are.
RECORD_FILES = ("config.yaml", "metrics.jsonl", "env.json", "result.json")
#: What a finished run has beside its record.
WEIGHTS_FILE = "weights.safetensors"
#: Folder of learning-rate range tests, beside the records of runs.
RANGE_TESTS = "range-test"


class StoppedEarly(Exception):
    """A run stopped at a checkpoint before its end; the same call goes on from there."""


def project_root() -> Path:
    """The checkout that holds the current folder (notebooks run two levels apart), else the
    current folder.
    """
    here = Path.cwd()
    return next(
        (folder for folder in (here, *here.parents) if (folder / "Snakefile").is_file()), here
    )


def runs_root() -> Path:
    """`$M2V_RUNS`, or `reports/runs` of the checkout."""
    return Path(os.environ.get("M2V_RUNS") or project_root() / "reports" / "runs")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, then move it into place; on failure the old file
    stays as it was. Of two that write the same file at a time the later one stays, whole.

    Raises OSError with one sentence that names the file when the disk is full or not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")

    try:
        write(beside)
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) or "os error" in str(error).lower():
            reason = getattr(error, "strerror", None) or error
            raise OSError(
                f"{path}: could not be saved ({reason}); an older version is untouched"
            ) from error
        raise


def _remove_left_behind(path: Path) -> None:
    """Remove what killed processes of this machine left beside `path`."""
    ours = re.compile(re.escape(path.name) + r"\.(?P<process>\d+)-[0-9a-f]{8}\.tmp")
    for file in path.parent.iterdir():
        if (found := ours.fullmatch(file.name)) and not _is_running(int(found["process"])):
            with contextlib.suppress(OSError):  # Windows refuses to remove what is open
                file.unlink()


def _is_running(process: int) -> bool:
    """Whether there is a process of that number; on Windows nobody is asked."""
    if os.name != "posix":
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def write_stream(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """`write_atomically` of what `write` writes to a stream: `np.savez` and the like, which would
    give a file's name another ending.
    """

    def to_file(beside: Path) -> None:
        with beside.open("wb") as stream:
            write(stream)

    write_atomically(path, to_file)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1) + "\n")


class MetricsLog:
    """Append-only `metrics.jsonl`; on resume, lines past the checkpoint are cut so that none
    appears twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: dict[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OSError(f"{self.path}: a line could not be added ({error})") from error

    def cut_after(self, step: int) -> None:
        """Keep the lines of steps up to `step`; a last line torn by a kill goes too."""
        kept = (
            [line for line in read_metrics(self.path) if line["step"] <= step]
            if self.path.exists()
            else []
        )
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a metrics file."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


@dataclass(frozen=True)
class Record:
    """What a finished run left behind."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    metrics: list[dict[str, Any]]
    env: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name


def load_record(folder: Path) -> Record:
    """Read one finished run. Raises InputError naming the file that is missing or broken."""
    folder = Path(folder)
    try:
        return Record(
            path=folder,
            config=parse_yaml((folder / "config.yaml").read_text(encoding="utf-8")),
            result=json.loads((folder / "result.json").read_text(encoding="utf-8")),
            metrics=read_metrics(folder / "metrics.jsonl"),
            env=json.loads((folder / "env.json").read_text(encoding="utf-8")),
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not a run record ({error})") from error


def find_records(*roots: Path) -> list[Record]:
    """Every finished run directly under the given folders, by name; a run kept in several places
    comes once.
    """
    found: dict[str, Record] = {}
    for root in roots:
        for result in sorted(Path(root).glob("*/result.json")):
            found.setdefault(result.parent.name, load_record(result.parent))
    return [found[name] for name in sorted(found)]


def keep_record(run_dir: Path, records_root: Path) -> Path:
    """Copy a finished run's four small files to `records_root/<run>`; the weights stay behind."""
    load_record(run_dir)
    target = Path(records_root) / Path(run_dir).name
    target.mkdir(parents=True, exist_ok=True)
    for name in RECORD_FILES:
        write_atomically(target / name, partial(shutil.copyfile, Path(run_dir) / name))
    return target


def commit() -> str:
    """The package's git commit, with `+changes` when tracked files differ from it; `unknown`
    outside a checkout, unless M2V_COMMIT names it.
    """
    if named := os.environ.get("M2V_COMMIT"):  # a copy without git, such as on a lent machine
        return named

    try:
        changes = "+changes" if _git("status", "--porcelain", "-uno", ".") else ""
        return _git("rev-parse", "--short=12", "HEAD") + changes
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def commit_day(name: str) -> str:
    """The day of a commit, YYYY-MM-DD; empty where git does not know it."""
    try:
        return _git("log", "-1", "--format=%cs", name, "--")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "-C", str(here), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def environment(
    extra: dict[str, Any] | None = None, packages: Iterable[str] = ("torch", "numpy", "safetensors")
) -> dict[str, Any]:
    """What ran where: Python, packages, machine, commit."""
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "packages": {name: version_of(name) for name in packages},
        "commit": commit(),
        **(extra or {}),
    }


def _processor() -> str:
    """The processor's type as the system names it, on Linux with family and model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()

    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    if "model name" not in facts:
        return platform.processor()
    return f"{facts['model name']}, family {facts.get('cpu family')}, model {facts.get('model')}"


def version_of(package: str) -> str:
    """The version of an installed package, or `absent`."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"
