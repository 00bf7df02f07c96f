"""Errors of weights that a system's authors trained, in their unit and their metric frame: with
their file and the data set's, the number that they printed.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from m2v_lib.data.clips import Clips, evaluation_clips
from m2v_lib.data.store import DataError, Store
from m2v_lib.evaluation.protocols import evaluate_predictions, in_millimetres, with_mirror
from m2v_lib.models.base import IMAGE_UNITS, Lifter

# B batch, T frames, J joints, C clips

#: Millimetres of a unit of camera space.
MILLIMETRES: Final = {"metres": 1000.0, "millimetres": 1.0}
#: Windows looked at together.
BATCH: Final = 64


def evaluate_authors_weights(
    model: Lifter, store: Store, which: str = "test", *, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Metrics in mm of a model that `load_baseline` gave, every frame of the split predicted once.

    Frames, their step and the mirror image follow the authors' evaluation. Metres are compared
    with camera-space labels (Human3.6M in VideoPose3D's layout), and the root is 0 or as
    predicted, as in the authors' figure; MotionBERT's image units with 2.5D labels. Ends of
    videos are padded with their last frame. Raises DataError where the store's labels are of the
    other kind, or the unit is neither.
    """
    system, settings = type(model), model.settings
    frame = system.output_frame(settings)
    clips = evaluation_clips(
        store,
        which,
        settings.n_frames,
        settings.n_frames if frame is None else 1,
        input_2d="detected",
        device=device,
        frame_step=system.own_recipe.get("data.frame_step", 1),
        output_frame=frame,
        pad=frame is None,
    )
    if model.output_unit not in (IMAGE_UNITS, *MILLIMETRES):
        raise DataError(
            f"{settings.name}: its weights give {model.output_unit}, which have no millimetres "
            "without the statistics of another file (docs/authors_weights.md)"
        )
    if store.meta.label_is_projection != (model.output_unit == IMAGE_UNITS):
        raise DataError(
            f"{store.path}: its labels are {_labels(store.meta.label_is_projection)}; the weights "
            f"of {settings.name} give {model.output_unit} and need labels "
            f"{_labels(model.output_unit == IMAGE_UNITS)}"
        )

    pose_CTJ3 = predict_as_published(model.to(device), clips)
    scale = MILLIMETRES.get(model.output_unit)
    pose_mm = in_millimetres(pose_CTJ3, clips) if scale is None else scale * pose_CTJ3
    return evaluate_predictions(pose_mm, clips)


def _labels(projected: bool) -> str:
    return "2.5D, in pixels" if projected else "in camera space"


@torch.no_grad()
def predict_as_published(model: Lifter, clips: Clips) -> np.ndarray:
    """Poses (C, T, J, 3) of the frames that are evaluated, in the model's unit, by the authors'
    evaluation: the mean with the mirror image's where they take it, the root at 0 or as predicted.
    """
    mirrored = type(model).own_recipe.get("finetune.flip_test", True)
    parts = []
    for chosen in torch.arange(len(clips), device=clips.index_CT.device).split(BATCH):
        x_BTJ3 = clips.input_nJ3[clips.index_CT[chosen]]
        pose = with_mirror(model, x_BTJ3, skeleton=clips.skeleton) if mirrored else model(x_BTJ3)
        if model.root_in_figure == "zero":
            pose[:, :, clips.skeleton.root] = 0.0
        parts.append(pose.float())

    return torch.cat(parts).cpu().numpy()
