"""There and back: a store exported in each layout of Human3.6M and read again is the same store,
and scores alike.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from m2v_lib.config import Experiment
from m2v_lib.data import prepare
from m2v_lib.data.clips import evaluation_clips
from m2v_lib.data.detector_noise import DetectorModel, detect
from m2v_lib.data.export import export_store
from m2v_lib.data.export.h36m import to_world
from m2v_lib.data.safe_pickle.reader import read_object_npz, read_pickle
from m2v_lib.data.sources.h36m import FAULTY
from m2v_lib.data.sources.h36m.videopose_npz import KEPT_JOINTS, Take, to_split
from m2v_lib.data.sources.mocap import Pack, prepare_mocap
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import DataError, Split, Store, check_split, open_store, write_store
from m2v_lib.evaluation.protocols import evaluate_pose
from m2v_lib.geometry.cameras import (
    CAMERA_NAMES,
    load_cameras,
    project,
    subject_cameras,
    world_to_camera,
)
from m2v_lib.models.registry import build_model
from m2v_lib.skeletons import H36M17

ARRAYS = ("joint_2d", "confidence", "label_px", "truth_mm", "factor")
N_FRAMES = 9
PACK = make_pack(Plan(n_train=3, n_test=2, n_frames=40, styles=("walk", "wave"), takes=2))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three people train, two test; some takes are shorter than a clip of 9 frames."""
    root = tmp_path_factory.mktemp("stores")
    clips = tuple(
        replace(c, positions=c.positions[: 40 if i % 3 else 7]) for i, c in enumerate(PACK.clips)
    )
    prepare_mocap(
        root,
        "toy",
        Pack(clips, 50.0),
        source="x",
        test_subjects=("SYN_4", "SYN_5"),
        val_subjects=(),
    )
    return open_store("toy", root)


def there_and_back(store: Store, form: str, folder: Path, *sources: str, **options: Any) -> Store:
    export_store(store.meta.name, form, folder, root=store.path.parent, **options)
    prepare("back", root=folder, source=[folder / name for name in sources], kind="h36m")
    return open_store("back", folder)


def untrained() -> torch.nn.Module:
    small = {
        "model.n_layers": 1,
        "model.dim": 8,
        "model.n_heads": 2,
        "model.dim_rep": 8,
        "model.n_frames": N_FRAMES,
    }
    return build_model(
        Experiment.preset("smoke").override({**small, "pretrain.target_layers": 1}).model, seed=0
    )


def scores(store: Store, **options: Any) -> dict[str, Any]:
    """Errors; those of recordings without their names, which the file's layout makes its own."""
    arguments = {"input_2d": "detected", "device": "cpu", **options}
    found = evaluate_pose(
        untrained(), evaluation_clips(store, "test", N_FRAMES, N_FRAMES, **arguments)
    )
    each = found["per_recording"].values()
    return found | {"per_recording": sorted(tuple(errors.values()) for errors in each)}


def assert_same_videos(one: Split, other: Split, *fields: str) -> None:
    for field in ("action", "camera", "start", "n_frames", "width", "height", *fields):
        assert [getattr(v, field) for v in one.videos] == [
            getattr(v, field) for v in other.videos
        ], field


def test_the_pickle_is_the_store_to_the_bit(toy: Store, tmp_path: Path) -> None:
    back = there_and_back(toy, "h36m-sh", tmp_path, "h36m_sh_conf_cam_source_final.pkl")
    for name in ("train", "test"):
        given, read = toy.split(name), back.split(name)
        assert_same_videos(given, read)
        for key in ARRAYS if name == "test" else ARRAYS[:3]:
            np.testing.assert_array_equal(getattr(given, key), getattr(read, key))
    assert {v.subject for v in back.split("test").videos} == {"S9", "S11"}
    assert {v.subject for v in back.split("train").videos} == {"S1", "S5", "S6"}
    assert scores(back) == scores(toy)
    assert scores(back, input_2d="gt") == scores(toy, input_2d="gt")


def test_millimetres_of_training_frames_are_estimated(toy: Store, tmp_path: Path) -> None:
    """The published file has none there; people of other sizes and poses are off by some
    percent.
    """
    back = there_and_back(toy, "h36m-sh", tmp_path, "h36m_sh_conf_cam_source_final.pkl")
    off = np.asarray(back.split("train").factor) / np.asarray(toy.split("train").factor) - 1
    assert 0 < np.abs(off).mean() < 0.06 and np.abs(off).max() < 0.2
    split = back.split("train")
    np.testing.assert_allclose(
        split.truth_mm, split.label_px * split.factor[:, None, None], rtol=1e-5
    )
    assert "estimated" in back.meta.source


def test_the_pickle_has_the_published_keys_and_types(toy: Store, tmp_path: Path) -> None:
    (file,) = export_store("toy", "h36m-sh", tmp_path, root=toy.path.parent)
    content = read_pickle(file)
    assert file.name == "h36m_sh_conf_cam_source_final.pkl" and list(content) == ["train", "test"]
    common = {"joint_2d", "confidence", "joint3d_image", "camera_name", "source"}
    assert set(content["train"]) == common
    assert set(content["test"]) == common | {"joints_2.5d_image", "2.5d_factor", "action"}
    for part in content.values():
        n = len(part["source"])
        assert part["joint_2d"].shape == (n, 17, 2) and part["confidence"].shape == (n, 17, 1)
        assert {a.dtype for a in part.values() if isinstance(a, np.ndarray)} == {
            np.dtype(np.float32)
        }
        assert (
            part["source"][0].endswith("_act_02_subact_01_ca_01")
            and part["camera_name"][0] == "54138969"
        )
    assert set(content["test"]["action"]) == {"walk", "wave"}
    assert not {source[:-6] for source in content["test"]["source"]} & set(FAULTY)


def test_no_recording_takes_the_name_of_a_faulty_one(tmp_path: Path) -> None:
    """With four actions there is an act 05, and the subject that becomes S9 has three takes of
    it.
    """
    pack = make_pack(Plan(n_train=1, n_test=1, n_frames=10, styles=Plan().styles[:4], takes=3))
    prepare_mocap(tmp_path, "toy", pack, source="x", test_subjects=("SYN_2",), val_subjects=())
    back = there_and_back(
        open_store("toy", tmp_path), "h36m-sh", tmp_path, "h36m_sh_conf_cam_source_final.pkl"
    )
    recordings = {v.recording for v in back.split("test").videos}
    assert {"s_09_act_05_subact_01", "s_09_act_05_subact_03", "s_09_act_05_subact_04"} <= recordings
    assert not recordings & set(FAULTY)
    assert scores(back)["n_frames"] == 9 * (4 * 3 * 4)


def test_clips_hold_the_input_and_the_pickle_the_rest(toy: Store, tmp_path: Path) -> None:
    sources = (f"H36M-{N_FRAMES}", "h36m_sh_conf_cam_source_final.pkl")
    back = there_and_back(toy, "h36m-clips", tmp_path, *sources, n_frames=N_FRAMES)
    for name in ("train", "test"):
        given, read = toy.split(name), back.split(name)
        assert_same_videos(given, read)
        np.testing.assert_allclose(given.joint_2d, read.joint_2d, atol=1e-4)
        np.testing.assert_array_equal(given.confidence, read.confidence)
        np.testing.assert_array_equal(given.label_px, read.label_px)
    assert scores(back)["mpjpe"] == pytest.approx(scores(toy)["mpjpe"], rel=1e-6)
    assert scores(back)["p_mpjpe"] == pytest.approx(scores(toy)["p_mpjpe"], rel=1e-6)


def test_clip_files_are_normalised_as_the_network_sees_them(toy: Store, tmp_path: Path) -> None:
    files = export_store("toy", "h36m-clips", tmp_path, root=toy.path.parent, n_frames=N_FRAMES)
    clips = evaluation_clips(toy, "test", N_FRAMES, N_FRAMES, input_2d="detected", device="cpu")
    tests = [file for file in files if file.parent.name == "test"]
    assert [file.name for file in tests] == [f"{i:08d}.pkl" for i in range(len(clips))]
    for i in (0, 5, len(tests) - 1):
        clip = read_pickle(tests[i])
        seen, label = clips.batch(torch.tensor([i]))
        np.testing.assert_allclose(clip["data_input"], seen[0], atol=1e-6)
        np.testing.assert_allclose(
            clip["data_label"] - clip["data_label"][:, :1], label[0], atol=2e-6
        )
        assert clip["data_input"].dtype == clip["data_label"].dtype == np.float32
    with pytest.raises(DataError, match="is there already, expected a new folder"):
        export_store("toy", "h36m-clips", tmp_path, root=toy.path.parent, n_frames=N_FRAMES)


def test_joints_come_back_from_the_image_into_the_room(toy: Store) -> None:
    clip = next(c for c in PACK.clips if c.name == "SYN_4_wave#0")
    split = toy.split("test")
    for video in (v for v in split.videos if v.recording == clip.name):
        np.testing.assert_allclose(
            to_world(split, video), clip.positions[: video.n_frames], atol=5e-3
        )


def camera_space(store: Store, root: Path, *, truth: bool) -> Store:
    """The direct way: the pack's world positions before each subject's own cameras, with the
    same detector errors.
    """
    people = {"SYN_1": "S1", "SYN_2": "S5", "SYN_3": "S6", "SYN_4": "S9", "SYN_5": "S11"}
    takes: dict[str, list[Take]] = {"train": [], "test": []}
    lenses = load_cameras()
    for name, every in takes.items():
        split = store.split(name)  # type: ignore[arg-type]
        numbers: dict[tuple[str, str], list[str]] = {}
        for video in split.videos:
            numbers.setdefault((video.subject, video.action), [])
            if video.recording not in numbers[video.subject, video.action]:
                numbers[video.subject, video.action].append(video.recording)
        for video in sorted(split.videos, key=lambda v: list(people).index(v.subject)):
            clip = next(c for c in PACK.clips if c.name == video.recording)
            world = clip.positions[: video.n_frames]
            old = project(world_to_camera(world, lenses[video.camera]), lenses[video.camera])
            mm_per_px = (
                world_to_camera(world, lenses[video.camera])[:, 0, 2]
                / lenses[video.camera].mean_focal
            )
            error = detect(old, mm_per_px, video.source, DetectorModel())[0] - old
            camera = subject_cameras(people[video.subject])[video.camera]
            seen = project(world_to_camera(world, camera), camera, h36m=True) + (
                0 if truth else error
            )
            number = numbers[video.subject, video.action].index(video.recording) + 1
            every.append(
                Take(people[video.subject], f"{video.action} {number}", camera, world, seen)
            )
    meta = replace(
        store.meta,
        name="direct",
        detector={"model": "ground truth"} if truth else {"labels": "camera space"},
    )
    write_store(root, meta, to_split(takes["train"]), to_split(takes["test"]))
    return open_store("direct", root)


@pytest.mark.parametrize("kind", ["detected", "gt"])
def test_the_camera_space_files_are_what_the_cameras_see(
    kind: str, toy: Store, tmp_path: Path
) -> None:
    file_2d = {"detected": "data_2d_h36m_cpn_ft_h36m_dbb.npz", "gt": "data_2d_h36m_gt.npz"}[kind]
    back = there_and_back(toy, "h36m-npz", tmp_path, "data_3d_h36m.npz", file_2d, input_2d=kind)
    direct = camera_space(toy, tmp_path, truth=kind == "gt")
    for name in ("train", "test"):
        given, read = direct.split(name), back.split(name)
        assert_same_videos(given, read, "subject", "source")
        np.testing.assert_allclose(given.truth_mm, read.truth_mm, atol=1e-2)
        np.testing.assert_allclose(given.label_px, read.label_px, atol=1e-2)
        np.testing.assert_allclose(given.joint_2d, read.joint_2d, atol=2e-2)
        assert (read.confidence == 1).all() and (read.factor == 2).all()
        check_split(read, "back", H36M17)
    for key in ("mpjpe", "p_mpjpe"):
        assert scores(back)[key] == pytest.approx(scores(direct)[key], rel=1e-4)
    assert back.meta.input_is_truth == (kind == "gt") and not back.meta.label_is_projection


def test_the_camera_space_files_have_the_published_keys_and_types(
    toy: Store, tmp_path: Path
) -> None:
    for kind in ("detected", "gt"):
        export_store("toy", "h36m-npz", tmp_path, root=toy.path.parent, input_2d=kind)
    world = read_object_npz(tmp_path / "data_3d_h36m.npz")["positions_3d"]
    assert list(world) == ["S1", "S5", "S6", "S9", "S11"] and list(world["S9"])[:2] == [
        "walk 1",
        "walk 2",
    ]
    joints = world["S9"]["walk 2"]
    assert joints.shape[1:] == (32, 3) and joints.dtype == np.float32
    assert 0.5 < joints[:, KEPT_JOINTS[10], 2].max() < 2.5  # a head's height in metres, z up
    for name in ("data_2d_h36m_cpn_ft_h36m_dbb.npz", "data_2d_h36m_gt.npz"):
        held = read_object_npz(tmp_path / name)
        views = held["positions_2d"]["S11"]["wave 1"]
        assert len(views) == 4 and views[0].shape == (len(world["S11"]["wave 1"]), 17, 2)
        assert views[0].dtype == np.float32
        assert held["metadata"]["layout_name"] == "h36m" and held["metadata"]["num_joints"] == 17


def test_ground_truth_input_of_detections_in_camera_space_is_refused(
    toy: Store, tmp_path: Path
) -> None:
    files = ("data_3d_h36m.npz", "data_2d_h36m_cpn_ft_h36m_dbb.npz")
    back = there_and_back(toy, "h36m-npz", tmp_path, *files)
    with pytest.raises(
        DataError, match="data.input_2d=gt needs a store prepared with the ground-truth 2D file"
    ):
        scores(back, input_2d="gt")
    with pytest.raises(
        DataError, match="labels are in camera space, expected a store of 2.5D labels"
    ):
        export_store("back", "h36m-sh", tmp_path, root=tmp_path)


def test_what_cannot_be_exported_is_one_sentence(
    toy: Store, tiny_store: Store, tmp_path: Path
) -> None:
    root = toy.path.parent
    with pytest.raises(DataError, match="there is no layout 'h36m', expected one of h36m-sh"):
        export_store("toy", "h36m", tmp_path, root=root)
    with pytest.raises(
        DataError, match="h36m-sh: there is no option 'n_frames', this layout takes none"
    ):
        export_store("toy", "h36m-sh", tmp_path, root=root, n_frames=9)
    with pytest.raises(DataError, match="input_2d is 'cpn', expected one of gt, detected"):
        export_store("toy", "h36m-npz", tmp_path, root=root, input_2d="cpn")
    with pytest.raises(DataError, match="was seen by camera 'cam', expected one of 54138969"):
        export_store("tiny", "h36m-sh", tmp_path / "out")
    split = toy.split("test")
    kept = [v for v in split.videos if v.camera != CAMERA_NAMES[3]]
    frames = np.concatenate([np.arange(v.start, v.start + v.n_frames) for v in kept])
    starts = np.cumsum([0, *(v.n_frames for v in kept)])
    three = replace(
        split,
        **{key: getattr(split, key)[frames] for key in ARRAYS},
        videos=tuple(replace(v, start=int(s)) for v, s in zip(kept, starts[:-1], strict=True)),
    )
    write_store(tmp_path, replace(toy.meta, name="three"), toy.split("train"), three)
    with pytest.raises(
        DataError, match="was not seen by all of 54138969, 55011271, 58860488, 60457274"
    ):
        export_store("three", "h36m-npz", tmp_path, root=tmp_path)
    assert not list(tmp_path.glob("*.npz")) and not (tmp_path / "out").exists()
