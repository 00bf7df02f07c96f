"""Motion seen by any camera: the projection of the fixed cameras, everyone in view whatever is
drawn, the detector's noise by its statistics, and batches that seed and step decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data import device_detector, prepare, projection
from m2v_lib.data.clips import make_clips, normalise_screen
from m2v_lib.data.detector_noise import DetectorModel, error_mm
from m2v_lib.data.random_cameras import CameraRanges, draw_cameras, place_cameras, stack
from m2v_lib.data.sources.packs import write_pack
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, Store, open_store
from m2v_lib.data.views import Views, make_views
from m2v_lib.geometry.cameras import load_cameras, to_image_and_depth, world_to_camera

CAMERAS = list(load_cameras().values())
WIDE = CameraRanges(height=(0.0, 6.0), distance=(0.5, 12.0), view=(20.0, 130.0), aim=40.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walks(n: int = 64, n_frames: int = 27, dtype: torch.dtype = torch.float32) -> Tensor:
    """Windows of people (n,T,17,3) mm that move a few metres, none of them at the origin."""
    pack = make_pack(Plan(n_train=2, n_test=0, n_frames=n * n_frames // 8 + 1, styles=STYLES))
    every = np.concatenate([clip.positions for clip in pack.clips])[: n * n_frames]
    return torch.tensor(every.reshape(n, n_frames, 17, 3) + [900, -400, 100], dtype=dtype)


STYLES = ("walk", "wave", "jump", "squat")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three people and their motion in world space; the second validates."""
    root = tmp_path_factory.mktemp("stores")
    plan = Plan(n_train=2, n_test=1, n_frames=60, styles=("walk", "wave"))
    file = write_pack(root / "pack.npz", make_pack(plan))
    options: dict[str, Any] = {"test_subjects": ["SYN_3"], "val_subjects": ["SYN_2"]}
    prepare("people", root=root, source=file, **options)
    return open_store("people", root)


def settings(changes: dict[str, Any] | None = None) -> Any:
    base = {"data.cameras": "random", "data.train_stride": 9, **(changes or {})}
    return Experiment.preset("smoke").override(base).data


def views_of(store: Store, changes: dict[str, Any] | None = None, **more: Any) -> Views:
    return make_views(store, settings(changes), 27, "cpu", **more)


@pytest.mark.parametrize("number", range(4))
def test_the_projection_is_that_of_the_fixed_cameras(number: int) -> None:
    camera = CAMERAS[number]
    world = walks(6, dtype=torch.float64)
    label, factor = projection.to_image_and_depth(world, stack([camera] * 6, torch.float64), root=0)
    for window, got, mm_per_px in zip(world.numpy(), label.numpy(), factor.numpy(), strict=True):
        expected, expected_factor = to_image_and_depth(window, camera)
        np.testing.assert_allclose(got, expected, atol=1e-9)
        np.testing.assert_allclose(mm_per_px, expected_factor, rtol=1e-12)

    size = torch.tensor([[camera.width, camera.height]], dtype=torch.float64).expand(6, 2)
    flat = label.flatten(0, 1).numpy()
    n = len(flat)
    screen = normalise_screen(flat, np.full(n, camera.width), np.full(n, camera.height))
    np.testing.assert_allclose(projection.normalise(label, size).flatten(0, 1), screen, atol=1e-12)


def test_views_of_the_own_cameras_are_the_stores_clips(store: Store) -> None:
    """Label for label, in single precision, where nobody is made larger or mirrored."""
    fixed = {"data.own_cameras": 1.0, "data.flip_train": False, "data.input_2d": "gt"}
    sizes = {"data.person_size_min": 1.0, "data.person_size_max": 1.0}
    views = views_of(store, {**fixed, **sizes})
    clips = make_clips(store.split("train"), 27, 9, input_2d="gt", without=["SYN_2"])
    x, y = views.batch(torch.arange(len(views)), seeded())
    for one_x, one_y in zip(x, y, strict=True):
        labels = clips.label_nJ3[clips.index_CT]
        distance = (labels - one_y).abs().amax((1, 2, 3))
        assert distance.min() < 1e-4
        theirs = clips.input_nJ3[clips.index_CT[distance.argmin()]]
        torch.testing.assert_close(one_x, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_frames", [1, 27, 200])
def test_everyone_is_in_view_whatever_is_drawn(n_frames: int) -> None:
    world = walks(64, n_frames)
    for seed in range(4):
        cameras = draw_cameras(world, torch.full((64,), 100.0), WIDE, seeded(seed))
        seen = projection.seen_by(world, cameras)
        label, _ = projection.to_image_and_depth(world, cameras)
        assert seen[..., 2].min() > 100 and torch.isfinite(label).all()
        inside = (label[..., :2] > 0) & (label[..., :2] < cameras.size[:, None, None])
        assert inside.all()
        turn = cameras.R @ cameras.R.transpose(1, 2)
        torch.testing.assert_close(turn, torch.eye(3).expand(64, 3, 3), atol=1e-5, rtol=0)
        assert (torch.linalg.det(cameras.R) > 0.99).all()


def test_cameras_stand_and_look_where_they_are_told() -> None:
    world = torch.zeros(2, 1, 17, 3)
    world[:, :, 1, 2], world[:, :, 2, 2] = 900.0, -900.0  # 1.8 m around the origin
    told: dict[str, Any] = {
        "height": torch.tensor([1500.0, 1500.0]),
        "distance": torch.tensor([8000.0, 200.0]),
        "azimuth": torch.zeros(2),
        "view": torch.full((2,), np.pi / 2),
        "roll": torch.tensor([0.0, np.pi / 2]),
        "aim": (torch.tensor([0.1, 0.0]), torch.tensor([0.7, 0.0])),
        "size": torch.full((2, 2), 1000.0),
    }
    cameras = place_cameras(world, torch.full((2,), -900.0), **told)
    # at the height of 1.5 m over the floor at -0.9 m; the second is moved back, not up
    torch.testing.assert_close(cameras.T[:, 2], torch.tensor([600.0, 600.0]))
    assert cameras.T[0, 0] == 8000 and 1000 < cameras.T[1, 0] < 2000
    torch.testing.assert_close(cameras.f, torch.full((2, 2), 500.0))

    seen = projection.seen_by(world, cameras)[:, 0]
    # looks past the origin by 0.1 rad to its lower right, so the origin is up and left
    origin = np.array(seen[0, 0].tolist())
    np.testing.assert_allclose(
        origin[:2] / np.linalg.norm(origin),
        -np.sin(0.1) * np.array([np.cos(0.7), np.sin(0.7)]),
        atol=1e-5,
    )
    upright = seen[0, 2] - seen[0, 1]
    assert upright[1] > 1700 and abs(upright[0]) < 20  # and upright all the same
    # rolled by a quarter clockwise, the head lies to the left of the image
    assert seen[1, 1, 0] < -500 and abs(seen[1, 1, 1]) < 1
    as_fixed = replace(CAMERAS[0], R=cameras.R[0].numpy(), T=cameras.T[0].numpy())
    np.testing.assert_allclose(seen[0], world_to_camera(world[0, 0].numpy(), as_fixed), atol=1e-2)


def moments(error: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Spread, tail and memory of errors (videos, n, J, 2) in units of the joints' scales."""
    e = error / scale[:, None]
    square = (e**2).mean()
    return {
        "spread": float(np.median(np.abs(e))),
        "tail": float((np.abs(e) > 4).mean()),
        "lag 1": float((e[:, 1:] * e[:, :-1]).mean() / square),
        "lag 6": float((np.clip(e, -3, 3)[:, 6:] * np.clip(e, -3, 3)[:, :-6]).mean()),
    }


@pytest.mark.parametrize("step", [1, 3])
def test_the_detectors_noise_has_the_distribution_of_whole_videos(step: int) -> None:
    model = DetectorModel()
    scale = model.scale_mm * device_detector.joint_scales()
    video = error_mm(np.random.default_rng(0), 200_000, model)[::step][None]
    drawn = device_detector.error_mm((1500, 40, 17), seeded(), model, frame_step=step).numpy()
    expected, got = moments(video, scale), moments(drawn, scale)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=0.06, abs=0.003), name


@pytest.mark.parametrize("step", [1, 3, 10])
def test_bursts_are_as_frequent_and_as_long_in_windows(step: int) -> None:
    model = DetectorModel(burst_rate=0.004)
    out = device_detector.bursts((4000, 30, 17), seeded(), model, step)
    on = (out != 0).any(-1)
    share = model.burst_rate * model.burst_frames
    for t in (0, 15, 29):
        assert on[:, t].float().mean().item() == pytest.approx(share, rel=0.08)
    both = (on[:, 1:] & on[:, :-1]).sum() / on[:, :-1].sum()
    stays = (1 - 1 / model.burst_frames) ** step
    assert both.item() == pytest.approx(stays + (1 - stays) * share, abs=0.02)
    same = (out[:, 1:] == out[:, :-1]).all(-1) & on[:, 1:]
    assert (same.sum() / (on[:, 1:] & on[:, :-1]).sum()).item() > 0.9


def test_confidence_tells_errors_as_in_whole_videos() -> None:
    points, factor = torch.full((300, 40, 17, 2), 500.0), torch.full((300, 40), 4.4)
    found, confidence = device_detector.detect(points, factor, seeded())
    theirs, their_confidence = _video_detections(12_000)
    for low, high in ((0, 2), (2, 5), (5, 10), (10, 30)):
        mine = (found - points).norm(dim=-1)
        chosen = confidence[(mine >= low) & (mine < high)]
        other = their_confidence[(theirs >= low) & (theirs < high)]
        assert chosen.mean().item() == pytest.approx(other.mean(), abs=0.01)
        assert chosen.std().item() == pytest.approx(other.std(), abs=0.01)


def _video_detections(n: int) -> tuple[np.ndarray, np.ndarray]:
    from m2v_lib.data.detector_noise import detect

    found, confidence = detect(np.full((n, 17, 2), 500.0), np.full(n, 4.4), "a video")
    return np.linalg.norm(found - 500.0, axis=-1), confidence


def test_a_batch_is_decided_by_its_generator(store: Store) -> None:
    views = views_of(store)
    chosen = torch.tensor([3, 0, 11, 3])
    x, y = views.batch(chosen, seeded(5))
    again_x, again_y = views.batch(chosen, seeded(5))
    assert torch.equal(x, again_x) and torch.equal(y, again_y)
    assert not torch.equal(x, views.batch(chosen, seeded(6))[0])
    assert x.shape == y.shape == (4, 27, 17, 3) and not torch.equal(y[0], y[3])
    assert (y[:, :, 0] == 0).all() and x[..., 2].min() > 0 and x[..., 2].max() < 1


def test_people_are_mirrored_and_sized_about_the_floor(store: Store) -> None:
    plain = {"data.person_size_min": 1.1, "data.person_size_max": 1.1, "data.flip_train": False}
    for changes, mirrored in ((plain, False), ({**plain, "data.flip_train": True}, True)):
        views = views_of(store, changes)
        world, floor = views.world_nJ3[views.index_WT], views.floor_W
        person = views._person(world, floor, seeded())
        bones = (world[:, :, 2] - world[:, :, 1]).norm(dim=-1)
        right = (person[:, :, 2] - person[:, :, 1]).norm(dim=-1)
        torch.testing.assert_close(right, 1.1 * bones, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(
            person[..., 0, 2] - floor[:, None], 1.1 * (world[..., 0, 2] - floor[:, None])
        )
        middle = world.mean((1, 2))
        right_hip, left_hip = (world[..., hip, 0] - middle[:, None, 0] for hip in (1, 4))
        now = (person[..., 1, 0] - middle[:, None, 0]) / 1.1
        swapped = (now + left_hip).abs().amax(1) < (now - right_hip).abs().amax(1)
        torch.testing.assert_close(
            torch.where(swapped[:, None], -left_hip, right_hip), now, atol=0.01, rtol=0
        )
        assert swapped.any().item() == mirrored and not swapped.all()
        torch.testing.assert_close(person.mean((1, 2))[:, :2], middle[:, :2], atol=0.1, rtol=0)


def test_windows_are_those_of_people_who_train(store: Store) -> None:
    world = store.world()
    assert {c.subject for c in world.clips if c.split == "train"} == {"SYN_1", "SYN_2"}
    views, every = views_of(store), views_of(store, {"data.validation": False})
    assert len(every) == 2 * len(views) and views.repeats == 4
    with_test = views_of(store, splits=("train", "test"), labels=False)
    assert len(with_test) == 2 * len(views)
    few = views_of(store, {"data.label_fraction": 0.5})
    assert len(few) == len(views) // 2
    assert len(views_of(store, {"data.label_fraction": 0.5}, labels=False)) == len(views)
    one = {"data.validation": False, "data.label_subjects": 1, "data.label_fraction": 0.5}
    assert len(views_of(store, one)) == len(views) // 2

    clips = make_clips(store.split("train"), 27, 9, without=["SYN_2"])
    assert len(clips) == len(views)
    # the same windows of the same motion: the first camera's clips
    first = [v.start for v in store.split("train").videos if v.camera == CAMERAS[0].name][0]
    assert clips.index_CT[0, 0] - first == views.index_WT[0, 0]


def test_a_store_without_world_space_says_what_is_missing(
    store: Store, write_tiny_store: Callable[..., Path], tmp_path: Path
) -> None:
    write_tiny_store(tmp_path)
    old = open_store("tiny", tmp_path)
    assert store.has_world and not old.has_world
    with pytest.raises(DataError, match="no motion in world space, which data.cameras=random"):
        make_views(old, settings(), 9, "cpu")
    with pytest.raises(DataError, match="no window of 27 frames in 0 clips"):
        views_of(store, splits=("neither",))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data.camera_view_max": 170.0}, "data.camera_view_min and .* within 5 to 140, got 35"),
        ({"data.camera_height_min": 5.0}, "must rise within 0 to 50, got 5 and 4"),
        ({"data.person_size_min": 0.0}, "data.person_size_min .* within 0.2 to 5"),
        ({"data.own_cameras": 1.5}, "data.own_cameras must lie in 0..1, got 1.5"),
        ({"data.cameras": "any"}, "data.cameras must be one of fixed, random"),
    ],
)
def test_ranges_that_cannot_be_are_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Experiment.preset("smoke").override(changes)


def test_fixed_cameras_leave_the_digest_alone() -> None:
    base = Experiment.preset("small")
    random = base.override({"data.cameras": "random"})
    for stage in ("pretrain", "finetune"):
        assert base.digest(stage) != random.digest(stage)
    wider = random.override({"data.camera_height_max": 5.0})
    assert wider.digest("finetune") != random.digest("finetune")
