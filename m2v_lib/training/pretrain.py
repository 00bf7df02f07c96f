"""Stage 1: masked prediction of the teacher's representations (paper section III-B, spec section
3).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m2v_lib.config import Experiment
from m2v_lib.data.augment import random_flip
from m2v_lib.data.clips import Clips, evaluation_clips, training_clips
from m2v_lib.data.store import Store, open_store
from m2v_lib.models.registry import build_model
from m2v_lib.runs.records import read_metrics, runs_root
from m2v_lib.training.distributed import Team, joined, launch, must_launch
from m2v_lib.training.loop import (
    Trainer,
    check_finished,
    is_finished,
    pick_device,
    prepare_blocks,
    seeded,
    sole_trainer,
)
from m2v_lib.training.pretraining.objective import MaskedPrediction
from m2v_lib.training.pretraining.teacher import tau_at
from m2v_lib.training.schedule import Schedule


def pretrain(exp: Experiment, root: Path | None = None) -> Path:
    """Pre-train the encoder; returns the run's folder. A finished run is left as it is, a killed
    one goes on.
    """
    folder = (runs_root() if root is None else Path(root)) / exp.run_name("pretrain")
    if must_launch(exp):
        launch("pretrain", exp, folder.parent)
        return check_finished(folder)
    with joined(exp) as team, sole_trainer(folder, team):
        store = open_store(exp.data.name)
        if not is_finished(folder, fingerprint_of(exp, store)):
            _train(exp, folder, store, team)
        team.wait()
    return folder


def fingerprint_of(exp: Experiment, store: Store) -> str:
    """What tells the data of stage 1 from others: the store's fingerprint, or one of it and the
    extra store's.
    """
    if not exp.pretrain.extra_2d:
        return store.meta.fingerprint
    both = store.meta.fingerprint + open_store(exp.pretrain.extra_2d).meta.fingerprint
    return hashlib.sha256(both.encode()).hexdigest()


def _train(exp: Experiment, folder: Path, store: Store, team: Team) -> None:
    device, fingerprint = pick_device(exp), fingerprint_of(exp, store)
    clips = unlabelled_clips(exp, store, device)
    student = prepare_blocks(build_model(exp.model, seed=exp.run.seed), exp)
    objective = MaskedPrediction(
        student, exp.pretrain, seeded(torch.device("cpu"), exp.run.seed, 3)
    ).to(device)
    cfg = exp.pretrain

    def step(
        network: nn.Module, chosen_B: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = clips.batch(chosen_B)
        if exp.data.flip_train:
            x, y = random_flip(x, y, generator)
        loss, extras = network(x, generator, team.share(len(x)))
        return team.size * loss, extras

    def move_teacher(step_number: int, n_steps: int) -> None:
        if cfg.teacher == "ema":
            objective.teacher.update(
                student.layers, tau_at(step_number, n_steps, cfg.tau_start, cfg.tau_end)
            )

    def signs(extras: dict[str, Tensor], step_number: int, n_steps: int) -> dict[str, float]:
        tau = (
            tau_at(step_number, n_steps, cfg.tau_start, cfg.tau_end)
            if cfg.teacher == "ema"
            else 1.0
        )
        return {**objective.collapse_signs(extras), "tau": tau}

    trainer = Trainer(
        exp,
        "pretrain",
        folder,
        objective,
        Schedule(len(clips), cfg.batch_size, cfg.epochs, exp.run.max_steps),
        step,
        after_step=move_teacher,
        at_log=signs,
        fingerprint=fingerprint,
        device=device,
        team=team,
    )
    trainer.run()
    if not team.leads:
        return
    final = [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "train"][-1]
    data = {
        "name": store.meta.name,
        "protocol": store.meta.protocol,
        "fingerprint": fingerprint,
        "input_2d": exp.data.input_2d,
        "detector": store.meta.detector,
    }
    if exp.pretrain.extra_2d:
        data["extra_2d"] = exp.pretrain.extra_2d
    trainer.finish(student, {"data": data, "final": final})


def unlabelled_clips(exp: Experiment, store: Store, device: torch.device) -> Clips:
    """Training clips; with `pretrain.splits=train+test` those of the test subjects too, as
    released (audit E8).

    Those of the store `pretrain.extra_2d` join them; either store may hold keypoints alone.
    """
    sizes: dict[str, Any] = {"n_frames": exp.model.n_frames, "device": device, "labels": False}
    stride, validation = exp.data.train_stride, exp.data.validation
    parts = [
        training_clips(
            store, stride=stride, validation=validation, input_2d=exp.data.input_2d, **sizes
        )
    ]
    if exp.pretrain.splits == "train+test":
        stride_test = exp.data.test_stride
        parts.append(
            evaluation_clips(store, "test", stride=stride_test, input_2d=exp.data.input_2d, **sizes)
        )
    if exp.pretrain.extra_2d:
        extra = open_store(exp.pretrain.extra_2d)
        kind = exp.data.input_2d if extra.meta.labelled else "detected"
        parts.append(
            training_clips(extra, stride=stride, validation=validation, input_2d=kind, **sizes)
        )
    first = np.cumsum([0, *(len(part.input_nJ3) for part in parts)])
    return replace(
        parts[0],
        input_nJ3=torch.cat([part.input_nJ3 for part in parts]),
        label_nJ3=torch.cat([part.label_nJ3 for part in parts]),
        index_CT=torch.cat(
            [part.index_CT + int(start) for part, start in zip(parts, first[:-1], strict=True)]
        ),
    )
