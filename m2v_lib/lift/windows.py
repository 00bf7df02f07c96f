"""A trained model over a motion of any length: overlapping windows, each framed as in training,
blended together.
"""
# n frames, B windows, T frames of a window, J joints

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn

from m2v_lib.data.augment import flip
from m2v_lib.evaluation.protocols import predict
from m2v_lib.lift.framing import Image, as_by_any, as_by_the_four
from m2v_lib.models.device import usable_device
from m2v_lib.models.dual_stream.cpu import keep_freed_memory
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.training.checkpoint import load_checkpoint
from m2v_lib.weights import own_weights

#: frames a second of the motion that networks are trained on
MODEL_FPS: Final = 50.0


class Lifter:
    """Lifts 2D joints at the model's frame rate to root-relative 3D in pixels; `model` is in
    evaluation mode.

    Every window is moved and scaled to where people are in training (`lift.framing`), and the
    result is scaled back. To a network of the four cameras it makes no difference where in the
    image somebody is, and how large; one of `any_camera` is told by the image's size (`image`),
    and without it is shown people as the others are.
    """

    def __init__(
        self,
        model: nn.Module,
        n_frames: int,
        *,
        overlap: int = 2,
        flip: bool = True,
        batch: int = 16,
        skeleton: Skeleton = H36M17,
        frame_step: int = 1,
        predicts_unseen: bool = False,
        any_camera: bool = False,
    ):
        self.model, self.n_frames, self.flip, self.batch = model, n_frames, flip, batch
        #: frames a second that the model reads
        self.fps = MODEL_FPS / frame_step
        #: whether it was trained to predict joints that it is not given (`data.hidden_joints`)
        self.predicts_unseen = predicts_unseen
        #: whether it was trained by random cameras (`data.cameras`)
        self.any_camera = any_camera
        #: whether the package's accuracy table is of this network
        self.measured = False
        #: whether it takes any choice of the vocabulary's joints, see `use_skeleton`
        self.any_skeleton = bool(getattr(model, "any_skeleton", False))
        self.use_skeleton(skeleton)
        self.hop = max(1, n_frames // overlap)
        ramp = np.minimum(np.arange(n_frames), np.arange(n_frames)[::-1]) + 1.0
        self.weight_T = ramp / ramp.max()  # a triangle: the ends of a window know one side only

    def use_skeleton(self, skeleton: Skeleton, hidden: Sequence[int] = ()) -> None:
        """Lift these joints from now on, of which the keypoints never give the `hidden` ones. Raises
        ValueError where the model is bound to others.
        """
        self.hidden = list(hidden)
        if hasattr(self.model, "use_skeleton"):
            cast(Any, self.model).use_skeleton(skeleton)
        self.skeleton = skeleton

    def __call__(self, seen_nJ3: np.ndarray, image: Image | None = None) -> np.ndarray:
        """x, y (px) and confidence (n,J,3) -> x, y, z relative to the root (n,J,3) px, y down, z
        away; `image` is the image's width and height (px).

        A motion shorter than a window is stretched to one as in training (spec 5.3), and its
        repeats averaged.
        """
        n = len(seen_nJ3)
        return self.part_and_spread(lambda a, b: seen_nJ3[a:b], n, 0, n, image)[..., :3]

    def part_and_spread(
        self,
        seen: Callable[[int, int], np.ndarray],
        n: int,
        first: int,
        stop: int,
        image: Image | None = None,
    ) -> np.ndarray:
        """Frames first .. stop - 1 of a motion of n frames, as lifting it whole gives them, and in
        a fourth channel (m,J,4) the spread (px): how far the windows that a frame is in, each as it
        is and mirrored, differ from their mean. `seen(a, b)` are the motion's frames a .. b - 1,
        asked for once.
        """
        index = self._windows_over(n, first, stop)
        low = int(index.min())
        seen_mJ3 = seen(low, int(index.max()) + 1)
        total, weight = np.zeros((stop - first, seen_mJ3.shape[1], 4)), np.zeros(stop - first)

        for begin in range(0, len(index), self.batch):
            index_BT = index[begin : begin + self.batch]
            poses, squares = self._windows_and_squares(seen_mJ3[index_BT - low], image)
            found = np.concatenate([poses, squares[..., None]], axis=-1)
            for at, pose in zip(index_BT, found, strict=True):
                inside = (first <= at) & (at < stop)
                np.add.at(total, at[inside] - first, (pose * self.weight_T[:, None, None])[inside])
                np.add.at(weight, at[inside] - first, self.weight_T[inside])

        return _with_spread(total / weight[:, None, None])

    def _windows_over(self, n: int, first: int, stop: int) -> np.ndarray:
        """Frame numbers (B,T) of the windows that touch first .. stop - 1; the last of all ends
        with the last frame.
        """
        t, last = np.arange(self.n_frames), n - self.n_frames
        if last < 0:
            return np.floor(t * n / self.n_frames).astype(int)[None]

        earliest = max(0, (first - self.n_frames) // self.hop + 1) * self.hop
        starts = {*range(earliest, min(stop, last + 1), self.hop)} | (
            {last} if first < n and last < stop else set()
        )
        return (
            np.array(sorted(start for start in starts if start + self.n_frames > first))[:, None]
            + t
        )

    def windows(self, seen_BTJ3: np.ndarray, image: Image | None = None) -> np.ndarray:
        """Windows of x, y (px) and confidence (B,T,J,3) -> root-relative poses (B,T,J,3) px."""
        return self._windows_and_squares(seen_BTJ3, image)[0]

    def _windows_and_squares(
        self, seen_BTJ3: np.ndarray, image: Image | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Poses as `windows` gives them, and the mean of the squared distance from the root
        (B,T,J) over what they are the mean of: the pose as seen and as seen mirrored.
        """
        if self.any_camera and image is not None:
            scale_B, shift_B2 = as_by_any(seen_BTJ3, self.skeleton, image)
        else:
            scale_B, shift_B2 = as_by_the_four(seen_BTJ3, self.skeleton)
        scale = scale_B[:, None, None, None]
        framed = np.array(seen_BTJ3, np.float32)
        framed[..., :2] = seen_BTJ3[..., :2] * scale + shift_B2[:, None, None]
        framed[:, :, self.hidden] = 0.0

        device = next(self.model.parameters()).device
        x = torch.from_numpy(framed).to(device)
        sights = [(x, False), (flip(x, self.skeleton), True)] if self.flip else [(x, False)]
        poses = []
        with torch.no_grad():
            for sight, mirrored in sights:
                pose = predict(self.model, sight, flip_test=False, skeleton=self.skeleton)
                poses.append((flip(pose, self.skeleton) if mirrored else pose).float())

        pose = sum(poses[1:], poses[0]) / len(poses)
        apart = torch.stack([(one - pose).square().sum(-1) for one in poses]).mean(0)
        found = pose.cpu().numpy() / scale  # (B,1,J,3) where one frame comes out
        square = (found.astype(np.float64) ** 2).sum(-1)
        return found, square + apart.cpu().numpy() / scale[..., 0] ** 2


class SingleFrameLifter(Lifter):
    """As `Lifter`, for a model that gives the pose of one frame of its window alone, number
    `output_frame`: a window about every frame, whose ends repeat the motion's first and last.
    """

    def __init__(self, model: nn.Module, n_frames: int, output_frame: int, **options: Any) -> None:
        super().__init__(model, n_frames, **options)
        self.output_frame = output_frame

    def part_and_spread(
        self,
        seen: Callable[[int, int], np.ndarray],
        n: int,
        first: int,
        stop: int,
        image: Image | None = None,
    ) -> np.ndarray:
        around_T = np.arange(self.n_frames) - self.output_frame
        index_BT = np.clip(np.arange(first, stop)[:, None] + around_T, 0, n - 1)
        low = int(index_BT.min())
        seen_mJ3 = seen(low, int(index_BT.max()) + 1)

        size = self.batch * self.hop
        batches = [index_BT[begin : begin + size] for begin in range(0, len(index_BT), size)]
        found = [self._windows_and_squares(seen_mJ3[at - low], image) for at in batches]
        parts = [np.concatenate([pose, square[..., None]], axis=-1) for pose, square in found]
        return _with_spread(np.concatenate(parts)[:, 0])


def _with_spread(found: np.ndarray) -> np.ndarray:
    """Means (m,J,4) of poses and of their squared length, to the poses and their spread."""
    pose, square = found[..., :3], found[..., 3:]
    variance = square - (pose**2).sum(-1, keepdims=True)
    return np.concatenate([pose, np.sqrt(np.maximum(variance, 0.0))], axis=-1)


def load_lifter(model: Path | str | None = None, device: str = "cpu") -> Lifter:
    """The lifter of a run folder (or a weights file), else of the package. Raises ConfigError or
    CheckpointError.
    """
    usable_device(device)
    network, exp = load_checkpoint(Path(model) if model else own_weights(), device)
    if device == "cpu":
        keep_freed_memory()
    options = {
        "skeleton": exp.model.joints,
        "frame_step": exp.data.frame_step,
        "predicts_unseen": exp.data.hidden_joints > 0,
        "any_camera": exp.data.cameras == "random",
    }
    frame = network.output_frame(exp.model)
    lifter = (
        Lifter(network, exp.model.n_frames, **options)
        if frame is None
        else SingleFrameLifter(network, exp.model.n_frames, frame, **options)
    )
    lifter.measured = model is None
    return lifter
