"""Human3.6M's readers: names, cameras, units and protocols, worked out by hand from small files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.h36m import CPN, GT, N_FRAMES, PICKLE, WORLD, Files, save_npz, save_pickle

from m2v_lib.data import prepare
from m2v_lib.data.clips import evaluation_clips, normalise_screen, training_clips
from m2v_lib.data.export import export_store
from m2v_lib.data.sources import h36m
from m2v_lib.data.sources.h36m import FAULTY, looks_like, prepare_h36m
from m2v_lib.data.sources.h36m.hourglass_pickle import estimate_factor, read_h36m_pickle
from m2v_lib.data.sources.h36m.videopose_npz import KEPT_JOINTS, Take, _check_take
from m2v_lib.data.store import DataError, Split, Store, Video, open_store
from m2v_lib.geometry.cameras import load_cameras, subject_cameras, world_to_camera
from m2v_lib.results import tables
from m2v_lib.skeletons.h36m import PARENTS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("h36m"))


def read(folder: Path, *sources: Path, **options: Any) -> Store:
    prepare_h36m(folder, "read", sources, **options)
    return open_store("read", folder)


def test_what_the_store_says(files: Files, tmp_path: Path) -> None:
    meta = read(tmp_path, files.folder / PICKLE).meta
    assert (
        meta.protocol == "other data in the layout of Human3.6M (384 and 384 frames), 2.5D frames"
    )
    assert (meta.fps, meta.blocked_sources, meta.val_subjects) == (50, FAULTY, ("S5",))
    assert meta.source.startswith(PICKLE) and "estimated" in meta.source
    kept = read(tmp_path, files.folder / PICKLE, faulty="kept", val_subjects=["S1"]).meta
    assert kept.blocked_sources == () and kept.protocol.endswith("faulty S9 recordings kept")
    assert kept.val_subjects == ("S1",)


def test_the_published_file_is_known_by_its_people_and_frames() -> None:
    def split(n: int, *subjects: str) -> Split:
        videos = [h36m_video(subject) for subject in subjects]
        empty = np.empty((n, 0))
        return Split(empty, empty, empty, empty, empty, tuple(videos))

    train = split(1_559_752, "S1", "S5", "S6", "S7", "S8")
    assert h36m.protocol(train, split(566_920, "S9", "S11"), "pickle") == tables.PUBLISHED_PROTOCOL
    assert (
        h36m.protocol(train, split(543_344, "S9", "S11"), "npz") == h36m.PROTOCOL + "camera space"
    )
    for test in (split(566_919, "S9", "S11"), split(566_920, "S9"), split(543_344, "S9", "S11")):
        assert h36m.protocol(train, test, "pickle").startswith(
            "other data in the layout of Human3.6M"
        )


def h36m_video(subject: str) -> Video:
    return Video("x", subject, "walk", "54138969", 0, 1, 1000, 1002)


def test_training_recordings_are_called_as_published(files: Files, tmp_path: Path) -> None:
    """Published training sources name no subaction and say cam, tests' say ca; actions come from
    the test split.
    """
    content = files.pickle()
    train = content["train"]
    train["source"] = [s.replace("_subact_01_ca_", "_cam_") for s in train["source"]]
    split, test = read_h36m_pickle(save_pickle(tmp_path / PICKLE, content))
    first = split.videos[0]
    assert (first.source, first.recording, first.subject) == (
        "s_01_act_02_cam_01",
        "s_01_act_02",
        "S1",
    )
    assert {(v.source[:11], v.action) for v in split.videos if v.subject == "S1"} == {
        ("s_01_act_02", "walk"),
        ("s_01_act_03", "wave"),
    }
    assert (
        test.videos[5].source == "s_09_act_03_subact_01_ca_02"
        and test.videos[5].camera == "55011271"
    )


def test_an_act_that_the_test_split_does_not_name_keeps_its_number(
    files: Files, tmp_path: Path
) -> None:
    content = files.pickle()
    content["train"]["source"] = [s.replace("act_03", "act_14") for s in content["train"]["source"]]
    split, _ = read_h36m_pickle(save_pickle(tmp_path / PICKLE, content))
    assert {v.action for v in split.videos} == {"walk", "act 14"}


@pytest.mark.parametrize("as_array", [True, False])
def test_texts_and_numbers_may_be_lists_or_arrays(
    as_array: bool, files: Files, tmp_path: Path
) -> None:
    content = files.pickle()
    for part in content.values():
        for key in ("source", "camera_name", "action", "2.5d_factor", "joints_2.5d_image"):
            if key in part:
                part[key] = np.array(part[key]) if as_array else list(part[key])
    back, given = (
        read_h36m_pickle(save_pickle(tmp_path / PICKLE, content)),
        read_h36m_pickle(files.folder / PICKLE),
    )
    for one, other in zip(back, given, strict=True):
        assert one.videos == other.videos
        np.testing.assert_array_equal(one.truth_mm, other.truth_mm)


def test_confidence_of_either_shape_or_none(files: Files, tmp_path: Path) -> None:
    content = files.pickle()
    content["train"]["confidence"] = content["train"]["confidence"][..., 0]
    del content["test"]["confidence"]
    content["test"]["joint_2d"] = np.pad(
        content["test"]["joint_2d"], ((0, 0), (0, 0), (0, 1))
    )  # a third column
    train, test = read_h36m_pickle(save_pickle(tmp_path / PICKLE, content))
    np.testing.assert_array_equal(train.confidence, files.store.split("train").confidence)
    assert (test.confidence == 1).all() and test.joint_2d.shape[2] == 2


def test_a_training_split_with_millimetres_keeps_them(files: Files, tmp_path: Path) -> None:
    content, given = files.pickle(), files.store.split("train")
    content["train"] |= {
        "2.5d_factor": np.array(given.factor),
        "joints_2.5d_image": np.array(given.truth_mm),
    }
    train, _ = read_h36m_pickle(save_pickle(tmp_path / PICKLE, content))
    np.testing.assert_array_equal(train.factor, given.factor)
    np.testing.assert_array_equal(train.truth_mm, given.truth_mm)


def test_a_factor_is_estimated_from_the_bones() -> None:
    """Bones of 100 mm in the truth and of 25 px in a label: a pixel is 4 mm."""
    truth = np.zeros((3, 17, 3))
    for joint, parent in enumerate(PARENTS[1:], 1):
        truth[:, joint] = truth[:, parent] + (100, 0, 0)
    label = np.stack([truth[0] / 4, truth[0] / 5 + 300])
    np.testing.assert_allclose(estimate_factor(label, truth), [4, 5], rtol=1e-6)


def test_frames_that_name_another_camera_are_seen_as_the_authors_code_sees_them(
    files: Files, tmp_path: Path
) -> None:
    """In the published test split camera_name changes within a video: the height of those
    frames' images does too.
    """
    content = files.pickle()
    names = content["test"]["camera_name"]
    assert names[0] == "54138969" and names[24] == "55011271"
    names[3], names[5], names[26] = "58860488", "60457274", "54138969"
    store = read(tmp_path, save_pickle(tmp_path / PICKLE, content))
    split = store.split("test")
    assert [v.camera for v in split.videos[:2]] == ["54138969", "55011271"]
    height = np.array([load_cameras()[name].height for name in names], float)
    released = (
        content["test"]["joint_2d"] / 500
        - np.stack([np.ones_like(height), height / 1000], -1)[:, None]
    )
    ours = normalise_screen(
        np.asarray(split.joint_2d),
        np.full(384, 1000.0),
        np.repeat([v.height for v in split.videos], 24).astype(float),
    )
    np.testing.assert_allclose(ours, released, atol=1e-6)
    assert (split.joint_2d[3] - content["test"]["joint_2d"][3]).mean(0).tolist() == [0, 1]
    np.testing.assert_array_equal(split.joint_2d[4:6], content["test"]["joint_2d"][4:6])


def test_a_video_of_one_camera_is_that_cameras_whatever_its_number(
    files: Files, tmp_path: Path
) -> None:
    content = files.pickle()
    content["test"]["camera_name"][:24] = ["58860488"] * 24
    _, test = read_h36m_pickle(save_pickle(tmp_path / PICKLE, content))
    assert test.videos[0].camera == "58860488" and test.videos[0].height == 1000


def test_the_faulty_recordings_are_left_out_of_the_test_for_every_camera(
    files: Files, tmp_path: Path
) -> None:
    content = files.pickle()
    renamed = {"s_09_act_02_subact_01": FAULTY[0], "s_09_act_03_subact_01": "s_09_act_05_subact_01"}
    test = content["test"]
    test["source"] = [renamed.get(s[:-6], s[:-6]) + s[-6:] for s in test["source"]]
    test["action"] = [f"act {source[9:11]}" for source in test["source"]]
    path = save_pickle(tmp_path / PICKLE, content)

    def frames(store: Store) -> set[int]:
        clips = evaluation_clips(
            store, "test", N_FRAMES, N_FRAMES, input_2d="detected", device="cpu"
        )
        return set(clips.index_CT.flatten().tolist())

    everything, left = frames(read(tmp_path, path, faulty="kept")), frames(read(tmp_path, path))
    faulty = {i for i, source in enumerate(test["source"]) if source[:-6] == FAULTY[0]}
    assert len(faulty) == 4 * 24 and everything - left == everything & faulty and not left & faulty
    store = open_store("read", tmp_path)
    assert (
        len(training_clips(store, N_FRAMES, 9, input_2d="detected", validation=False, device="cpu"))
        == 16 * 2
    )


def test_an_unknown_option_is_refused(files: Files, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="faulty is 'removed', expected left-out or kept"):
        read(tmp_path, files.folder / PICKLE, faulty="removed")
    with pytest.raises(DataError, match="has no subject 'S8' to validate on, it has S1, S5"):
        read(tmp_path, files.folder / PICKLE, val_subjects=["S8"])
    with pytest.raises(
        DataError, match="h36m: there is no option 'falty', this kind of data takes faulty, val_sub"
    ):
        prepare("h36m", root=tmp_path, source=files.folder / PICKLE, falty="kept")
    assert not (tmp_path / "read").exists()


def test_clips_may_hold_another_detectors_input(files: Files, tmp_path: Path) -> None:
    """Frames that no clip holds, the tails, keep the pickle's."""
    folder = tmp_path / "clips"
    for file in sorted((files.folder / f"H36M-{N_FRAMES}").rglob("*.pkl")):
        clip = pickle.loads(file.read_bytes())
        clip["data_input"] = clip["data_input"] + np.array([0.01, -0.02, 0], np.float32)
        target = folder / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        save_pickle(target, clip)
    store = read(tmp_path, folder, files.folder / PICKLE)
    split, given = store.split("test"), files.store.split("test")
    covered = np.arange(384) % 24 < 18
    moved = split.joint_2d - given.joint_2d
    np.testing.assert_allclose(
        moved[covered], np.broadcast_to((5, -10), moved[covered].shape), atol=1e-3
    )
    assert not moved[~covered].any()
    np.testing.assert_array_equal(split.truth_mm, given.truth_mm)


def test_resampled_clips_are_found_by_their_labels(tmp_path: Path) -> None:
    """A video of 24 frames gives one clip of 27; which frames repeat is drawn anew by whoever
    cuts.
    """
    made = Files(tmp_path / "made")
    export_store("toy", "h36m-clips", tmp_path, root=made.folder / "stores", n_frames=27)
    (first, *_) = sorted((tmp_path / "H36M-27" / "test").glob("*.pkl"))
    clip = pickle.loads(first.read_bytes())
    rows = np.sort(np.random.default_rng(5).integers(0, 27, 27))
    shuffled = {key: value[rows] for key, value in clip.items()}
    shuffled["data_input"] = shuffled["data_input"] + np.float32(0.01)
    save_pickle(first, shuffled)
    store = read(tmp_path, tmp_path / "H36M-27", made.folder / PICKLE)
    moved = np.asarray(store.split("test").joint_2d - made.store.split("test").joint_2d)[:24, 0, 0]
    assert set(moved.round(2)) == {0, 5} and 10 < (moved > 4).sum() < 20


def test_camera_space_by_hand(files: Files, tmp_path: Path) -> None:
    store = read(tmp_path, files.folder / WORLD, files.folder / GT)
    assert store.meta.detector == {"model": "ground truth"} and store.meta.input_is_truth
    assert store.meta.protocol.endswith("camera space") and store.meta.blocked_sources == ()
    world = files.npz(WORLD)["positions_3d"]["S11"]["wave 1"]
    split = store.split("test")
    video = next(v for v in split.videos if v.source == "S11.wave 1.60457274")
    assert (video.subject, video.action, video.camera, video.height) == (
        "S11",
        "wave",
        "60457274",
        1002,
    )
    camera = subject_cameras("S11")["60457274"]
    right_knee, frame = (np.float64(world[7, 2]) * 1000 - camera.T) @ camera.R, video.start + 7
    np.testing.assert_allclose(split.truth_mm[frame, 2], right_knee, atol=1e-3)
    np.testing.assert_allclose(
        split.label_px[frame, 2] * split.factor[frame], right_knee, atol=1e-2
    )
    clips = evaluation_clips(store, "test", N_FRAMES, N_FRAMES, input_2d="gt", device="cpu")
    root = world_to_camera(world[7:8, 0].astype(float) * 1000, camera)[0]
    np.testing.assert_allclose(
        clips.label_nJ3[frame, 2], (right_knee - root) / 1000, atol=1e-5
    )  # a unit is a metre
    np.testing.assert_allclose(clips.mm_per_unit_n, 1000)
    np.testing.assert_allclose(
        clips.input_nJ3[frame, :, :2], split.joint_2d[frame] / 500 - (1, 1.002), atol=1e-6
    )


def test_which_of_the_32_joints_are_the_17() -> None:
    """Spec 5.6: those that are left out; the parents of those kept are our skeleton's, shoulders
    at the thorax.
    """
    left_out = {4, 5, 9, 10, 11, 16, *range(20, 25), *range(28, 32)}
    assert tuple(i for i in range(32) if i not in left_out) == KEPT_JOINTS
    parents = [
        -1,
        0,
        1,
        2,
        3,
        4,
        0,
        6,
        7,
        8,
        9,
        0,
        11,
        12,
        13,
        14,
        12,
        16,
        17,
        18,
        19,
        20,
        19,
        22,
        12,
        24,
        25,
        26,
        27,
        28,
        27,
        30,
    ]
    found = []
    for joint in KEPT_JOINTS:
        parent = parents[joint]
        while parent in left_out:
            parent = parents[parent]
        found.append(-1 if parent < 0 else KEPT_JOINTS.index(parent))
    found[11] = found[14] = 8
    assert tuple(found) == PARENTS


def test_the_ground_truth_file_is_the_projection(files: Files) -> None:
    """To the rounding of float32, with the lens formula those files were made with."""
    world, seen = files.npz(WORLD)["positions_3d"], files.npz(GT)["positions_2d"]
    for camera, view in zip(subject_cameras("S9").values(), seen["S9"]["walk 1"], strict=True):
        take = Take(
            "S9",
            "walk 1",
            camera,
            world["S9"]["walk 1"][:, list(KEPT_JOINTS)].astype(float) * 1000,
            view,
        )
        assert _check_take(take, Path("here")) < 1e-3


def test_detections_of_the_other_file(files: Files, tmp_path: Path) -> None:
    store = read(tmp_path, files.folder / CPN, files.folder / WORLD)
    assert (
        store.meta.detector["model"] == "data_2d_h36m_cpn_ft_h36m_dbb"
        and not store.meta.input_is_truth
    )
    assert not store.meta.label_is_projection


def test_videos_longer_than_their_motion_capture_are_cut(files: Files, tmp_path: Path) -> None:
    held = files.npz(CPN)
    views = held["positions_2d"]["S9"]["walk 1"]
    views[2] = np.concatenate([views[2], views[2][:5]])
    store = read(tmp_path, files.folder / WORLD, save_npz(tmp_path / CPN, **held))
    whole = read(tmp_path / "whole", files.folder / WORLD, files.folder / CPN)
    assert store.meta.fingerprint == whole.meta.fingerprint


def test_one_recording_may_lack_on_both_sides(files: Files, tmp_path: Path) -> None:
    """As S11's Directions does in the published files; what only the 2D file has is not asked
    for.
    """
    world, seen = files.npz(WORLD), files.npz(CPN)
    del world["positions_3d"]["S11"]["walk 1"]
    store = read(tmp_path, save_npz(tmp_path / WORLD, **world), save_npz(tmp_path / CPN, **seen))
    assert {v.source[:10] for v in store.split("test").videos} == {
        "S9.walk 1.",
        "S9.wave 1.",
        "S11.wave 1",
    }


def test_files_are_known_by_content(files: Files, tmp_path: Path) -> None:
    renamed = tmp_path / "mine.bin"
    renamed.write_bytes((files.folder / PICKLE).read_bytes())
    for path in (
        renamed,
        files.folder / WORLD,
        files.folder / GT,
        files.folder,
        files.folder / f"H36M-{N_FRAMES}",
    ):
        assert looks_like(path), path
    for path in (tmp_path, tmp_path / "none", files.folder / "stores" / "toy" / "meta.json"):
        assert not looks_like(path), path
    prepare("mine", root=tmp_path, source=renamed)
    assert open_store("mine", tmp_path).meta.blocked_sources == FAULTY


def test_known_names_are_found_below_the_data_folder(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2V_DATA", str(tmp_path))
    with pytest.raises(
        DataError,
        match=f"holds no {PICKLE} or {WORLD} with {CPN} or .*; name the files with --source",
    ):
        prepare("h36m", root=tmp_path / "stores")
    (tmp_path / "motion3d" / "h36m").mkdir(parents=True)
    for name in (WORLD, GT):
        (tmp_path / "motion3d" / name).symlink_to(files.folder / name)
    path = prepare("h36m", root=tmp_path / "stores")
    assert open_store("h36m", tmp_path / "stores").meta.input_is_truth
    stamp = (path / "meta.json").stat().st_mtime_ns
    prepare("h36m", root=tmp_path / "stores")
    assert (path / "meta.json").stat().st_mtime_ns == stamp
    (tmp_path / "motion3d" / "h36m" / PICKLE).symlink_to(
        files.folder / PICKLE
    )  # the paper's protocol comes first
    prepare("h36m", root=tmp_path / "stores")
    assert open_store("h36m", tmp_path / "stores").meta.label_is_projection


def test_every_frame_of_the_truth_counts_in_a_factor_not_the_first_alone() -> None:
    """The truth's first frame is half as large as it should be, its last by as much too large."""
    truth = np.zeros((4, 17, 3))
    for joint, parent in enumerate(PARENTS[1:], 1):
        truth[:, joint] = truth[:, parent] + (100, 0, 0)
    label = np.stack([truth[0] / 4, truth[0] / 5])
    truth *= np.array([0.5, 1, 1, 1.5])[:, None, None]
    np.testing.assert_allclose(estimate_factor(label, truth), [4, 5], rtol=1e-6)
