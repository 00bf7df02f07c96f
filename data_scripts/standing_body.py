"""The standing adult of `m2v_lib/skeletons/standing_body.json`: where each named point of a body is.

Mean over the training subjects of CMU's motion capture (the rig's pack), in frames in which
somebody stands upright with the arms down; both sides alike, each bone as long as it is on average.

    python data_scripts/standing_body.py $M2V_DATA/cmu_mocap/cmu_mocap_rig_50hz_train.npz
"""
# n frames, R = 38 points of the rig

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

import numpy as np

import m2v_lib.skeletons
from m2v_lib.data.sources.mocap import TEST_SUBJECTS
from m2v_lib.data.sources.rig_layouts import rig_layout
from m2v_lib.skeletons.known import RIG38
from m2v_lib.skeletons.names import joint_keys

OUT: Final = Path(m2v_lib.skeletons.__file__).with_name("standing_body.json")
#: from a point to a point that lies above or below it: up (1) or down (-1), and by how many
#: degrees the line between them may lean
UPRIGHT: Final = (
    ("root", "lower neck", 1, 8),
    ("lower neck", "head", 1, 35),
    ("hip", "knee", -1, 12),
    ("knee", "ankle", -1, 15),
    ("shoulder", "elbow", -1, 25),
    ("elbow", "wrist", -1, 40),
)
#: frames of a subject that stand so, from which on the subject counts
MIN_FRAMES: Final = 5
#: layouts whose joints are points of the body under their own names
NAMED_IN: Final = ("mediapipe33", "coco17", "mpi_inf_3dhp17", "h36m17_alike")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path)
    pack = np.load(parser.parse_args().pack, allow_pickle=False)

    subject = np.repeat(pack["subject"], np.diff(pack["clip_start"]))
    used = ~np.isin(subject, TEST_SUBJECTS) & ~pack["suspect"].any(1)
    points, subject = pack["positions"][used].astype(float), subject[used]

    rest = with_mean_lengths(standing(points, subject), points, subject)
    lines = [f" {json.dumps(name)}: {json.dumps(point)}" for name, point in named(rest).items()]
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(OUT)


def standing(points: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """Mean standing pose (R,3) mm of points (n,R,3), z up: x to the left, y up, z to the front."""
    at = RIG38.joints.index
    left = points[:, at("left hip")] - points[:, at("right hip")]
    left = left + points[:, at("left shoulder")] - points[:, at("right shoulder")]
    left[:, 2] = 0.0
    left /= np.linalg.norm(left, axis=-1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0])

    from_root = points - points[:, [RIG38.root]]
    axes = np.stack([left, np.broadcast_to(up, left.shape), np.cross(left, up)], axis=1)
    turned = np.einsum("nij,nrj->nri", axes, from_root)

    stands = np.ones(len(turned), bool)
    for first, second, sign, degrees in UPRIGHT:
        for side in ("left ", "right ") if first in ("hip", "knee", "shoulder", "elbow") else ("",):
            bone = turned[:, at(side + second)] - turned[:, at(side + first)]
            leans = sign * bone[:, 1] / np.linalg.norm(bone, axis=-1)
            stands &= leans > np.cos(np.radians(degrees))

    names = [name for name in np.unique(subject) if (stands & (subject == name)).sum() > MIN_FRAMES]
    pose = np.mean([turned[stands & (subject == name)].mean(0) for name in names], axis=0)
    return (pose + pose[list(RIG38.flip_order)] * (-1, 1, 1)) / 2


def with_mean_lengths(pose: np.ndarray, points: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """The pose (R,3) with every bone as long as on average over the subjects, both sides alike."""
    parents, children = np.array(RIG38.bones).T
    long = np.linalg.norm(points[:, children] - points[:, parents], axis=-1)
    mean = np.mean([long[subject == name].mean(0) for name in np.unique(subject)], axis=0)

    length = np.zeros(len(RIG38))
    length[children] = mean
    length = (length + length[list(RIG38.flip_order)]) / 2

    rest = np.zeros_like(pose)
    todo = [RIG38.root]
    while todo:
        parent = todo.pop()
        for child in children[parents == parent]:
            bone = pose[child] - pose[parent]
            rest[child] = rest[parent] + bone * length[child] / np.linalg.norm(bone)
            todo.append(int(child))

    return rest


def named(rest: np.ndarray) -> dict[str, list[float]]:
    """Points in mm by name: the rig's, then those that other layouts name; left for both sides."""
    points = dict(zip(RIG38.joints, rest, strict=True))
    points["neck"] = points["lower neck"]
    points["mid neck"] = (points["lower neck"] + points["upper neck"]) / 2
    points["shoulder middle"] = (points["left shoulder"] + points["right shoulder"]) / 2
    for name in NAMED_IN:
        layout = rig_layout(name)
        joints = layout.skeleton.joints
        formed = layout.form(rest[None])[0]
        for joint, key, point in zip(joints, joint_keys(joints), formed, strict=True):
            if key not in joint_keys(list(points)):
                points[joint] = point

    one_side = {name: point for name, point in points.items() if not name.startswith("right ")}
    return {name: [round(float(v), 1) + 0.0 for v in point] for name, point in one_side.items()}


if __name__ == "__main__":
    main()
