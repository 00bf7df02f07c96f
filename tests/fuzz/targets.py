"""What is fuzzed: a reader, and small valid files of its own."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m2v_lib.data.export.keypoints import write_keypoints
from m2v_lib.data.keypoints import Person, Tracks, read_keypoints
from m2v_lib.data.safe_pickle.reader import read_object_npz, read_pickle
from m2v_lib.data.sources.amc import read_amc, read_asf
from m2v_lib.data.sources.mocap import read_pack, write_pack
from m2v_lib.data.sources.ntu import read_ntu60
from m2v_lib.data.sources.synthetic import Plan, make_pack
from m2v_lib.data.store.tensors import map_tensors, write_tensors


@dataclass(frozen=True)
class Target:
    """A reader that is given one file, and valid contents of it."""

    name: str
    file_name: str
    read: Callable[[Path], object]
    samples: tuple[bytes, ...]


ASF = b""":version 1.10
:name x
:units
  mass 1.0
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
:bonedata
  begin
    id 1
    name lfemur
    direction 0.34 -0.93 0
    length 7.0
    axis 0 0 20 XYZ
    dof rx ry rz
  end
:hierarchy
  begin
    root lfemur
  end
"""
AMC = b"#!x\n:FULLY-SPECIFIED\n:DEGREES\n1\nroot 1 2 3 0 0 9\nlfemur 1 2 3\n2\nroot 1 2 3 0 0 9\nlfemur 1 2 3\n"


def make_targets(folder: Path) -> list[Target]:
    """All targets; valid files are made below the folder."""
    return [
        Target("pickle", "a.pkl", read_pickle, tuple(pickle.dumps(_data(), p) for p in (2, 4, 5))),
        Target("ntu", "ntu60_hrnet.pkl", read_ntu60, (pickle.dumps(_ntu(), 4),)),
        _npz(folder),
        Target("pack", "p.npz", read_pack, (_pack(folder),)),
        *_keypoints(folder),
        Target("asf", "a.asf", read_asf, (ASF,)),
        _amc(folder),
        _skeleton(),
        _tensors(folder),
    ]


def _data() -> dict[str, Any]:
    return {
        "a": np.arange(6.0).reshape(2, 3),
        "b": ["x", "y", ("z", None, True)],
        "c": np.float32(1),
        "d": np.array(["text", None, {"k": [1, 2]}], object),
        "e": {1, 2},
        "f": np.array(["ab", "c"]),
    }


def _ntu() -> dict[str, Any]:
    names = ["S001C002P001R001A001", "S001C001P003R001A002"]
    rng = np.random.default_rng(0)
    annotations = [
        {
            "frame_dir": name,
            "label": i,
            "total_frames": 3,
            "img_shape": (1080, 1920),
            "original_shape": (1080, 1920),
            "keypoint": rng.uniform(100, 900, (1, 3, 17, 2)).astype(np.float16),
            "keypoint_score": rng.uniform(0, 1, (1, 3, 17)).astype(np.float16),
        }
        for i, name in enumerate(names)
    ]
    keys = ("xsub_train", "xview_train", "xsub_val", "xview_val")
    return {
        "split": {key: [names[key.endswith("val")]] for key in keys},
        "annotations": annotations,
    }


def _tracks() -> Tracks:
    rng = np.random.default_rng(0)
    xy = rng.uniform(100, 600, (4, 17, 2)).astype(np.float32)
    person = Person("1", np.arange(4), xy, np.full((4, 17), 0.9, np.float32))
    return Tracks("made", "npz", "h36m17", (person,), 4, 1280, 720, 25.0)


def _npz(folder: Path) -> Target:
    np.savez(folder / "o.npz", positions=np.array({"S1": [np.zeros((2, 3))]}, object), n=3)
    np.savez_compressed(folder / "c.npz", keypoints=np.ones((3, 17, 3)), fps=25)
    samples = tuple((folder / name).read_bytes() for name in ("o.npz", "c.npz"))
    return Target("npz", "a.npz", read_object_npz, samples)


def _pack(folder: Path) -> bytes:
    pack = make_pack(Plan(n_train=1, n_test=1, n_frames=4, styles=("walk",)))
    return write_pack(folder / "made.npz", pack).read_bytes()


def _keypoints(folder: Path) -> list[Target]:
    made = {}
    for form in ("coco", "posetrack18", "alphapose", "mmpose", "mediapipe", "npz", "csv"):
        made[form] = write_keypoints(_tracks(), folder / f"k-{form}", form).read_bytes()
    person = {"person_id": [-1], "pose_keypoints_2d": [5.5, 6.5, 0.5] * 18}
    made["comfyui"] = json.dumps([{"people": [person], "canvas_width": 640}]).encode()
    keypoints = {"x": [5.0] * 17, "y": [6.0] * 17, "visible": [1] * 17}
    made["ultralytics"] = json.dumps([[{"name": "person", "keypoints": keypoints}]]).encode()
    parts = ("nose", "left_shoulder", "right_shoulder")
    lines = [
        "scorer," + ",".join(["m"] * 9),
        "bodyparts," + ",".join(part for part in parts for _ in "xyl"),
        "coords," + ",".join(["x,y,likelihood"] * 3),
        "0," + ",".join(["5.5,6.5,0.9"] * 3),
    ]
    made["deeplabcut"] = "\n".join(lines).encode()
    made["sleap"] = b"track,frame_idx,nose.x,nose.y,nose.score\n,0,5,6,0.5\n,1,5,6,0.5\n"
    made["semicolon"] = b"frame;joint;x;y;confidence\n0;nose;5,5;6,5;0,9\n"

    def read(path: Path) -> object:
        return read_keypoints(path, size=(1280, 720), fps=25)

    tables = ("csv", "deeplabcut", "sleap", "semicolon")
    jsons = tuple(made[form] for form in made if form not in (*tables, "npz"))
    return [
        Target("keypoint-json", "k.json", read, jsons),
        Target("keypoint-csv", "k.csv", read, tuple(made[form] for form in tables)),
        Target("keypoint-npz", "k.npz", read, (made["npz"],)),
    ]


def _amc(folder: Path) -> Target:
    (folder / "bones.asf").write_bytes(ASF)
    skeleton = read_asf(folder / "bones.asf")
    return Target("amc", "a.amc", lambda path: read_amc(path, skeleton), (AMC,))


def _skeleton() -> Target:
    from data_scripts.ntu_skeletons import read_skeleton

    joint = " ".join(["0.1", "0.2", "3.0", "200", "150", "900.5", "500.5", "0", "0", "0", "0", "2"])
    body = "\n".join(["72057 0 1 1 1 1 0 0.02 -0.01 2", "25", *[joint] * 25])
    text = "\n".join(["2", "1", body, "1", body]) + "\n"
    return Target("skeleton", "S001C002P003R002A013.skeleton", read_skeleton, (text.encode(),))


def _tensors(folder: Path) -> Target:
    file = folder / "t.safetensors"
    write_tensors(file, {"pose": np.ones((3, 17, 2)), "n": np.arange(3)})

    def read(path: Path) -> object:
        return {key: value.sum() for key, value in map_tensors(path, ["pose", "n"]).items()}

    return Target("safetensors", "x.safetensors", read, (file.read_bytes(),))
