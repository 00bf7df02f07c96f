"""The parent's end of a worker process: one JSON object a line each way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


class Failed(Exception):
    """A worker could not do what it was asked, or is gone; the message is one sentence."""

    def __init__(self, message: str, *, out_of_memory: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory


class Worker:
    """A process that measures one variant with `threads` threads (0: torch's own choice)."""

    def __init__(self, threads: int) -> None:
        package = str(Path(__file__).resolve().parents[2])
        env = dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join([package, *filter(None, [env.get("PYTHONPATH")])])
        if threads:
            env["OMP_NUM_THREADS"] = str(threads)
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "m2v_lib.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=env,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises Failed."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except OSError:
            answer = ""

        if not answer:
            raise self.gone()

        reply: dict[str, Any] = json.loads(answer)
        if "error" in reply:
            raise Failed(reply["error"], out_of_memory=reply["out_of_memory"])

        return reply

    def gone(self) -> Failed:
        code = self.process.wait()
        if code == -9:  # what Linux does to a process when memory runs out
            return Failed("the process was killed", out_of_memory=True)
        self.log.seek(0)
        last = ([line.strip() for line in self.log if line.strip()] or ["no output"])[-1]
        return Failed(f"the process ended with code {code}: {last[:300]}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.log.close()
