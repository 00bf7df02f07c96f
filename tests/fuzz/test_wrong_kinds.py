"""Every reader, given its own valid file with one value after another of a wrong kind: it reads, or
refuses in one short printable sentence; never another error, never slowly.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.h36m import CPN, GT, WORLD, Files
from fakes.lifting import tracks

from m2v_lib.data.checks import DataError
from m2v_lib.data.export import export_store
from m2v_lib.data.export.keypoints import write_keypoints
from m2v_lib.data.keypoints import read_keypoints
from m2v_lib.data.sources.h36m.hourglass_pickle import read_h36m_pickle
from m2v_lib.data.sources.h36m.videopose_npz import read_h36m_npz
from m2v_lib.data.sources.mocap import read_pack, write_pack
from m2v_lib.data.sources.mpi_inf_3dhp import read_test, read_train
from m2v_lib.data.sources.ntu import read_ntu60
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store import open_store
from m2v_lib.lift.camera import assumed_camera
from m2v_lib.lift.stream_input import LineReader

from .kinds import JSON_KINDS, PICKLE_KINDS, variants

SECONDS = 5.0


def tried(name: str, read: Callable[[], object]) -> bool:
    """Whether it was read; fails unless it was, or was refused as it should be."""
    began = time.monotonic()
    try:
        read()
        return True
    except DataError as error:
        text = str(error)
        assert len(text) <= 400 and text.isprintable() and "\n" not in text, name
        return False
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {str(error)[:200]}") from error
    finally:
        assert time.monotonic() - began < SECONDS, name


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    made = Files(tmp_path_factory.mktemp("h36m"))
    for form in ("3dhp", "ntu60"):
        export_store("toy", form, made.folder, root=made.folder / "stores")
    return made


def test_the_pickle_of_human36m(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "h.pkl"
    for name, content in variants(files.pickle(), PICKLE_KINDS, depth=2):
        path.write_bytes(pickle.dumps(content, 4))
        tried(name, lambda: read_h36m_pickle(path))


@pytest.mark.parametrize("part", [WORLD, CPN, GT])
def test_the_npz_of_human36m(part: str, files: Files, tmp_path: Path) -> None:
    path = tmp_path / part
    other = {WORLD: CPN}.get(part, WORLD)
    for name, content in variants(files.npz(part), PICKLE_KINDS, depth=4, first=1):
        _save(path, content)
        pair = (path, files.folder / other) if part == WORLD else (files.folder / other, path)
        tried(name, partial(read_h36m_npz, *pair))


def test_ntu(files: Files, tmp_path: Path) -> None:
    content = pickle.loads((files.folder / "ntu60_hrnet.pkl").read_bytes())
    path = tmp_path / "n.pkl"
    for name, changed in variants(content, PICKLE_KINDS, depth=3, first=2):
        path.write_bytes(pickle.dumps(changed, 4))
        tried(name, lambda: read_ntu60(path))


@pytest.mark.parametrize("part", ["train", "test"])
def test_mpi_inf_3dhp(part: str, files: Files, tmp_path: Path) -> None:
    with np.load(files.folder / f"data_{part}_3dhp.npz", allow_pickle=True) as held:
        content = {"data": held["data"].item()}
    path, read = tmp_path / "m.npz", {"train": read_train, "test": read_test}[part]
    for name, changed in variants(content, PICKLE_KINDS, depth=5, first=1):
        _save(path, changed)
        tried(name, lambda: read(path))


def test_packs(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "p.npz", make_pack(Plan(n_train=1, n_test=1, n_frames=12)))
    with np.load(pack) as held:
        content = dict(held)
    for name, changed in variants(content, PICKLE_KINDS, depth=1, first=10):
        _save(pack, changed)
        tried(name, lambda: read_pack(pack))


FORMS = ("coco", "posetrack18", "alphapose", "mmpose", "mediapipe", "npz")


@pytest.mark.parametrize("form", FORMS)
def test_keypoints(form: str, tmp_path: Path) -> None:
    path = write_keypoints(tracks(12), tmp_path / "k", form)
    ways: Iterator[tuple[str, Any]]
    if form == "npz":
        with np.load(path) as held:
            ways = variants(dict(held), PICKLE_KINDS, depth=1, first=10)
    else:
        ways = variants(json.loads(path.read_text()), JSON_KINDS, depth=5, first=1)
    for name, changed in ways:
        if form == "npz":
            with path.open("wb") as stream:
                _save(stream, changed)
        else:
            path.write_text(json.dumps(changed))
        tried(name, lambda: read_keypoints(path, size=(1280, 720), fps=25))


HANDED_JSON: dict[str, Any] = {
    "openpose": {"people": [{"person_id": [-1], "pose_keypoints_2d": [5.0, 6.0, 0.5] * 25}]},
    "comfyui": [
        {
            "people": [{"pose_keypoints_2d": [5.0, 6.0, 0.5] * 18}],
            "canvas_width": 640,
            "canvas_height": 480,
        }
    ],
    "sapiens": {
        "instance_info": [{"keypoints": [[5.0, 6.0]] * 17, "keypoint_scores": [0.5] * 17}],
        "meta_info": {"keypoint_id2name": {"0": "nose", "1": "left_eye"}},
    },
    "ultralytics": [
        [{"name": "person", "keypoints": {"x": [5.0] * 17, "y": [6.0] * 17, "visible": [1] * 17}}]
    ],
    "landmarks": [{"landmark": [{"x": 0.5, "y": 0.5, "visibility": 1.0}] * 33}],
}


@pytest.mark.parametrize("form", HANDED_JSON)
def test_other_json(form: str, tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    for name, changed in variants(HANDED_JSON[form], JSON_KINDS, depth=6, first=1):
        path.write_text(json.dumps(changed))
        tried(name, lambda: read_keypoints(path, size=(1280, 720), fps=25))


def test_lines_of_a_stream() -> None:
    line = {"people": [{"id": "1", "keypoints": [5.0, 6.0, 0.5] * 25}]}
    camera = assumed_camera(1280, 720)
    for name, changed in variants(line, JSON_KINDS, depth=4):
        reader = LineReader(camera.width, camera.height, 25.0, "body25")
        tried(name, partial(reader.read, json.dumps(changed), 0))


def opened(root: Path) -> None:
    store = open_store("tiny", root)
    for part in ("train", "test"):
        store.split(part)


def test_a_stores_description(tmp_path: Path, write_tiny_store: Callable[..., Path]) -> None:
    description = write_tiny_store(tmp_path) / "meta.json"
    content = json.loads(description.read_text())
    for name, changed in variants(content, JSON_KINDS, depth=4, first=3):
        description.write_text(json.dumps(changed))
        tried(name, lambda: opened(tmp_path))


def test_a_stores_tensors(tmp_path: Path, write_tiny_store: Callable[..., Path]) -> None:
    file = write_tiny_store(tmp_path) / "train.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    read = 0
    for name, changed in variants(header, JSON_KINDS, depth=3, first=3):
        text = json.dumps(changed).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data)
        read += tried(name, lambda: opened(tmp_path))
    assert read == 0, "no change of a header is harmless"


def _save(file: Any, content: dict[Any, Any]) -> None:
    arrays: dict[str, Any] = {str(key): _boxed(value) for key, value in content.items()}
    np.savez(file, **arrays)


def _boxed(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    box = np.empty((), object)
    box[()] = value
    return box
