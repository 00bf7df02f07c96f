"""From what a detector saw to a regular series: gaps filled in and marked, from one frame rate
to another.

Both steps look only at neighbours in time, so that a stream gives what a file gives.
"""
# n frames, m frames at another rate, J joints, S samples

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from m2v_lib.skeletons import H36M17, Skeleton

#: somebody unseen for longer (s) is not guessed at
MAX_GAP: Final = 0.5
#: the confidence of what is filled in falls to half in this time (s) since the joint was last
#: seen
HALF_LIFE: Final = 0.1
#: where a joint that a layout lacks is in the mean over Human3.6M poses, as a mix of others: the
#: nose between neck and head, the head beyond the nose, the neck beyond the spine. The network is
#: given this with confidence 0
ABSENT_FROM: Final = {
    7: ((0, 0.5), (8, 0.5)),
    9: ((8, 0.45), (10, 0.55)),
    10: ((9, 1.5), (8, -0.5)),
}
#: times sampled at once
BLOCK: Final = 1024


def unbroken(frames: np.ndarray, fps: float) -> Iterator[slice]:
    """Rows of rising frame numbers (n,), cut where nobody was seen for longer than MAX_GAP."""
    cuts = np.flatnonzero(np.diff(frames) > max(1.0, MAX_GAP * fps)) + 1
    yield from (slice(first, stop) for first, stop in pairwise((0, *cuts.tolist(), len(frames))))


def dense(frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (n,...) of rising frame numbers as one row a frame from the first to the last, 0 in
    the gaps; where there are none, the values themselves.
    """
    if frames[-1] - frames[0] + 1 == len(values):
        return values
    out = np.zeros((int(frames[-1] - frames[0]) + 1, *values.shape[1:]), values.dtype)
    out[frames - frames[0]] = values
    return out


def fill(
    xy: np.ndarray,
    confidence: np.ndarray,
    fps: float,
    threshold: float = 0.0,
    absent: Sequence[int] = (),
    skeleton: Skeleton = H36M17,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Replace joints whose confidence is 0 or below `threshold` by their neighbours in time.

    xy (n,J,2), confidence (n,J) -> the same filled in, and filled (n,J) bool. Between two
    sightings a joint moves in a straight line, before the first and after the last it stands
    still; one that is never seen is put on its parent in the skeleton, an `absent` one, which the
    layout does not have, where bodies have it (`ABSENT_FROM`). Its confidence is that of
    the nearer sighting, halved every 0.1 s away from it; never seen: 0. float32 stays float32.
    """
    seen = confidence > max(threshold, 0.0)
    xy, confidence = (
        np.array(values, np.result_type(values, np.float32)) for values in (xy, confidence)
    )
    n = len(xy)
    at = np.arange(n)

    for joint in range(xy.shape[1]):
        known = np.flatnonzero(seen[:, joint])
        if not len(known) or len(known) == n:
            continue

        for axis in range(2):
            xy[:, joint, axis] = np.interp(at, known, xy[known, joint, axis])

        after = np.searchsorted(known, at).clip(0, len(known) - 1)
        before = (after - 1).clip(0)
        nearest = np.where(
            np.abs(known[before] - at) < np.abs(known[after] - at), known[before], known[after]
        )
        confidence[:, joint] = confidence[nearest, joint] * 0.5 ** (
            np.abs(nearest - at) / fps / HALF_LIFE
        )

    _put_on_parents(xy, confidence, np.asarray(seen.any(0)), absent, skeleton)
    return xy, confidence, ~seen


def _put_on_parents(
    xy: np.ndarray,
    confidence: np.ndarray,
    ever: np.ndarray,
    absent: Sequence[int],
    skeleton: Skeleton,
) -> None:
    """Joints never seen lie on their nearest seen ancestor; the root, if never seen, on the
    middle of all others.
    """
    if xy.shape[1] != len(skeleton) or ever.all():
        return

    if not ever[skeleton.root]:
        xy[:, skeleton.root] = xy[:, ever].mean(1) if ever.any() else 0.0

    for parent, joint in skeleton.bones_from_root:
        if not ever[joint]:
            xy[:, joint] = xy[:, parent]

    for joint in absent:
        from_joints = ABSENT_FROM.get(joint)
        if from_joints and skeleton == H36M17:
            xy[:, joint] = sum(weight * xy[:, other] for other, weight in from_joints)

    confidence[:, ~ever] = 0.0


def sample(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values (n,...) at 0 .. n-1, evaluated at the times `at` (m,) in frames, held beyond the
    ends.

    Catmull-Rom: the cubic through two neighbours with slopes from theirs; straight lines stay
    straight. The next two frames are all it needs to know of the future. Done in blocks, so that
    only the result grows with the length.
    """
    out = np.empty((len(at), *values.shape[1:]))
    for first in range(0, len(at), BLOCK):
        out[first : first + BLOCK] = _sample(values, at[first : first + BLOCK])
    return out


def _sample(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    n = len(values)
    at = np.clip(at, 0, n - 1)
    i = np.floor(at).astype(int)
    u = (at - i).reshape(-1, *[1] * (values.ndim - 1))
    before, here, after, later = (values[np.clip(i + k, 0, n - 1)] for k in (-1, 0, 1, 2))
    before = np.where(
        (i == 0).reshape(u.shape), 2 * here - after, before
    )  # the line goes on at the ends
    later = np.where((i >= n - 2).reshape(u.shape), 2 * after - here, later)
    slope, next_slope = (after - before) / 2, (later - here) / 2

    rise = after - here
    return (
        here
        + u * slope
        + u**2 * (3 * rise - 2 * slope - next_slope)
        + u**3 * (slope + next_slope - 2 * rise)
    )


def at_rate(n_frames: int, fps: float, new_fps: float) -> np.ndarray:
    """Times (m,) in frames at `fps` of frames at `new_fps`, from the first of n until the last
    is reached.
    """
    return np.arange(n_at_rate(n_frames, fps, new_fps)) * fps / new_fps


def n_at_rate(n_frames: int, fps: float, new_fps: float) -> int:
    """How many frames at `new_fps` that are."""
    return int(np.ceil((n_frames - 1) * new_fps / fps - 1e-9)) + 1
