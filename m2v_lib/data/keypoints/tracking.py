"""Who is who from frame to frame: detections joined into tracks by where the keypoints are
expected next.
"""
# m detections, J joints, A tracks, B detections of one frame

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

#: a detection farther from where a track is expected than this many body sizes is somebody else
GATE: Final = 0.5
#: a track unseen for longer than this (s) has ended; who comes back after that gets a new name
MAX_GAP: Final = 1.0


@dataclass
class _Track:
    name: int
    frame: int
    joints: np.ndarray  # where each joint was last seen, moved on since
    seen: np.ndarray  # whether it ever was
    velocity: np.ndarray  # px a frame, of the body as a whole

    def expected(self, frame: int) -> np.ndarray:
        return self.joints + self.velocity * (frame - self.frame)

    def move(self, frame: int, joints: np.ndarray, seen: np.ndarray) -> None:
        """Take the detection; velocity is a running mean, so that one bad frame throws nobody
        off.
        """
        both = self.seen & seen
        if both.any():
            step = np.median((joints - self.joints)[both], axis=0) / (frame - self.frame)
            self.velocity = 0.7 * self.velocity + 0.3 * step
        self.joints = np.where(seen[:, None], joints, self.expected(frame))
        self.seen = self.seen | seen
        self.frame = frame


class Tracker:
    """Gives each detection of one frame after another a track's number, from 0 in the order of
    appearance.

    In every frame the pairing of tracks and detections with the smallest sum of distances is
    taken (Hungarian method). A distance is the mean over joints seen in both, between detection
    and the track's last pose moved on at its mean velocity, in units of body size. Without `fps`
    a track ends after 25 unseen frames.
    """

    def __init__(self, fps: float | None = None) -> None:
        self.max_gap = max(2, round(MAX_GAP * (fps or 25.0)))
        self.tracks: list[_Track] = []
        self.n_tracks = 0

    def step(self, frame: int, joints: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """Numbers (B,) of the detections of `frame`: joints (B,J,2) px, confidence (B,J) with 0
        for a missing joint.
        """
        seen, names = confidence > 0, np.full(len(joints), -1)
        self.tracks = [track for track in self.tracks if frame - track.frame <= self.max_gap]
        cost, sizes = np.empty((len(self.tracks), len(joints))), _sizes(joints, seen)
        for a, track in enumerate(self.tracks):
            cost[a] = _distances(track, frame, joints, seen, sizes)

        for a, b in assign(np.minimum(cost, 10 * GATE)) if cost.size else []:
            if cost[a, b] <= GATE:
                self.tracks[a].move(frame, joints[b], seen[b])
                names[b] = self.tracks[a].name

        for b in np.flatnonzero(names < 0).tolist():
            self.tracks.append(_Track(self.n_tracks, frame, joints[b], seen[b], np.zeros(2)))
            names[b] = self.n_tracks
            self.n_tracks += 1

        return names


def link(
    frame: np.ndarray, joints: np.ndarray, confidence: np.ndarray, fps: float | None = None
) -> np.ndarray:
    """A track number (m,) for each detection of a recording: frame (m,), joints (m,J,2) px,
    confidence (m,J).
    """
    tracker, names = Tracker(fps), np.full(len(frame), -1)
    order = np.argsort(frame, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(frame[order])) + 1):
        names[rows] = tracker.step(int(frame[rows[0]]), joints[rows], confidence[rows])
    return names


def _distances(
    track: _Track, frame: int, joints: np.ndarray, seen: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Mean joint distances (B,) in body sizes to detections (B,J,2) of `sizes` (B,) that see the
    joints (B,J); between the bodies' middles where no joint is seen in both.
    """
    expected = track.expected(frame)
    size = np.maximum(np.maximum(sizes, _sizes(expected, track.seen)), 1.0)
    both = track.seen & seen
    apart = np.linalg.norm(joints - expected, axis=-1)
    mean = np.where(both, apart, 0.0).sum(1) / np.maximum(both.sum(1), 1)

    middle = np.where(seen[..., None], joints, 0.0).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
    between = np.linalg.norm(middle - expected[track.seen].mean(0), axis=-1)
    return np.asarray(np.where(both.any(1), mean, between) / size)


def _sizes(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Diagonals (...,) of the boxes around the points (...,J,2) that are seen, px."""
    low, high = (np.where(seen[..., None], points, edge) for edge in (np.inf, -np.inf))
    sides = np.maximum(high.max(-2) - low.min(-2), 0)
    return np.asarray(np.linalg.norm(sides, axis=-1))


def assign(cost: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of a cost matrix (A,B), min(A,B) of them, with the smallest sum.

    The Hungarian method by shortest augmenting paths: rows enter one by one, potentials u, v
    keep reduced costs >= 0.
    """
    if cost.shape[0] > cost.shape[1]:
        return sorted((a, b) for b, a in assign(cost.T))

    n, m = cost.shape
    if n == 1:
        return [(0, int(cost[0].argmin()))]

    u, v = np.zeros(n + 1), np.zeros(m + 1)
    row_of = np.full(m + 1, n)  # column m is the start of each path, row n means free

    for row in range(n):
        row_of[m], column = row, m
        shortest, before, done = np.full(m + 1, np.inf), np.full(m + 1, m), np.zeros(m + 1, bool)

        while row_of[column] != n:
            done[column] = True
            reduced = np.append(cost[row_of[column]] - u[row_of[column]] - v[:m], np.inf)
            better = ~done & (reduced < shortest)
            shortest[better], before[better] = reduced[better], column
            nearest = int(np.where(done, np.inf, shortest).argmin())
            step = shortest[nearest]
            u[row_of[done]] += step
            v[done] -= step
            shortest[~done] -= step
            column = nearest

        while column != m:
            row_of[column], column = row_of[before[column]], int(before[column])

    return sorted((int(row), column) for column, row in enumerate(row_of[:m]) if row != n)
