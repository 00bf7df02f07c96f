"""Other skeletons and other lengths go through both stages, metrics and lifting by the same commands;
what does not fit together is refused in one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from m2v_lib.cli import main
from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.store import Split, Store, open_store, write_store
from m2v_lib.notebook import plots
from m2v_lib.skeletons import H36M17, Skeleton
from m2v_lib.training.finetune import finetune
from m2v_lib.training.pretrain import pretrain

#: Joints of the store that each own joint copies; those past 16 hang at the one they copy.
COPIES = {16: [j for j in range(17) if j != 9], 17: list(range(17)), 21: [*range(17), 3, 6, 13, 16]}
ENDS = ("right toe", "left toe", "left hand", "right hand")


def own_skeleton(n_joints: int) -> Skeleton:
    """Human3.6M's joints without the nose, all of them, or with toes and hands."""
    names = [H36M17.joints[joint] for joint in COPIES[n_joints][:17]] + list(ENDS)[: n_joints - 17]
    names = names[:n_joints]
    entries = []
    for joint, copy in enumerate(COPIES[n_joints]):
        above = copy if joint > 16 else H36M17.parents[copy]
        above = 8 if above == 9 and n_joints == 16 else above
        parent = None if above < 0 else H36M17.joints[above]
        entry: dict[str, Any] = {"name": names[joint], "parent": parent}
        for side, other in (("left", "right"), ("right", "left")):
            if names[joint].startswith(side):
                entry |= {"twin": names[joint].replace(side, other), "side": side}
        entries.append(entry)
    return Skeleton.from_dict({"name": f"own{n_joints}", "joints": entries})


def copied(split: Split, joints: list[int]) -> Split:
    truth = np.array(split.truth_mm[:, joints])
    truth[:, 17:] += 60.0  # no bone without a length
    arrays: dict[str, Any] = {
        key: np.ascontiguousarray(getattr(split, key)[:, joints])
        for key in ("joint_2d", "confidence", "label_px")
    }
    return replace(split, **arrays, truth_mm=truth)


@pytest.fixture
def own_store(tiny_store: Store, tmp_path: Path) -> Callable[[int], Path]:
    """`own_store(J)` writes the store own<J> and returns the skeleton's YAML file."""

    def make(n_joints: int) -> Path:
        skeleton = own_skeleton(n_joints)
        meta = replace(
            tiny_store.meta,
            name=skeleton.name,
            skeleton=skeleton.name,
            n_joints=n_joints,
            skeleton_definition=skeleton.to_dict(),
        )
        splits = (copied(tiny_store.split(name), COPIES[n_joints]) for name in ("train", "test"))
        write_store(tiny_store.path.parent, meta, *splits)
        file = tmp_path / f"{skeleton.name}.yaml"
        file.write_text(yaml.safe_dump(skeleton.to_dict()))
        return file

    return make


@pytest.mark.parametrize(
    ("n_joints", "n_frames"), [(16, 1), (16, 27), (17, 50), (21, 9), (21, 243)]
)
def test_any_skeleton_and_length_trains_and_is_measured_and_lifts(
    n_joints: int,
    n_frames: int,
    own_store: Callable[[int], Path],
    tiny_experiment: Callable[..., Experiment],
    tmp_path: Path,
) -> None:
    file = own_store(n_joints)
    changes = {
        "data.name": f"own{n_joints}",
        "model.skeleton": str(file),
        "model.n_frames": n_frames,
        "finetune.init": "pretrained",
        "run.max_steps": 2,
    }
    exp = tiny_experiment("paper", changes)
    pretrain(exp, tmp_path)
    folder = finetune(exp, tmp_path)

    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert np.isfinite(result["test"]["mpjpe"]) and len(result["test"]["per_joint"]) == n_joints
    drawn = plots.per_joint_error(result["test"]["per_joint"], skeleton=own_skeleton(n_joints))
    assert len(drawn.axes[0].patches) == n_joints
    keypoints = tmp_path / "seen.npz"
    points = open_store(f"own{n_joints}").split("test").joint_2d[:30, None]
    np.savez(keypoints, keypoints=points, layout=f"own{n_joints}", width=1000, height=1002, fps=25)
    outs = [tmp_path / f"out.{ending}" for ending in ("npz", "json", "csv", "html", "bvh")]
    words = ["lift", str(keypoints), "--model", str(folder), "-o", *map(str, outs)]
    assert main(words) == 0, "the same commands lift and draw"
    lifted = np.load(outs[0])
    assert lifted["pose_mm"].shape == (30, n_joints, 3) and np.isfinite(lifted["pose_mm"]).all()
    assert json.loads(outs[1].read_text())["joints"] == list(own_skeleton(n_joints).joints)
    assert outs[2].read_text().count("\n0,0,") == n_joints, "a line a joint of the first frame"
    assert outs[4].read_text().count("End Site") == 5 and all(out.stat().st_size for out in outs)


def test_what_does_not_fit_is_one_sentence(
    own_store: Callable[[int], Path],
    tiny_experiment: Callable[..., Experiment],
    tiny_store: Store,
    tmp_path: Path,
) -> None:
    file = own_store(21)
    exp = tiny_experiment("paper", {"model.skeleton": str(file), "data.name": tiny_store.meta.name})
    for stage in (pretrain, finetune):
        with pytest.raises(ConfigError, match="own21 has .*, which is not among the 17 joints"):
            stage(exp, tmp_path)
    other = tiny_experiment(
        "paper", {"model.skeleton": "mpi_inf_3dhp17", "data.name": tiny_store.meta.name}
    )
    with pytest.raises(ConfigError, match="mpi_inf_3dhp17 has crown, which is not among"):
        finetune(other, tmp_path)
    with pytest.raises(ConfigError, match="a graph of Human3.6M's 17 joints alone"):
        tiny_experiment("released", {"model.skeleton": str(file)})
    assert open_store("own21").meta.joints == own_skeleton(21)
