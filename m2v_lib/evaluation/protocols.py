"""Evaluation protocols: from a model and clips to the published metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from m2v_lib.data.action_clips import Samples, for_testing
from m2v_lib.data.augment import flip
from m2v_lib.data.clips import Clips
from m2v_lib.evaluation import metrics
from m2v_lib.evaluation.motion_errors import motion_errors
from m2v_lib.models.base import Lifter
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.skeletons.h36m import H36M_FROM_MPI

# B batch, T frames, J joints, n frames of a split, C clips

#: A small network is bound by launches on a GPU, so batches there hold this many frames.
FRAMES_AT_A_TIME_ON_GPU = 1 << 14
#: Joints of MPI-INF-3DHP's official PCK and AUC, the first 14 of its own order: all but pelvis,
#: spine and head.
JOINTS_3DHP = tuple(H36M_FROM_MPI.index(j) for j in range(14))


@torch.no_grad()
def predict(
    model: nn.Module,
    x_BTJ3: Tensor,
    *,
    flip_test: bool = True,
    skeleton: Skeleton = H36M17,
    present_BT: Tensor | None = None,
) -> Tensor:
    """Root-relative prediction (B, T, J, 3) in normalised units, or (B, 1, J, 3) of one frame
    where the model gives that; mean of clip and mirror image (spec 5.5.1-2). `present_BT` says
    which frames of padded clips are there. Raises InputError for a model whose weights give
    another unit.
    """
    if isinstance(model, Lifter):
        model.require_image_units()
    there = () if present_BT is None else (present_BT,)
    pred = (
        with_mirror(model, x_BTJ3, *there, skeleton=skeleton)
        if flip_test
        else model(x_BTJ3, *there)
    )
    pred[:, :, skeleton.root] = 0.0
    return pred


def with_mirror(model: nn.Module, x_BTJ3: Tensor, *there: Tensor, skeleton: Skeleton) -> Tensor:
    """The mean of what the model gives of clips and, turned back, of their mirror images."""
    return 0.5 * (model(x_BTJ3, *there) + flip(model(flip(x_BTJ3, skeleton), *there), skeleton))


def predict_clips(
    model: nn.Module, clips: Clips, *, flip_test: bool = True, batch_size: int = 64
) -> np.ndarray:
    """Predictions for all clips (C, T, J, 3) in millimetres, root-relative; the model's mode is
    restored.

    Of centred clips only the frame that is evaluated is kept: (C, 1, J, 3).
    """
    predicted = predict_normalised(model, clips, flip_test=flip_test, batch_size=batch_size)
    return in_millimetres(predicted, clips)


def predict_normalised(
    model: nn.Module, clips: Clips, *, flip_test: bool = True, batch_size: int = 64
) -> np.ndarray:
    """`predict_clips` in normalised units: the part that needs the model's device."""
    was_training = model.training
    model.eval()
    if hasattr(model, "use_skeleton"):
        cast(Any, model).use_skeleton(clips.skeleton)
    device = clips.index_CT.device
    if device.type == "cuda":
        batch_size = max(batch_size, FRAMES_AT_A_TIME_ON_GPU // clips.index_CT.shape[1])

    parts = []
    batches = torch.arange(len(clips), device=device).split(batch_size)
    # Shown on a terminal alone, and only where it takes long.
    shown = {"desc": "evaluating", "unit": "batch", "delay": 2, "leave": False, "disable": None}
    for chosen in tqdm(batches, **shown):
        x_BTJ3 = clips.input_nJ3[clips.index_CT[chosen]]
        present = clips.present(chosen)
        if present is not None and bool(present.all()):
            present = None  # the fast path for batches without padding
        pred = predict(
            model,
            x_BTJ3,
            flip_test=flip_test,
            skeleton=clips.skeleton,
            present_BT=present,
        )
        all_frames = pred.shape[1] == x_BTJ3.shape[1]
        parts.append((pred[:, clips.evaluated] if all_frames else pred).float())

    model.train(was_training)
    return torch.cat(parts).cpu().numpy()


def in_millimetres(pred_CTJ3: np.ndarray, clips: Clips) -> np.ndarray:
    """Normalised predictions of the clips in millimetres."""
    scale = clips.mm_per_unit_n[clips.index_CT[:, clips.evaluated].cpu().numpy()]
    return pred_CTJ3 * scale[..., None, None]


def evaluate_lifting(
    model: nn.Module, clips: Clips, *, flip_test: bool = True, batch_size: int = 64
) -> dict[str, Any]:
    """The evaluation of the protocol that the clips were cut for: MPI-INF-3DHP's or Human3.6M's."""
    return evaluate_prediction(
        predict_clips(model, clips, flip_test=flip_test, batch_size=batch_size), clips
    )


def evaluate_prediction(pred_CTJ3: np.ndarray, clips: Clips) -> dict[str, Any]:
    """`evaluate_lifting` of what `predict_clips` gave."""
    return (
        evaluate_3dhp_predictions(pred_CTJ3[:, 0], clips)
        if clips.protocol == "mpi_inf_3dhp" and clips.centred
        else evaluate_predictions(pred_CTJ3, clips)
    )


def evaluate_pose(
    model: nn.Module, clips: Clips, *, flip_test: bool = True, batch_size: int = 64
) -> dict[str, Any]:
    """The Human3.6M protocol of spec 5.5, in mm: errors per frame, then per action, then the
    mean of the actions.
    """
    return evaluate_predictions(
        predict_clips(model, clips, flip_test=flip_test, batch_size=batch_size), clips
    )


def evaluate_predictions(pred_CTJ3: np.ndarray, clips: Clips) -> dict[str, Any]:
    """Metrics of root-relative predictions in mm. `mpjpe`, `p_mpjpe`, `n_mpjpe` are means over
    actions.

    Only valid frames count in these three; `mpjve` and `accel` (per step of `clips.frame_step`
    frames, and its square) and `per_joint` take whole clips.
    """
    index = clips.index_CT[:, clips.evaluated].cpu().numpy()
    truth = clips.truth_nJ3[index]
    there = None if clips.present_CT is None else clips.present_CT.cpu().numpy()
    per_frame = {
        "mpjpe": metrics.frame_errors(pred_CTJ3, truth),
        "p_mpjpe": metrics.frame_errors(metrics.procrustes_align(pred_CTJ3, truth), truth),
        "n_mpjpe": metrics.frame_errors(metrics.rescale(pred_CTJ3, truth), truth),
    }
    averaged = {
        name: _average_overlaps(errors, index, len(clips.action_n), there)
        for name, errors in per_frame.items()
    }
    counted = (averaged["mpjpe"] > 0) & clips.valid_n

    per_action: dict[str, dict[str, float]] = {}
    for number, action in enumerate(clips.actions):
        chosen = counted & (clips.action_n == number)
        if chosen.any():
            per_action[action] = {
                name: float(errors[chosen].mean()) for name, errors in averaged.items()
            }

    means = {name: float(np.mean([a[name] for a in per_action.values()])) for name in per_frame}
    return {
        **means,
        **motion_errors(pred_CTJ3, clips, index),
        "frame_mean_mpjpe": float(averaged["mpjpe"][counted].mean()),
        "frame_mean_p_mpjpe": float(averaged["p_mpjpe"][counted].mean()),
        "per_action": per_action,
        "per_recording": _by_recording(averaged, counted, clips),
        "per_joint": _errors_by_joint(metrics.joint_errors(pred_CTJ3, truth), there),
        "n_frames": int(counted.sum()),
    }


def _errors_by_joint(errors_CTJ: np.ndarray, present_CT: np.ndarray | None) -> list[float]:
    """Mean error of each joint over the frames that are there."""
    if present_CT is None:
        return [float(e) for e in errors_CTJ.mean((0, 1))]
    return [float(e) for e in errors_CTJ[present_CT].mean(0)]


def _by_recording(
    averaged: Mapping[str, np.ndarray], counted: np.ndarray, clips: Clips
) -> dict[str, dict[str, float]]:
    """Mean errors over the frames of each recording, by all its cameras, and how many they are."""
    names = sorted(set(clips.recordings))
    number_n = np.array([names.index(r) for r in clips.recordings])[clips.video_n]
    frames = np.bincount(number_n[counted], minlength=len(names))
    total = {
        name: np.bincount(number_n[counted], errors[counted], len(names))
        for name, errors in averaged.items()
    }
    return {
        recording: {name: float(total[name][i] / n) for name in total} | {"n_frames": int(n)}
        for i, (recording, n) in enumerate(zip(names, frames, strict=True))
        if n
    }


def evaluate_3dhp(
    model: nn.Module, clips: Clips, *, flip_test: bool = True, batch_size: int = 64
) -> dict[str, Any]:
    """The MPI-INF-3DHP protocol of spec 6.5: a window about each valid frame, which alone
    counts.
    """
    pred = predict_clips(model, clips, flip_test=flip_test, batch_size=batch_size)
    return evaluate_3dhp_predictions(pred[:, 0], clips)


def evaluate_3dhp_predictions(pred_CJ3: np.ndarray, clips: Clips) -> dict[str, Any]:
    """Metrics of root-relative predictions in mm for the one frame of each of centred clips.

    `mpjpe` is the mean over frames and all 17 joints (the root counts, with 0); `pck` (150 mm)
    and `auc`, in percent, are over frames and the 14 joints of the official evaluation. Overall
    all frames count alike: the sequences' values weighted by their valid frames.
    """
    if not clips.centred:
        raise ValueError("expected clips centred on the frames to evaluate, got whole windows")

    frames = clips.index_CT[:, clips.output_frame].cpu().numpy()
    truth, sequence = clips.truth_nJ3[frames], clips.action_n[frames]

    present = {
        name: sequence == number
        for number, name in enumerate(clips.actions)
        if (sequence == number).any()
    }
    return {
        **_errors_3dhp(pred_CJ3, truth),
        "per_sequence": {
            name: _errors_3dhp(pred_CJ3[chosen], truth[chosen]) for name, chosen in present.items()
        },
        "per_joint": [float(e) for e in metrics.joint_errors(pred_CJ3, truth).mean(0)],
    }


def _errors_3dhp(pred_CJ3: np.ndarray, truth_CJ3: np.ndarray) -> dict[str, Any]:
    official = list(JOINTS_3DHP)
    return {
        "mpjpe": metrics.mpjpe(pred_CJ3, truth_CJ3),
        "p_mpjpe": metrics.p_mpjpe(pred_CJ3, truth_CJ3),
        "pck": metrics.pck(pred_CJ3[:, official], truth_CJ3[:, official]),
        "auc": metrics.auc(pred_CJ3[:, official], truth_CJ3[:, official]),
        "n_frames": len(pred_CJ3),
    }


def _average_overlaps(
    errors_CT: np.ndarray,
    index_CT: np.ndarray,
    n_frames: int,
    present_CT: np.ndarray | None = None,
) -> np.ndarray:
    """Mean error of each frame over the clips that hold it (n,); 0 where none does.

    A frame repeated inside one resampled clip counts once, as in the released evaluation (spec
    5.5.8); of padded clips only the frames that are there count.
    """
    if present_CT is not None:
        index_CT, errors_CT = index_CT[present_CT][:, None], errors_CT[present_CT][:, None]

    once = (np.diff(index_CT, axis=1) > 0).all(1)  # clips without a repeated frame: nearly all
    frames = index_CT[once].ravel()
    total = np.bincount(frames, weights=errors_CT[once].ravel(), minlength=n_frames)
    total = total.astype(float)  # of no frame at all it is whole numbers
    count = np.bincount(frames, minlength=n_frames)
    for errors, index in zip(errors_CT[~once], index_CT[~once], strict=True):
        total[index] += errors
        count[index] += 1
    return total / np.maximum(count, 1)


def evaluate_action(model: nn.Module, samples: Samples, *, batch_size: int = 64) -> dict[str, Any]:
    """Top-1 and top-5 in percent of samples (Table IV), the mean over classes of top-1, and the
    confusion matrix.

    ``confusion[i][j]`` counts samples of class i named j. The model's mode is restored.
    """
    return score_actions(
        action_scores(model, samples, batch_size=batch_size), samples.label_S.cpu().numpy()
    )


@torch.no_grad()
def action_scores(model: nn.Module, samples: Samples, *, batch_size: int = 64) -> np.ndarray:
    """The model's score of every class for every sample (S, classes); the model's mode is
    restored.
    """
    was_training = model.training
    model.eval()
    parts = []
    for chosen in torch.arange(len(samples), device=samples.label_S.device).split(batch_size):
        x_BMTJ3, _ = samples.batch(chosen)
        parts.append(model(for_testing(x_BMTJ3)).float())
    model.train(was_training)
    return torch.cat(parts).cpu().numpy()


def score_actions(score_SC: np.ndarray, label_S: np.ndarray) -> dict[str, Any]:
    """The numbers of `evaluate_action` from scores of every class; a class without samples has
    no vote in the mean.
    """
    n_classes = score_SC.shape[1]
    ranked = np.argsort(-score_SC, axis=1, kind="stable")
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (label_S, ranked[:, 0]), 1)

    there = confusion.sum(1) > 0
    return {
        "top1": 100 * float((ranked[:, 0] == label_S).mean()),
        "top5": 100 * float((ranked[:, :5] == label_S[:, None]).any(1).mean()),
        "class_mean": 100 * float((confusion.diagonal()[there] / confusion.sum(1)[there]).mean()),
        "confusion": confusion.tolist(),
        "n_samples": len(label_S),
    }
