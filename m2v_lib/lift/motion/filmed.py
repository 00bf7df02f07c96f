"""Motion capture filmed by any camera, with all that is true of it: what measurements of lifted
motion are made against. Everything follows from the seed.
"""
# n frames, J joints

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from m2v_lib.config import ConfigError
from m2v_lib.data.device_detector import detect
from m2v_lib.data.keypoints import Person, Tracks
from m2v_lib.data.projection import seen_by, to_image_and_depth
from m2v_lib.data.random_cameras import Cameras, place_cameras, stack
from m2v_lib.data.store import Store
from m2v_lib.data.store.world import WorldClip
from m2v_lib.data.views import detector_of
from m2v_lib.evaluation.camera_grid import GOLDEN_ANGLE, IMAGE_SIZE, SEED, Cell
from m2v_lib.geometry.cameras import load_cameras

#: clips shorter than this many frames are left out, longer ones cut to the most
MIN_FRAMES: Final = 100
MAX_FRAMES: Final = 500


@dataclass(frozen=True)
class Film:
    """Detected keypoints of a clip, the true joints (n,J,3) mm in camera space, the true up (3,),
    the camera's height above the floor (mm) and its focal length (px).
    """

    tracks: Tracks
    joints_mm: np.ndarray
    up: np.ndarray
    camera_height: float
    focal: float

    @property
    def fps(self) -> float:
        return float(self.tracks.fps or 0)


def chosen_clips(store: Store, split: str, n_clips: int) -> list[WorldClip]:
    """So many clips, spread over those of the "test" or "val" subjects that are long enough."""
    people = store.meta.val_subjects
    if split == "val" and not people:
        raise ConfigError(f"{store.path}: the store names no validation subjects")

    clips = [
        clip
        for clip in store.world().clips
        if (clip.subject in people if split == "val" else clip.split == split)
        and clip.n_frames >= MIN_FRAMES
    ]
    at = np.linspace(0, len(clips) - 1, min(n_clips, len(clips))).round().astype(int)
    return [clips[i] for i in at]


def films(
    store: Store, clips: Sequence[WorldClip], cells: Sequence[Cell | None]
) -> Iterator[tuple[Cell | None, Film]]:
    """Each clip filmed by each camera: a cell of the grid, or None for Human3.6M's in turn."""
    world = store.world()
    for number, clip in enumerate(clips):
        n = min(clip.n_frames, MAX_FRAMES)
        frames = np.asarray(world.positions[clip.start : clip.start + n])
        joints = torch.tensor(frames, dtype=torch.float32)[None]
        for cell in cells:
            yield cell, _film(store, clip, joints, number, cell)


def _film(
    store: Store, clip: WorldClip, world_1nJ3: torch.Tensor, number: int, cell: Cell | None
) -> Film:
    cameras = _camera(world_1nJ3, clip.floor, number, cell)
    generator = torch.Generator().manual_seed(SEED + number)
    pixels, factor = to_image_and_depth(world_1nJ3, cameras, store.meta.joints.root)
    xy, confidence = detect(
        pixels[..., :2], factor, generator, detector_of(store), store.meta.joints
    )

    n, fps = world_1nJ3.shape[1], store.meta.fps
    width, height = (int(side) for side in cameras.size[0].tolist())
    person = Person("1", np.arange(n), xy[0].numpy(), confidence[0].numpy())
    skeleton = store.meta.joints
    tracks = Tracks(
        clip.name,
        "store",
        skeleton.name,
        (person,),
        n,
        width,
        height,
        fps,
        skeleton=skeleton,
    )
    return Film(
        tracks,
        seen_by(world_1nJ3, cameras)[0].double().numpy(),
        cameras.R[0, 2].double().numpy(),
        float(cameras.T[0, 2]) - clip.floor,
        float(cameras.f[0].mean()),
    )


def _camera(world_1nJ3: torch.Tensor, floor: float, number: int, cell: Cell | None) -> Cameras:
    """The clip's camera: of a cell from a direction that goes on with the clip's number."""
    if cell is None:
        own = list(load_cameras().values())
        return stack([own[number % len(own)]])

    one = torch.ones(1)
    return place_cameras(
        world_1nJ3,
        floor * one,
        height=1000 * cell.height * one,
        distance=1000 * cell.distance * one,
        azimuth=(number * GOLDEN_ANGLE) % (2 * math.pi) * one,
        view=math.radians(cell.view) * one,
        roll=math.radians(cell.roll) * one,
        aim=(0 * one, 0 * one),
        size=IMAGE_SIZE * torch.ones(1, 2),
    )
