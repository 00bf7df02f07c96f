"""Parameters and multiply-accumulates of the network by part, counted with one tool (audit A6).

Two counts are kept apart, because published tables mix them: products of a weight with an
activation (what some profilers stop at) and products of two activations or with a graph
(attention, aggregation), which cost the same. The equations are counted as written: a chain
graph is a (T, T) product, which the fast path does not have. Every system is counted by this one
counter, for one clip and for each frame that comes out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from m2v_lib.config import DualStreamSettings
from m2v_lib.config.fields import ModelSettings
from m2v_lib.models.base import Lifter
from m2v_lib.models.registry import build_model

PARTS = (
    "embedding",
    "spatial attention",
    "temporal attention",
    "spatial graph",
    "temporal graph",
    "MLPs",
    "fusion",
    "head",
)
_STREAM_PARTS = {
    "att_spatial": "spatial attention",
    "att_temporal": "temporal attention",
    "graph_spatial": "spatial graph",
    "graph_temporal": "temporal graph",
}


@dataclass(frozen=True)
class Part:
    """One part of the network over all blocks; multiply-accumulates are for one clip, of which
    `n_frames` frames come out.
    """

    name: str
    parameters: int
    linear_macs: int  # weight x activation
    product_macs: int  # activation x activation, graph x activation
    n_frames: int

    @property
    def macs(self) -> int:
        """Every multiply-accumulate of a matrix product, per clip."""
        return self.linear_macs + self.product_macs

    @property
    def macs_per_frame(self) -> float:
        """`macs` for each frame of the clip that comes out: compare this with models that return
        one frame.
        """
        return self.macs / self.n_frames


def part_of(name: str) -> str:
    """The part that a parameter or module of the model belongs to, by its qualified name.

    Raises ValueError for a name that fits none, so that nothing is left out of a sum.
    """
    words = name.split(".")
    if words[0] in ("joints_embed", "pos_embed", "temporal_pos_embed"):
        return "embedding"
    if words[0] in ("norm", "rep_logit", "head"):
        return "head"

    if words[0] == "layers" and len(words) > 2:
        if words[2] == "fusion":
            return "fusion"
        if words[2] in _STREAM_PARTS and len(words) > 3:
            return (
                "MLPs" if words[3] in ("mlp", "norm2", "layer_scale_2") else _STREAM_PARTS[words[2]]
            )

    raise ValueError(f"{name!r} belongs to no known part of the network")


def count_parts(cfg: ModelSettings) -> list[Part]:
    """Parameters and multiply-accumulates of each part for one clip; computes shapes only, so
    any size is cheap.

    The parts of the dual stream are `PARTS`, those of other systems the first words of their
    modules' names.
    """
    with torch.device("meta"):
        model = build_model(cfg, path="reference").eval()
        clip = torch.empty(1, cfg.n_frames, cfg.n_joints, 3)

    if not isinstance(cfg, DualStreamSettings):
        return _parts_by_first_word(model, clip)

    parameters = Counter[str]()
    for name, parameter in model.named_parameters():
        parameters[part_of(name)] += parameter.numel()

    linear, every = _macs(model, clip)
    return [Part(p, parameters[p], linear[p], every[p] - linear[p], cfg.n_frames) for p in PARTS]


@cache
def count(cfg: ModelSettings) -> Part:
    """The whole network: parameters, multiply-accumulates a clip and a frame that comes out."""
    return total(count_parts(cfg))


def total(parts: Iterable[Part]) -> Part:
    """The sum of all parts."""
    parts = list(parts)
    return Part(
        "total",
        sum(p.parameters for p in parts),
        sum(p.linear_macs for p in parts),
        sum(p.product_macs for p in parts),
        parts[0].n_frames,
    )


def _parts_by_first_word(model: Lifter, clip: torch.Tensor) -> list[Part]:
    """A part for each module or parameter of the model itself, and `forward` for products that
    the model makes outside all of them.

    Linear are all convolutions, and whatever a layer without layers inside does.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        n_frames = model(clip).shape[1]

    counts = counter.get_flop_counts()

    def macs(module: nn.Module, name: str) -> Counter[str]:
        """By kind; of a module that is never called itself, what its children have."""
        if (ops := counts.get(f"{type(model).__name__}.{name}")) is not None:
            return _by_kind(ops)
        children = module.named_children()
        return sum((macs(child, f"{name}.{word}") for word, child in children), Counter[str]())

    every = {word: macs(child, word) for word, child in model.named_children()}
    every["forward"] = _by_kind(counts["Global"]) - sum(every.values(), Counter[str]())
    linear = Counter({word: found["convolution"] for word, found in every.items()})

    for name, module in model.named_modules():
        if name and _is_layer(module):
            linear[name.split(".")[0]] += macs(module, name)["product"]

    parameters = Counter[str]()
    for name, parameter in model.named_parameters():
        parameters[name.split(".")[0]] += parameter.numel()

    totals = {word: found.total() for word, found in every.items()}
    words = [word for word in {**parameters, **every} if parameters[word] or totals.get(word)]
    return [
        Part(w, parameters[w], linear[w], totals.get(w, 0) - linear[w], n_frames) for w in words
    ]


def _by_kind(ops: Mapping[Any, int]) -> Counter[str]:
    """Multiply-accumulates of convolutions and of other products."""
    kinds = Counter[str]()
    for op, flops in ops.items():
        kinds["convolution" if op is torch.ops.aten.convolution else "product"] += flops // 2
    return kinds


def _is_layer(module: nn.Module) -> bool:
    """Whether a module has weights of its own and no modules inside."""
    alone = not any(True for _ in module.children())
    return alone and any(True for _ in module.parameters(recurse=False))


def _macs(model: nn.Module, clip: torch.Tensor) -> tuple[Counter[str], Counter[str]]:
    """Multiply-accumulates by part: those inside linear layers, and all."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(clip)

    counts = {name: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}

    linear, every = Counter[str](), Counter[str]()
    for name, module in model.named_modules():
        macs = counts.get(f"{type(model).__name__}.{name}", 0)
        if isinstance(module, nn.Linear):
            linear[part_of(name)] += macs
        if _is_unit(name):
            every[part_of(name)] += macs

    if every.total() != counts["Global"]:
        raise RuntimeError(
            f"the parts hold {every.total()} of {counts['Global']} multiply-accumulates"
        )

    return linear, every


def _is_unit(name: str) -> bool:
    """Whether a module is one of those that make up the model without overlap: mixers, MLPs,
    fusions, outer layers.
    """
    words = name.split(".")
    if words[0] == "layers":
        return len(words) == 4 or words[2:] == ["fusion"]
    return len(words) == 1 and name != ""
