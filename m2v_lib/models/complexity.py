"""Parameters and multiply-accumulates of the network by part, counted with one tool (audit A6).

Two counts are kept apart, because published tables mix them: products of a weight with an
activation (what some profilers stop at) and products of two activations or with a graph
(attention, aggregation), which cost the same. The equations are counted as written: a chain
graph is a (T, T) product, which the fast path does not have. Every system is counted by this one
counter, for one clip and for each frame that comes out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch

from m2v_lib.config import DualStreamSettings
from m2v_lib.config.fields import ModelSettings
from m2v_lib.models.products import products_of
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

    A product with a weight counts where the weight is, any other where it is computed. The parts
    of the dual stream are `PARTS`, those of other systems the first words of their modules' names,
    and `forward` for what the model multiplies outside them.
    """
    with torch.device("meta"):
        model = build_model(cfg, path="reference").eval()
        clip = torch.empty(1, cfg.n_frames, cfg.n_joints, 3)

    output, products = products_of(model, clip)
    dual_stream = isinstance(cfg, DualStreamSettings)
    part = part_of if dual_stream else _first_word

    parameters = Counter[str]()
    for name, parameter in model.named_parameters():
        parameters[part(name)] += parameter.numel()

    linear, other = Counter[str](), Counter[str]()
    for product in products:
        if product.weight is None:
            other[part(product.module)] += product.macs
        else:
            linear[part(product.weight)] += product.macs

    found = (p for p in {**parameters, **other} if parameters[p] or other[p])
    return [
        Part(p, parameters[p], linear[p], other[p], output.shape[1])
        for p in (PARTS if dual_stream else found)
    ]


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


def _first_word(name: str) -> str:
    """The part of another system; what the model does outside its modules is `forward`'s."""
    return name.split(".")[0] or "forward"
