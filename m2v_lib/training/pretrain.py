"""Stage 1: masked prediction of the teacher's representations (paper section III-B, spec section 3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from m2v_lib.config import Experiment
from m2v_lib.data.augment import random_flip
from m2v_lib.data.clips import Clips, evaluation_clips, training_clips
from m2v_lib.data.store import Store, open_store
from m2v_lib.model import build_model
from m2v_lib.pretraining.objective import MaskedPrediction
from m2v_lib.pretraining.teacher import tau_at
from m2v_lib.records import read_metrics, runs_root
from m2v_lib.training.loop import Schedule, Trainer, is_finished, pick_device, seeded, sole_trainer


def pretrain(exp: Experiment, root: Path | None = None) -> Path:
    """Pre-train the encoder; returns the run's folder. A finished run is left as it is, a killed one goes on."""
    folder = (runs_root() if root is None else Path(root)) / exp.run_name("pretrain")
    with sole_trainer(folder):
        store = open_store(exp.data.name)
        return folder if is_finished(folder, store.meta.fingerprint) else _train(exp, folder, store)


def _train(exp: Experiment, folder: Path, store: Store) -> Path:
    device = pick_device(exp)
    clips = unlabelled_clips(exp, store, device)
    student = build_model(exp.model, seed=exp.run.seed)
    objective = MaskedPrediction(student, exp.pretrain, seeded(torch.device("cpu"), exp.run.seed, 3)).to(device)
    cfg = exp.pretrain

    def step(chosen_B: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = clips.batch(chosen_B)
        if exp.data.flip_train:
            x, y = random_flip(x, y, generator)
        return objective(x, generator)

    def move_teacher(step_number: int, n_steps: int) -> None:
        if cfg.teacher == "ema":
            objective.teacher.update(student.layers, tau_at(step_number, n_steps, cfg.tau_start, cfg.tau_end))

    def signs(extras: dict[str, Tensor], step_number: int, n_steps: int) -> dict[str, float]:
        tau = tau_at(step_number, n_steps, cfg.tau_start, cfg.tau_end) if cfg.teacher == "ema" else 1.0
        return {**objective.collapse_signs(extras), "tau": tau}

    trainer = Trainer(
        exp, "pretrain", folder, objective, Schedule(len(clips), cfg.batch_size, cfg.epochs, exp.run.max_steps), step,
        after_step=move_teacher, at_log=signs, fingerprint=store.meta.fingerprint, device=device,
    )  # fmt: skip
    trainer.run()
    final = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "train"][-1]
    data = {"name": store.meta.name, "protocol": store.meta.protocol, "fingerprint": store.meta.fingerprint,
            "input_2d": exp.data.input_2d, "detector": store.meta.detector}  # fmt: skip
    return trainer.finish(student, {"data": data, "final": final})


def unlabelled_clips(exp: Experiment, store: Store, device: torch.device) -> Clips:
    """Training clips; with `pretrain.splits=train+test` those of the test subjects too, as released (audit E8)."""
    sizes = {"n_frames": exp.model.n_frames, "input_2d": exp.data.input_2d, "device": device}
    train = training_clips(store, stride=exp.data.train_stride, validation=exp.data.validation, **sizes)  # type: ignore[arg-type]
    if exp.pretrain.splits == "train":
        return train
    test = evaluation_clips(store, "test", stride=exp.data.test_stride, **sizes)  # type: ignore[arg-type]
    return replace(
        train,
        input_nJ3=torch.cat([train.input_nJ3, test.input_nJ3]),
        label_nJ3=torch.cat([train.label_nJ3, test.label_nJ3]),
        index_CT=torch.cat([train.index_CT, test.index_CT + len(train.input_nJ3)]),
    )
