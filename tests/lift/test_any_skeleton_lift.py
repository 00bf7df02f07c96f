"""A network for any skeleton lifts the joints that came in; a network trained on every third frame is
fed with every third.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from m2v_lib.config import Experiment
from m2v_lib.data.checks import DataError
from m2v_lib.data.keypoints.layouts import LAYOUTS, Layout
from m2v_lib.data.keypoints.skeleton_map import mapped, skeleton_of_layout
from m2v_lib.lift import SAMPLE, lift
from m2v_lib.lift.windows import Lifter
from m2v_lib.models.registry import build_model
from m2v_lib.models.state_files import save_tensors
from m2v_lib.skeletons import H36M17, KNOWN, Skeleton

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
    exp = Experiment.preset("smoke").override(
        {"model.joint_embedding": "name", "model.n_frames": 9}
    )
    file = tmp_path / "weights.safetensors"
    network = build_model(exp.model, seed=0)
    save_tensors(file, network.state_dict(), {"experiment": exp.to_dict()})

    motion = lift(SAMPLE, model=file)

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
