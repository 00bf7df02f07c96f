"""The measure itself: a lifter that knows the truth has no error, and one that is off is off by
as much.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes.lifting import body

from m2v_lib.data.checks import DataError
from m2v_lib.data.store import Split, Video
from m2v_lib.geometry.cameras import load_cameras
from m2v_lib.lift import accuracy
from m2v_lib.lift.accuracy import lift_errors
from m2v_lib.lift.camera import bone_lengths
from m2v_lib.skeletons import H36M17, KNOWN

CAMERA = load_cameras()["54138969"]
SIZE = np.array([1000, 1002])


def split(n: int = 100) -> Split:
    """One body before one of the four cameras, without lens distortion, seen exactly; two videos
    of it.
    """
    joints = np.concatenate([body(n), body(n) + (300, 0, 800)])
    factor = joints[:, 0, 2] / CAMERA.mean_focal
    px = joints[..., :2] / joints[..., 2:] * CAMERA.mean_focal + SIZE / 2
    label = np.concatenate(
        [px, ((joints[..., 2] - joints[:, :1, 2]) / factor[:, None])[..., None]], axis=-1
    )
    videos = tuple(
        Video(f"v{i}", "S", "walk", CAMERA.name, i * n, n, *SIZE.tolist()) for i in range(2)
    )
    return Split(
        px, np.full(px.shape[:2], 0.9), label, label * factor[:, None, None], factor, videos
    )


class Knowing:
    """In place of a lifter: gives the depth that belongs to the pixels it is shown, times
    `wrong`.
    """

    skeleton = H36M17
    fps = 50.0
    hidden: tuple[int, ...] = ()
    measured = False

    def __init__(self, made: Split, wrong: float = 1.0) -> None:
        self.label, self.wrong = made.label_px, wrong

    def __call__(self, seen: np.ndarray) -> np.ndarray:
        off = np.linalg.norm(self.label[None, :, :, :2] - seen[:, None, :, :2], axis=-1).mean(-1)
        pose = self.label[off.argmin(1)]
        return (pose - pose[:, :1]) * (1, 1, self.wrong)

    def part_and_spread(
        self,
        seen: Callable[[int, int], np.ndarray],
        n: int,
        first: int,
        stop: int,
        image: tuple[float, float],
    ) -> np.ndarray:
        pose = self(seen(first, stop))
        return np.concatenate([pose, np.zeros_like(pose[..., :1])], axis=-1)


def test_the_truth_has_no_error_and_a_wrong_depth_has_its_own() -> None:
    made = split()
    right = lift_errors(made, Knowing(made))  # type: ignore[arg-type]
    assert (
        right["n_frames"] == 200
        and right["mpjpe"] < 10
        and right["p_mpjpe"] < 3
        and right["accel"] < 1000  # smoothing and feet cost limbs that swing so fast a little
    )
    assert right["bone_spread"] < 1 and max(right["root"]) < 60 and right["frames_per_second"] > 0
    wrong = lift_errors(made, Knowing(made, wrong=-1.0))  # type: ignore[arg-type]
    assert wrong["mpjpe"] > 100


@pytest.mark.parametrize(
    ("fps", "n_frames", "expected"), [(25.0, 0, 50), (50.0, 243, 243), (50.0, 1, 1), (30.0, 0, 60)]
)
def test_any_rate_and_length(fps: float, n_frames: int, expected: int) -> None:
    made = split()
    found = lift_errors(made, Knowing(made), fps=fps, n_frames=n_frames, n_videos=1)  # type: ignore[arg-type]
    assert found["n_frames"] == expected and found["mpjpe"] < 40
    assert (found["accel"] is None) == (expected < 3)


def test_a_longer_motion_goes_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = split(40)
    tracks, truth = accuracy._played(made, made.videos[0], 50.0, 50.0, 100)
    xy = tracks.people[0].xy
    np.testing.assert_allclose(xy[:40], made.joint_2d[:40])
    np.testing.assert_allclose(xy[40:78], made.joint_2d[38:0:-1])
    np.testing.assert_allclose(xy[78:], made.joint_2d[:22])
    np.testing.assert_allclose(bone_lengths(truth).std(0), 0, atol=1e-6)


def test_joints_are_hidden_as_asked() -> None:
    made, shown = split(), list[np.ndarray]()

    class Watching(Knowing):
        def __call__(self, seen: np.ndarray) -> np.ndarray:
            shown.append(seen)
            return super().__call__(seen)

    found = lift_errors(made, Watching(made), missing=0.2, n_videos=1)  # type: ignore[arg-type]
    assert abs((shown[0][..., 2] < 0.899).mean() - 0.2) < 0.03 and found["mpjpe"] < 40


def test_a_short_piece_is_the_middle() -> None:
    made = split(40)
    xy = accuracy._played(made, made.videos[0], 50.0, 50.0, 10)[0].people[0].xy
    np.testing.assert_allclose(xy, made.joint_2d[15:25])


def test_the_table_has_every_rate_and_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, heard = split(), list[str]()
    result = {"name": "run", "data": {"name": "mocap"}, "schedule": {"partial": True}}
    monkeypatch.setattr(accuracy, "load_record", lambda folder: SimpleNamespace(result=result))
    monkeypatch.setattr(accuracy, "load_lifter", lambda folder: Knowing(made))
    meta = SimpleNamespace(
        name="mocap", protocol="by subject", fingerprint="f", fps=50.0, joints=H36M17
    )
    store: Any = SimpleNamespace(meta=meta, split=lambda which: {"test": made}[which])
    found = accuracy.accuracy(
        tmp_path,
        store,
        rates=(25.0, 50.0),
        lengths={1: 2, 120: 1},
        memory_lengths=(1, 120),
        say=heard.append,
    )
    assert [(row["fps"], row["length"], row["n_videos"]) for row in found["rows"]] == [
        (25, 1, 2),
        (25, 120, 1),
        (50, 1, 2),
        (50, 120, 1),
    ]
    assert found["state"] == "mocap, partial schedule" and len(heard) == 6
    assert [row["length"] for row in found["memory"]] == [1, 120] and json.dumps(found)
    elsewhere = replace(made, videos=(replace(made.videos[0], camera="mine"),))
    with pytest.raises(DataError, match="mocap: was filmed by mine, expected Human3.6M's cameras"):
        accuracy.accuracy(tmp_path, SimpleNamespace(meta=meta, split=lambda which: elsewhere))  # type: ignore[arg-type]
    meta.joints = KNOWN["body25"]
    with pytest.raises(DataError, match="mocap: holds joints of body25, the model those of h36m17"):
        accuracy.accuracy(tmp_path, store)
