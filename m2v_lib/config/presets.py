"""The presets: sizes and schedules from seconds on a CPU to the paper's networks."""

from __future__ import annotations

from typing import Any, Final


def _smoke() -> dict[str, Any]:
    """Seconds on a CPU: shows that every part runs; its numbers mean nothing."""
    return {
        "data.train_stride": 27,
        "data.test_stride": 27,
        "model.n_layers": 2,
        "model.dim": 16,
        "model.n_frames": 27,
        "model.n_heads": 4,
        "model.dim_rep": 32,
        "pretrain.target_layers": 2,
        "pretrain.batch_size": 8,
        "finetune.batch_size": 16,
        # as in `small`: with 20, so few steps end near a single point
        "finetune.w_velocity": 2.0,
        "action.n_persons": 1,
        "action.hidden": 64,
        "action.batch_size": 16,
        "action.lr": 1e-3,
        "optim.lr": 5e-3,
        "run.max_steps": 120,
        "run.log_every": 10,
        "run.checkpoint_every": 60,
    }


def _small() -> dict[str, Any]:
    """What one CPU core trains in about an hour; sizes and step chosen by measurement.

    The paper's velocity weight of 20 slows a short schedule: 500 steps on mocap end at 126 mm,
    with weight 2 at 112 mm (one seed each, committed records).
    """
    return {
        "data.train_stride": 9,
        "data.test_stride": 27,
        "model.n_layers": 2,
        "model.dim": 64,
        "model.n_frames": 27,
        "model.n_heads": 4,
        "model.mlp_ratio": 2,
        "model.dim_rep": 128,
        "pretrain.target_layers": 2,
        "pretrain.batch_size": 16,
        "finetune.batch_size": 16,
        "finetune.w_velocity": 2.0,
        "action.n_persons": 1,  # motion capture has one
        "action.hidden": 256,
        "action.batch_size": 16,
        "action.lr": 1e-3,
        "action.max_steps": 1500,
        "optim.lr": 2e-3,
        "optim.schedule": "cosine",
        "optim.warmup_steps": 200,
        "run.max_steps": 14_000,
        "run.eval_every": 2000,
    }


def _compact() -> dict[str, Any]:
    """`small` with an optimiser that takes it well below ridge regression: 1,290 steps are three
    minutes of a core, 4,500 eleven. At twice the rate 9,300 gain some 3 mm more and 40,000 one; 96
    features in the same time none (committed records). Their loss falls only as the rate does.

    Nine frames at every third frame span as long as 27; the cost is a frame's, so three times the
    clips are seen. On a CPU products are of float32, on a GPU of its 19-bit format.
    """
    return {
        **_small(),
        "data.frame_step": 3,
        "data.train_stride": 9,
        "data.test_stride": 9,
        "model.n_frames": 9,
        "model.pos_init_std": 0.5,
        "model.input_scale": 3.0,
        "action.max_steps": 0,
        "optim.algorithm": "muon",
        "run.precision": "tf32",
        "run.max_steps": 4500,
        "run.eval_every": 4500,
        "run.checkpoint_every": 1500,
    }


def _medium() -> dict[str, Any]:
    """Between the network for a CPU and the paper's: a row in about a minute of
    an H100, so a lease of ten minutes holds a table.

    Sized on paper. Launches: N=6 is three times the kernels of `compact`, some 1,600 a step, at 4.7
    us each in one graph 7.6 ms. Operations: 32 clips of 27 frames are 0.42 TFLOP a step, some 7 ms
    in bfloat16 at 60 TFLOP/s. 6,000 steps are then 45 s, and the evaluation is on top.
    """
    return {
        **_compact(),
        "data.frame_step": 1,
        "data.train_stride": 9,
        "data.test_stride": 27,
        "model.n_layers": 6,
        "model.dim": 128,
        "model.n_frames": 27,
        "model.n_heads": 8,
        "model.dim_rep": 256,
        "pretrain.target_layers": 4,
        "finetune.batch_size": 32,
        "run.precision": "bf16",
        "run.max_steps": 6000,
        "run.eval_every": 6000,
        "run.checkpoint_every": 3000,
    }


def _base() -> dict[str, Any]:
    """The paper's base model: N=16, d=128, T=243, trained on every training subject (spec
    sections 2 and 5).
    """
    return {"data.train_stride": 81, "data.test_stride": 243, "data.validation": False}


def _large() -> dict[str, Any]:
    """The paper's large model: d=256, otherwise as base; batch 16 (audit D1)."""
    return {**_base(), "model.dim": 256, "finetune.batch_size": 16}


PRESETS: Final = {
    "smoke": _smoke,
    "small": _small,
    "compact": _compact,
    "medium": _medium,
    "base": _base,
    "large": _large,
}

#: Which of a comparison system's sizes (`preset_sizes`) a preset takes; others: as published.
SIZES: Final = {
    "smoke": "smoke",
    "small": "small",
    "compact": "compact",
    "medium": "small",
}
