"""`m2v queue --lease`: checks, a bench, then the wanted runs in several processes, and an
archive of their records.

Everything stops by itself before the time is up: what is unfinished then has a checkpoint. No
torch here, so that a failing device takes no more than a worker with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m2v_lib.experiments.lease.archive import pack, pack_to_resume
from m2v_lib.experiments.lease.jobs import Job, by_kind, compiled, write_jobs
from m2v_lib.experiments.lease.worker_codes import DEVICE_FAILED
from m2v_lib.runs.records import RECORD_FILES, RESUME_EXIT_CODE, write_json

#: Seconds kept at the end: runs write a last checkpoint, metrics are computed, records packed.
LAST_SECONDS = 25.0
#: The most that checks and bench together may take, as seconds and as a share of the lease.
TRIAL_SECONDS, TRIAL_SHARE = 120.0, 0.3
BENCH_SECONDS, BENCH_SHARE = 16.0, 0.08
#: The same of one preset; compiling its blocks takes most of it.
PRESET_SECONDS, PRESET_SHARE = 90.0, 0.2
#: Numbers of streams that are tried on a GPU; the fastest is used where none is asked for, and
#: so many where the bench did not end.
TRIED_LANES = (1, 8)
UNMEASURED_LANES = 4


@dataclass
class Lease:
    """What is trained where and for how long. Each kind of jobs (`jobs.kind_of`) has a worker of
    its own, the commonest kind `workers` of them. `lanes` is the number of streams of a worker; 0:
    as many as the bench finds fastest (1 on a CPU). With `compile` the commonest form of blocks is
    compiled. What a step of each of `presets` costs is measured before anything is trained.
    """

    jobs: list[Job]
    minutes: float
    device: str
    runs: Path
    out: Path
    workers: int = 1
    lanes: int = 0
    compile: bool = False
    presets: Sequence[str] = ()
    bench_seconds: float = BENCH_SECONDS

    def __post_init__(self) -> None:
        self.began = time.time()
        self.until = self.began + 60 * self.minutes - min(LAST_SECONDS, 12 * self.minutes)
        self.report: dict[str, Any] = {
            "minutes": self.minutes,
            "device": self.device,
            "workers": self.workers,
        }

    def run(self) -> int:
        """The whole lease. Returns 0 when all is done, 75 when runs are left, 1 when one failed."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.runs.mkdir(parents=True, exist_ok=True)
        self.trial()
        self.bench_presets()
        self.train()
        return self.end()

    def trial(self) -> None:
        """Checks and bench; where a check of recorded steps fails, no step is recorded."""
        path = self.out / "trial.json"
        path.unlink(missing_ok=True)
        gpu = self.device.startswith("cuda")
        tried = self.tried(gpu)

        bench = min(self.bench_seconds, 60 * BENCH_SHARE * self.minutes)
        words = ["--out", str(path), "--bench-seconds", f"{bench:.1f}", "--lanes", *tried]
        write_jobs(self.out / "jobs.json", self.jobs)
        self.call("trial", words, timeout=min(TRIAL_SECONDS, 60 * TRIAL_SHARE * self.minutes))

        found: dict[str, Any] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )
        self.report["trial"] = found or "did not end in time"

        if gpu and not _graphs_hold(found):
            self.fall_back("run.cuda_graph", "off", "recorded steps do not hold here: eagerly")
        if not _fast_path_holds(found):
            self.fall_back(
                "run.path", "reference", "the fast path does not hold here: by the other"
            )
        self.choose(found, gpu)

    def bench_presets(self) -> None:
        """What a step of the presets asked for costs, into `presets.json` and the report."""
        if not self.presets:
            return

        path = self.out / "presets.json"
        path.unlink(missing_ok=True)
        each = min(PRESET_SECONDS, 60 * PRESET_SHARE * self.minutes)
        words = ["--out", str(path), "--presets", *self.presets, "--seconds", f"{each / 30:.1f}"]
        self.call("presets", words, timeout=each * len(self.presets))
        if path.exists():
            self.report["presets"] = json.loads(path.read_text(encoding="utf-8"))["rows"]

    def tried(self, gpu: bool) -> list[str]:
        """Numbers of streams that the bench times."""
        lanes = [k for k in (TRIED_LANES if gpu else (1, 2)) if k == 1 or self.lanes in (0, k)]
        if self.lanes and self.lanes not in lanes:
            lanes.append(self.lanes)
        return [str(k) for k in lanes]

    def fall_back(self, key: str, value: str, reason: str) -> None:
        """Change a setting of all jobs, and say why."""
        print(f"lease: {reason}", flush=True)
        self.jobs = [replace(job, exp=job.exp.override({key: value})) for job in self.jobs]

    def choose(self, found: dict[str, Any], gpu: bool) -> None:
        """How many streams."""
        self.lanes = self.lanes or (_fastest(found) if gpu else 1)
        self.report["lanes"] = self.lanes

    def call(self, module: str, words: Sequence[str], timeout: float) -> None:
        """Run a module of this package on the jobs to its end, or until the time is up."""
        process = self.start(module, "jobs.json", words)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"lease: {module} did not end within {timeout:.0f} s", flush=True)

    def write_jobs(self, name: str, jobs: list[Job]) -> None:
        write_jobs(self.out / name, compiled(jobs) if self.compile else jobs)

    def start(self, module: str, jobs: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = os.environ.get(
            "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // max(1, self.workers)))
        )

        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads}
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"m2v_lib.experiments.lease.{module}",
                str(self.out / jobs),
                *words,
            ],
            env=env,
        )

    def train(self) -> None:
        """The workers, until they end or the time is up; one whose device failed is followed by
        an eager one.
        """
        words = [
            "--runs",
            str(self.runs),
            "--lanes",
            str(self.lanes),
            "--until",
            f"{self.until:.3f}",
        ]
        running: list[tuple[str, subprocess.Popen[bytes]]] = []
        for number, (kind, jobs) in enumerate(by_kind(self.jobs).items()):
            self.write_jobs(f"jobs-{kind}.json", jobs)
            for _ in range(self.workers if number == 0 else 1):
                running.append((kind, self.start("worker", f"jobs-{kind}.json", words)))

        print(
            f"lease: {len(self.jobs)} runs, {len(running)} workers with {self.lanes} at a time",
            flush=True,
        )
        last = self.until + min(LAST_SECONDS, 12 * self.minutes) * 0.6

        restarts = 2
        while running and time.time() < last:
            time.sleep(0.1)
            for kind, process in [(k, p) for k, p in running if p.poll() is not None]:
                running.remove((kind, process))
                if (
                    process.returncode not in (0, RESUME_EXIT_CODE)
                    and restarts
                    and time.time() < self.until
                ):
                    restarts -= 1
                    print(
                        f"lease: a worker ended with exit code {process.returncode}; another "
                        "begins",
                        flush=True,
                    )

                    if process.returncode == DEVICE_FAILED:
                        self.jobs = [
                            replace(j, exp=j.exp.override({"run.cuda_graph": "off"}))
                            for j in self.jobs
                        ]
                        self.write_jobs(f"jobs-{kind}.json", by_kind(self.jobs)[kind])

                    running.append((kind, self.start("worker", f"jobs-{kind}.json", words)))

        for _, process in running:
            process.kill()
            process.wait()

    def end(self) -> int:
        """Pack the records of what is done, and say what became of every run."""
        done = [job.name for job in self.jobs if (self.runs / job.name / "result.json").exists()]
        whole = [
            self.runs / name
            for name in done
            if all((self.runs / name / f).exists() for f in RECORD_FILES)
        ]
        begun = [j.name for j in self.jobs if j.name not in done and (self.runs / j.name).exists()]
        needed = {job.needs for job in self.jobs if job.name not in done} & set(done)
        archives = pack(whole, self.out / "records.zip")
        archives += pack_to_resume(
            [self.runs / name for name in begun],
            [self.runs / name for name in sorted(needed)],
            self.out / "to_resume.zip",
        )
        self.report |= {
            "seconds": round(time.time() - self.began, 1),
            "done": done,
            "begun": begun,
            "left": len(self.jobs) - len(done),
            "archives": [path.name for path in archives],
        }
        write_json(self.out / "lease.json", self.report)
        packed = ", ".join(map(str, archives)) or "no archive"
        counts = f"{len(done)} of {len(self.jobs)} runs are done, {len(begun)} more begun"
        print(f"lease: {counts}, in {self.report['seconds']:.0f} s; {packed}", flush=True)

        return 0 if len(done) == len(self.jobs) else RESUME_EXIT_CODE


def _fast_path_holds(found: dict[str, Any]) -> bool:
    checks = [c for c in found.get("checks", []) if c["name"].startswith("fast path")]
    return all(check["holds"] for check in checks)


def _graphs_hold(found: dict[str, Any]) -> bool:
    checks = [
        check for check in found.get("checks", []) if check["name"].startswith(("graph", "stopped"))
    ]
    return bool(checks) and all(check["holds"] for check in checks)


def _fastest(found: dict[str, Any]) -> int:
    """The number of streams with the most steps a second, in the stage of which most was measured."""
    measured: dict[int, float] = {}
    bench: dict[str, dict[str, float]] = found.get("bench", {})

    rates = max(bench.values(), key=len, default={})
    for name, rate in rates.items():
        if name.startswith("graph") or not any(other.startswith("graph") for other in rates):
            measured[int(name.split(", ")[1].split(" at")[0])] = rate

    if len(measured) < 2:  # the bench did not get far
        return UNMEASURED_LANES

    return max(measured, key=lambda key: measured[key])
