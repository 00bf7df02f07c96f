"""Several runs of one shape in one set of kernels: the parameters of K runs are stacked along a
new first axis.

A small network's step is bound by the number of its kernels, and K stacked runs take as many as
one. Every run draws its own batches, and keeps its own folder, log, checkpoint and result: its
module, moments, averages and sums become views of the stack, so whatever it reads, evaluates or
saves is its own slice. Only the deterministic half of a step is shared (`StackedStep`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from m2v_lib.models.dual_stream.model import DualStreamBlock
from m2v_lib.training.engine.averaging import WeightAverage
from m2v_lib.training.engine.loop import Drawn, Steps, Trainer
from m2v_lib.training.engine.stacked_layers import use_stacked_layers
from m2v_lib.training.engine.step import Batch, TrainingStep
from m2v_lib.training.optimisers import make_optimisers

# K runs


class NotStackableError(Exception):
    """These runs cannot share their steps."""


def stack_modules(modules: Sequence[nn.Module]) -> nn.Module:
    """A module like each of them whose parameters and buffers are stacks (K, ...) of theirs;
    theirs become views of it.
    """
    stack = deepcopy(modules[0])
    for name, tensor in [*stack.named_parameters(), *stack.named_buffers()]:
        own = [_tensor_of(module, name) for module in modules]
        tensor.data = torch.stack([t.detach() for t in own])
        for slice_, t in zip(tensor.data, own, strict=True):
            t.data = slice_
    return stack


def _tensor_of(module: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    return getattr(module.get_submodule(path), last)


@dataclass
class StackedStep(TrainingStep):
    """The step of K runs: `stage`, optimisers, average and sums hold stacks."""

    trainers: list[Trainer] = field(default_factory=list)

    def compute(self, batch: Batch) -> dict[str, Tensor]:
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

        losses_K, extras = self.losses(batch)
        losses_K.sum().backward()

        if self.stage.optim.max_grad_norm:
            self.limit_gradients(self.stage.optim.max_grad_norm)
        for optimiser in self.optimisers:
            optimiser.step()

        self.stage.after_step(self.values)
        if self.average:
            self.average.update(self.values["average_share"])
        self.add_to_sums(
            {
                "loss": losses_K.detach(),
                **{k: v.detach() for k, v in extras.items() if v.ndim == 1},
            }
        )

        return extras

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The runs' losses (K,), and what they show, stacked."""
        module, stage = self.stage.module, self.stage
        state = {**dict(module.named_parameters()), **dict(module.named_buffers())}

        def of_one(state: dict[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
            def network(*args: Any) -> Any:
                return functional_call(module, state, args)

            return stage.loss(network, batch)  # type: ignore[arg-type]

        in_bfloat16 = stage.exp.run.precision == "bf16"

        with torch.autocast(
            stage.device.type,
            torch.bfloat16,
            enabled=in_bfloat16,
            cache_enabled=self.capture is None,
        ):
            return vmap(of_one)(state, batch)

    @torch.no_grad()
    def limit_gradients(self, norm: float) -> None:
        """`clip_grad_norm_` of each run's gradients."""
        gradients = [p.grad for p in self.stage.module.parameters() if p.grad is not None]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        factor_K = (norm / (norms + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(factor_K.view(-1, *[1] * (g.ndim - 1)))

    @torch.no_grad()
    def add_to_sums(self, scalars: dict[str, Tensor]) -> None:
        for name, value_K in scalars.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros(len(value_K), device=self.stage.device)
        values = [value_K.float() for value_K in scalars.values()]
        torch._foreach_add_([self.sums[name] for name in scalars], values)

    def take_over(self) -> None:
        """Stack the moments and sums that the runs bring with them."""
        first = self.trainers[0]
        for name in first.training_step.sums:
            own = [trainer.training_step.sums[name] for trainer in self.trainers]
            self.sums[name] = torch.stack(own)

        named = {p: n for n, p in self.stage.module.named_parameters()}

        for number, optimiser in enumerate(self.optimisers):
            for group in optimiser.param_groups:
                for p in group["params"]:
                    states = [
                        t.optimisers[number].state.get(t.named[named[p]], {}) for t in self.trainers
                    ]
                    for key, value in states[0].items():
                        optimiser.state[p][key] = (
                            torch.stack([s[key] for s in states])
                            if value.shape == p.shape[1:]
                            else value.clone()
                        )

    def hand_out(self) -> None:
        """Make the runs' moments, averages and sums views of the stacks (a count of steps is the
        same tensor for all).
        """
        named: dict[Tensor, str] = {p: n for n, p in self.stage.module.named_parameters()}
        for k, trainer in enumerate(self.trainers):
            for name, sums_K in self.sums.items():
                trainer.training_step.sums[name] = sums_K[k]
            if self.average and trainer.average:
                trainer.average.weights = {n: w[k] for n, w in self.average.weights.items()}
            for number, optimiser in enumerate(self.optimisers):
                for p, state in optimiser.state.items():
                    trainer.optimisers[number].state[trainer.named[named[p]]] = {
                        key: value[k] if value.shape == p.shape else value
                        for key, value in state.items()
                    }


class Stack:
    """K runs at the same step of the same schedule, and what moves them."""

    def __init__(self, trainers: list[Trainer]) -> None:
        _check(trainers)
        first = trainers[0]
        self.trainers = trainers
        self.module = stack_modules([trainer.module for trainer in trainers])
        stage = first.stage.with_module(self.module)
        assert stage is not None

        for block in self.module.modules():
            if isinstance(block, DualStreamBlock):  # a student's, a teacher's
                block.path = "reference"

        if first.exp.run.precision == "fp32":  # autocast looks into no function of our own
            use_stacked_layers(self.module)
        self.module.train()
        named = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self.values = first.values
        optimisers = make_optimisers(
            named, stage.optim, self.values["rate"], self.values["matrix_rate"], stacked=True
        )

        average = None
        if first.average:
            average = WeightAverage(named)
            for name, weights in average.weights.items():
                own = [t.average.weights[name] for t in trainers if t.average]
                weights.copy_(torch.stack(own))

        self.step = StackedStep(
            stage,
            self.module,
            optimisers,
            self.values,
            average,
            capture=first.training_step.capture,
            trainers=trainers,
        )
        self.step.take_over()
        self.handed_out = False
        numbers = [trainer.stage.own_numbers() for trainer in trainers]
        dtype = next(iter(named.values())).dtype
        self.numbers = {
            name: torch.tensor([n[name] for n in numbers], dtype=dtype, device=first.device)
            for name in numbers[0]
        }

    def take(self, wishes: Sequence[Drawn | None]) -> list[Any]:
        """The next step of all runs; returns what each one's loss showed, or its error. A run without a wish
        is over: its slice goes on with another's batches, and nobody reads it.
        """
        some = next(wish for wish in wishes if wish is not None)
        if len({len(wish.chosen_B) for wish in wishes if wish is not None}) > 1:
            return self.take_apart(wishes)

        batch = self.batch_of([wish or some for wish in wishes])
        self.values.at(some.trainer.step)
        shown = self.step(batch)

        if not self.handed_out:
            self.step.hand_out()
            self.handed_out = True

        for trainer in self.trainers:
            trainer.step += 1

        return [{name: t[k] for name, t in shown.items()} for k in range(len(self.trainers))]

    def batch_of(self, drawn: Sequence[Drawn]) -> Batch:
        """The runs' batches as one, with the numbers in which their losses differ."""
        stages = [run.trainer.stage for run in drawn]
        batch = stages[0].draw_together(
            stages, [run.chosen_B for run in drawn], [run.generator for run in drawn]
        )
        if batch is None:
            batches = [run.batch() for run in drawn]
            batch = {name: torch.stack([b[name] for b in batches]) for name in batches[0]}
        return batch | self.numbers

    def try_out(self) -> None:
        """Raises NotStackableError where the network's operations cannot be stacked.

        Takes losses and gradients of the next batches and leaves no trace.
        """
        buffers = list(self.module.buffers())
        before = [buffer.clone() for buffer in buffers]

        try:
            batches = [trainer.draw() for trainer in self.trainers[:1]] * len(self.trainers)
            batch = {name: torch.stack([b[name] for b in batches]) for name in batches[0]}
            losses_K, _ = self.step.losses(batch | self.numbers)
            losses_K.sum().backward()
        except RuntimeError as error:
            raise NotStackableError(next(iter(str(error).splitlines()), "")) from error
        finally:
            self.module.zero_grad(set_to_none=True)
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)

    def take_apart(self, wishes: Sequence[Drawn | None]) -> list[Any]:
        """The next step run by run, where their batches differ in size; each works on its
        slices.
        """
        counts = self.counts()
        before = [count.clone() for count in counts]

        shown: list[Any] = []
        for wish in wishes:
            for count, value in zip(counts, before, strict=True):
                count.copy_(value)
            shown.append(_taken(wish) if wish is not None else {})

        if not self.handed_out:
            self.step.take_over()
        return shown

    def counts(self) -> list[Tensor]:
        """Optimisers' counts of steps, which all runs share once they are handed out."""
        return [
            value
            for optimiser in self.step.optimisers
            for p, state in optimiser.state.items()
            for value in state.values()
            if value.shape != p.shape
        ]


def _shapes(batch: Batch) -> tuple[Any, ...]:
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in batch.items())


def _check(trainers: Sequence[Trainer]) -> None:
    """Raises NotStackableError where the runs are not of one shape, or what they do cannot be
    stacked.
    """
    first = trainers[0]
    if first.stage.with_module(first.module) is None:
        raise NotStackableError("the loss is the model's own")
    if first.exp.run.compile:
        raise NotStackableError("the blocks are compiled")

    for trainer in trainers:
        if trainer.randomness_inside:
            raise NotStackableError("the model has dropout")
        if trainer.step != first.step:
            raise NotStackableError(f"steps {trainer.step} and {first.step} are two")
        if not torch.equal(trainer.values.table_SV, first.values.table_SV):
            raise NotStackableError("the rates differ")
        if _layout(trainer) != _layout(first):
            raise NotStackableError("the networks differ")


def _layout(trainer: Trainer) -> dict[str, Any]:
    return {name: (t.shape, t.dtype) for name, t in trainer.module.state_dict().items()}


@dataclass
class Member:
    """A run of a group: its coroutine, what is called at its end, and what it waits for."""

    steps: Steps
    ended: Callable[[BaseException | None], None]
    wish: Any = None
    answer: Any = None
    over: bool = False
    stack: Stack | None = None

    def advance(self) -> None:
        """To the next wish, or to the end."""
        answer, self.answer, self.wish = self.answer, None, None
        if isinstance(answer, Exception):
            self.end(answer)
            return

        try:
            while self.wish is None:
                self.wish, answer = self.steps.send(answer), None
        except StopIteration:
            self.end(None)
        except Exception as error:
            self.end(error)

    def end(self, error: BaseException | None) -> None:
        self.over = True
        self.steps.close()
        self.ended(error)


def train_stacked(members: list[Member]) -> Steps:
    """Drive runs whose steps are shared (`stage_steps(..., shared=True)`) as one coroutine.

    Runs at the same step of the same schedule are stacked; where that cannot be, they take their
    steps one after the other. An error ends its own run alone.
    """
    try:
        for member in members:
            member.advance()

        yield from _answered(members)

        stacks = _stacks_of([m.wish for m in members if not m.over])
        while any(not m.over for m in members):
            _one_step([m for m in members if not m.over], stacks)
            yield None
            yield from _answered(members)
    finally:
        for member in members:
            member.steps.close()


def _answered(members: list[Member]) -> Steps:
    """Until every run waits for its next step, or is over."""
    while others := [m for m in members if not m.over and not isinstance(m.wish, Drawn)]:
        for member in others:
            member.answer = yield member.wish
        for member in others:
            member.advance()


def _stacks_of(drawn: list[Drawn]) -> list[Stack]:
    by_step: dict[int, list[Drawn]] = {}
    for run in drawn:
        by_step.setdefault(run.trainer.step, []).append(run)

    stacks = []
    for alike in by_step.values():
        if len(alike) > 1:
            try:
                stack = Stack([run.trainer for run in alike])
                stack.try_out()
                stacks.append(stack)
            except NotStackableError as error:
                print(f"{len(alike)} runs are not stacked: {error}", flush=True)

    return stacks


def _taken(run: Drawn) -> dict[str, Tensor] | Exception:
    """A run's step by itself: what its loss showed, or the error that ends it."""
    try:
        return run()
    except Exception as error:
        return error


def _one_step(members: list[Member], stacks: list[Stack]) -> None:
    """The next step of every run."""
    drawn = {id(m.wish.trainer): m for m in members}
    for stack in stacks:
        mine = [drawn.pop(id(trainer), None) for trainer in stack.trainers]
        if any(mine):
            shown = stack.take([m.wish if m is not None else None for m in mine])
            for member, extras in zip(mine, shown, strict=True):
                if member is not None:
                    member.answer, member.stack = extras, stack

    for member in drawn.values():
        member.answer = _taken(member.wish)

    for member in members:
        member.advance()
