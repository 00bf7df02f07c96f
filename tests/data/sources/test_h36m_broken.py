"""Broken files in Human3.6M's layouts: one sentence that names file and place; nothing runs or
is written.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.h36m import (
    CPN,
    GT,
    N_FRAMES,
    PICKLE,
    WORLD,
    Edit,
    Files,
    System,
    refused,
    save_pickle,
)

from m2v_lib.data import prepare
from m2v_lib.data.safe_pickle.reader import read_pickle
from m2v_lib.skeletons.h36m import FLIP_ORDER


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("h36m"))


def array(split: str, key: str, change: Callable[[np.ndarray], Any]) -> Edit:
    """An edit that replaces one array."""
    return lambda content: content[split].update({key: change(content[split][key])})


def put(split: str, key: str, frame: int, value: Any) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        content[split][key][frame] = value

    return edit


def every_fourth(content: dict[str, Any]) -> None:
    """Frames of the four cameras one after another, instead of camera by camera."""
    order = np.arange(384).reshape(4, 4, 24).transpose(0, 2, 1).ravel()
    for key, value in content["test"].items():
        content["test"][key] = (
            value[order] if isinstance(value, np.ndarray) else [value[i] for i in order]
        )


PICKLES: dict[str, tuple[Edit, str]] = {
    "no test split": (
        lambda c: c.pop("test"),
        "has no dict under the key 'test', expected a train and a test split",
    ),
    "no key": (
        lambda c: c["test"].pop("2.5d_factor"),
        "test has no key '2.5d_factor', expected joint_2d, joint3d_im",
    ),
    "no frame": (lambda c: c["train"].update(source=[]), "train holds no frame"),
    "16 joints": (
        array("train", "joint_2d", lambda a: a[:, :16]),
        r"train: joint_2d has shape \(384, 16, 2\), expected",
    ),
    "flat": (
        array("train", "joint3d_image", lambda a: a[0]),
        r"joint3d_image has shape \(17, 3\), expected",
    ),
    "ragged": (
        array("test", "joints_2.5d_image", lambda a: [*a[:-1], a[-1][:9]]),
        "joints_2.5d_image must be an array of real numbers",
    ),
    "text": (
        array("test", "2.5d_factor", lambda a: a.astype(str)),
        "test: 2.5d_factor must be an array of real numbers",
    ),
    "one short": (
        array("test", "action", lambda a: a[:-1]),
        "test: action has 383 entries, expected one for each of 384",
    ),
    "nan": (
        put("train", "joint3d_image", 30, np.nan),
        r"train: joint3d_image at frame 30 \(s_01_act_02_subact_01_ca_02, its frame 6\) is not a "
        r"finite number",
    ),
    "infinite factor": (
        put("test", "2.5d_factor", 9, np.inf),
        "test: 2.5d_factor at frame 9 .* is not a finite",
    ),
    "negative confidence": (
        put("train", "confidence", 5, -0.5),
        "train: confidence at frame 5 is -0.5, expected 0 to 1",
    ),
    "percent": (
        array("test", "confidence", lambda a: a * 100),
        r"confidence at frame 0 is \d+\.?\d*, expected 0 to 1",
    ),
    "factor of zero": (put("test", "2.5d_factor", 7, 0), "2.5d_factor at frame 7 is not positive"),
    "factor upside down": (
        array("test", "2.5d_factor", lambda a: 1 / a),
        r"is \d+ mm from joint3d_image times 2.5d",
    ),
    "metres": (
        lambda c: c["test"].update(
            {k: c["test"][k] / 1000 for k in ("joints_2.5d_image", "2.5d_factor")}
        ),
        "joints_2.5d_image: the median bone is .* long and looks like metres",
    ),
    "normalised 2D": (
        array("test", "joint_2d", lambda a: a / 500 - 1),
        "joint_2d stays within .*, expected pixels",
    ),
    "width for height": (
        array("train", "joint_2d", lambda a: a[..., ::-1]),
        "train: joint_2d: its [xy] does not follow [xy] of the 3D",
    ),
    "2D of another size": (
        array("test", "joint_2d", lambda a: a * 4),
        "joint_2d: .* of the joints lie outside an image",
    ),
    "another order of joints": (
        lambda c: [
            c["test"].update({k: c["test"][k][:, ::-1]})
            for k in ("joints_2.5d_image", "joint3d_image", "joint_2d")
        ],
        "limbs of the two sides differ by .* in length, expected the order root, right hip",
    ),
    "upside down": (
        array("test", "joint_2d", lambda a: np.array([0, 1000], a.dtype) - a * [-1, 1]),
        "its y does not follow y",
    ),
    "unknown camera": (
        put("test", "camera_name", 50, "66920731"),
        "test: camera_name at frame 50 is '66920731', expec",
    ),
    "another naming": (
        array("train", "source", lambda s: [x.replace("s_01_", "S1_") for x in s]),
        "train: source at frame 0 is 'S1_act_02_subact_01_ca_01', expected names such as "
        "s_09_act_05_subact_02_ca_01",
    ),
    "a fifth camera": (
        array("test", "source", lambda s: [x[:-1] + "5" for x in s]),
        "source at frame 0 is 's_09.*ca_05'",
    ),
    "frames mixed": (
        every_fourth,
        "test: source changes 384 times in 384 frames, expected the frames of a video one",
    ),
    "two actions of one act": (
        array("test", "action", lambda a: ["run" if i == 20 else x for i, x in enumerate(a)]),
        "test: action at frame 20 is 'run', but source says act 02, which was 'walk' before",
    ),
    "hostile": (
        put("train", "source", 3, System()),
        "asks for 'posix.system', which is not numpy data; nothing of it",
    ),
}


@pytest.mark.parametrize("fault", PICKLES)
def test_a_broken_pickle(
    fault: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    edit, sentence = PICKLES[fault]
    content = files.pickle()
    edit(content)
    path = save_pickle(tmp_path / PICKLE, content)
    refused(tmp_path, sentence, path, begins=path)
    assert not (tmp_path / "was-run").exists()


def test_a_truncated_an_empty_and_a_zipped_pickle(files: Files, tmp_path: Path) -> None:
    path, whole = tmp_path / PICKLE, (files.folder / PICKLE).read_bytes()
    for contents, sentence in (
        (whole[:-1000], r"\(truncated\?\)"),
        (b"", "is empty, expected a pickle"),
        ((files.folder / GT).read_bytes(), "the 3d file is missing, name data_3d_h36m"),
        (
            b"version https://git-lfs",
            "is no file of Human3.6M that is known, expected h36m_sh_conf",
        ),
    ):
        path.write_bytes(contents)
        refused(tmp_path, sentence if contents else "is no file of Human3.6M", path, begins=path)


def clip(**change: Callable[[np.ndarray], Any]) -> Edit:
    return lambda content: content.update({key: edit(content[key]) for key, edit in change.items()})


CLIPS: dict[str, tuple[Edit, str]] = {
    "no label": (
        lambda c: c.pop("data_label"),
        "is no dict of the arrays data_input and data_label",
    ),
    "16 joints": (
        clip(data_input=lambda a: a[:, :16]),
        r"data_input is float32 \(9, 16, 3\), expected numbers \(9, 17",
    ),
    "longer": (
        clip(data_label=lambda a: np.tile(a, (2, 1, 1))),
        r"data_label is float32 \(18, 17, 3\)",
    ),
    "nan": (clip(data_input=lambda a: a * np.nan), "data_input at frame 0 is not a finite number"),
    "pixels": (
        clip(data_input=lambda a: a * 500),
        "data_input reaches .*, expected x and y normalised to the image",
    ),
    "negative": (
        clip(data_input=lambda a: a * [1.0, 1, -1]),
        "a negative confidence, expected x, y, conf",
    ),
    "another clip": (
        clip(data_label=lambda a: a[::-1]),
        r"data_label is up to \S+ px from frames 33 to 41 of the pickle "
        r"\(s_09_act_02_subact_01_ca_02\), expected",
    ),
    "hostile": (lambda c: c.update(data_input=System()), "asks for 'posix.system'"),
}


@pytest.mark.parametrize("fault", CLIPS)
def test_a_broken_clip(
    fault: str, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    edit, sentence = CLIPS[fault]
    folder = Path(shutil.copytree(files.folder / f"H36M-{N_FRAMES}", tmp_path / "clips"))
    content = pickle.loads((folder / "test" / "00000003.pkl").read_bytes())
    edit(content)
    path = save_pickle(folder / "test" / "00000003.pkl", content)
    refused(tmp_path, sentence, folder, files.folder / PICKLE, begins=path)
    assert not (tmp_path / "was-run").exists()


def test_a_broken_folder_of_clips(files: Files, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(files.folder / f"H36M-{N_FRAMES}", tmp_path / "clips"))
    refused(
        tmp_path,
        "clip files hold no millimetres.*name the pickle they were cut from too",
        folder,
        begins=folder,
    )
    last = sorted((folder / "test").iterdir())[-1]
    last.rename(tmp_path / "last")
    sentence = r"test: holds 31 clips, but the pickle's 16 videos give 32 of 9 frames, one every 9"
    refused(tmp_path, sentence, folder, files.folder / PICKLE, begins=folder)
    (tmp_path / "last").rename(folder / "test" / "00000099.pkl")
    sentence = "test: holds 32 clips, expected 00000000.pkl, 00000001.pkl ... without a gap"
    refused(tmp_path, sentence, folder, files.folder / PICKLE, begins=folder)
    shutil.rmtree(folder / "test")
    refused(tmp_path, "test: holds 0 clips", folder, files.folder / PICKLE, begins=folder)


def test_sides_swapped_in_3d_alone(files: Files, tmp_path: Path) -> None:
    """Left and right are equally long, so only the picture gives it away."""
    content = files.pickle()
    for key in ("joints_2.5d_image", "joint3d_image"):
        swapped = content["test"][key][:, list(FLIP_ORDER)]
        content["test"][key] = swapped
    path = save_pickle(tmp_path / PICKLE, content)
    refused(tmp_path, "joint_2d: its x does not follow x of the 3D joints", path, begins=path)


def test_files_that_do_not_belong_together(files: Files, tmp_path: Path) -> None:
    here = files.folder
    refused(
        tmp_path, "the 2d file is missing, name data_2d_h36m", here / WORLD, begins=here / WORLD
    )
    refused(
        tmp_path,
        "is a second 2d file beside",
        here / WORLD,
        here / CPN,
        here / GT,
        begins=here / GT,
    )
    sentence = "is of another layout than .*, name the files of one"
    refused(tmp_path, sentence, here / WORLD, here / CPN, here / PICKLE, begins=here / WORLD)
    refused(tmp_path, "no such file", here / "nothing.pkl", begins=here / "nothing.pkl")
    other = here / "stores" / "toy" / "meta.json"
    refused(tmp_path, "is no file of Human3.6M that is known", other, begins=other)


def test_the_files_made_here_are_whole(files: Files, tmp_path: Path) -> None:
    """What the tests above break is read without complaint before they break it."""
    for sources in ((PICKLE,), (WORLD, CPN), (WORLD, GT), (f"H36M-{N_FRAMES}", PICKLE)):
        prepare("h36m", root=tmp_path, source=[files.folder / name for name in sources])
    assert set(read_pickle(files.folder / PICKLE)) == {"train", "test"}
