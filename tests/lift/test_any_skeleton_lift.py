"""A network for any skeleton lifts the joints that came in; a network trained on every third frame is
fed with every third.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from m2v_lib.config import ConfigError, Experiment
from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints.layouts import LAYOUTS, Layout
from m2v_lib.data.keypoints.skeleton_map import mapped, skeleton_of_layout
from m2v_lib.lift import SAMPLE, lift
from m2v_lib.lift.windows import Lifter, load_lifter
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import save_tensors
from m2v_lib.skeletons import H36M17, KNOWN, VOCABULARY, Skeleton

#: What comes out of each layout: a known skeleton, and how many of its joints the layout lacks.
OUT = {
    "h36m17": ("h36m17", 0),
    "coco17": ("body25", 6),
    "halpe26": ("halpe26", 0),
    "body25": ("body25", 0),
    "mediapipe33": ("body25", 2),
    "mpii16": ("h36m17", 1),
    "mpi_inf_3dhp17": ("h36m17", 0),
}


@pytest.mark.parametrize("layout", OUT)
def test_a_layout_gives_the_known_skeleton_that_has_most_of_its_joints(layout: str) -> None:
    name, n_lacking = OUT[layout]
    skeleton = skeleton_of_layout(LAYOUTS[layout], "file")

    assert len(skeleton) == len(KNOWN[name]) - n_lacking
    assert set(skeleton.joints) <= set(KNOWN[name].joints)
    assert not mapped(LAYOUTS[layout], skeleton, "file").absent


def test_keypoints_of_no_body_are_refused() -> None:
    hand = Layout("hand21", tuple(f"finger_{k}" for k in range(21)), ((),) * 17)
    with pytest.raises(DataError, match="hand21 make no known skeleton"):
        skeleton_of_layout(hand, "x.json")


def test_bones_through_a_joint_left_out_are_contracted() -> None:
    neckless = H36M17.without([H36M17.index("neck"), H36M17.index("right elbow"), 12])
    parents = {
        j: neckless.joints[p] for j, p in zip(neckless.joints, neckless.parents, strict=True)
    }
    assert parents["left shoulder"] == parents["nose"] == "spine"
    assert parents["right wrist"] == "right shoulder"
    assert neckless.words == {"nose": "upper neck"}

    rootless = Skeleton("s", ("root", "a", "b"), (-1, 0, 0)).without([0])
    assert rootless.parents == (-1, 0)


def test_feet_in_feet_out(tmp_path: Path) -> None:
    motion = lift(SAMPLE, model=a_network(tmp_path))

    joints = motion.skeleton.joints
    assert {"left toe", "right toe", "left heel", "right heel"} <= set(joints)
    assert motion.absent == ()
    assert motion.people[0].pose_mm.shape[1] == len(joints) == 23


class Spy(nn.Module):
    """Remembers what it was given; its pose is the input with depth 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[torch.Tensor] = []

    def forward(self, x_BTJ3: torch.Tensor) -> torch.Tensor:
        self.seen.append(x_BTJ3)
        relative = x_BTJ3[..., :2] - x_BTJ3[:, :, :1, :2]
        return torch.cat([relative, torch.zeros_like(x_BTJ3[..., :1])], dim=-1)


@pytest.mark.parametrize(("step", "fps"), [(1, 50.0), (3, 50 / 3)])
def test_a_network_reads_frames_at_the_rate_of_its_training(step: int, fps: float) -> None:
    assert Lifter(Spy(), 9, frame_step=step).fps == pytest.approx(fps)


def test_a_recording_is_brought_to_that_rate_and_back() -> None:
    """A hand that moves evenly at 50 frames a second: a network trained on every third frame is
    given a third of them, and the poses come back at 50.
    """
    from fakes.lifting import CAMERA

    from m2v_lib.data.keypoints import Person
    from m2v_lib.lift.people import lift_person

    n = 90
    rng = np.random.default_rng(0)
    still = 300 + 200 * rng.random((17, 2))
    xy = np.broadcast_to(still, (n, 17, 2)).copy()
    xy[:, 16, 0] += 2.0 * np.arange(n)
    person = Person("0", np.arange(n), xy, np.ones((n, 17)))

    given, poses = {}, {}
    for step in (1, 3):
        spy = Spy()
        lifter = Lifter(spy, 9, frame_step=step, flip=False)
        poses[step] = lift_person(person, lifter, 50.0, CAMERA).pose_mm
        given[step] = sum(len(x) for x in spy.seen)

    np.testing.assert_allclose(poses[3], poses[1], atol=4.0)
    assert (np.diff(poses[3][:, 16, 0]) > 3.0).all()
    assert given[3] * 2 < given[1]


def a_network(folder: Path, **changes: object) -> Path:
    asked = {"model.joint_embedding": "name", "model.n_frames": 9, **changes}
    exp = Experiment.preset("smoke").override(asked)
    file = folder / "weights.safetensors"
    save_tensors(file, build_model(exp.model, seed=0).state_dict(), {"experiment": exp.to_dict()})
    return file


def test_joints_that_were_not_seen_are_predicted_where_asked_and_marked(tmp_path: Path) -> None:
    file = a_network(tmp_path, **{"data.hidden_joints": 0.1})

    motion = lift(SAMPLE, model=file, joints="halpe26")

    joints = motion.skeleton.joints
    assert motion.about["predicted"] == ["head", "left small toe", "right small toe"]
    person = motion.people[0]
    predicted = [joints.index(name) for name in motion.about["predicted"]]
    assert person.filled[:, predicted].all() and np.isfinite(person.pose_mm).all()
    assert "marked as filled in" in motion.report["predicted"]
    assert len(lift(SAMPLE, model=file, joints="all").skeleton) == len(VOCABULARY)


def test_what_the_place_of_an_unseen_joint_is_does_not_matter(tmp_path: Path) -> None:
    lifter = load_lifter(a_network(tmp_path, **{"data.hidden_joints": 0.1}))
    lifter.use_skeleton(KNOWN["halpe26"], hidden=[17])
    rng = np.random.default_rng(0)
    seen = rng.uniform(100, 500, (9, 26, 3)).astype(np.float32)
    seen[:, 17, 2] = 0.0
    moved = seen.copy()
    moved[:, 17, :2] += 50.0

    np.testing.assert_array_equal(lifter(seen), lifter(moved))


def test_joints_are_not_asked_of_a_network_that_cannot_give_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not give head, .* has not learnt to predict"):
        lift(SAMPLE, model=a_network(tmp_path), joints="halpe26")
    with pytest.raises(ConfigError, match="joints=halpe26 needs a network for any skeleton"):
        lift(SAMPLE, joints="halpe26")
