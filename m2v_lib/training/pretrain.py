"""Stage 1: masked prediction of the teacher's representations (paper section III-B, spec section
3), or the pre-training that a comparison system was published with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m2v_lib.config import Experiment
from m2v_lib.data.augment import draw_flips, flip_where
from m2v_lib.data.clips import Clips, evaluation_clips, training_clips
from m2v_lib.data.joint_patterns import patterns_of, pieces
from m2v_lib.data.store import Store, open_store
from m2v_lib.data.views import Views
from m2v_lib.models.pretraining import Pretraining
from m2v_lib.runs.records import read_metrics
from m2v_lib.training.clip_loader import ClipLoader, check_skeleton
from m2v_lib.training.engine.distributed import SINGLE, ProcessGroup
from m2v_lib.training.pretraining.of_model import check_pretraining, make_objective
from m2v_lib.training.schedule import Schedule, ScheduledValues
from m2v_lib.training.stage import Stage, run_stage


def pretrain(exp: Experiment, root: Path | None = None) -> Path:
    """Pre-train the encoder; returns the run's folder. A finished run is left as it is, a killed
    one goes on.
    """
    return run_stage(Pretrain, exp, root)


class Pretrain(Stage):
    """A pre-training objective, trained on clips; 3D is read where the objective says so."""

    name = "pretrain"

    def __init__(
        self,
        exp: Experiment,
        objective: Pretraining,
        clips: Clips | None,
        store: Store,
        device: torch.device,
        group: ProcessGroup = SINGLE,
        views: Views | None = None,
    ) -> None:
        cfg = exp.pretrain
        self.exp, self.device, self.group = exp, device, group
        self.optim = replace(exp.optim, lr=cfg.lr or exp.optim.lr)
        self.module = self.objective = objective
        self.model = objective.kept()
        self.clips, self.store, self.views = clips, store, views
        self.patterns = patterns_of(exp.data, exp.model, store.meta.joints, by_views=True)
        padded = clips is not None and clips.present_CT is not None
        self.changes_shape = self.patterns is not None or padded
        n_clips = sum(len(part) for part in (clips, views) if part is not None)
        self.schedule = Schedule(n_clips, cfg.batch_size, cfg.epochs, exp.run.max_steps)
        self.fingerprint = fingerprint_of(exp, store)

    @classmethod
    def check_settings(cls, exp: Experiment) -> None:
        check_pretraining(exp, "pre-training")

    @classmethod
    def open_data(cls, exp: Experiment) -> tuple[Store, str]:
        store = open_store(exp.data.name)
        check_skeleton(exp, store)
        return store, fingerprint_of(exp, store)

    @classmethod
    def build(
        cls,
        exp: Experiment,
        root: Path,
        data: Store,
        device: torch.device,
        group: ProcessGroup,
        loader: ClipLoader,
    ) -> Pretrain:
        objective = make_objective(exp)
        labels = objective.learns_from_labels
        seen = (
            labels,
            data.meta.fingerprint,
            exp.data,
            exp.model.n_frames,
            exp.pretrain.splits,
            exp.pretrain.extra_2d,
            device,
        )
        clips, views = None, None
        if exp.data.cameras == "fixed" or exp.pretrain.extra_2d:
            made_by = labelled_clips if labels else unlabelled_clips
            clips = loader.once(("pretrain", *seen), lambda: made_by(exp, data, device))

        if exp.data.cameras == "random":
            splits = tuple(exp.pretrain.splits.split("+"))
            views = loader.views(exp, data, device, splits=splits, labels=False)

        return cls(exp, objective.to(device), clips, data, device, group, views)

    def draw(self, chosen_B: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        seen = self.drawn_clips(chosen_B, generator)
        x, present = seen["x"], self.present(chosen_B)

        if self.patterns is not None:
            choice, length = self.patterns.draw(generator)
            self.objective.use_skeleton(choice.skeleton)
            x = pieces(choice.of(x), length)
            present = None if present is None else pieces(present, length)

        own = self.group.share(len(x))
        B, T, J, _ = x.shape
        drawn = {"x": x[own], **self.objective.draw((B, T, J), generator, own, present)}
        if "y" in seen:
            drawn["y"] = seen["y"][own]
        return drawn if present is None else {**drawn, "present": present[own]}

    def present(self, chosen_B: Tensor) -> Tensor | None:
        """Which frames (B, T) of the chosen clips are there, None where all are; views are whole."""
        if self.clips is None or self.clips.present_CT is None:
            return None
        n_views = 0 if self.views is None else len(self.views)
        stored = self.clips.present_CT[(chosen_B - n_views).clamp(min=0)]
        return stored | (chosen_B < n_views)[:, None]

    def drawn_clips(self, chosen_B: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """2D "x" (B,T,J,3) of the chosen clips, and their 3D "y" for an objective that reads it;
        numbers past the views' are those of `clips`, which then are the extra store's.
        """
        n_views = 0 if self.views is None else len(self.views)
        x = None if self.views is None else self.views.batch(chosen_B, generator)[0]

        if self.clips is None:
            assert x is not None
            return {"x": x}

        stored, label = self.clips.batch((chosen_B - n_views).clamp(min=0))
        drawn = {"x": stored, "y": label} if self.objective.learns_from_labels else {"x": stored}

        if self.exp.data.flip_train:
            flipped_B, skeleton = draw_flips(len(stored), generator), self.clips.skeleton
            drawn = {name: flip_where(flipped_B, t, skeleton) for name, t in drawn.items()}

        if x is not None:
            drawn["x"] = torch.where((chosen_B < n_views)[:, None, None, None], x, drawn["x"])
        return drawn

    def loss(
        self, network: nn.Module, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, extras = network(batch["x"], batch)
        return self.group.size * loss, extras

    def scheduled_values(self, step: int, n_steps: int) -> dict[str, float]:
        return self.objective.scheduled_values(step, n_steps)

    def after_step(self, values: ScheduledValues) -> None:
        self.objective.after_step(values)

    def extra_log_values(
        self, extras: dict[str, Tensor], step: int, n_steps: int
    ) -> dict[str, float]:
        return self.objective.log_values(extras, step, n_steps)

    def result(self, folder: Path) -> Callable[[], dict[str, Any]]:
        """The last log line stands for a result: stage 1 has no error to report."""
        final = [
            line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "train"
        ][-1]
        meta = self.store.meta
        data = {
            "name": meta.name,
            "protocol": meta.protocol,
            "fingerprint": self.fingerprint,
            "input_2d": "gt" if self.objective.learns_from_labels else self.exp.data.input_2d,
            "detector": meta.detector,
        }
        if self.exp.pretrain.extra_2d:
            data["extra_2d"] = self.exp.pretrain.extra_2d

        del final["seconds"]  # those of the run stand in the head
        return lambda: {"data": data, "final": final}


def fingerprint_with_world(exp: Experiment, store: Store) -> str:
    """The store's fingerprint; with random cameras one of it and the motion they look at."""
    if exp.data.cameras != "random":
        return store.meta.fingerprint
    both = store.meta.fingerprint + store.world().fingerprint
    return hashlib.sha256(both.encode()).hexdigest()


def fingerprint_of(exp: Experiment, store: Store) -> str:
    """What tells the data of stage 1 from others: the store's fingerprint, or one of it and the
    extra store's.
    """
    own = fingerprint_with_world(exp, store)
    if not exp.pretrain.extra_2d:
        return own
    both = own + open_store(exp.pretrain.extra_2d).meta.fingerprint
    return hashlib.sha256(both.encode()).hexdigest()


def labelled_clips(exp: Experiment, store: Store, device: torch.device) -> Clips:
    """Training clips with their 3D; the 2D is its true projection, with confidence 1."""
    return training_clips(
        store,
        exp.model.n_frames,
        exp.data.train_stride,
        input_2d="gt",
        validation=exp.data.validation,
        frame_step=exp.data.frame_step,
        device=device,
    )


def unlabelled_clips(exp: Experiment, store: Store, device: torch.device) -> Clips:
    """Training clips by the store's cameras; with `pretrain.splits=train+test` those of the test subjects too, as
    released (audit E8).

    Those of the store `pretrain.extra_2d` join them; either store may hold keypoints alone.
    With random cameras the clips are the extra store's alone, of which there must be one.
    """
    sizes = {
        "n_frames": exp.model.n_frames,
        "frame_step": exp.data.frame_step,
        "pad": exp.data.short_videos == "pad",
        "device": device,
        "labels": False,
    }
    stride, validation = exp.data.train_stride, exp.data.validation
    own = exp.data.cameras == "fixed"

    parts = []
    if own:
        parts.append(
            training_clips(
                store, stride=stride, validation=validation, input_2d=exp.data.input_2d, **sizes
            )
        )

    if own and exp.pretrain.splits == "train+test":
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
        present_CT=_present_in_all(parts),
    )


def _present_in_all(parts: Sequence[Clips]) -> Tensor | None:
    """Which frames of the parts' clips are there, one part after the other; None where all are."""
    if all(part.present_CT is None for part in parts):
        return None
    return torch.cat(
        [
            torch.ones_like(p.index_CT, dtype=torch.bool) if p.present_CT is None else p.present_CT
            for p in parts
        ]
    )
