"""`m2v queue --lease`: checks, a bench, then the wanted runs in several processes, and an
archive of their records.

Everything stops by itself before the time is up, or when SIGTERM or Ctrl-C asks for it: what is
unfinished then has a checkpoint, and is packed. No torch here, so that a failing device takes no
more than a worker with it. Clocks are monotonic, which all processes of a machine share.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from m2v_lib.config import ConfigError
from m2v_lib.experiments.lease.archive import pack, pack_to_resume
from m2v_lib.experiments.lease.ending import noting_signals
from m2v_lib.experiments.lease.jobs import Job, by_kind, compiled, write_jobs
from m2v_lib.experiments.lease.verdicts import (
    TRIED_LANES,
    failed,
    fastest,
    graphs_hold,
    held,
)
from m2v_lib.experiments.lease.worker_codes import DEVICE_FAILED
from m2v_lib.runs.locks import try_lock
from m2v_lib.runs.parents import PARENT
from m2v_lib.runs.records import RECORD_FILES, RESUME_EXIT_CODE, read_metrics, write_json

#: Seconds kept at the end: runs write a last checkpoint, metrics are computed, records packed.
LAST_SECONDS = 25.0
#: Streams of a process: more would share some (engine.parallel.Lane).
MOST_LANES = 32
#: The most that checks and bench together may take, as seconds and as a share of the lease.
TRIAL_SECONDS, TRIAL_SHARE = 120.0, 0.3
BENCH_SECONDS, BENCH_SHARE = 16.0, 0.08
#: The same of one preset asked for by `--bench`; the compiler comes last, should there be time.
PRESET_SECONDS, PRESET_SHARE = 40.0, 0.1


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
    #: Signals that came: the lease ends at once, as if its time were up.
    asked: list[str] = field(default_factory=list)

    #: Stages whose runs may be resumed.
    resumable: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise ConfigError(f"a lease must be minutes above 0, got {self.minutes}")
        if self.workers < 1:
            raise ConfigError(f"a lease must have 1 worker or more, got {self.workers}")
        if not 0 <= self.lanes <= MOST_LANES:
            raise ConfigError(f"streams must be 0 to {MOST_LANES}, got {self.lanes}")

        self.began = time.monotonic()
        self.last_seconds = min(LAST_SECONDS, 12 * self.minutes)
        self.until = self.began + 60 * self.minutes - self.last_seconds
        self.n_wanted = len(self.jobs)
        self.report: dict[str, Any] = {
            "minutes": self.minutes,
            "device": self.device,
            "workers": self.workers,
        }

    def run(self) -> int:
        """The whole lease. Returns 0 when all is done, 75 when runs are left that can go on, 1 when
        what is left failed or waits for what failed. Raises ConfigError where another lease has
        the folder `out`.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self.runs.mkdir(parents=True, exist_ok=True)
        with self.out_to_itself(), noting_signals() as self.asked:
            for name in ("lease.json", "failures.jsonl", "trial.json", "presets.json"):
                (self.out / name).unlink(missing_ok=True)
            if self.jobs:
                self.trial()
                self.bench_presets()
                self.train()
            return self.end()

    @contextlib.contextmanager
    def out_to_itself(self) -> Iterator[None]:
        with (self.out / ".lock").open("w") as stream:
            if not try_lock(stream):
                raise ConfigError(f"{self.out}: another lease writes there; choose another --out")
            yield

    def trial(self) -> None:
        """Checks and bench; what was found not to hold is not used."""
        path = self.out / "trial.json"
        gpu = self.device.startswith("cuda")
        bench = min(self.bench_seconds, 60 * BENCH_SHARE * self.minutes)
        words = ["--out", str(path), "--bench-seconds", f"{bench:.1f}"]
        words += ["--lanes", *self.tried(gpu), *(["--compile"] if self.compile else [])]

        write_jobs(self.out / "jobs.json", self.jobs)
        timeout = min(TRIAL_SECONDS, 60 * TRIAL_SHARE * self.minutes)
        ended = self.call("trial", words, timeout=timeout)
        found: dict[str, Any] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )
        self.report["trial"] = {**found, "ended": ended}
        self.use(found, gpu)

    def use(self, found: dict[str, Any], gpu: bool) -> None:
        """The engine as the checks found it: what does not hold is replaced by what does, or left
        out where nothing can stand in, and each is said.
        """
        stages = sorted({job.stage for job in self.jobs})
        for stage in [stage for stage in stages if gpu and not graphs_hold(found, stage)]:
            reason = f"recorded steps of {stage} were not seen to hold here: eagerly"
            self.fall_back("run.cuda_graph", "off", reason, stage)

        if held(found, "fast path = reference path") is False:
            reason = "the fast path does not hold here: by the other"
            self.fall_back("run.path", "reference", reason)

        if held(found, "blocks can be compiled") is False:
            self.compile = False
            self.say("blocks cannot be compiled here: as written")

        for stage in failed(found, "bfloat16 near float32", stages):
            kept = [j for j in self.jobs if (j.stage, j.exp.run.precision) != (stage, "bf16")]
            n_less = len(self.jobs) - len(kept)
            self.say(f"bfloat16 does not hold here: {n_less} runs of {stage} are left out")
            self.jobs = kept

        if wrong := failed(found, "stopped and resumed = whole", stages):
            self.say(f"a stopped {' and '.join(wrong)} does not go on as it was: none is packed")
        self.resumable = [stage for stage in stages if stage not in wrong]

        self.lanes = self.lanes or (fastest(found) if gpu else 1)
        if self.lanes > 1 and failed(found, "together = alone", stages):
            self.lanes = 1
            self.say("runs side by side are not the runs alone here: one at a time")
        self.report["lanes"] = self.lanes

    def bench_presets(self) -> None:
        """What a step of the presets asked for costs, into `presets.json` and the report."""
        if not self.presets:
            return

        path = self.out / "presets.json"
        each = min(PRESET_SECONDS, 60 * PRESET_SHARE * self.minutes)
        words = ["--out", str(path), "--presets", *self.presets, "--seconds", f"{each / 60:.2f}"]
        timeout = min(each * len(self.presets), self.until - time.monotonic())
        self.call("presets", words, timeout=timeout)
        if path.exists():
            measured = json.loads(path.read_text(encoding="utf-8"))
            self.report |= {"presets": measured["rows"], "ceilings": measured["ceilings"]}

    def tried(self, gpu: bool) -> list[str]:
        """Numbers of streams that the bench times."""
        lanes = [k for k in (TRIED_LANES if gpu else (1, 2)) if k == 1 or self.lanes in (0, k)]
        if self.lanes and self.lanes not in lanes:
            lanes.append(self.lanes)
        return [str(k) for k in lanes]

    def fall_back(self, key: str, value: str, reason: str, stage: str = "") -> None:
        """Change a setting of all jobs, or of a stage's, and say why."""
        self.say(reason)
        self.jobs = [
            replace(job, exp=job.exp.override({key: value})) if stage in ("", job.stage) else job
            for job in self.jobs
        ]

    def say(self, text: str) -> None:
        """A line on the terminal and in the report."""
        print(f"lease: {text}", flush=True)
        self.report.setdefault("said", []).append(text)

    def call(self, module: str, words: Sequence[str], timeout: float) -> str:
        """Run a module of this package on the jobs to its end, or until the time is up; returns how
        it ended.
        """
        process = self.start(module, "jobs.json", words)
        until = time.monotonic() + timeout
        while process.poll() is None and time.monotonic() < until and not self.asked:
            time.sleep(0.05)

        if process.poll() is None:
            process.kill()
            process.wait()
            ended = "was interrupted" if self.asked else f"did not end within {timeout:.0f} s"
        elif process.returncode:
            ended = f"ended with exit code {process.returncode}"
        else:
            return "in time"

        self.say(f"{module} {ended}")
        return ended

    def write_jobs(self, name: str, jobs: list[Job]) -> None:
        write_jobs(self.out / name, compiled(jobs) if self.compile else jobs)

    def start(self, module: str, jobs: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = os.environ.get(
            "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // max(1, self.workers)))
        )

        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads}
        env[PARENT] = str(os.getpid())
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
        """The workers, until they end, the time is up or a signal asks for the end; one whose
        device failed is followed by an eager one.
        """
        running: list[tuple[str, subprocess.Popen[bytes]]] = []
        for number, (kind, jobs) in enumerate(by_kind(self.jobs).items()):
            self.write_jobs(f"jobs-{kind}.json", jobs)
            for _ in range(self.workers if number == 0 else 1):
                running.append((kind, self.start_worker(kind)))

        print(
            f"lease: {len(self.jobs)} runs, {len(running)} workers with {self.lanes} at a time",
            flush=True,
        )
        restarts = 2
        while running and time.monotonic() < self.until + self.grace and not self.asked:
            time.sleep(0.1)
            for kind, process in [(k, p) for k, p in running if p.poll() is not None]:
                running.remove((kind, process))
                worked = process.returncode in (0, RESUME_EXIT_CODE)
                if not worked and restarts and time.monotonic() < self.until:
                    restarts -= 1
                    running.append((kind, self.start_again(kind, process.returncode)))

        self.stop([process for _, process in running])

    @property
    def grace(self) -> float:
        """Seconds in which workers that have to stop write their last checkpoints."""
        return 0.6 * self.last_seconds

    def start_worker(self, kind: str) -> subprocess.Popen[bytes]:
        words = ["--runs", str(self.runs), "--lanes", str(self.lanes)]
        words += ["--until", f"{self.until:.3f}", "--failures", str(self.out / "failures.jsonl")]
        return self.start("worker", f"jobs-{kind}.json", words)

    def start_again(self, kind: str, code: int) -> subprocess.Popen[bytes]:
        """Another worker in the place of one that ended with an exit code."""
        self.say(f"a worker ended with exit code {code}; another begins")
        if code == DEVICE_FAILED:
            jobs = [replace(j, exp=j.exp.override({"run.cuda_graph": "off"})) for j in self.jobs]
            self.jobs = jobs
            self.write_jobs(f"jobs-{kind}.json", by_kind(jobs)[kind])
        return self.start_worker(kind)

    def stop(self, running: Sequence[subprocess.Popen[bytes]]) -> None:
        """Workers that still run: at a checkpoint where a signal asks for the end, at once where
        that does not come, or where their time is long over.
        """
        if self.asked:
            self.say(f"{self.asked[0]} came: runs stop at a checkpoint")
            for process in running:
                process.terminate()

        until = time.monotonic() + (self.grace if self.asked else 0.0)
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            process.wait()

    def failures(self) -> dict[str, str]:
        """Runs that failed and are not done, with the reason."""
        path = self.out / "failures.jsonl"
        lines = read_metrics(path) if path.exists() else []
        found = {line["name"]: line["error"] for line in lines}
        return {n: e for n, e in found.items() if not (self.runs / n / "result.json").exists()}

    def end(self) -> int:
        """Pack the records of what is done, and say what became of every run."""
        done = [job.name for job in self.jobs if (self.runs / job.name / "result.json").exists()]
        whole = [
            self.runs / name
            for name in done
            if all((self.runs / name / f).exists() for f in RECORD_FILES)
        ]
        left = [job for job in self.jobs if job.name not in done]
        begun = [job.name for job in left if (self.runs / job.name).exists()]
        to_resume = [j.name for j in left if j.name in begun and j.stage in self.resumable]
        needed = {job.needs for job in left} & set(done)
        archives = pack(whole, self.out / "records.zip")
        archives += pack_to_resume(
            [self.runs / name for name in to_resume],
            [self.runs / name for name in sorted(needed)],
            self.out / "to_resume.zip",
        )

        wrong = self.failures()
        for name, error in wrong.items():
            print(f"lease: {name} failed: {error}", flush=True)
        self.report |= {
            "seconds": round(time.monotonic() - self.began, 1),
            "done": done,
            "begun": begun,
            "failed": wrong,
            "left": self.n_wanted - len(done),
            "archives": [path.name for path in archives],
        }
        write_json(self.out / "lease.json", self.report)
        packed = ", ".join(map(str, archives)) or "no archive"
        counts = f"{len(done)} of {self.n_wanted} runs are done, {len(begun)} more begun"
        print(f"lease: {counts}, in {self.report['seconds']:.0f} s; {packed}", flush=True)

        if len(done) == self.n_wanted:
            return 0
        able = [job for job in left if not {job.name, job.needs} & wrong.keys()]
        return RESUME_EXIT_CODE if able else 1
