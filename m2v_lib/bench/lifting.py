"""`m2v bench --lift`: what `m2v lift` takes at its largest, each case as the command that a user
runs: a recording of an hour, a crowd, a stream of twenty minutes.

The keypoints are those of the sample video, played to and fro.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from m2v_lib.config import ConfigError
from m2v_lib.lift import SAMPLE
from m2v_lib.runs.records import environment, project_root, runs_root, write_json

#: the record's file, in a folder `bench-lift-DEVICE`
FILE: Final = "lifting.json"
SIZE: Final = (1280, 720)
FPS: Final = 25
#: frames that the stream holds back; given, so that every line in is answered by one out
LATENCY: Final = 6
#: lines after which the stream's memory is taken as its usual
WARM: Final = 500
#: a quick run has so many times fewer frames
QUICK: Final = 250


class Case(NamedTuple):
    """One recording: its name, frames and people, and whether it comes as a stream."""

    name: str
    n_frames: int
    n_people: int
    stream: bool = False


CASES: Final = (
    Case("one person", 100_000, 1),
    Case("a crowd", 2_000, 50),
    Case("a stream of one person", 30_000, 1, stream=True),
    Case("a stream of two people", 3_000, 2, stream=True),
)


def bench_lifting(
    *, quick: bool = False, out: Path | None = None, say: Callable[[str], None] = print
) -> Path:
    """Measure all CASES; returns the record's folder. Raises ConfigError where a lift fails."""
    rows = []
    for case in CASES:
        if quick:
            case = case._replace(n_frames=max(case.n_frames // QUICK, 3 * LATENCY))
        row = _stream(case) if case.stream else _recording(case)
        say(f"{case.name}: " + ", ".join(f"{key} {value:g}" for key, value in row.items()))
        rows.append(
            {"case": case.name, "n_frames": case.n_frames, "n_people": case.n_people, **row}
        )

    record = {
        "quick": quick,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        **environment(),
        "rows": rows,
    }
    name = f"bench-lift-cpu{record['cpus']}" + "-quick" * quick
    root = out or (runs_root() if quick else project_root() / "reports" / "records")
    write_json(root / name / FILE, record)
    return root / name


def keypoints(case: Case) -> np.ndarray:
    """(n,P,33,3) of MediaPipe's layout: the people beside one another, each at another moment."""
    with np.load(SAMPLE) as file:
        sample = file["keypoints"]
    there_and_back = np.concatenate([sample, sample[-2:0:-1]])

    people = []
    for number in range(case.n_people):
        rows = (np.arange(case.n_frames) + 7 * number) % len(there_and_back)
        person = there_and_back[rows].copy()
        across, down = number % 10, number // 10
        person[..., 0] = person[..., 0] * 0.2 + 100 * across
        person[..., 1] = person[..., 1] * 0.2 + 140 * down
        people.append(person if case.n_people > 1 else there_and_back[rows])
    return np.stack(people, axis=1)


def _recording(case: Case) -> dict[str, float]:
    """A file to a file."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "keypoints.npz"
        np.savez(
            source,
            keypoints=keypoints(case),
            width=SIZE[0],
            height=SIZE[1],
            fps=float(FPS),
            layout="mediapipe33",
        )
        began = time.monotonic()
        process = _m2v("lift", str(source), "-o", str(Path(folder) / "motion.npz"))
        used = _wait(process)
        seconds = time.monotonic() - began

    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "poses_per_cpu_second": round(
            case.n_frames * case.n_people / (used.ru_utime + used.ru_stime), 1
        ),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def _stream(case: Case) -> dict[str, float]:
    """Line by line, the next as soon as the one before is answered."""
    process = _m2v(
        *("lift", "-", "--size", f"{SIZE[0]}x{SIZE[1]}", "--fps", str(FPS)),
        *("--layout", "mediapipe33", "--latency", str(LATENCY)),
    )
    assert process.stdin and process.stdout
    waits, memory = [], 0.0

    for number, frame in enumerate(keypoints(case)):
        people = [{"id": i, "keypoints": person.ravel().tolist()} for i, person in enumerate(frame)]
        line = json.dumps({"people": people})
        began = time.perf_counter()
        process.stdin.write(line + "\n")
        process.stdin.flush()
        if number >= LATENCY:
            answers = [process.stdout.readline() for _ in range(case.n_people)]
            if not all(answers):
                break
            waits.append(time.perf_counter() - began)
        if number == min(WARM, case.n_frames // 2):
            memory = _resident_mib(process.pid)

    grown = _resident_mib(process.pid) - memory
    process.stdin.close()
    process.stdout.read()
    used = _wait(process)

    first, *rest = (1e3 * wait for wait in waits)
    median, nearly_all, most = np.quantile(rest, (0.5, 0.99, 1.0))
    return {
        "first_ms": round(first, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "median_ms": round(median, 2),
        "p99_ms": round(nearly_all, 2),
        "largest_ms": round(most, 2),
        "peak_mib": round(used.ru_maxrss / 1024),
        "growth_mib": round(grown, 1),
    }


def _m2v(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "m2v_lib.cli", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _wait(process: subprocess.Popen[str]) -> Any:
    """What a process has used, once it has ended. Raises ConfigError where it failed."""
    assert process.stdout
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ConfigError(f"m2v lift ended with code {process.returncode}")
    return used


def _resident_mib(pid: int) -> float:
    """Memory a process holds now; nan where the system does not say (only Linux does)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return float("nan")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
