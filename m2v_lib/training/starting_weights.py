"""Where a stage's weights come from: fresh, from stage 1, or from another run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.models.base import Lifter
from m2v_lib.models.dual_stream.model import DualStreamModel
from m2v_lib.runs.records import WEIGHTS_FILE
from m2v_lib.training.checkpoint import transfer_encoder, transfer_weights
from m2v_lib.training.folder import is_finished

#: `finetune.init` that begins so names the run whose weights are the start.
OF_RUN = "weights:"


def starting_weights(model: Lifter, exp: Experiment, root: Path, fingerprint: str) -> str:
    """Load what fine-tuning starts from, and freeze what it leaves alone; returns where the weights
    are from, for the record.

    `fingerprint` is that of the data of stage 1. Raises ConfigError, CheckpointError.
    """
    init = exp.finetune.init
    if init == "pretrained":
        init = start_from_stage_1(model, exp, root, fingerprint, setting="finetune.init")
    elif init.startswith(OF_RUN):
        transfer_weights(model, weights_of(init.removeprefix(OF_RUN), root))

    if exp.finetune.freeze == "encoder":
        cast(DualStreamModel, model).freeze_encoder()
    return init


def weights_of(run: str, root: Path) -> Path:
    """The weights of a run by its folder, its file or its name. Raises ConfigError."""
    for place in (Path(run), Path(run) / WEIGHTS_FILE, root / run / WEIGHTS_FILE):
        if place.is_file():
            return place
    raise ConfigError(f"finetune.init={OF_RUN}{run[:200]}: no such file, and no such run in {root}")


def start_from_stage_1(
    model: Lifter, pretrained: Experiment, root: Path, fingerprint: str, *, setting: str
) -> str:
    """Load what a pre-training run has learnt into a model; returns the run's name.

    `fingerprint` is that of the data it should have been trained on, `setting` what asked for
    it. Raises ConfigError where there is no such run, CheckpointError where its data have
    changed since.
    """
    folder = root / pretrained.run_name("pretrain")
    if not is_finished(folder, fingerprint):
        raise ConfigError(
            f"{setting}=pretrained: no run {folder}; run `m2v pretrain --data "
            f"{pretrained.data.name}` with the same "
            "options first"
        )

    transfer_encoder(model, folder / WEIGHTS_FILE)
    return folder.name
