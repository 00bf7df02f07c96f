"""One training step: loss, gradients, optimiser, averages and logged sums; computed eagerly or
replayed as a graph.

A step has two halves. The stage's `draw` does everything random, from a generator seeded for the
step. What follows from its batch (`compute` here) is deterministic. Both read and write tensors
that keep their place in memory, so that on a GPU each can be recorded once and replayed by a
single launch: a small network's step is hundreds of kernels, and launching them costs more than
running them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from m2v_lib.training.device import uncompiled
from m2v_lib.training.engine.averaging import WeightAverage
from m2v_lib.training.engine.distributed import SINGLE, ProcessGroup
from m2v_lib.training.engine.randomness import drawing_from, global_seed
from m2v_lib.training.schedule import ScheduledValues

if TYPE_CHECKING:
    from m2v_lib.training.stage import Stage

Batch = dict[str, Tensor]


class Capture(Protocol):
    """Records what a function launches; the result launches it again. What it draws comes from
    the generators given, as they are seeded at each launch.
    """

    def __call__(
        self, launches: Callable[[], None], device: torch.device, *generators: torch.Generator
    ) -> Callable[[], None]: ...


#: Eager steps before a step is recorded, in which libraries choose their kernels and fetch their
#: memory.
WARM_UP_STEPS = 3


class NotRecordableError(Exception):
    """A step could not be recorded on this machine."""


@dataclass
class TrainingStep:
    """Moves a stage's module by one batch. `sums` holds the sums of what is logged since they
    were last cleared.
    """

    stage: Stage
    network: nn.Module
    optimisers: list[torch.optim.Optimizer]
    values: ScheduledValues
    average: WeightAverage | None = None
    group: ProcessGroup = SINGLE
    capture: Capture | None = None
    sums: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recorded: dict[object, RecordedStep] = {}
        #: Sizes of the batches that blocks are compiled for: those of the first.
        self.usual: tuple[torch.Size, ...] = ()

    def __call__(self, batch: Batch, seed: int | None = None) -> dict[str, Tensor]:
        """Take the step; returns what the loss had to show beside its value. `seed` fixes what the
        model itself draws (dropout); None: it draws nothing.
        """
        if self.capture is None:
            return self.eagerly(batch, seed)

        key = tuple((name, t.shape, t.dtype) for name, t in batch.items())
        if key not in self.recorded:
            try:
                self.recorded[key] = self.record(batch, self.capture, seed is not None)
            except NotRecordableError as error:
                print(f"{self.stage.name}: no CUDA graph ({error}); going on eagerly", flush=True)
                self.capture = None
                self.recorded.clear()
                return self.eagerly(batch, seed)

        return self.recorded[key].replay(batch, seed)

    def eagerly(self, batch: Batch, seed: int | None) -> dict[str, Tensor]:
        with nullcontext() if seed is None else global_seed(self.stage.device, seed):
            return self.compute(batch)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        """The deterministic half of a step, every kernel launched from here."""
        exp, stage = self.stage.exp, self.stage
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

        device = stage.device.type
        in_bfloat16 = exp.run.precision == "bf16"
        sizes = tuple(t.shape for t in batch.values())
        self.usual = self.usual or sizes

        with (
            torch.autocast(
                device, torch.bfloat16, enabled=in_bfloat16, cache_enabled=self.capture is None
            ),
            nullcontext() if sizes == self.usual else uncompiled(exp),
        ):
            loss, extras = stage.loss(self.network, batch)

        loss.backward()

        if stage.optim.max_grad_norm:
            nn.utils.clip_grad_norm_(
                stage.module.parameters(), stage.optim.max_grad_norm, foreach=True
            )

        for optimiser in self.optimisers:
            optimiser.step()

        stage.after_step(self.values)
        if self.average:
            self.average.update(self.values["average_share"])

        self.add_to_sums(
            {"loss": loss.detach(), **{k: v.detach() for k, v in extras.items() if v.ndim == 0}}
        )

        return extras

    @torch.no_grad()
    def add_to_sums(self, scalars: dict[str, Tensor]) -> None:
        for name in scalars:
            if name not in self.sums:
                self.sums[name] = torch.zeros((), device=self.stage.device)
        means = self.group.mean(
            torch.stack([v.float() for v in scalars.values()]).to(self.stage.device)
        )
        torch._foreach_add_([self.sums[name] for name in scalars], list(means.unbind()))

    def record(self, batch: Batch, capture: Capture, draws: bool) -> RecordedStep:
        """A recorded step for batches of this shape; what the warm-up changes is put back.

        Raises NotRecordableError, the state as it was; an error in putting it back is not
        caught.
        """
        place = {name: tensor.clone() for name, tensor in batch.items()}
        seen: dict[str, Tensor] = {}
        before = {key: tensor.clone() for key, tensor in self.state()}

        def compute() -> None:
            seen.clear()
            seen.update(self.compute(place))

        device = self.stage.device
        inside = torch.Generator(device=device) if draws else None

        try:
            with drawing_from(inside):
                for _ in range(WARM_UP_STEPS):
                    compute()
                seen.clear()
                for optimiser in self.optimisers:
                    optimiser.zero_grad(set_to_none=True)
                launch = capture(compute, device, *([inside] if inside else []))
        except Exception as error:
            self.restore(before)
            raise NotRecordableError(_reason(error)) from error

        self.restore(before)
        return RecordedStep(place, launch, seen, inside)

    def state(self) -> Iterator[tuple[object, Tensor]]:
        """All tensors that a step changes."""
        for name, tensor in self.stage.module.state_dict().items():
            yield ("module", name), tensor

        for number, optimiser in enumerate(self.optimisers):
            for parameter, state in optimiser.state.items():
                for name, tensor in state.items():
                    yield ("optimiser", number, id(parameter), name), tensor

        for name, tensor in self.sums.items():
            yield ("sums", name), tensor

        for name, tensor in (self.average.weights if self.average else {}).items():
            yield ("average", name), tensor

    @torch.no_grad()
    def restore(self, before: Mapping[object, Tensor]) -> None:
        """Put the state back where it is; what came into being since (moments, sums) started at
        zero.
        """
        for key, tensor in self.state():
            if key in before:
                tensor.copy_(before[key])
            else:
                tensor.zero_()


@dataclass
class RecordedStep:
    """A step recorded for one shape of batch: where its batch lies, how to launch it, what it
    shows, and where the model itself draws from.
    """

    place: dict[str, Tensor]
    launch: Callable[[], None]
    seen: dict[str, Tensor]
    inside: torch.Generator | None = None

    def replay(self, batch: Batch, seed: int | None = None) -> dict[str, Tensor]:
        torch._foreach_copy_(list(self.place.values()), [batch[name] for name in self.place])
        if self.inside is not None and seed is not None:
            self.inside.manual_seed(seed)
        self.launch()
        return self.seen


class RecordedDraws:
    """The random half of a stage's steps, recorded once for each size of batch."""

    def __init__(self, stage: Stage, capture: Capture) -> None:
        self.stage, self.capture = stage, capture
        self.generator = torch.Generator(device=stage.device)
        self.recorded: dict[int, tuple[Tensor, Callable[[], None], Batch]] = {}

    def __call__(self, chosen_B: Tensor, seed: int) -> Batch:
        """The batch of these clips, in a place that the next one takes. Raises NotRecordableError."""
        if len(chosen_B) not in self.recorded:
            self.recorded[len(chosen_B)] = self.record(chosen_B)
        place_B, launch, batch = self.recorded[len(chosen_B)]
        place_B.copy_(chosen_B)
        self.generator.manual_seed(seed)
        launch()
        return batch

    def record(self, chosen_B: Tensor) -> tuple[Tensor, Callable[[], None], Batch]:
        place_B, batch = chosen_B.clone(), dict[str, Tensor]()

        def draw() -> None:
            batch.update(self.stage.draw(place_B, self.generator))

        try:
            for _ in range(WARM_UP_STEPS):
                draw()
            batch.clear()
            launch = self.capture(draw, self.stage.device, self.generator)
        except Exception as error:
            raise NotRecordableError(_reason(error)) from error

        return place_B, launch, batch


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def cuda_graph(
    launches: Callable[[], None], device: torch.device, *generators: torch.Generator
) -> Callable[[], None]:
    """Record what a function launches on the current stream, which must not be the default one;
    the result replays it.

    Warm-up, recording and replays belong on one stream that no other run uses at the time:
    libraries keep a workspace a stream, and two graphs recorded with the same one would write
    into each other's.
    """
    stream = torch.cuda.current_stream(device)
    if stream == torch.cuda.default_stream(device):
        raise RuntimeError("the default stream cannot be recorded")

    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)

    # Other threads may use the device meanwhile (checkpoints, evaluations), so errors are
    # watched for in this one.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        launches()

    return graph.replay
