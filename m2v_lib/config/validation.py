"""Settings that have the right type and still cannot work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from m2v_lib.config.fields import ConfigError, ModelSettings, check_bounds
from m2v_lib.config.sections import DataConfig, DualStreamSettings
from m2v_lib.skeletons import SkeletonError
from m2v_lib.skeletons.vocabulary import rows_of

if TYPE_CHECKING:
    from m2v_lib.config.experiment import Experiment

#: Largest values that any network or schedule of the field comes near; beyond them a typing
#: mistake would take all memory before anything else refused it.
LIMITS: Final = {
    "model.n_frames": 10_000,
    "model.n_layers": 256,
    "model.dim": 8192,
    "model.n_heads": 256,
    "model.mlp_ratio": 64,
    "model.dim_rep": 8192,
    "pretrain.n_masks": 64,
    "pretrain.batch_size": 65_536,
    "finetune.batch_size": 65_536,
    "action.batch_size": 65_536,
    "action.hidden": 65_536,
    "action.n_persons": 100,
    "data.frame_step": 1000,
    "run.devices": 4096,
    "run.threads": 4096,
}

POSITIVE: Final = (
    "model.n_frames",
    "data.train_stride",
    "data.test_stride",
    "data.frame_step",
    "pretrain.n_masks",
    "pretrain.epochs",
    "pretrain.batch_size",
    "pretrain.target_layers",
    "finetune.epochs",
    "finetune.batch_size",
    "action.hidden",
    "action.n_persons",
    "action.lr",
    "action.epochs",
    "action.batch_size",
    "optim.lr",
    "run.log_every",
    "run.devices",
    "run.checkpoint_every",
)
NOT_NEGATIVE: Final = (
    "pretrain.lr",
    "run.seed",
    "run.max_steps",
    "action.max_steps",
    "run.eval_every",
    "run.threads",
    "run.max_minutes",
    "optim.warmup_steps",
    "optim.matrix_lr",
    "optim.max_grad_norm",
    "data.label_subjects",
)


#: Of random cameras: settings NAME_min and NAME_max, and within what they must lie.
CAMERA_RANGES: Final = {
    "camera_height": (0.0, 50.0),
    "camera_distance": (0.5, 200.0),
    "camera_view": (5.0, 140.0),
    "person_size": (0.2, 5.0),
}
CAMERA_LIMITS: Final = {"own_cameras": 1.0, "camera_roll_max": 180.0, "camera_aim_max": 90.0}


def validate(exp: Experiment) -> None:
    """Raise ConfigError, one sentence, for values that cannot work."""
    values = exp.flat()
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value) and key not in POSITIVE:
            raise ConfigError(f"{key} must be finite, got {value}")

    for key in POSITIVE:
        if not values[key] > 0:
            raise ConfigError(f"{key} must be positive, got {values[key]}")

    for key in NOT_NEGATIVE:
        if values[key] < 0:
            raise ConfigError(f"{key} must not be negative, got {values[key]}")

    for key, limit in LIMITS.items():
        if key in values and values[key] > limit:
            raise ConfigError(f"{key} must be at most {limit}, got {values[key]}")

    _validate_cameras(exp.data)
    _validate_model(exp.model)
    _validate_stages(exp)


def _validate_cameras(data: DataConfig) -> None:
    for name, (least, most) in CAMERA_RANGES.items():
        low, high = getattr(data, f"{name}_min"), getattr(data, f"{name}_max")
        if not least <= low <= high <= most:
            raise ConfigError(
                f"data.{name}_min and data.{name}_max must rise within {least:g} to {most:g}, "
                f"got {low:g} and {high:g}"
            )

    for name, limit in CAMERA_LIMITS.items():
        if not 0 <= getattr(data, name) <= limit:
            raise ConfigError(f"data.{name} must lie in 0..{limit:g}, got {getattr(data, name):g}")


def _validate_model(model: ModelSettings) -> None:
    try:
        n_joints = len(model.joints)
    except SkeletonError as error:
        raise ConfigError(f"model.skeleton: {error}") from error

    check_bounds("model", model)
    n_heads: int = getattr(model, "n_heads", 1)
    for key in ("dim", "dim_per_joint"):
        if hasattr(model, key) and getattr(model, key) % n_heads:
            raise ConfigError(
                f"model.{key}={getattr(model, key)} is not divisible by model.n_heads={n_heads}"
            )

    if not isinstance(model, DualStreamSettings):
        return

    if model.n_neighbours > model.n_frames and model.temporal_graph == "similarity":
        raise ConfigError(
            f"model.n_neighbours={model.n_neighbours} is more than model.n_frames={model.n_frames}"
        )
    if model.spatial_graph != "bones" and model.skeleton != "h36m17":
        raise ConfigError(
            f"model.spatial_graph={model.spatial_graph} is a graph of Human3.6M's 17 joints alone; "
            f"the skeleton {model.skeleton} ({n_joints} joints) needs model.spatial_graph=bones "
            "(recipe paper)"
        )
    if model.joint_embedding == "name":
        _validate_any_skeleton(model)


def _validate_any_skeleton(model: DualStreamSettings) -> None:
    bound = {
        f"model.spatial_graph={model.spatial_graph}": model.spatial_graph != "bones",
        f"model.bn_axis={model.bn_axis}": model.bn_axis != "channels",
        "model.temporal_pos=true": model.temporal_pos,
    }
    for setting, there in bound.items():
        if there:
            raise ConfigError(
                f"model.joint_embedding=name must have no weight bound to joints or frames, got "
                f"{setting} (recipe paper has none)"
            )
    try:
        rows_of(model.joints)
    except SkeletonError as error:
        raise ConfigError(f"model.skeleton: {error}") from error


def _validate_stages(exp: Experiment) -> None:
    p, f, a = exp.pretrain, exp.finetune, exp.action
    n_layers: Any = getattr(exp.model, "n_layers", None)
    if isinstance(exp.model, DualStreamSettings) and p.target_layers > n_layers:
        raise ConfigError(
            f"pretrain.target_layers={p.target_layers} is more than model.n_layers={n_layers}"
        )
    if not 0 < exp.data.label_fraction <= 1:
        raise ConfigError(
            f"data.label_fraction must lie in 0..1, more than 0, got {exp.data.label_fraction}"
        )
    if not 0 <= exp.data.hidden_joints <= 0.9:
        raise ConfigError(f"data.hidden_joints must lie in 0..0.9, got {exp.data.hidden_joints}")
    if not 0 < p.mask_prob < 1:
        raise ConfigError(f"pretrain.mask_prob must lie between 0 and 1, got {p.mask_prob}")
    if not 0 <= a.dropout < 1:
        raise ConfigError(f"action.dropout must lie in 0..1, less than 1, got {a.dropout}")
    if not 0 <= exp.optim.ema < 1:
        raise ConfigError(f"optim.ema must lie in 0..1, less than 1, got {exp.optim.ema}")
    if not 0 <= p.tau_start <= p.tau_end <= 1:
        raise ConfigError(f"pretrain.tau must rise within 0..1, got {p.tau_start} to {p.tau_end}")
    if f.select == "best-on-val" and not exp.data.validation:
        raise ConfigError("finetune.select=best-on-val needs data.validation=true")
    if min(f.w_scale, f.w_velocity, exp.optim.weight_decay, p.mask_noise_std) < 0:
        raise ConfigError("loss weights, weight decay and noise must not be negative")
