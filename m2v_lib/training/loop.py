"""The loop both stages share: schedule, step-wise randomness, log, checkpoint, resume.

Every random draw of a step comes from a generator seeded by (seed, stage, step), and every
epoch's order from (seed, stage, epoch). Nothing random has to be saved, and a run killed
anywhere resumes to the same numbers.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m2v_lib.config import ConfigError, Experiment, OptimConfig
from m2v_lib.models.base import count_parameters
from m2v_lib.models.dual_stream.cpu import keep_freed_memory
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.models.state_files import (
    CheckpointError,
    load_weights,
    on_cpu,
    read_tensors,
    save_tensors,
)
from m2v_lib.runs.records import (
    MetricsLog,
    StoppedEarly,
    commit,
    environment,
    write_json,
    write_text,
)
from m2v_lib.training.distributed import ALONE, Team
from m2v_lib.training.schedule import Schedule, learning_rate, make_optimiser
from m2v_lib.training.stopping import StopRequest

StepFn = Callable[[nn.Module, Tensor, torch.Generator], tuple[Tensor, dict[str, Tensor]]]
#: With several processes, steps between two agreements on whether to stop.
STEPS_BETWEEN_STOPS = 10


def seeded(device: torch.device, *key: int) -> torch.Generator:
    """A generator on `device` that depends on the integers alone."""
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device=device).manual_seed(state)


@dataclass
class Trainer:
    """One training run in its folder. `module` holds all that is trained or averaged.

    `step_fn(module, chosen, generator)` gives the loss of the chosen clips; in a team, this
    process's part of it, of which the mean over processes is the loss of the batch.

    `after_step(step, n_steps)` runs after each optimiser step, `at_log(extras)` adds to a log
    line, `evaluate()` gives a validation line's values and `monitor` names the one whose best
    weights are kept.
    """

    exp: Experiment
    stage: str
    folder: Path
    module: nn.Module
    schedule: Schedule
    step_fn: StepFn
    after_step: Callable[[int, int], None] = lambda step, n_steps: None
    at_log: Callable[[dict[str, Tensor], int, int], dict[str, float]] = (
        lambda extras, step, n_steps: {}
    )
    evaluate: Callable[[], dict[str, float]] | None = None
    monitor: str = "mpjpe"
    optim: OptimConfig | None = None  # where it is not the experiment's own
    fingerprint: str = ""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    team: Team = ALONE

    def __post_init__(self) -> None:
        self.optim = self.optim or self.exp.optim
        self.step = 0
        self.best = math.inf
        self.trained_seconds = 0.0
        self.sums: dict[str, Tensor] = {}
        if self.schedule.smallest_batch < self.team.size:
            raise ConfigError(
                f"{self.schedule.n_clips} clips in batches of {self.schedule.batch_size} leave a "
                "last batch of "
                f"{self.schedule.smallest_batch} for {self.team.size} processes; choose another "
                "batch size"
            )
        self.network = self.team.wrap(self.module, self.device)
        self.names = {p: name for name, p in self.module.named_parameters() if p.requires_grad}
        self.optimiser = make_optimiser(list(self.names), self.optim)
        self.log = MetricsLog(self.folder / "metrics.jsonl")
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.stage_key = sum(self.stage.encode())
        self.commit = commit()
        self.writer = ThreadPoolExecutor(1)
        self.written: Future[None] | None = None

    def run(self) -> None:
        """Train to the end of the schedule, from the last checkpoint if there is one.

        Raises StoppedEarly, at a checkpoint, when `run.max_minutes` are over or SIGTERM comes.
        """
        with StopRequest(self.exp.run.max_minutes) as stop:
            self.start()
            cfg, n_steps = self.exp.run, self.schedule.n_steps
            began = time.monotonic() - self.trained_seconds
            order: Tensor | None = None
            while self.step < n_steps:
                epoch, within = divmod(self.step, self.schedule.per_epoch)
                if order is None or within == 0:
                    generator = seeded(self.device, self.exp.run.seed, self.stage_key, 1, epoch)
                    order = torch.randperm(
                        self.schedule.n_clips, generator=generator, device=self.device
                    )
                size = self.schedule.batch_size
                extras = self.one_step(order[within * size : (within + 1) * size], epoch, n_steps)
                self.trained_seconds = time.monotonic() - began
                last = self.step == n_steps
                if self.step % cfg.log_every == 0 or last:
                    self.write_log(epoch, extras, n_steps)
                if self.evaluate and (
                    self.step % (cfg.eval_every or self.schedule.per_epoch) == 0 or last
                ):
                    self.validate()
                stopping = not last and self.must_stop(stop)
                if self.step % cfg.checkpoint_every == 0 or last or stopping:
                    self.save()
                if stopping:
                    self.finish_writing()
                    raise StoppedEarly(
                        f"{self.folder.name}: stopped at step {self.step} of {n_steps}, to be "
                        "resumed"
                    )
        self.finish_writing()

    def start(self) -> None:
        """Write what is known before the first step; resume."""
        if self.team.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "config.yaml", self.exp.to_yaml())
            machine = {"device": describe(self.device), "processes": self.team.size}
            write_json(
                self.folder / "env.json",
                environment({**machine, "threads": torch.get_num_threads()}),
            )
        self.resume()
        if self.team.leads:
            self.log.cut_after(self.step)

    def must_stop(self, stop: StopRequest) -> bool:
        """Whether to stop now: all processes at the same step."""
        if self.team.size == 1:
            return bool(stop)
        return self.step % STEPS_BETWEEN_STOPS == 0 and self.team.any(bool(stop), self.device)

    def one_step(self, chosen_B: Tensor, epoch: int, n_steps: int) -> dict[str, Tensor]:
        rate = learning_rate(self.optim or self.exp.optim, self.step, epoch, n_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        generator = seeded(self.device, self.exp.run.seed, self.stage_key, 2, self.step)
        self.module.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.exp.run.precision == "bf16"
        ):
            loss, extras = self.step_fn(self.network, chosen_B, generator)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self.after_step(self.step, n_steps)
        scalars = {"loss": loss.detach(), **{k: v for k, v in extras.items() if v.ndim == 0}}
        means = self.team.mean(torch.stack([v.float() for v in scalars.values()]))
        for name, value in [*zip(scalars, means, strict=True), ("n", torch.ones(()))]:
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value
        return extras

    def write_log(self, epoch: int, extras: dict[str, Tensor], n_steps: int) -> None:
        n = float(self.sums.pop("n"))
        line: dict[str, Any] = {"kind": "train", "step": self.step, "epoch": epoch}
        line["lr"] = self.optimiser.param_groups[0]["lr"]
        line.update({name: float(value) / n for name, value in self.sums.items()})
        line.update(self.at_log(extras, self.step, n_steps))
        line["seconds"] = round(self.trained_seconds, 2)
        self.sums.clear()
        if not math.isfinite(line["loss"]):
            raise FloatingPointError(
                f"{self.folder}: the loss is {line['loss']} at step {self.step}; lower optim.lr"
            )
        if self.team.leads:
            self.log.append(line)
            print(
                f"{self.stage} {self.step}/{n_steps}  loss {line['loss']:.4f}  "
                f"{line['seconds']:.0f} s",
                flush=True,
            )

    def validate(self) -> None:
        assert self.evaluate is not None
        if not self.team.leads:
            return
        values = self.evaluate()
        self.log.append(
            {"kind": "val", "step": self.step, **values, "seconds": round(self.trained_seconds, 2)}
        )
        print(
            f"{self.stage} {self.step}  " + "  ".join(f"{k} {v:.1f}" for k, v in values.items()),
            flush=True,
        )
        if self.monitor in values and values[self.monitor] < self.best:
            self.best = values[self.monitor]
            save_tensors(
                self.folder / "best.safetensors", self.module.state_dict(), {"step": self.step}
            )

    def save(self) -> None:
        """Checkpoint what is now; another thread writes it while training goes on."""
        if not self.team.leads:
            return
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"sums.{k}": v for k, v in self.sums.items()}
        for parameter, name in self.names.items():
            tensors |= {
                f"optim.{k}.{name}": v for k, v in self.optimiser.state.get(parameter, {}).items()
            }
        state = {
            "step": self.step,
            "best": self.best,
            "seconds": self.trained_seconds,
            "fingerprint": self.fingerprint,
            "n_steps": self.schedule.n_steps,
        }
        self.finish_writing()
        self.written = self.writer.submit(save_tensors, self.checkpoint, on_cpu(tensors), state)

    def finish_writing(self) -> None:
        """Wait for the checkpoint that is being written; its error, if any, is raised here."""
        if self.written is not None:
            self.written.result()
            self.written = None

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one; the leader reads it for all.

        Raises CheckpointError when it is of other data or another schedule.
        """
        read = (
            read_tensors(self.checkpoint) if self.team.leads and self.checkpoint.exists() else None
        )
        read = self.team.from_leader(read)
        if read is None:
            return
        tensors, state = read
        for key, now in (("fingerprint", self.fingerprint), ("n_steps", self.schedule.n_steps)):
            if state.get(key) != now:
                raise CheckpointError(
                    f"{self.checkpoint}: was made with {key} {state.get(key)}, this run has {now}"
                )
        load_weights(self.module, _part(tensors, "module."), self.checkpoint)
        self.sums = _part(tensors, "sums.")
        for parameter, name in self.names.items():
            moments = {
                k.split(".")[1]: v
                for k, v in tensors.items()
                if k.startswith("optim.") and _named(k, name)
            }
            if moments:
                self.optimiser.state[parameter] = {
                    k: v if k == "step" else v.to(parameter.device) for k, v in moments.items()
                }
        self.step, self.best, self.trained_seconds = state["step"], state["best"], state["seconds"]
        if self.team.leads:
            print(
                f"{self.stage}: resumed at step {self.step} of {self.schedule.n_steps}", flush=True
            )

    def finish(self, model: nn.Module, result: dict[str, Any]) -> Path:
        """Write the final weights, then the result that marks the run as done; drop what only
        resuming needs.
        """
        save_tensors(
            self.folder / "weights.safetensors",
            model.state_dict(),
            {"experiment": self.exp.to_dict()},
        )
        head = {
            "schema": 1,
            "stage": self.stage,
            "name": self.folder.name,
            "preset": self.exp.preset_name,
            "recipe": self.exp.recipe,
            "digest": self.exp.digest(self.stage),
            "seed": self.exp.run.seed,
            "schedule": self.schedule.summary(),
            "commit": self.commit,
            "device": describe(self.device),
            "seconds": round(self.trained_seconds, 1),
            "n_parameters": count_parameters(model),
        }
        write_json(self.folder / "result.json", {**head, **result})
        self.checkpoint.unlink(missing_ok=True)
        (self.folder / "best.safetensors").unlink(missing_ok=True)
        return self.folder


@contextlib.contextmanager
def sole_trainer(folder: Path, team: Team = ALONE) -> Iterator[None]:
    """Wait until no other run trains in `folder` (a killed workflow can leave one), then keep
    others out.
    """
    if not team.leads:
        team.wait()
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that trains in {folder}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        team.wait()
        yield


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Whether the run in `folder` is done. Raises CheckpointError when its data were others of
    the same name.
    """
    result = folder / "result.json"
    if not result.exists():
        return False
    trained_on = json.loads(result.read_text(encoding="utf-8"))["data"]["fingerprint"]
    if trained_on != fingerprint:
        raise CheckpointError(
            f"{folder}: was trained on data with fingerprint {trained_on[:12]}, the store now has "
            f"{fingerprint[:12]}; "
            "delete the folder to train again"
        )
    return True


def check_finished(folder: Path) -> Path:
    """The folder of a run that other processes have made. Raises StoppedEarly when it is to be
    resumed.
    """
    if not (folder / "result.json").exists():
        raise StoppedEarly(f"{folder.name}: stopped at a checkpoint, to be resumed")
    return folder


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _named(key: str, name: str) -> bool:
    return key.split(".", 2)[2] == name


def describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def pick_device(exp: Experiment) -> torch.device:
    """The configured device, with the configured number of CPU threads set; the fast path keeps
    freed memory.
    """
    if exp.run.threads:
        torch.set_num_threads(exp.run.threads)
    if exp.run.path == "fast":
        keep_freed_memory()
    if exp.run.device == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(exp.run.device)


def prepare_blocks(model: DualStreamModel, exp: Experiment) -> DualStreamModel:
    """Set how the blocks are computed: the path and whether they are compiled."""
    model.use(exp.run.path)
    if exp.run.compile:
        for block in model.layers:
            block.compile()
    return model
