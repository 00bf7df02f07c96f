"""One run on several devices or hosts: torch's elastic launcher starts the processes, DDP
averages their gradients.

Each process draws the randomness of the whole batch and computes its own share of the clips, and
batch norm spans all of them (m2v_lib.models.layers.norm): the run is the one that a single
process makes at the same batch size, up to rounding.

`m2v finetune --set run.devices=4` starts the processes on this host. On several hosts start them
with the launcher: ``torchrun --nnodes 2 --nproc-per-node 4 --rdzv-endpoint HOST:PORT
--max-restarts 3 -m m2v_lib.cli finetune ...``, with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 (see
OWN_STORE).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.errors import InputError
from m2v_lib.models.base import Lifter
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.runs.parents import PARENT
from m2v_lib.runs.records import StoppedEarly
from m2v_lib.training.engine.stopping import STOP_FILE

#: How often the launcher starts a run again from its last checkpoint when one of its processes
#: dies.
RESTARTS = 20
#: Set to 1, the launcher lets every attempt exchange addresses in a store of its own. In the one
#: it shares by default those of the attempt before are left, and who finds them waits for dead
#: processes (pytorch issue 135712).
OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
#: Names the file in which a process leaves a mistake of the user, so that the launcher does not
#: start it again.
USER_ERROR_FILE = "M2V_USER_ERROR_FILE"


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one run; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """This process's part of a batch of `n` clips."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def weight(self, n: int) -> float:
        """Factor of the mean over this process's clips, for which the mean over processes is
        that of the batch.
        """
        own = self.share(n)
        return (own.stop - own.start) * self.size / n

    def mean(self, values: Tensor) -> Tensor:
        """The mean of each value over the processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether the flag is set in one process at least."""
        if self.size == 1:
            return flag
        raised = torch.tensor(float(flag), device=device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised)

    def from_main(self, value: Any) -> Any:
        """What the main process passes, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def wrap(self, module: nn.Module, device: torch.device) -> nn.Module:
        """The module with its gradients averaged over the processes; itself where there is one."""
        if self.size == 1:
            return module
        devices = [device] if device.type == "cuda" else None
        # A comparison system may hold weights that its own loss alone trains.
        partly = isinstance(module, Lifter) and not isinstance(module, DualStreamModel)
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=partly)


SINGLE = ProcessGroup()


@contextlib.contextmanager
def process_group(exp: Experiment) -> Iterator[ProcessGroup]:
    """The group this process belongs to: the launcher's, else itself alone."""
    if not in_launched_process():
        yield SINGLE
        return

    if exp.run.device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group("nccl" if exp.run.device.startswith("cuda") else "gloo")

    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size())
    except (InputError, OSError) as error:
        if USER_ERROR_FILE not in os.environ:
            raise
        Path(os.environ[USER_ERROR_FILE]).write_text(str(error), encoding="utf-8")
        raise SystemExit(0) from None
    except StoppedEarly as stopped:
        print(stopped, flush=True)
        raise SystemExit(0) from None
    finally:
        dist.destroy_process_group()


def in_launched_process() -> bool:
    """Whether torch's launcher started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def should_report() -> bool:
    """Whether this process reports how the run ended: the one the user started, or the first
    that his launcher did.
    """
    return not in_launched_process() or (
        USER_ERROR_FILE not in os.environ and os.environ["RANK"] == "0"
    )


def must_launch(exp: Experiment) -> bool:
    """Whether the experiment asks for several devices and nobody has started their processes
    yet. Raises ConfigError where this host has fewer.
    """
    if exp.run.devices == 1 or in_launched_process():
        return False
    on_cuda = exp.run.device.startswith("cuda")
    # two on one core prove that a run can be shared
    available = torch.cuda.device_count() if on_cuda else max(2, _n_cores())
    if exp.run.devices > available:
        kind = "CUDA devices" if on_cuda else "CPU cores to train on"
        raise ConfigError(
            f"run.devices must be at most the {available} {kind} of this machine, got "
            f"{exp.run.devices}"
        )
    return True


def _n_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def launch(stage: str, exp: Experiment, root: Path) -> None:
    """Run a stage (pretrain, finetune) in `run.devices` processes of this host and wait for
    them.

    On SIGTERM they stop at a checkpoint. Raises ConfigError with the mistake that they found,
    RuntimeError when they fail for good.
    """
    with tempfile.TemporaryDirectory() as folder:
        config, user_error, stop = (
            Path(folder) / name for name in ("experiment.yaml", "user-error.txt", "stop")
        )
        config.write_text(exp.to_yaml(), encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "m2v_lib.training.engine.launcher",
            "--standalone",
            f"--nproc-per-node={exp.run.devices}",
            f"--max-restarts={RESTARTS}",
            "--monitor-interval=0.2",
            f"--log-dir={folder}",  # without it a folder a launch stays behind
            "-m",
            "m2v_lib.cli",
            stage,
            "--config",
            str(config),
        ]
        threads = exp.run.threads or max(1, torch.get_num_threads() // exp.run.devices)
        package = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        env = {
            **os.environ,
            "M2V_RUNS": str(root.resolve()),
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": path,
        }
        env |= {USER_ERROR_FILE: str(user_error), STOP_FILE: str(stop), OWN_STORE: "1"}
        env[PARENT] = str(os.getpid())
        process = subprocess.Popen(command, env=env)
        with on_sigterm(stop.touch):
            code = process.wait()

        if user_error.exists():
            raise ConfigError(user_error.read_text(encoding="utf-8"))

    if code:
        raise RuntimeError(
            f"{exp.run_name(stage)}: its processes failed (exit code {code}), see their messages "
            "above"
        )


@contextlib.contextmanager
def on_sigterm(act: Callable[[], object]) -> Iterator[None]:
    """Call `act` when SIGTERM comes while the block runs (in a main thread, where signals can be
    handled).
    """
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: act())
    except ValueError:
        yield
        return

    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
