"""What a stage of training is, and how one is run in its folder: pre-training, fine-tuning and
action recognition.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from m2v_lib.config import Experiment, OptimConfig
from m2v_lib.runs.parents import PARENT, die_with_parent
from m2v_lib.runs.records import runs_root
from m2v_lib.training.clip_loader import ClipLoader
from m2v_lib.training.device import pick_device
from m2v_lib.training.engine.coroutine import complete
from m2v_lib.training.engine.distributed import (
    SINGLE,
    ProcessGroup,
    in_launched_process,
    launch,
    must_launch,
    process_group,
)
from m2v_lib.training.engine.loop import Trainer
from m2v_lib.training.engine.stopping import StopRequest
from m2v_lib.training.folder import check_finished, is_finished, run_folder_lock
from m2v_lib.training.schedule import Schedule, ScheduledValues

# B batch


class Stage(ABC):
    """What is trained, on which clips, by which loss.

    A subclass's `__init__` sets the attributes below; `module` holds all that is trained or
    averaged, `model` what is saved in the end. `draw` and `loss` are the two halves of a step:
    everything random, then everything deterministic; both may be recorded and replayed. In a
    process group both are this process's part, and the mean of the losses over processes is the
    loss of the batch.
    """

    #: Name of the stage in settings, folders and records.
    name: ClassVar[str]
    #: The validation value whose least marks the best weights.
    monitor: ClassVar[str] = "mpjpe"

    exp: Experiment
    optim: OptimConfig
    module: nn.Module
    model: nn.Module
    schedule: Schedule
    fingerprint: str
    device: torch.device
    #: Whether `evaluate` has clips to evaluate on.
    has_validation: bool = False
    #: Whether steps differ in joints, in frames or in which frames are there.
    changes_shape: bool = False

    @classmethod  # noqa: B027 - most stages take all settings
    def check_settings(cls, exp: Experiment) -> None:
        """Refuse what would be silently ignored. Raises ConfigError."""

    @classmethod
    @abstractmethod
    def open_data(cls, exp: Experiment) -> tuple[Any, str]:
        """The data and their fingerprint, cheaply. Raises DataError."""

    @classmethod
    @abstractmethod
    def build(
        cls,
        exp: Experiment,
        root: Path,
        data: Any,
        device: torch.device,
        group: ProcessGroup,
        loader: ClipLoader,
    ) -> Stage:
        """The stage, with clips on the device and weights as they are before the first step."""

    def before_step(self) -> None:  # noqa: B027 - most stages have nothing to do
        """Runs before each step; launches nothing."""

    @abstractmethod
    def draw(self, chosen_B: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The chosen clips and all that is random in a step: flips, masks, noise, dropout."""

    @abstractmethod
    def loss(
        self, network: nn.Module, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a drawn batch, and what is shown: numbers go into the log, other tensors
        to `extra_log_values`.

        `network` is `module`, in a process group wrapped. No randomness, no branch on a tensor's
        value.
        """

    def scheduled_values(self, step: int, n_steps: int) -> dict[str, float]:
        """What `after_step` reads after optimiser step `step` of `n_steps` (1-based)."""
        return {}

    def after_step(self, values: ScheduledValues) -> None:  # noqa: B027 - most stages have nothing to do
        """Runs after the optimiser; deterministic as `loss`."""

    def extra_log_values(
        self, extras: dict[str, Tensor], step: int, n_steps: int
    ) -> dict[str, float]:
        """What a log line has beside loss and means, from what the last step showed."""
        return {}

    def evaluate(self) -> Callable[[], dict[str, float]]:
        """Predictions on the clips held out, and a function that makes a validation line's
        values from them.

        The function needs no device, so it can run while others use it.
        """
        raise NotImplementedError

    @abstractmethod
    def result(self, folder: Path) -> Callable[[], dict[str, Any]]:
        """What `result.json` holds beside its head, as `evaluate` in two parts; leaves the
        selected weights in `model`.

        `folder` has the run's log and, where there was a validation, `best.safetensors`.
        """


def run_stage(kind: type[Stage], exp: Experiment, root: Path | None = None) -> Path:
    """Train and evaluate; returns the run's folder. A finished run is left as it is, a killed
    one goes on.
    """
    root = runs_root() if root is None else Path(root)
    folder = root / exp.run_name(kind.name)
    kind.check_settings(exp)
    if PARENT in os.environ or in_launched_process():
        die_with_parent()

    if must_launch(exp):
        launch(kind.name, exp, root)
        return check_finished(folder)

    with process_group(exp) as group, own_stream(pick_device(exp), group):
        complete(stage_steps(kind, exp, root, group=group))

    return folder


def stage_steps(
    kind: type[Stage],
    exp: Experiment,
    root: Path,
    *,
    group: ProcessGroup = SINGLE,
    loader: ClipLoader | None = None,
    stop: StopRequest | None = None,
) -> Generator[Any, Any, Path]:
    """`run_stage` as a coroutine that hands back control after every step, see
    `loop.Trainer.steps`.

    Several runs may share a `loader`, so that their clips are made once, and a `stop`.
    """
    folder = root / exp.run_name(kind.name)
    with run_folder_lock(folder, group):
        data, fingerprint = kind.open_data(exp)
        if not is_finished(folder, fingerprint):
            stage = kind.build(exp, root, data, pick_device(exp), group, loader or ClipLoader())
            trainer = Trainer(stage, folder, group)

            with (
                nullcontext(stop)
                if stop is not None
                else StopRequest(exp.run.max_minutes) as request
            ):
                yield from trainer.steps(request)

            if group.is_main:
                trainer.use_averages()
                result = yield stage.result(folder)
                trainer.finish(result)
        group.wait()

    return folder


def own_stream(device: torch.device, group: ProcessGroup) -> Any:
    """A stream that is not the default one, as recording steps needs it; nothing where none is
    recorded.
    """
    if device.type != "cuda" or group.size > 1:
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))
