"""Stage 2: lift 2D to 3D (paper section III-A.3, spec section 4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.augment import draw_flips, flip_where
from m2v_lib.data.clips import Clips
from m2v_lib.data.joint_patterns import Choice, hide_joints, patterns_of, pieces
from m2v_lib.data.store import Store, open_store
from m2v_lib.data.views import Views
from m2v_lib.evaluation.protocols import evaluate_prediction, in_millimetres, predict_normalised
from m2v_lib.evaluation.trivial_baselines import evaluate_trivial_baselines
from m2v_lib.models.base import Lifter
from m2v_lib.models.losses import lifting_loss, pose_loss
from m2v_lib.models.registry import build_model, require_dual_stream
from m2v_lib.models.state_files import load_weights, read_tensors
from m2v_lib.training.clip_loader import ClipLoader, check_skeleton
from m2v_lib.training.device import prepare_blocks, uncompiled
from m2v_lib.training.engine.distributed import SINGLE, ProcessGroup, in_launched_process
from m2v_lib.training.pretrain import fingerprint_of, fingerprint_with_world
from m2v_lib.training.pretraining.of_model import check_pretraining
from m2v_lib.training.schedule import Schedule
from m2v_lib.training.stage import Stage, run_stage
from m2v_lib.training.starting_weights import starting_weights


def finetune(exp: Experiment, root: Path | None = None) -> Path:
    """Train and evaluate; returns the run's folder. A finished run is left as it is, a killed
    one goes on.

    With `finetune.init=pretrained` the encoder starts from the pre-training run of the same
    settings and seed; where there is none, ConfigError says how to make it.
    """
    return run_stage(Finetune, exp, root)


class Finetune(Stage):
    """A lifting model, trained on labelled clips."""

    name = "finetune"

    def __init__(
        self,
        exp: Experiment,
        model: nn.Module,
        train: Clips,
        held_out: dict[str, Clips],
        store: Store,
        device: torch.device,
        group: ProcessGroup = SINGLE,
        init: str = "scratch",
        loader: ClipLoader | None = None,
        views: Views | None = None,
        choices: tuple[Choice, ...] = (),
    ) -> None:
        self.exp, self.optim, self.device, self.group = exp, exp.optim, device, group
        self.model = self.module = model
        self.gives_one_frame = isinstance(model, Lifter) and model.output_under(exp.model) != "all"
        self.train, self.held_out, self.store, self.init = train, held_out, store, init
        self.loader, self.views = loader or ClipLoader(), views
        #: The joints that are evaluated, of those that the clips hold; none: those of the clips.
        self.choices = choices
        self.patterns = patterns_of(
            exp.data, exp.model, store.meta.joints, by_views=views is not None
        )
        self.changes_shape = self.patterns is not None or train.present_CT is not None
        self.pose_loss = pose_loss
        #: The loss's weights as tensors: a compiler makes one program for all values.
        self.weights: tuple[Tensor, Tensor] | None = None
        if exp.run.compile:
            self.pose_loss = torch.compile(pose_loss, dynamic=False)
            lambdas = (exp.finetune.w_scale, exp.finetune.w_velocity)
            self.weights = tuple(torch.tensor(w, device=device) for w in lambdas)  # type: ignore[assignment]
        cfg = exp.finetune
        n_clips = len(train) if views is None else len(views)
        self.schedule = Schedule(n_clips, cfg.batch_size, cfg.epochs, exp.run.max_steps)
        self.fingerprint = fingerprint_with_world(exp, store)
        self.watched = "test" if cfg.select == "best-on-test" else "val"
        self.has_validation = self.watched in held_out

    @classmethod
    def check_settings(cls, exp: Experiment) -> None:
        if exp.finetune.init == "pretrained":
            check_pretraining(exp, "finetune.init=pretrained")
        # Not every such loss is a mean over clips, which averaging over processes needs.
        if exp.finetune.loss == "own" and (exp.run.devices > 1 or in_launched_process()):
            raise ConfigError(
                f"run.devices={exp.run.devices}: finetune.loss=own trains on one device, in one "
                "process"
            )
        if exp.finetune.freeze == "encoder":
            require_dual_stream(exp.model, "finetune.freeze=encoder")

    @classmethod
    def open_data(cls, exp: Experiment) -> tuple[Store, str]:
        store = open_store(exp.data.name)
        check_skeleton(exp, store)
        return store, store.meta.fingerprint

    @classmethod
    def build(
        cls,
        exp: Experiment,
        root: Path,
        data: Store,
        device: torch.device,
        group: ProcessGroup,
        loader: ClipLoader,
    ) -> Finetune:
        choices = check_skeleton(exp, data)
        train = loader.training(exp, data, device)
        which = ["val", "test"] if exp.data.validation else ["test"]
        held_out = {name: loader.evaluation(exp, data, name, device) for name in which}
        if patterns_of(exp.data, exp.model, data.meta.joints) is None:
            train = loader.chosen(train, choices[0])
            held_out = {name: loader.chosen(clips, choices[0]) for name, clips in held_out.items()}
            choices = ()

        model = build_model(exp.model, seed=exp.run.seed)
        frames_N = train.index_CT.unique()
        model.prepare(train.input_nJ3[frames_N], train.label_nJ3[frames_N])

        init = starting_weights(model, exp, root, fingerprint_of(exp, data))
        prepare_blocks(model, exp).to(device)
        views = loader.views(exp, data, device) if exp.data.cameras == "random" else None
        return cls(exp, model, train, held_out, data, device, group, init, loader, views, choices)

    #: Errors of the latest validation, as long as no step has changed the weights since.
    validated: Callable[[], dict[str, Any]] | None = None

    def before_step(self) -> None:
        self.validated = None

    def draw(self, chosen_B: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        # Batch norm of a single frame has no variance: the same clip twice.
        if len(chosen_B) == 1 and self.gives_one_frame:
            chosen_B = chosen_B.repeat(2)
        x, y = self.drawn_pair(chosen_B, generator)
        drawn = {"x": x, "y": y}
        if self.views is None and (present := self.train.present(chosen_B)) is not None:
            drawn["present"] = present

        if self.patterns is not None:
            choice, length = self.patterns.draw(generator)
            cast(Any, self.module).use_skeleton(choice.skeleton)
            drawn |= {"x": choice.of(x), "y": choice.relative(y)}
            drawn = {name: pieces(tensor, length) for name, tensor in drawn.items()}

        if hidden := self.exp.data.hidden_joints:
            root = choice.skeleton.root if self.patterns is not None else self.train.skeleton.root
            drawn["x"] = hide_joints(drawn["x"], hidden, root, generator)

        B = len(drawn["x"])
        own = self.group.share(B)
        weight = torch.full((), self.group.weight(B), device=self.device)
        return {name: tensor[own] for name, tensor in drawn.items()} | {"weight": weight}

    def drawn_pair(self, chosen_B: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Input and label (B,T,J,3) of the chosen clips, by the store's cameras or by new ones."""
        if self.views is not None:
            return self.views.batch(chosen_B, generator)
        x, y = self.train.batch(chosen_B)
        if self.exp.data.flip_train:
            flipped_B = draw_flips(len(x), generator)
            x, y = (flip_where(flipped_B, pose, self.train.skeleton) for pose in (x, y))
        return x, y

    def loss(
        self, network: nn.Module, batch: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = lifting_loss(
            self.model,
            network,
            batch["x"],
            batch["y"],
            self.exp.finetune,
            self.weights,
            batch.get("present"),
            self.pose_loss,
        )
        return batch["weight"] * loss, {
            name: batch["weight"] * value for name, value in parts.items()
        }

    def evaluate(self) -> Callable[[], dict[str, float]]:
        errors = self.validated = self.errors_on(self.watched)

        def values() -> dict[str, float]:
            found = errors()
            return {key: found[key] for key in ("mpjpe", "p_mpjpe", "pck", "auc") if key in found}

        return values

    def errors_on(self, which: str) -> Callable[[], dict[str, Any]]:
        """Predictions on clips held out, and a function that makes errors of them."""
        if self.validated is not None and which == self.watched:
            return self.validated
        flip = self.exp.finetune.flip_test
        of_all = self.held_out[which]
        parts = {c.skeleton.name: self.loader.chosen(of_all, c) for c in self.choices}
        with uncompiled(self.exp):
            predicted = {
                name: predict_normalised(self.model, clips, flip_test=flip)
                for name, clips in (parts or {"": of_all}).items()
            }

        def errors() -> dict[str, Any]:
            found = {
                name: evaluate_prediction(in_millimetres(pose, clips), clips)
                for (name, pose), clips in zip(
                    predicted.items(), parts.values() or [of_all], strict=True
                )
            }
            first = next(iter(found.values()))
            return {**first, "by_skeleton": found} if len(found) > 1 else first

        return cache(errors)

    def result(self, folder: Path) -> Callable[[], dict[str, Any]]:
        """Errors of the last epoch, of the best one under its own name, and of the linear
        baselines.
        """
        last = {which: self.errors_on(which) for which in self.held_out}
        best, selected, step = folder / "best.safetensors", None, 0
        if self.exp.finetune.select != "last" and best.exists():
            tensors, state = read_tensors(best)
            load_weights(self.model, tensors, best)
            self.validated = None
            selected, step = self.errors_on("test"), state["step"]

        def values() -> dict[str, Any]:
            errors = {which: of() for which, of in last.items()}
            result = self.result_of_last(errors)
            if selected:
                chosen = {**selected(), "step": step}
                result[self.exp.finetune.select.replace("-", "_")] = result["test"] = chosen
            return result

        return values

    def result_of_last(self, errors: dict[str, dict[str, Any]]) -> dict[str, Any]:
        meta = self.store.meta
        train, test = self.train, self.held_out["test"]
        if self.choices:
            train, test = (self.loader.chosen(clips, self.choices[0]) for clips in (train, test))
        floors = self.loader.once(
            ("floors", id(train), id(test)), lambda: evaluate_trivial_baselines(train, test)
        )
        return {
            "data": {
                "name": meta.name,
                "protocol": meta.protocol,
                "fingerprint": meta.fingerprint,
                "input_2d": self.exp.data.input_2d,
                "detector": meta.detector,
                **({"world": self.store.world().fingerprint} if self.views is not None else {}),
            },
            "init": self.init,
            "selected": self.exp.finetune.select,
            "last": errors["test"],
            "val": errors.get("val"),
            "best_on_val": None,
            "best_on_test": None,
            "baselines": floors,
            "test": errors["test"],
        }
