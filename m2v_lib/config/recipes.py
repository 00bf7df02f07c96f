"""The recipes: what the paper says, what the authors' code does, and the other systems' own."""

from __future__ import annotations

from typing import Any, Final

# Every difference between the first two, audit section G. A setting not listed is the same in both.
_PAPER: Final[dict[str, Any]] = {}
_RELEASED: Final[dict[str, Any]] = {
    "data.validation": False,
    "model.temporal_graph": "similarity",
    "model.spatial_graph": "released",
    "model.gcn_block": "prenorm",
    "model.bn_axis": "nodes",
    "model.layer_scale": 1e-5,
    "pretrain.mask": "joint-spans",
    "pretrain.mask_prob": 0.6,
    "pretrain.fill": "learned",
    "pretrain.keep_spatial_pos": False,
    "pretrain.teacher": "frozen",
    "pretrain.target_layers": 6,
    "pretrain.norm_targets": False,
    "pretrain.loss_scale": "sqrt-dim",
    "pretrain.splits": "train+test",
    "pretrain.epochs": 60,
    "finetune.select": "best-on-test",
    "action.confidence": "coco-order",
    "action.select": "best-on-test",
}

#: A comparison system as its authors trained it: the model's `own_recipe` comes on top.
_OWN: Final[dict[str, Any]] = {"finetune.loss": "own"}

RECIPES: Final = {"paper": _PAPER, "released": _RELEASED, "own": _OWN}
