"""Where a run computes: its device, and how its blocks are computed there."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
from torch import nn

from m2v_lib.config import Experiment
from m2v_lib.models.device import usable_device
from m2v_lib.models.dual_stream.cpu import keep_freed_memory

Model = TypeVar("Model", bound=nn.Module)


def describe(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def pick_device(exp: Experiment) -> torch.device:
    """The configured device, with the configured number of CPU threads set; the fast path keeps
    freed memory. Raises InputError where torch has no such device.
    """
    device = usable_device(exp.run.device)
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
        for block in getattr(model, "layers", [model]):
            block.compile()
    return model
