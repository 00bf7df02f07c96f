"""Motion capture as a store: a pack's clips seen by the four Human3.6M cameras and by the noisy
detector, subjects split into train and test.
"""
# n frames of all clips, J joints

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from m2v_lib.data.detector_noise import DetectorModel, detect
from m2v_lib.data.sources.packs import PACK_FILE as PACK_FILE
from m2v_lib.data.sources.packs import PACK_JOINTS as PACK_JOINTS
from m2v_lib.data.sources.packs import Clip as Clip
from m2v_lib.data.sources.packs import Pack as Pack
from m2v_lib.data.sources.packs import looks_like as looks_like
from m2v_lib.data.sources.packs import read_pack as read_pack
from m2v_lib.data.sources.packs import write_pack as write_pack
from m2v_lib.data.sources.rig import form_pack
from m2v_lib.data.store import DataError, Meta, Split, Video, skeleton_entries, write_store
from m2v_lib.data.store.world import World, make_world
from m2v_lib.geometry.cameras import Camera, load_cameras, to_image_and_depth, world_to_camera
from m2v_lib.skeletons import H36M17, Skeleton

TEST_SUBJECTS: Final = ("CMU_06", "CMU_16", "CMU_135")
VAL_SUBJECTS: Final = ("CMU_49", "CMU_35")


def prepare_pack(
    root: Path,
    store_name: str,
    sources: Sequence[Path],
    *,
    recipe: str,
    joints: str | None = None,
    test_subjects: Sequence[str] = TEST_SUBJECTS,
    val_subjects: Sequence[str] = VAL_SUBJECTS,
    input_noise_seed: int = 0,
) -> Path:
    """Read a pack and film it (``prepare_mocap``); ``input_noise_seed`` fixes the 2D detector's
    noise.

    ``joints`` is a layout that a pack of the rig is brought into first (``rig.form_pack``).
    """
    if len(sources) != 1:
        raise DataError(
            f"{store_name}: got {len(sources)} sources, expected one motion capture pack (.npz)"
        )

    pack, which = form_pack(read_pack(sources[0]), joints)
    sha256 = hashlib.sha256(sources[0].read_bytes()).hexdigest()
    return prepare_mocap(
        root,
        store_name,
        pack,
        source=f"{sources[0].name} (sha256 {sha256[:12]})",
        test_subjects=tuple(test_subjects),
        val_subjects=tuple(val_subjects),
        detector=DetectorModel(seed=input_noise_seed),
        recipe=recipe,
        joints=which,
    )


def prepare_mocap(
    root: Path,
    name: str,
    pack: Pack,
    *,
    source: str,
    test_subjects: Sequence[str] = TEST_SUBJECTS,
    val_subjects: Sequence[str] = VAL_SUBJECTS,
    detector: DetectorModel | None = None,
    recipe: str = "",
    joints: str = "",
) -> Path:
    """Project every clip by the four cameras, detect, split by subject and write the store
    ``<root>/<name>``.

    Videos are called ``<clip>.<camera>`` and labelled with the clip's action class. Validation
    subjects stay in the train split (the loader holds them out). Positions are used as captured:
    no floor is subtracted. ``joints`` is the protocol's phrase on which joints these are.
    """
    detector = detector or DetectorModel()
    groups: dict[str, list[Clip]] = {"train": [], "test": []}
    for clip in pack.clips:
        groups["test" if clip.subject in test_subjects else "train"].append(clip)

    for split, clips in groups.items():
        if not clips:
            found = ", ".join(pack.subjects())
            raise DataError(
                f"{source}: split {split} is empty: test subjects are {', '.join(test_subjects)}, "
                f"the pack has {found}"
            )

    said = (
        f"split by subject, test {' '.join(test_subjects)}; 2.5D frames of four Human3.6M cameras"
    )
    train_subjects = {clip.subject for clip in groups["train"]}
    meta = Meta(
        name=name,
        fps=pack.fps,
        protocol=f"{said}; {joints}" if joints else said,
        source=source,
        detector=detector.describe(),
        val_subjects=tuple(s for s in val_subjects if s in train_subjects),
        recipe=recipe,
        **skeleton_entries(pack.skeleton),
    )

    films = [film(clips, detector, skeleton=pack.skeleton) for clips in groups.values()]
    return write_store(root, meta, *films, world=world_of(groups))


def world_of(groups: Mapping[str, Sequence[Clip]]) -> World:
    """The clips of each split in world space."""
    takes = {
        split: [(c.name, c.subject, c.action_class, c.positions) for c in clips]
        for split, clips in groups.items()
    }
    return make_world(takes)


def film(
    clips: Sequence[Clip],
    detector: DetectorModel,
    cameras: Sequence[Camera] | None = None,
    skeleton: Skeleton = H36M17,
) -> Split:
    """Each clip seen by each camera (all four by default), as one split."""
    cameras = tuple(cameras or load_cameras().values())
    n = sum(len(clip.positions) for clip in clips) * len(cameras)
    J = len(skeleton)
    joint_2d, confidence = np.empty((n, J, 2), np.float32), np.empty((n, J), np.float32)
    label, truth = np.empty((n, J, 3), np.float32), np.empty((n, J, 3), np.float32)
    factor, videos, start = np.empty(n, np.float32), [], 0

    for clip, camera in _takes(clips, cameras):
        end = start + len(clip.positions)
        video = Video(
            f"{clip.name}.{camera.name}",
            clip.subject,
            clip.action_class,
            camera.name,
            start,
            end - start,
            camera.width,
            camera.height,
        )
        label_px, mm_per_px = to_image_and_depth(_in_front(clip, camera), camera, skeleton.root)
        joint_2d[start:end], confidence[start:end] = detect(
            label_px[..., :2], mm_per_px, video.source, detector, skeleton
        )
        label[start:end], factor[start:end] = label_px, mm_per_px
        truth[start:end] = label_px * mm_per_px[:, None, None]
        videos.append(video)
        start = end

    return Split(joint_2d, confidence, label, truth, factor, tuple(videos))


def _takes(clips: Sequence[Clip], cameras: Sequence[Camera]) -> Iterator[tuple[Clip, Camera]]:
    return ((clip, camera) for clip in clips for camera in cameras)


def _in_front(clip: Clip, camera: Camera) -> np.ndarray:
    """The clip's positions as float64; a joint nearer than 30 cm to the lens plane is an error
    naming the frame.
    """
    positions = clip.positions.astype(np.float64)
    nearest = world_to_camera(positions, camera)[..., 2].min(1)
    if nearest.min() < 300:
        raise DataError(
            f"{clip.name}: frame {int(nearest.argmin())} is {nearest.min():.0f} mm from camera "
            f"{camera.name}, expected at least 300 mm in front of it"
        )
    return positions
