"""One process of `m2v bench`: it builds one variant, takes its steps when told to, and says what
they cost.

`python -m m2v_lib.bench.worker` reads requests from standard input and answers each on standard
output, one JSON object a line: {"do": "build", "experiment": {...}, "task": "train"}, then
{"do": "batch", "size": 4}, then as often as wanted {"do": "time", "steps": 3}; beside these
"flops", "masks" and "ceilings". A failed request is answered with {"error": one sentence,
"out_of_memory": bool}; after that the process is best ended. What is built and how it steps is
what training does (`prepare_blocks`, `make_optimiser`, autocast), on clips of random numbers
that lie on the device.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from m2v_lib.bench.ceilings import ceilings, seconds_of
from m2v_lib.bench.counts import ByteCounter, count_flops
from m2v_lib.bench.memory import Memory, limit_memory
from m2v_lib.config import Experiment
from m2v_lib.errors import InputError
from m2v_lib.models.dual_stream import fast
from m2v_lib.models.dual_stream.fusion import AdaptiveFusion
from m2v_lib.models.dual_stream.model import DualStreamBlock
from m2v_lib.models.losses import lifting_loss
from m2v_lib.models.registry import build_model
from m2v_lib.training.device import describe, pick_device, prepare_blocks
from m2v_lib.training.engine.randomness import seeded
from m2v_lib.training.optimisers import make_optimiser
from m2v_lib.training.pretraining.masking import draw_masks
from m2v_lib.training.pretraining.objective import MaskedPrediction

# B batch, T frames, J joints, D features

Step = Callable[[], Tensor]  # returns the loss, or a number made from the output
#: A first step that took longer than this (s) tells enough: no second one before the first
#: repetition.
LONG_STEP = 2.0


class Bench:
    """The variant that this process measures; each public method answers one kind of request."""

    def build(self, experiment: dict[str, Any], task: str) -> dict[str, Any]:
        """The network of `task` (train, pretrain, inference or a part of a block), in place of
        any earlier one.
        """
        self.exp, self.task = Experiment.from_dict(experiment), task
        self.step: Step | None = None
        self.maker: Callable[[int], Step] | None = None
        self.device = pick_device(self.exp)
        limit_memory()
        if self.exp.run.compile:
            fresh_compiler()
        self.memory = Memory(self.device)
        gc.collect()
        self.memory.begin()
        makers = {
            "train": self.make_train,
            "pretrain": self.make_pretrain,
            "inference": self.make_inference,
        }
        self.maker = makers[task]() if task in makers else self.make_part(task)

        return {"device": describe(self.device), "threads": torch.get_num_threads()}

    def batch(self, size: int) -> dict[str, Any]:
        """Clips of a new batch and warm-up: the loss before any update, bytes moved in a step, a
        first idea of time.
        """
        assert self.maker is not None, "build comes first"
        self.step = None
        self.step = self.maker(size)

        n_bytes = None
        if self.exp.run.compile:
            loss, _ = self.timed(1)  # compiles
        else:
            with ByteCounter() as counter:
                loss, seconds = self.timed(1)
            n_bytes = counter.bytes

        if self.exp.run.compile or seconds < LONG_STEP:
            _, seconds = self.timed(1)
        self.memory.forget_peak()
        self.memory.rest()

        return {"loss": loss, "bytes": n_bytes, "seconds": seconds}

    def time(self, steps: int) -> dict[str, Any]:
        """Seconds a step over one repetition of `steps`, after one that fetches memory and fills
        caches.
        """
        self.timed(1)
        _, seconds = self.timed(steps)
        peak = self.memory.peak()
        self.memory.rest()  # the other variants have the machine to themselves
        return {"seconds": seconds / steps, "peak_bytes": peak}

    def timed(self, steps: int) -> tuple[float, float]:
        """The first step's loss, and the seconds that all of them took."""
        step, losses = self.step, []
        assert step is not None, "batch comes first"

        def run() -> None:
            for _ in range(steps):
                losses.append(step())

        seconds = seconds_of(run, self.device)
        return float(losses[0]), seconds

    def masks(self, experiment: dict[str, Any], n_clips: int) -> dict[str, Any]:
        """Seconds to draw all masks of a batch of `n_clips`: the median of five."""
        exp = Experiment.from_dict(experiment)
        device = pick_device(exp)
        shape = (n_clips * exp.pretrain.n_masks, exp.model.n_frames, exp.model.n_joints)
        draws = [partial(draw_masks, exp.pretrain, shape, seeded(device, k)) for k in range(6)]
        return {"seconds": sorted(seconds_of(draw, device) for draw in draws)[2]}

    def flops(self, experiment: dict[str, Any], task: str) -> dict[str, Any]:
        """Floating-point operations of the matrix products of one clip's step, on the
        experiment's path.
        """
        return {"flops": count_flops(Experiment.from_dict(experiment), task)}

    def ceilings(self, experiment: dict[str, Any], quick: bool) -> dict[str, Any]:
        """The best that this device does here, and what it is."""
        device = pick_device(Experiment.from_dict(experiment))
        return {
            **ceilings(device, quick=quick),
            "device": describe(device),
            "threads": torch.get_num_threads(),
        }

    def clips(self, size: int, channels: int = 3) -> Tensor:
        """(B, T, J, channels) of random numbers, the same for every variant."""
        m = self.exp.model
        generator = torch.Generator().manual_seed(channels + 1000 * size)
        return torch.randn(size, m.n_frames, m.n_joints, channels, generator=generator).to(
            self.device
        )

    def autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.exp.run.precision == "bf16"
        )

    def make_train(self) -> Callable[[int], Step]:
        model = (
            prepare_blocks(build_model(self.exp.model, seed=0), self.exp).to(self.device).train()
        )
        cfg = self.exp.finetune

        def loss_on(size: int) -> Step:
            x, y = self.clips(size), self.clips(size)
            return lambda: lifting_loss(model, model, x, y, cfg)[0]

        return self.with_updates(model, loss_on)

    def make_pretrain(self) -> Callable[[int], Step]:
        student = prepare_blocks(build_model(self.exp.model, seed=0), self.exp)
        objective = (
            MaskedPrediction(student, self.exp.pretrain, seeded(torch.device("cpu"), 3))
            .to(self.device)
            .train()
        )
        ema = self.exp.pretrain.teacher == "ema"

        def loss_on(size: int) -> Step:
            x, generator = self.clips(size), seeded(self.device, 1)
            return lambda: objective(x, generator)[0]

        def move_teacher() -> None:
            if ema:
                objective.teacher.update(student.layers, self.exp.pretrain.tau_start)

        return self.with_updates(objective, loss_on, move_teacher)

    def with_updates(
        self,
        module: nn.Module,
        loss_on: Callable[[int], Step],
        after: Callable[[], None] = lambda: None,
    ) -> Callable[[int], Step]:
        """A step of training: forward, backward, optimiser, and what comes after it."""
        parameters = [p for p in module.parameters() if p.requires_grad]
        optimiser = make_optimiser(parameters, self.exp.optim)
        for group in optimiser.param_groups:
            group["lr"] = (
                # the labels are noise: weights stay, so that losses of all variants can be
                # compared
                0.0
            )

        def maker(size: int) -> Step:
            loss_of = loss_on(size)

            def step() -> Tensor:
                optimiser.zero_grad(set_to_none=True)
                with self.autocast():
                    loss = loss_of()
                loss.backward()
                optimiser.step()
                after()
                return loss.detach()

            return step

        return maker

    def make_inference(self) -> Callable[[int], Step]:
        model = prepare_blocks(build_model(self.exp.model, seed=0), self.exp).to(self.device).eval()
        return self.forward_only(model, 3)

    def make_part(self, name: str) -> Callable[[int], Step]:
        """One sub-block alone, forwards, on features; the fusion reads the same features from
        both streams.
        """
        block = DualStreamBlock(self.exp.model).to(self.device).eval()
        part, quick = getattr(block, name), self.exp.run.path == "fast"

        if name == "fusion":
            fuse = (
                fast.fuse
                if quick and isinstance(part, AdaptiveFusion)
                else lambda layer, a, g: layer(a, g)
            )
            return self.forward_only(lambda x: fuse(part, x, x), self.exp.model.dim)

        return self.forward_only(part.fast if quick else part, self.exp.model.dim)

    def forward_only(
        self, compute: Callable[[Tensor], Tensor], channels: int
    ) -> Callable[[int], Step]:
        def maker(size: int) -> Step:
            x = self.clips(size, channels)

            @torch.no_grad()
            def step() -> Tensor:
                with self.autocast():
                    return compute(x).float().abs().mean()

            return step

        return maker


def fresh_compiler() -> None:
    """Load the compiler, so that its own code does not count as a variant's memory; forget what
    it has compiled.
    """
    dynamo = import_module("torch._dynamo")
    import_module("torch._inductor.compile_fx")
    dynamo.reset()
    dynamo.config.automatic_dynamic_shapes = False  # each batch size gets code of its own


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a compiler prints must not stand between two answers

    bench = Bench()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = getattr(bench, request.pop("do"))(**request)
        except Exception as error:
            words = " ".join(str(error).split()).split(" Set TORCH")[0][
                :300
            ]  # a compiler's advice is long
            out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or re.search(
                "allocate memory|bad_alloc", words
            )
            sentence = (
                words if isinstance(error, InputError) else f"{type(error).__name__}: {words}"
            )
            reply = {"error": sentence, "out_of_memory": bool(out_of_memory)}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
