"""The loop that every stage runs in: order of clips, step-wise randomness, log, checkpoint,
resume.

Every random draw of a step comes from a generator seeded by (seed, stage, step), and every
epoch's order from (seed, stage, epoch). Nothing random has to be saved, and a run killed
anywhere resumes to the same numbers.

Between two log lines the loop fetches nothing from the device and waits for none of its work but
steps long past (`Trainer.pace`), so that it can stop within seconds. It is a coroutine: `Trainer.steps`
hands control back after every step and whenever it would have to wait, so that one process can
advance several runs (`training.parallel`).
"""

from __future__ import annotations

import math
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from m2v_lib.config import ConfigError
from m2v_lib.models.base import count_parameters, uses_randomness
from m2v_lib.models.state_files import (
    on_cpu,
    read_tensors,
    save_tensors,
)
from m2v_lib.runs.event_files import LogWithEvents
from m2v_lib.runs.records import (
    WEIGHTS_FILE,
    MetricsLog,
    StoppedEarly,
    commit,
    environment,
    write_json,
    write_text,
)
from m2v_lib.training.device import describe
from m2v_lib.training.engine.averaging import WeightAverage, share_of_newest
from m2v_lib.training.engine.coroutine import Fetched, Moment, Steps, complete
from m2v_lib.training.engine.distributed import SINGLE, ProcessGroup
from m2v_lib.training.engine.randomness import seeded, state_of
from m2v_lib.training.engine.saved_state import restore, state_of_run
from m2v_lib.training.engine.step import (
    NotRecordableError,
    RecordedDraws,
    TrainingStep,
    cuda_graph,
)
from m2v_lib.training.engine.stopping import StopRequest
from m2v_lib.training.optimisers import make_optimisers
from m2v_lib.training.schedule import ScheduledValues, learning_rate, matrix_rate_ratio

if TYPE_CHECKING:
    from m2v_lib.training.stage import Stage

#: With several processes, steps between two agreements on whether to stop.
STEPS_BETWEEN_STOPS = 10
#: Steps given to a GPU that it has not taken yet: enough to keep it busy, few enough to stop soon.
STEPS_AHEAD = 8
#: Keys of a run's generators beside seed and stage: the order of an epoch, the draws of a step,
#: dropout in a step.
ORDER, DRAW, DROPOUT = 1, 2, 4


class Trainer:
    """One training run of a stage in its folder."""

    def __init__(self, stage: Stage, folder: Path, group: ProcessGroup = SINGLE) -> None:
        self.stage, self.folder, self.group = stage, folder, group
        self.exp, self.module, self.schedule, self.device = (
            stage.exp,
            stage.module,
            stage.schedule,
            stage.device,
        )
        _check_smallest_batch(stage, group)

        self.step = self.logged_step = 0
        self.best = math.inf
        self.trained_seconds = 0.0
        self.began = time.monotonic()
        self.given: deque[Moment] = deque()
        self.order: Tensor | None = None
        self.stage_key = sum(stage.name.encode())
        self.commit = commit()
        log = LogWithEvents if self.exp.run.tensorboard else MetricsLog
        self.log = log(folder / "metrics.jsonl")
        self.checkpoint = folder / "checkpoint.safetensors"
        self.writer = ThreadPoolExecutor(1)
        self.written: Future[None] | None = None

        self.named = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        self.values = ScheduledValues(
            [self.values_at(step) for step in range(self.schedule.n_steps)], self.device
        )
        self.optimisers = make_optimisers(
            self.named, stage.optim, self.values["rate"], self.values["matrix_rate"]
        )
        self.average = WeightAverage(self.named) if stage.optim.ema else None
        self.randomness_inside = uses_randomness(self.module)
        network = group.wrap(self.module, self.device)
        capture = cuda_graph if self.may_capture() else None
        self.training_step = TrainingStep(
            stage, network, self.optimisers, self.values, self.average, group, capture
        )
        self.recorded_draws = RecordedDraws(stage, capture) if capture else None

    def values_at(self, step: int) -> dict[str, float]:
        """What changes from step to step, at a step (0-based)."""
        optim, n_steps = self.stage.optim, self.schedule.n_steps
        rate = learning_rate(optim, step, step // self.schedule.per_epoch, n_steps)
        values = {"rate": rate, "matrix_rate": rate * matrix_rate_ratio(optim)}
        if optim.ema:
            values["average_share"] = share_of_newest(optim.ema, step + 1)
        return values | self.stage.scheduled_values(step + 1, n_steps)

    def may_capture(self) -> bool:
        """Whether steps are to be recorded as CUDA graphs. Raises ConfigError where
        `run.cuda_graph=on` cannot be.
        """
        run = self.exp.run
        obstacles = {
            f"run.device={run.device}": self.device.type != "cuda",
            f"run.devices={run.devices}": self.group.size > 1,
            "joints or frames that change": self.stage.changes_shape,
        }
        found = [name for name, there in obstacles.items() if there]
        if run.cuda_graph == "on" and found:
            raise ConfigError(f"run.cuda_graph=on does not go with {found[0]}")

        return run.cuda_graph != "off" and not found

    def run(self) -> None:
        """Train to the end of the schedule, from the last checkpoint if there is one.

        Raises StoppedEarly, at a checkpoint, when `run.max_minutes` are over or SIGTERM comes.
        """
        with StopRequest(self.exp.run.max_minutes) as stop:
            complete(self.steps(stop))

    def steps(self, stop: StopRequest) -> Steps:
        """`run` as a coroutine, see `coroutine.Wish`."""
        try:
            yield from self.all_steps(stop)
        finally:
            self.writer.shutdown(wait=False)

    def all_steps(self, stop: StopRequest) -> Steps:
        self.start()
        cfg, n_steps = self.exp.run, self.schedule.n_steps
        self.began = time.monotonic() - self.trained_seconds

        while self.step < n_steps:
            extras = self.one_step()
            self.trained_seconds = time.monotonic() - self.began
            last = self.step == n_steps

            if self.step % cfg.log_every == 0 or last:
                yield from self.write_log(extras)

            if self.stage.has_validation and (
                self.step % (cfg.eval_every or self.schedule.per_epoch) == 0 or last
            ):
                yield from self.validate()

            stopping = not last and self.must_stop(stop)
            if self.step % cfg.checkpoint_every == 0 or last or stopping:
                self.save()

            if stopping:
                self.finish_writing()
                raise StoppedEarly(
                    f"{self.folder.name}: stopped at step {self.step} of {n_steps}, to be resumed"
                )

            yield self.pace()

        self.finish_writing()

    def pace(self) -> Moment | None:
        """What to wait for before the next step: on a GPU the end of the step `STEPS_AHEAD` ago."""
        if self.device.type != "cuda":
            return None
        self.given.append(Moment(self.device))
        return self.given.popleft() if len(self.given) > STEPS_AHEAD else None

    def start(self) -> None:
        """Write what is known before the first step; resume."""
        if self.group.is_main:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "config.yaml", self.exp.to_yaml())
            machine = {"device": describe(self.device), "processes": self.group.size}
            write_json(
                self.folder / "env.json",
                environment({**machine, "threads": torch.get_num_threads()}),
            )

        self.resume()
        self.module.train()
        if self.group.is_main:
            self.log.cut_after(self.step)

    def must_stop(self, stop: StopRequest) -> bool:
        """Whether to stop now: all processes at the same step."""
        if self.group.size == 1:
            return bool(stop)
        return self.step % STEPS_BETWEEN_STOPS == 0 and self.group.any(bool(stop), self.device)

    def one_step(self) -> dict[str, Tensor]:
        """Draw a batch and move the weights by it; returns what the loss showed."""
        return self.move(self.draw())

    def draw(self) -> dict[str, Tensor]:
        """The batch of the present step; where draws are recorded, it stays until the next one."""
        self.stage.before_step()
        chosen_B = self.chosen_clips()
        seed = state_of(self.exp.run.seed, self.stage_key, DRAW, self.step)

        if self.recorded_draws is not None:
            try:
                return self.recorded_draws(chosen_B, seed)
            except NotRecordableError as error:
                print(f"{self.stage.name}: draws eagerly ({error})", flush=True)
                self.recorded_draws = None

        return self.stage.draw(chosen_B, torch.Generator(self.device).manual_seed(seed))

    def move(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take the present step with a batch."""
        seed = None
        if self.randomness_inside:
            seed = state_of(self.exp.run.seed, self.stage_key, DROPOUT, self.step)
        self.values.at(self.step)
        extras = self.training_step(batch, seed)
        self.step += 1
        return extras

    def chosen_clips(self) -> Tensor:
        """Numbers of the clips of this step's batch: each epoch goes through all of them in an
        order of its own.
        """
        epoch, within = divmod(self.step, self.schedule.per_epoch)
        if self.order is None or within == 0:
            generator = seeded(self.device, self.exp.run.seed, self.stage_key, ORDER, epoch)
            self.order = torch.randperm(
                self.schedule.n_clips, generator=generator, device=self.device
            )
        size = self.schedule.batch_size
        return self.order[within * size : (within + 1) * size]

    def write_log(self, extras: dict[str, Tensor]) -> Steps:
        """Fetch the sums since the last line and log their means. Raises FloatingPointError."""
        sums = self.training_step.sums
        fetched = Fetched(torch.stack(list(sums.values())))
        torch._foreach_zero_(list(sums.values()))
        extra = self.stage.extra_log_values(extras, self.step, self.schedule.n_steps)
        numbers = yield fetched
        self.trained_seconds = time.monotonic() - self.began  # now that the steps are done

        n = self.step - self.logged_step
        self.logged_step = self.step
        line: dict[str, Any] = {
            "kind": "train",
            "step": self.step,
            "epoch": (self.step - 1) // self.schedule.per_epoch,
        }
        line["lr"] = self.values_at(self.step - 1)["rate"]
        line.update({name: value / n for name, value in zip(sums, numbers, strict=True)})
        line.update(extra)
        line["seconds"] = round(self.trained_seconds, 2)

        if not math.isfinite(line["loss"]):
            raise FloatingPointError(
                f"{self.folder}: the loss is {line['loss']} at step {self.step}; lower optim.lr"
            )

        if self.group.is_main:
            self.log.append(line)
            name, n_steps = self.stage.name, self.schedule.n_steps
            print(
                f"{name} {self.step}/{n_steps}  loss {line['loss']:.4f}  {line['seconds']:.0f} s",
                flush=True,
            )

    def validate(self) -> Steps:
        """Evaluate on the clips held out, log it, and keep the best weights apart."""
        if not self.group.is_main:
            return

        with self.average.in_place() if self.average else nullcontext():
            scores = self.stage.evaluate()
            weights = on_cpu(self.module.state_dict())

        values = yield scores

        self.log.append(
            {"kind": "val", "step": self.step, **values, "seconds": round(self.trained_seconds, 2)}
        )
        shown = "  ".join(f"{k} {v:.1f}" for k, v in values.items())
        print(f"{self.stage.name} {self.step}  {shown}", flush=True)

        if self.stage.monitor in values and values[self.stage.monitor] < self.best:
            self.best = values[self.stage.monitor]
            save_tensors(self.folder / "best.safetensors", weights, {"step": self.step})

    def save(self) -> None:
        """Checkpoint what is now; another thread writes it while training goes on."""
        if not self.group.is_main:
            return

        self.finish_writing()
        tensors, state = state_of_run(self)
        self.written = self.writer.submit(save_tensors, self.checkpoint, on_cpu(tensors), state)

    def finish_writing(self) -> None:
        """Wait for the checkpoint that is being written; its error, if any, is raised here."""
        if self.written is not None:
            self.written.result()
            self.written = None

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one; the main process reads it for all.

        Raises CheckpointError when it is of other data or another schedule.
        """
        read = (
            read_tensors(self.checkpoint)
            if self.group.is_main and self.checkpoint.exists()
            else None
        )
        read = self.group.from_main(read)
        if read is None:
            return

        restore(self, *read)
        if self.group.is_main:
            print(
                f"{self.stage.name}: resumed at step {self.step} of {self.schedule.n_steps}",
                flush=True,
            )

    def use_averages(self) -> None:
        """Make the averaged weights, where there are any, those that are evaluated and saved in
        the end.
        """
        if self.average:
            self.average.put_in_place()

    def finish(self, result: dict[str, Any]) -> Path:
        """Write the final weights, then the result that marks the run as done; drop what only
        resuming needs.
        """
        model = self.stage.model
        save_tensors(
            self.folder / WEIGHTS_FILE,
            model.state_dict(),
            {"experiment": self.exp.to_dict()},
        )
        head = {
            "schema": 1,
            "stage": self.stage.name,
            "name": self.folder.name,
            "preset": self.exp.preset_name,
            "recipe": self.exp.recipe,
            "digest": self.exp.digest(self.stage.name),
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


def _check_smallest_batch(stage: Stage, group: ProcessGroup) -> None:
    schedule = stage.schedule
    if schedule.smallest_batch < group.size:
        raise ConfigError(
            f"{schedule.n_clips} clips in batches of {schedule.batch_size} leave a last batch of "
            f"{schedule.smallest_batch} for {group.size} processes; choose another batch size"
        )
