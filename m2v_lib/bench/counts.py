"""Operations and bytes of a step, counted rather than timed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from m2v_lib.bench.options import smallest_batch
from m2v_lib.config import Experiment
from m2v_lib.config.models import DUAL_STREAM
from m2v_lib.models.dual_stream.model import DualStreamBlock
from m2v_lib.models.losses import pose_loss
from m2v_lib.models.registry import build_model

#: Operators that give out memory or a new name for it, but move nothing.
_STILL = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "lift_fresh",
}


class ByteCounter(TorchDispatchMode):
    """Counts the operators that run inside it, and sums the bytes of the tensors each one reads
    and writes.

    Views cost nothing; an expanded tensor costs what it stores. Every operator is taken to fetch
    its operands from memory and to write its result there: what stays in a cache between two
    operators is counted all the same, so the rate can lie above what memory alone would allow. A
    compiled block fuses operators and is not seen from here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)

        if moves_data(func):
            self.operators += 1
            self.bytes += n_bytes(tree_leaves((args, kwargs))) + n_bytes(tree_leaves(out))
            if (
                not func._schema.returns
            ):  # an update of lists in place: what it writes is among its arguments
                self.bytes += n_bytes(tree_leaves(_written(func, args, kwargs)))

        return out


def moves_data(func: Any) -> bool:
    """Whether an operator reads or writes elements, which a view does not."""
    aliases = [a.alias_info for a in func._schema.arguments if a.alias_info is not None]
    is_view = any(not alias.is_write for alias in aliases)
    return not is_view and func._schema.name.split("::")[-1] not in _STILL


def _written(func: Any, args: Any, kwargs: Any) -> list[Any]:
    named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    writes = [
        a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write
    ]
    return [named.get(name) for name in writes]


def n_bytes(values: Iterable[Any]) -> int:
    """What the tensors among the values store, each at most as much as its memory holds."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors)


def count_flops(exp: Experiment, task: str) -> int:
    """Floating-point operations (2 a multiply-accumulate) of all matrix products in a step on
    one clip.

    `task` is train, pretrain, inference, or a part of a block, forwards. On the path "fast" this
    is the essential work: a chain over time costs no product there, and the fusion's two weights
    a token, a thousandth of the whole, are products with a vector, which are not counted. Shapes
    alone are computed, so any size is quick.
    """
    if exp.model.name == DUAL_STREAM and exp.run.path == "fast" and task != "fusion":
        exp = exp.override(
            {"model.fusion": "mean"}
        )  # as said; `fast.fuse` does not compute shapes alone

    m, p = exp.model, exp.pretrain

    with torch.device("meta"):
        if task in ("train", "inference"):
            model = build_model(m, path=exp.run.path)
            n = smallest_batch(exp, task)
            clips = torch.empty(n, m.n_frames, m.n_joints, 3)
            return _flops_of_model(model, clips, training=task == "train") // n

        features = torch.empty(1, m.n_frames, m.n_joints, m.dim)
        block = DualStreamBlock(m)
        block.path = exp.run.path

        if (
            task == "pretrain"
        ):  # the teacher forwards once, the student both ways for each mask; one embedding
            forwards, both_ways = (
                _flops_of_block(block, features, training=t) for t in (False, True)
            )
            embedding = 2 * m.n_frames * m.n_joints * 3 * m.dim
            return m.n_layers * (forwards + p.n_masks * both_ways) + 2 * embedding

        return _flops_of_part(block, task, features)


@dataclass(frozen=True)
class StepCost:
    """A training step of a batch as written, forwards and backwards, without the optimiser: what
    is launched one by one, bytes moved, operations of matrix products.
    """

    operators: int
    bytes: int
    flops: int


def count_step(exp: Experiment) -> StepCost:
    """What a fine-tuning step costs at the settings' size of batch, counted from shapes alone: two
    depths are counted, and blocks are alike.
    """
    shallow, deeper = (_count_at_depth(exp, depth) for depth in (1, 2))
    more = exp.model.n_layers - 1
    first, second = astuple(shallow), astuple(deeper)
    return StepCost(*(a + more * (b - a) for a, b in zip(first, second, strict=True)))


def _count_at_depth(exp: Experiment, depth: int) -> StepCost:
    at = exp.override({"model.n_layers": depth, "pretrain.target_layers": 1})
    with torch.device("meta"):
        model = build_model(at.model, path="reference").train()
        clips = torch.empty(exp.finetune.batch_size, at.model.n_frames, at.model.n_joints, 3)
        with FlopCounterMode(display=False) as products, ByteCounter() as moved:
            out = model(clips)
            pose_loss(out, torch.empty_like(out), 1.0, 1.0)[0].backward()
    return StepCost(moved.operators, moved.bytes, products.get_total_flops())


def _flops_of_model(model: nn.Module, clip: Tensor, *, training: bool) -> int:
    model.train(training)
    with torch.set_grad_enabled(training), FlopCounterMode(display=False) as counter:
        out = model(clip)
        if training:
            pose_loss(out, torch.empty_like(out), 1.0, 1.0)[0].backward()
    return counter.get_total_flops()


def _flops_of_block(block: nn.Module, features: Tensor, *, training: bool) -> int:
    block.train(training)
    with torch.set_grad_enabled(training), FlopCounterMode(display=False) as counter:
        out = block(features.clone().requires_grad_(training))
        if training:
            out.sum().backward()
    return counter.get_total_flops()


@torch.no_grad()
def _flops_of_part(block: DualStreamBlock, name: str, features: Tensor) -> int:
    part = getattr(block.eval(), name)
    with FlopCounterMode(display=False) as counter:
        if name == "fusion":
            part(features, features)
        else:
            (part.fast if block.path == "fast" else part)(features)
    return counter.get_total_flops()
