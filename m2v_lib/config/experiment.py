"""One frozen tree of settings, `Experiment`, with presets, recipes and a single door for change:
`override`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from m2v_lib.config.fields import ConfigError


def choice(default: str, *others: str) -> Any:
    """A string field that takes one of the listed values; the first is the default."""
    return field(default=default, metadata={"choices": (default, *others)})


def added(default: Any, *others: str) -> Any:
    """A field that came after the first records: at its default it is left out of digests, so
    theirs still hold.
    """
    choices = {"choices": (default, *others)} if others else {}
    return field(default=default, metadata={"added": True, **choices})


@dataclass(frozen=True)
class DataConfig:
    name: str = "synthetic"
    input_2d: str = choice("detected", "gt")  # gt: the true projection with confidence 1
    train_stride: int = 27  # frames between the starts of training clips
    test_stride: int = 27
    flip_train: bool = True  # mirror half of the training clips
    validation: bool = True  # hold the store's validation subjects out of training
    label_fraction: float = added(
        1.0
    )  # share of the training clips that fine-tuning may use; pre-training uses all


@dataclass(frozen=True)
class ModelConfig:
    n_layers: int = 16
    dim: int = 128
    n_frames: int = 243
    n_joints: int = 17
    n_heads: int = 8
    mlp_ratio: int = 4
    dim_rep: int = 512
    streams: str = choice("both", "transformer", "gcn")
    fusion: str = choice("adaptive", "mean")
    spatial_pos: bool = True
    temporal_pos: bool = False
    temporal_graph: str = choice("chain", "released-fixed", "similarity")  # audit B12, C2
    n_neighbours: int = 2  # of the similarity graph
    spatial_graph: str = choice("bones", "released", "released-3dhp")  # audit B10, C6
    gcn_block: str = choice(
        "literal", "prenorm"
    )  # audit B7: eq. (7) as printed, or LN + outer residual
    bn_axis: str = choice("channels", "nodes")  # audit B9
    layer_scale: float = 0.0  # initial value; 0 leaves LayerScale out (audit B6)
    qk_scale: str = choice("head", "dim")  # audit B4


@dataclass(frozen=True)
class PretrainConfig:
    mask: str = choice("tokens", "joint-spans")  # audit E5
    mask_prob: float = 0.7
    n_masks: int = 3  # M
    fill: str = choice("noise", "learned")  # audit E4
    mask_noise_std: float = 0.01
    keep_spatial_pos: bool = True  # add position embeddings after masking
    teacher: str = choice("ema", "frozen")  # audit E1
    tau_start: float = 0.999
    tau_end: float = 0.9999
    target_layers: int = 8  # K
    norm_targets: bool = True  # both layer norms of eq. (14), or neither (audit E3)
    loss_scale: str = choice("none", "sqrt-dim")  # audit E6
    splits: str = choice("train", "train+test")  # audit E8
    extra_2d: str = added(
        ""
    )  # another store whose 2D is learnt from too, e.g. one of keypoints without 3D
    epochs: int = 15
    batch_size: int = 4


@dataclass(frozen=True)
class FinetuneConfig:
    init: str = choice("scratch", "pretrained")
    w_scale: float = 0.5  # lambda 1, N-MPJPE
    w_velocity: float = 20.0  # lambda 2
    flip_test: bool = True
    epochs: int = 60
    batch_size: int = 8
    select: str = choice("last", "best-on-val", "best-on-test")


@dataclass(frozen=True)
class ActionConfig:
    """Action recognition (spec section 7); `optim` counts here too, but for its `lr`."""

    split: str = choice("xsub", "xview")  # test on other people, or from another camera
    init: str = choice("scratch", "pretrained")
    pretrained_on: str = ""  # data set of the pre-training run; empty: data.name
    confidence: str = choice(
        "remapped", "coco-order"
    )  # audit F3: third channel of the joint itself, or of another
    head: str = choice("flatten", "gap")  # audit F1
    hidden: int = 2048  # width of the classifier's hidden layer
    dropout: float = 0.5
    n_persons: int = 2  # people of a sample; one that is not there is all zeros
    lr: float = 1e-4
    epochs: int = 60
    max_steps: int = 0  # as run.max_steps, which counts where this is 0
    batch_size: int = 6
    select: str = choice("last", "best-on-test")


@dataclass(frozen=True)
class OptimConfig:
    algorithm: str = added(
        "adamw", "adam-amsgrad"
    )  # the second: as released on MPI-INF-3DHP (audit D8)
    lr: float = 5e-4
    weight_decay: float = 0.01
    schedule: str = choice("decay", "cosine")  # decay: lr * lr_decay ** epoch
    lr_decay: float = 0.99
    warmup_steps: int = 0


@dataclass(frozen=True)
class RunConfig:
    seed: int = 0
    device: str = "cpu"
    devices: int = 1  # processes, one a device; several train one run together
    threads: int = 0  # 0 leaves torch's own choice
    path: str = choice(
        "fast", "reference"
    )  # how blocks are computed; the numbers agree to rounding
    precision: str = choice(
        "fp32", "bf16"
    )  # bf16: products in bfloat16, weights and optimiser in float32
    compile: bool = False  # compile the blocks with torch.compile
    max_minutes: float = 0.0  # stop at a checkpoint after so long, to be resumed; 0: no limit
    max_steps: int = 0  # 0 runs all epochs; otherwise the schedule's length in steps
    eval_every: int = 0  # steps between validations; 0: once an epoch
    checkpoint_every: int = 500
    log_every: int = 50


#: Sections that decide the result of a stage; `run` only says where and how long.
STAGE_SECTIONS = {
    "pretrain": ("data", "model", "pretrain", "optim"),
    "finetune": ("data", "model", "finetune", "optim"),
    "action": ("data", "model", "action", "optim"),
}

# Every difference between the two recipes, audit section G. A field not listed is the same in
# both.
_PAPER: dict[str, Any] = {}
_RELEASED: dict[str, Any] = {
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
RECIPES = {"paper": _PAPER, "released": _RELEASED}


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


def _base() -> dict[str, Any]:
    """The paper's base model: N=16, d=128, T=243, trained on every training subject (spec
    sections 2 and 5).
    """
    return {"data.train_stride": 81, "data.test_stride": 243, "data.validation": False}


def _large() -> dict[str, Any]:
    """The paper's large model: d=256, otherwise as base; batch 16 (audit D1)."""
    return {**_base(), "model.dim": 256, "finetune.batch_size": 16}


PRESETS = {"smoke": _smoke, "small": _small, "base": _base, "large": _large}


@dataclass(frozen=True)
class Experiment:
    """All settings of one experiment; make it with `preset`, change it with `override`."""

    preset_name: str = "base"
    recipe: str = "paper"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    action: ActionConfig = field(default_factory=ActionConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    @staticmethod
    def preset(name: str, recipe: str = "paper") -> Experiment:
        """The named preset under a recipe. Raises ConfigError for an unknown name."""
        _require_known("preset", name, PRESETS)
        _require_known("recipe", recipe, RECIPES)
        # A preset's sizes win over the recipe's (K = 6 does not fit the two layers of `smoke`).
        return Experiment(preset_name=name, recipe=recipe).override(
            {**RECIPES[recipe], **PRESETS[name]()}
        )

    def override(self, changes: Mapping[str, Any]) -> Experiment:
        """A copy with dotted keys changed, e.g. ``{"model.dim": 64}``; checks keys, types and
        sense.
        """
        flat = self.flat()
        by_section: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            _require_known("setting", key, flat)
            section, name = key.split(".", 1)
            by_section.setdefault(section, {})[name] = _typed(
                key, value, getattr(self, section), name
            )
        sections = {
            s: dataclasses.replace(getattr(self, s), **values) for s, values in by_section.items()
        }
        changed = dataclasses.replace(self, **sections)
        _check_sense(changed)
        return changed

    def flat(self) -> dict[str, Any]:
        """Every setting under its dotted key."""
        return {
            f"{section}.{key}": value
            for section, keys in self.sections().items()
            for key, value in keys.items()
        }

    def sections(self) -> dict[str, dict[str, Any]]:
        return {
            f.name: dataclasses.asdict(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if dataclasses.is_dataclass(getattr(self, f.name))
        }

    def digest(self, stage: str) -> str:
        """Eight hex digits naming everything that decides the stage's result but the seed."""
        _require_known("stage", stage, STAGE_SECTIONS)
        every = (
            dataclasses.replace(self.data, label_fraction=1.0) if stage == "pretrain" else self.data
        )
        names = [*STAGE_SECTIONS[stage]]
        if getattr(getattr(self, stage), "init", "scratch") == "pretrained":
            names.append("pretrain")
        chosen: dict[str, Any] = {
            name: _digested(every if name == "data" else getattr(self, name)) for name in names
        }
        chosen["run"] = {"max_steps": self.run.max_steps}
        if self.run.precision != "fp32":
            chosen["run"]["precision"] = self.run.precision
        if getattr(getattr(self, stage), "select", "last") != "last":
            chosen["run"]["eval_every"] = (
                self.run.eval_every
            )  # decides which weights can be the best
        text = json.dumps(chosen, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def run_name(self, stage: str) -> str:
        """Folder name of the stage's run: stage, data, preset, recipe, digest and seed."""
        of_what = f"{self.data.name}-{self.preset_name}-{self.recipe}"
        return f"{stage}-{of_what}-{self.digest(stage)}-s{self.run.seed}"

    def to_dict(self) -> dict[str, Any]:
        return {"preset": self.preset_name, "recipe": self.recipe, **self.sections()}

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Experiment:
        """Inverse of `to_dict`; settings left out keep the preset's value."""
        start = Experiment.preset(values.get("preset", "base"), values.get("recipe", "paper"))
        changes: dict[str, Any] = {}
        for section, settings in values.items():
            if section in ("preset", "recipe"):
                continue
            _require_known("section", section, start.sections())
            if not isinstance(settings, Mapping):
                raise ConfigError(
                    f"section {section!r} must be a table of settings, got {settings!r}"
                )
            changes.update({f"{section}.{key}": value for key, value in settings.items()})
        return start.override(changes)

    @staticmethod
    def from_yaml(path: Path | str) -> Experiment:
        """Read a YAML file as written by `to_yaml`. Raises ConfigError naming the file."""
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(
                f"{path}: not readable as YAML ({' '.join(str(error).split())})"
            ) from error
        if not isinstance(values, Mapping):
            raise ConfigError(f"{path}: expected a table of settings, got {type(values).__name__}")
        return Experiment.from_dict(values)


def _digested(section: Any) -> dict[str, Any]:
    """What a digest counts of a section: all fields but those added later that still have their
    default.
    """
    silent = {
        f.name
        for f in dataclasses.fields(section)
        if "added" in f.metadata and getattr(section, f.name) == f.default
    }
    return {key: value for key, value in dataclasses.asdict(section).items() if key not in silent}


def _require_known(what: str, name: str, known: Mapping[str, Any]) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
        raise ConfigError(f"unknown {what} {name!r}; the nearest is {nearest[0]!r}")


def _typed(key: str, value: Any, section: Any, name: str) -> Any:
    """The value in the field's type, or ConfigError; an int passes where a float is wanted."""
    expected = _types(section.__class__)[name]
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not expected:
        raise ConfigError(
            f"{key} must be {expected.__name__}, got {value!r} ({type(value).__name__})"
        )
    (spec,) = (f for f in dataclasses.fields(section) if f.name == name)
    choices = spec.metadata.get("choices")
    if choices and value not in choices:
        raise ConfigError(f"{key} must be one of {', '.join(choices)}; got {value!r}")
    return value


@cache
def _types(section: type) -> dict[str, Any]:
    return get_type_hints(section)


def _check_sense(exp: Experiment) -> None:
    """Values that have the right type and still cannot work."""
    m, p, f, a = exp.model, exp.pretrain, exp.finetune, exp.action
    positive = {
        **{
            f"model.{k}": getattr(m, k)
            for k in ("n_layers", "dim", "n_frames", "n_joints", "n_heads", "dim_rep")
        },
        **{"model.mlp_ratio": m.mlp_ratio, "model.n_neighbours": m.n_neighbours},
        **{"data.train_stride": exp.data.train_stride, "data.test_stride": exp.data.test_stride},
        **{
            "pretrain.n_masks": p.n_masks,
            "pretrain.epochs": p.epochs,
            "pretrain.batch_size": p.batch_size,
        },
        **{"finetune.epochs": f.epochs, "finetune.batch_size": f.batch_size},
        **{
            f"action.{k}": getattr(a, k)
            for k in ("hidden", "n_persons", "lr", "epochs", "batch_size")
        },
        **{"optim.lr": exp.optim.lr, "run.log_every": exp.run.log_every},
        **{
            "run.devices": exp.run.devices,
            "run.checkpoint_every": exp.run.checkpoint_every,
            "pretrain.target_layers": p.target_layers,
        },
    }
    for key, value in positive.items():
        if not value > 0:
            raise ConfigError(f"{key} must be positive, got {value}")
    counts = {
        "run.max_steps": exp.run.max_steps,
        "action.max_steps": exp.action.max_steps,
        "run.eval_every": exp.run.eval_every,
        "run.threads": exp.run.threads,
        "run.max_minutes": exp.run.max_minutes,
        "optim.warmup_steps": exp.optim.warmup_steps,
    }
    for key, value in counts.items():
        if value < 0:
            raise ConfigError(f"{key} must not be negative, got {value}")
    if m.dim % m.n_heads:
        raise ConfigError(f"model.dim={m.dim} is not divisible by model.n_heads={m.n_heads}")
    if p.target_layers > m.n_layers:
        raise ConfigError(
            f"pretrain.target_layers={p.target_layers} is more than model.n_layers={m.n_layers}"
        )
    if not 0 < exp.data.label_fraction <= 1:
        raise ConfigError(
            f"data.label_fraction must lie in 0..1, more than 0, got {exp.data.label_fraction}"
        )
    if not 0 < p.mask_prob < 1:
        raise ConfigError(f"pretrain.mask_prob must lie between 0 and 1, got {p.mask_prob}")
    if not 0 <= a.dropout < 1:
        raise ConfigError(f"action.dropout must lie in 0..1, less than 1, got {a.dropout}")
    if not 0 <= p.tau_start <= p.tau_end <= 1:
        raise ConfigError(f"pretrain.tau must rise within 0..1, got {p.tau_start} to {p.tau_end}")
    if m.n_neighbours > m.n_frames and m.temporal_graph == "similarity":
        raise ConfigError(
            f"model.n_neighbours={m.n_neighbours} is more than model.n_frames={m.n_frames}"
        )
    if f.select == "best-on-val" and not exp.data.validation:
        raise ConfigError("finetune.select=best-on-val needs data.validation=true")
    if (
        m.layer_scale < 0
        or min(f.w_scale, f.w_velocity, exp.optim.weight_decay, p.mask_noise_std) < 0
    ):
        raise ConfigError(
            "model.layer_scale, loss weights, weight decay and noise must not be negative"
        )
