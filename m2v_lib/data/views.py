"""Training batches of motion seen by any camera (`data.cameras=random`)."""
# n frames of all clips, W windows, B batch, T frames of a window, J joints

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from m2v_lib.config import DataConfig
from m2v_lib.data.augment import flip
from m2v_lib.data.cutting import (
    clip_index,
    select_labelled_recordings,
    select_labelled_subjects,
)
from m2v_lib.data.detector_noise import DetectorModel
from m2v_lib.data.device_detector import detect
from m2v_lib.data.projection import normalise, to_image_and_depth
from m2v_lib.data.random_cameras import CameraRanges, Cameras, draw_cameras, stack, uniform
from m2v_lib.data.store import DataError, Store
from m2v_lib.geometry.cameras import load_cameras
from m2v_lib.skeletons import H36M17, Skeleton


@dataclass(frozen=True)
class Views:
    """Windows of motion in the world, on the device, from which every batch takes new views.

    world_nJ3 mm; floor_W mm; index_WT frame numbers. A window comes up once for each of the
    store's `repeats` cameras, so an epoch is as long as with these. `detector` None: the true
    projection with confidence 1.
    """

    world_nJ3: Tensor
    floor_W: Tensor
    index_WT: Tensor
    own: Cameras
    ranges: CameraRanges
    detector: DetectorModel | None = None
    skeleton: Skeleton = H36M17
    mirror: bool = True
    frame_step: int = 1
    repeats: int = 1

    def __len__(self) -> int:
        return self.repeats * len(self.index_WT)

    def batch(self, chosen_B: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Input (x, y, confidence) and root-relative label (B,T,J,3), normalised: a pure function
        of the windows chosen and the generator. Nothing here waits for the device.
        """
        window_B = chosen_B % len(self.index_WT)
        floor_B = self.floor_W[window_B]
        world = self._person(self.world_nJ3[self.index_WT[window_B]], floor_B, generator)

        drawn = draw_cameras(world, floor_B, self.ranges, generator)
        n = len(window_B)
        which = torch.randint(len(self.own.T), (n,), generator=generator, device=generator.device)
        keep = uniform((0.0, 1.0), n, generator) < self.ranges.own

        cameras = self.own.at(which).where(keep, drawn)
        return self.seen(world, cameras, generator)

    def _person(self, world_BTJ3: Tensor, floor_B: Tensor, generator: torch.Generator) -> Tensor:
        """The motion of a larger or smaller person, mirrored or not, at the same place."""
        n = len(world_BTJ3)
        size = uniform(self.ranges.size, n, generator)[:, None, None, None]
        mirrored = uniform((0.0, 1.0), n, generator) < (0.5 if self.mirror else 0.0)
        middle = world_BTJ3.mean((1, 2))
        fixed = torch.cat([middle[:, :2], floor_B[:, None]], dim=-1)[:, None, None]
        around = size * (world_BTJ3 - fixed)
        other = flip(around, self.skeleton)
        return fixed + torch.where(mirrored[:, None, None, None], other, around)

    def seen(
        self, world_BTJ3: Tensor, cameras: Cameras, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Input and label of a batch by the given cameras."""
        root = self.skeleton.root
        label_px, factor = to_image_and_depth(world_BTJ3, cameras, root)
        label = normalise(label_px, cameras.size)

        if self.detector is None:
            points, confidence = label_px[..., :2], torch.ones_like(label_px[..., 0])
        else:
            points, confidence = detect(
                label_px[..., :2],
                factor,
                generator,
                self.detector,
                self.skeleton,
                self.frame_step,
            )

        x = torch.cat([normalise(points, cameras.size), confidence[..., None]], dim=-1)
        return x, label - label[:, :, root : root + 1]


def make_views(
    store: Store,
    data: DataConfig,
    n_frames: int,
    device: torch.device | str,
    *,
    splits: Collection[str] = ("train",),
    subjects: Collection[str] | None = None,
    labels: bool = True,
) -> Views:
    """The windows that views are taken of: those of `splits`, of some `subjects` only, or without
    the validation subjects where these are held out; where `labels` count, those that have some.

    Raises DataError where the store has no motion in world space.
    """
    world = store.world()
    held_out = store.meta.val_subjects if data.validation and subjects is None else ()
    people = {c.subject for c in world.clips} if subjects is None else set(subjects)
    people -= set(held_out)
    clips = [c for c in world.clips if c.split in splits and c.subject in people]
    index = clip_index(
        [(c.start, c.n_frames) for c in clips], n_frames, data.train_stride, step=data.frame_step
    )
    of_W = np.searchsorted([c.start for c in clips], index[:, 0], side="right") - 1

    if labels:
        chosen = _labelled([clips[i].name for i in of_W], [clips[i].subject for i in of_W], data)
        index, of_W = index[chosen], of_W[chosen]

    if not len(index):
        raise DataError(f"{store.path}: no window of {n_frames} frames in {len(clips)} clips")

    own = list(load_cameras().values())
    floor = np.array([clips[i].floor for i in of_W], np.float32)
    return Views(
        world_nJ3=torch.tensor(np.asarray(world.positions)).to(device),
        floor_W=torch.from_numpy(floor).to(device),
        index_WT=torch.from_numpy(index).to(device),
        own=stack(own).to(device),
        ranges=camera_ranges(data),
        detector=detector_of(store) if data.input_2d == "detected" else None,
        skeleton=store.meta.joints,
        mirror=data.flip_train,
        frame_step=data.frame_step,
        repeats=len(own),
    )


def camera_ranges(data: DataConfig) -> CameraRanges:
    """The ranges that the settings say."""
    return CameraRanges(
        height=(data.camera_height_min, data.camera_height_max),
        distance=(data.camera_distance_min, data.camera_distance_max),
        view=(data.camera_view_min, data.camera_view_max),
        roll=data.camera_roll_max,
        aim=data.camera_aim_max,
        size=(data.person_size_min, data.person_size_max),
        own=data.own_cameras,
    )


def detector_of(store: Store) -> DetectorModel:
    """The noise model that made the store's own 2D."""
    said = store.meta.detector
    known = {f.name for f in fields(DetectorModel)}
    return DetectorModel(**{key: value for key, value in said.items() if key in known})


def _labelled(recordings: Sequence[str], subjects: Sequence[str], data: DataConfig) -> np.ndarray:
    """Which windows (W,) bool have labels, by the same rules as clips of the store's cameras."""
    chosen = np.ones(len(recordings), bool)
    if data.label_subjects:
        chosen &= select_labelled_subjects(subjects, data.label_subjects)
    if data.label_fraction < 1:
        left = [name for name, kept in zip(recordings, chosen, strict=True) if kept]
        chosen[chosen] = select_labelled_recordings(left, data.label_fraction)
    return chosen
