"""Which pre-training a model has: the dual stream the paper's, a system the one of its authors."""

from __future__ import annotations

from typing import Any, Final

import torch

from m2v_lib.config import ConfigError, DualStreamSettings, Experiment
from m2v_lib.models.pretraining import Pretraining
from m2v_lib.models.registry import build_model, pretraining_class, require_pretraining
from m2v_lib.training.device import prepare_blocks
from m2v_lib.training.engine.randomness import seeded
from m2v_lib.training.pretraining.objective import MaskedPrediction

#: What a pre-training that reads labels needs, so that none are read that a run may not have.
LABELS_OF_ALL: Final = {
    "data.label_fraction": 1.0,
    "data.label_subjects": 0,
    "data.cameras": "fixed",
    "pretrain.splits": "train",
    "pretrain.extra_2d": "",
}


def make_objective(exp: Experiment) -> Pretraining:
    """What the model of an experiment is pre-trained by, with fresh weights."""
    settings, seed = exp.model, exp.run.seed
    if isinstance(settings, DualStreamSettings):
        student = prepare_blocks(build_model(settings, seed=seed), exp)
        return MaskedPrediction(student, exp.pretrain, seeded(torch.device("cpu"), seed, 3))

    made_by: Any = pretraining_class(settings.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return prepare_blocks(made_by(settings), exp)


def check_pretraining(exp: Experiment, what: str) -> None:
    """Raise ConfigError where the model has no pre-training, which `what` needs, or where its own
    reads labels that the settings do not give it.
    """
    require_pretraining(exp.model, what)
    own = pretraining_class(exp.model.name)
    if own is None or not own.learns_from_labels:
        return

    for key, wanted in LABELS_OF_ALL.items():
        if (value := exp.flat()[key]) != wanted:
            raise ConfigError(
                f"{what}: that of model.name={exp.model.name} learns from the 3D of all training "
                f"subjects, as the store's cameras saw it; {key} must be {wanted!r}, got {value!r}"
            )
