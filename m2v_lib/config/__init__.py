"""Every setting of an experiment: sections, presets, recipes and the one door for change,
`Experiment.override`.
"""

from m2v_lib.config.experiment import STAGE_SECTIONS, Experiment
from m2v_lib.config.fields import ConfigError, ModelSettings, new_setting, setting
from m2v_lib.config.presets import PRESETS
from m2v_lib.config.recipes import RECIPES
from m2v_lib.config.sections import (
    ActionConfig,
    DataConfig,
    DualStreamSettings,
    FinetuneConfig,
    OptimConfig,
    PretrainConfig,
    RunConfig,
)

__all__ = [
    "PRESETS",
    "RECIPES",
    "STAGE_SECTIONS",
    "ActionConfig",
    "ConfigError",
    "DataConfig",
    "DualStreamSettings",
    "Experiment",
    "FinetuneConfig",
    "ModelSettings",
    "OptimConfig",
    "PretrainConfig",
    "RunConfig",
    "new_setting",
    "setting",
]
