"""How much memory a process has taken at most since a moment: the system's own count on a CPU,
torch's on a GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


class Memory:
    """Peak memory (bytes) above the level at `begin`.

    On a CPU it is the resident memory of the process (Linux: VmHWM, else the most since its
    start), with some 50 MiB that libraries and the compiler take once; on a GPU what torch has
    allocated, without its allocator's reserve.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.level = 0

    def begin(self) -> None:
        self.rest()
        self.forget_peak()
        self.level = torch.cuda.memory_allocated(self.device) if self.on_gpu else resident("VmRSS")

    def peak(self) -> int:
        most = torch.cuda.max_memory_allocated(self.device) if self.on_gpu else resident("VmHWM")
        return max(0, most - self.level)

    def forget_peak(self) -> None:
        """Start the search for the largest anew."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        elif STATUS.exists():
            with contextlib.suppress(OSError):
                STATUS.with_name("clear_refs").write_text("5")

    def rest(self) -> None:
        """Hand freed memory back to the system, for other processes."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
        elif sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
            libc.malloc_trim(0)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


def resident(key: str) -> int:
    """Resident memory now (VmRSS) or at most (VmHWM); where the system keeps no such file, at
    most for both.
    """
    if STATUS.exists():
        return _kib(STATUS, key)
    try:
        import resource
    except ImportError:
        raise OSError(
            f"peak memory is not counted on {sys.platform}; run bench on Linux or macOS"
        ) from None

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def limit_memory() -> None:
    """Let this process fail to allocate before the system, out of memory, ends another one
    (Linux).
    """
    meminfo = Path("/proc/meminfo")
    if meminfo.exists() and STATUS.exists() and not torch.cuda.is_available():
        limit = _kib(STATUS, "VmData") + int(0.9 * _kib(meminfo, "MemAvailable"))
        import resource  # of Linux, as /proc is

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _kib(path: Path, key: str) -> int:
    """A line `key: 123 kB`, in bytes."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise ValueError(f"{path}: no line {key}")
