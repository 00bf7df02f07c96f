"""Bones of constant length: a network's breathe by some percent, a body's do not.

Every bone keeps its direction, and so does the root its place; each gets one length for the whole
recording, the same on both sides. The length is half what was lifted (median of the frames in
which both ends were seen), half a body's proportions: of the shares tried that had the least joint error
on validation subjects. `docs/motion.md` says what it is worth on test subjects.
"""
# n frames, J joints

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from m2v_lib.lift import camera
from m2v_lib.skeletons import Skeleton
from m2v_lib.skeletons.body import reference_lengths

if TYPE_CHECKING:
    from m2v_lib.lift.people import Lifted

#: share of a body's proportions in a bone's length; the rest is what was lifted
REFERENCE_SHARE: Final = 0.5
#: frames that lengths are measured on
SAMPLE: Final = 5000
#: frames of a recording from which its bones are measured; fewer are left as they are, the
#: network being too unsure of them
MIN_FRAMES: Final = 3
#: share of those in which a bone has to be seen, else all of them count
MIN_SEEN: Final = 0.05


def bone_links(skeleton: Skeleton, absent: Collection[int] = ()) -> list[tuple[int, int]]:
    """(parent, child) among the joints that are there, each after the one that ends where it
    begins.
    """
    kept = [joint for joint in range(len(skeleton)) if joint not in absent]
    order = [child for _, child in skeleton.bones_from_root if child in kept]
    links = [(skeleton.parent_among(child, kept), child) for child in order]
    return [(parent, child) for parent, child in links if parent >= 0]


def bone_targets(
    pieces: Sequence[Lifted], skeleton: Skeleton, links: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Length (J,) mm of the bone to each joint; NaN where there is none."""
    lengths = np.full(len(skeleton), np.nan)
    total = sum(piece.n_frames for piece in pieces)
    step = -(-total // SAMPLE)
    pose = np.concatenate([piece.pose_mm[::step] for piece in pieces]).astype(np.float64)
    filled = np.concatenate([piece.filled[::step] for piece in pieces])

    for parent, child in links:
        measured = np.linalg.norm(pose[:, child] - pose[:, parent], axis=-1)
        seen = ~(filled[:, parent] | filled[:, child])
        chosen = seen if seen.mean() >= MIN_SEEN else np.ones_like(seen)
        lengths[child] = np.median(measured[chosen])

    for right, left in skeleton.flip_pairs:
        if np.isfinite(lengths[[right, left]]).all():
            lengths[[right, left]] = lengths[[right, left]].mean()

    return _towards_a_body(lengths, skeleton, links)


def _towards_a_body(
    lengths: np.ndarray, skeleton: Skeleton, links: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Lengths (J,) half way to the proportions of a body that is as large altogether."""
    reference = np.full(len(skeleton), np.nan)
    for (parent, child), length in zip(skeleton.bones, reference_lengths(skeleton), strict=True):
        if (parent, child) in links:
            reference[child] = length

    known = np.isfinite(reference) & np.isfinite(lengths) & (lengths > 0)
    if not known.any():
        return lengths
    scale = lengths[known].sum() / reference[known].sum()
    out = lengths.copy()
    out[known] += REFERENCE_SHARE * (scale * reference[known] - lengths[known])
    return out


def set_lengths(
    pose_mm: np.ndarray,
    lengths: np.ndarray,
    links: Sequence[tuple[int, int]],
    skeleton: Skeleton,
    absent: Collection[int] = (),
) -> None:
    """Give poses (n,J,3), in place, bones of these lengths (J,) in the directions that they have."""
    for first in range(0, len(pose_mm), camera.BLOCK):
        block = pose_mm[first : first + camera.BLOCK]
        before = block.astype(np.float64)
        after = before.copy()

        for parent, child in links:
            bone = before[:, child] - before[:, parent]
            size = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            after[:, child] = after[:, parent] + lengths[child] / size * bone

        for joint in sorted(absent):
            parent = skeleton.parents[joint]
            if parent >= 0:
                after[:, joint] = after[:, parent] + before[:, joint] - before[:, parent]

        block[:] = after
