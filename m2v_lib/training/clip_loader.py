"""Clips on the device, made once for all runs of a process that read the same data in the same
way.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Any, TypeVar

import torch

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.config.models import DUAL_STREAM
from m2v_lib.data.clips import Clips, evaluation_clips, training_clips
from m2v_lib.data.joint_patterns import Choice, named_choices, patterns_of
from m2v_lib.data.store import Store
from m2v_lib.data.views import Views, make_views
from m2v_lib.models.registry import build_model, model_class

Made = TypeVar("Made")


class ClipLoader:
    """Remembers what it has made; a run of its own gets a loader of its own, so that nothing
    outlives it.
    """

    def __init__(self) -> None:
        self.made: dict[Hashable, Future[Any]] = {}
        self.lock = Lock()

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, from the first call with this key; calls from other threads wait
        for it.
        """
        with self.lock:
            mine = key not in self.made
            if mine:
                self.made[key] = Future()

        if mine:
            try:
                made = make()
                if torch.cuda.is_initialized():
                    # made on one run's stream, read on others'
                    torch.cuda.current_stream().synchronize()
            except BaseException as error:
                self.made.pop(key).set_exception(error)
                raise
            self.made[key].set_result(made)

        return self.made[key].result()

    def training(self, exp: Experiment, store: Store, device: torch.device) -> Clips:
        """The labelled clips that fine-tuning trains on."""
        data = exp.data
        cut = {
            "stride": data.train_stride,
            "validation": data.validation,
            "label_fraction": data.label_fraction,
            "label_subjects": data.label_subjects,
        }
        return self.once(
            ("train", *_of(exp, store, device), *cut.values()),
            lambda: training_clips(store, **cut, **_sizes(exp, device)),  # type: ignore[arg-type]
        )

    def views(
        self,
        exp: Experiment,
        store: Store,
        device: torch.device,
        *,
        splits: tuple[str, ...] = ("train",),
        labels: bool = True,
    ) -> Views:
        """Windows that random cameras look at (`data.cameras=random`). Raises ConfigError where
        these shall be padded.
        """
        if exp.data.short_videos == "pad":
            raise ConfigError(
                "data.short_videos=pad must come with data.cameras=fixed; random cameras see short "
                "recordings stretched"
            )
        n_frames = exp.model.n_frames
        key = ("views", *_of(exp, store, device), exp.data, splits, labels)
        return self.once(
            key,
            lambda: make_views(store, exp.data, n_frames, device, splits=splits, labels=labels),
        )

    def chosen(self, clips: Clips, choice: Choice) -> Clips:
        """The clips with some of their joints."""
        return self.once((id(clips), choice), lambda: choice.clips(clips))

    def evaluation(self, exp: Experiment, store: Store, which: str, device: torch.device) -> Clips:
        """The clips of "val" or "test"."""
        stride = exp.data.test_stride
        frame = model_class(exp.model.name).output_frame(exp.model)
        return self.once(
            (which, *_of(exp, store, device), stride, frame),
            lambda: evaluation_clips(
                store, which, stride=stride, output_frame=frame, **_sizes(exp, device)
            ),
        )


def check_skeleton(exp: Experiment, store: Store) -> tuple[Choice, ...]:
    """The choices of the store's joints that the run is evaluated on, the first of them first.

    Raises ConfigError where the store lacks a joint, or the model is bound to other joints or
    frames.
    """
    named = named_choices(exp.data, exp.model, store.meta.joints)
    patterns = patterns_of(exp.data, exp.model, store.meta.joints)

    if exp.data.skeletons and getattr(exp.model, "joint_embedding", "order") != "name":
        raise ConfigError(
            f"data.skeletons={exp.data.skeletons} must have a model for any skeleton: "
            "model.joint_embedding=name"
        )
    free = {
        f"data.lengths={exp.data.lengths}": patterns is not None and bool(exp.data.lengths),
        "data.short_videos=pad": exp.data.short_videos == "pad",
    }
    for setting in (name for name, used in free.items() if used):
        if exp.model.name != DUAL_STREAM or build_model(exp.model).fixed_length:
            raise ConfigError(
                f"{setting} must have a dual stream that no weight binds to {exp.model.n_frames} "
                "frames (recipe paper)"
            )

    return named


def _sizes(exp: Experiment, device: torch.device) -> dict[str, Any]:
    return {
        "n_frames": exp.model.n_frames,
        "frame_step": exp.data.frame_step,
        "pad": exp.data.short_videos == "pad",
        "input_2d": exp.data.input_2d,
        "device": device,
    }


def _of(exp: Experiment, store: Store, device: torch.device) -> tuple[Hashable, ...]:
    return (str(store.path), store.meta.fingerprint, *_sizes(exp, device).values())
