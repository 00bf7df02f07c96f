"""Where a run computes: its device, and how its blocks are computed there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar, cast

import torch
from torch import nn

from m2v_lib.config import Experiment
from m2v_lib.models.device import usable_device
from m2v_lib.models.dual_stream.cpu import keep_freed_memory
from m2v_lib.models.layers.constants import Constant

Model = TypeVar("Model", bound=nn.Module)
#: Forms of a block (sizes, streams, with and without gradients) that one process may compile.
MOST_COMPILED: Final = 64


def describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def pick_device(exp: Experiment) -> torch.device:
    """The configured device, with the configured number of CPU threads set; the fast path keeps
    freed memory. Raises InputError where torch has no such device.
    """
    device = usable_device(exp.run.device)
    torch.backends.cuda.matmul.allow_tf32 = exp.run.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = exp.run.precision == "tf32"
    if exp.run.threads:
        torch.set_num_threads(exp.run.threads)
    if exp.run.path == "fast":
        keep_freed_memory()
    if exp.run.device == "cuda":
        return torch.device("cuda", torch.cuda.current_device())
    return device


def prepare_blocks(model: Model, exp: Experiment) -> Model:
    """Set how the blocks are computed: the path, where the model has several, and whether they
    are compiled.
    """
    if hasattr(model, "use"):
        cast(Any, model).use(exp.run.path)
    if exp.run.compile:
        import torch._dynamo.config as dynamo  # a second of every start, for those who compile

        dynamo.cache_size_limit = MOST_COMPILED
        put_constants(model, pick_device(exp))
        for block in getattr(model, "layers", [model]):
            block.compile(dynamic=False)
    return model


def put_constants(model: nn.Module, device: torch.device) -> None:
    """Have the model's constants on the device: a program compiled while they were not there is
    compiled again once they are.
    """
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Constant):
                value.like(torch.empty(0, device=device))


def uncompiled(exp: Experiment) -> AbstractContextManager[Any]:
    """Blocks are computed as written in here: sizes that come up now and then are not worth
    compiling for.
    """
    return torch.compiler.set_stance("force_eager") if exp.run.compile else nullcontext()
