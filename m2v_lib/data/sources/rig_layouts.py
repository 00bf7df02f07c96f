"""Which joints can be formed from the 38 points of CMU's rig: named layouts as weights.

``rig_layouts.json`` says of every joint of a layout from which points it is formed, and whether
that is exact (a point of the rig, or the middle of two that the layout defines so),
approximated (a point placed by average proportions of the body, or the nearest one there is), or
absent. ``rig38`` is the rig itself.
"""
# n frames, J joints of a layout, R = 38 points of the rig

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.skeletons import Skeleton, skeleton_of
from m2v_lib.skeletons.known import RIG38

H36M_ALIKE: Final = "h36m17_alike"


@cache
def _facts() -> dict[str, Any]:
    file = resources.files("m2v_lib.data.sources").joinpath("rig_layouts.json")
    return json.loads(file.read_text(encoding="utf-8"))


#: Names of the rig's points as packs write them, in the order of RIG38.
RIG_JOINTS: Final[tuple[str, ...]] = tuple(_facts()["rig"]["joints"])
#: Which of them the 17-joint pack holds.
RIG_H36M17: Final[tuple[int, ...]] = tuple(_facts()["rig"]["h36m17_index"])
#: Those that no motion file gives: placed by average proportions of the body.
RIG_DERIVED: Final[tuple[str, ...]] = tuple(_facts()["rig"]["derived"])


@dataclass(frozen=True)
class Layout:
    """A choice of joints with the weights (J,R) that form them from the rig's points, and how
    well: `quality` (J,) is exact or approximated; `absent` joints cannot be formed.
    """

    name: str
    skeleton: Skeleton
    weights: np.ndarray
    quality: tuple[str, ...]
    absent: tuple[str, ...]
    note: str

    def form(self, positions: np.ndarray) -> np.ndarray:
        """Joints (n,J,3) from the rig's points (n,R,3), the same unit; a joint that is one point
        is that point, bit for bit.
        """
        alone = (self.weights == 1).any(1)
        formed = np.empty((len(positions), *self.weights.shape[:1], 3), positions.dtype)
        formed[:, alone] = positions[:, self.weights[alone].argmax(1)]

        mixed = np.einsum("jr,nrc->njc", self.weights[~alone], positions.astype(np.float64))
        formed[:, ~alone] = mixed
        return formed

    def uses(self) -> np.ndarray:
        """Which of the rig's points (R,) bool have a part in any joint."""
        return (self.weights != 0).any(0)


def layout_names() -> tuple[str, ...]:
    """Every layout, the rig itself last."""
    return (*_facts()["layouts"], RIG38.name)


@cache
def rig_layout(name: str) -> Layout:
    """A layout by its name. Raises DataError that names the nearest.

    >>> rig_layout("h36m17_alike").skeleton.n_joints
    17
    """
    if name == RIG38.name:
        quality = ["approximated" if joint in RIG_DERIVED else "exact" for joint in RIG_JOINTS]
        return Layout(name, RIG38, np.eye(len(RIG38)), tuple(quality), (), "the rig itself")

    entries = _facts()["layouts"]
    if name not in entries:
        nearest = difflib.get_close_matches(str(name), layout_names(), n=1, cutoff=0.0)[0]
        raise DataError(
            f"joints must be one of {', '.join(layout_names())}, got {str(name)[:80]!r}; the "
            f"nearest is {nearest!r}"
        )

    entry = entries[name]

    weights = np.zeros((len(entry["joints"]), len(RIG_JOINTS)))
    for row, joint in zip(weights, entry["joints"], strict=True):
        for point, weight in joint["weights"].items():
            row[RIG_JOINTS.index(point)] = weight

    quality = [joint["quality"] for joint in entry["joints"]]
    absent = tuple(entry["absent"])
    return Layout(name, _skeleton(name, entry), weights, tuple(quality), absent, entry["note"])


def _skeleton(name: str, entry: dict[str, Any]) -> Skeleton:
    """The known skeleton, or the joints there are with the parents said."""
    if "skeleton" in entry:
        return skeleton_of(entry["skeleton"])

    joints = []
    for joint in entry["joints"]:
        values = {"name": joint["joint"], "parent": joint["parent"]}
        values |= {"word": joint["word"]} if "word" in joint else {}
        for side, other in (("left", "right"), ("right", "left")):
            if joint["joint"].startswith(f"{side} "):
                values |= {"twin": joint["joint"].replace(side, other), "side": side}
        joints.append(values)

    return Skeleton.from_dict({"name": f"{name}_of_rig", "joints": joints}, name)
