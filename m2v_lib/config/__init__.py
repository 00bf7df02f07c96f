"""Every setting of an experiment: sections, presets, recipes and the one door for change,
`Experiment.override`.
"""

from m2v_lib.config.experiment import (
    PRESETS,
    RECIPES,
    STAGE_SECTIONS,
    ActionConfig,
    ConfigError,
    DataConfig,
    Experiment,
    FinetuneConfig,
    ModelConfig,
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
    "Experiment",
    "FinetuneConfig",
    "ModelConfig",
    "OptimConfig",
    "PretrainConfig",
    "RunConfig",
]
