"""How long a skeleton's bones are on an adult of 1.70 m, and where they point at rest.

A skeleton may say it itself (`reference_mm`, `rest_direction`); for joints whose names are those
of a body it follows from a standing adult, mean over motion capture
(`data_scripts/standing_body.py`).
"""
# J joints

from __future__ import annotations

import json
from functools import cache
from importlib import resources

import numpy as np

from m2v_lib.skeletons.names import joint_keys
from m2v_lib.skeletons.skeleton import Skeleton


@cache
def rest_offsets(skeleton: Skeleton) -> np.ndarray:
    """Offset (J,3) of each joint from its parent at rest, mm: x to the person's left, y up, z to
    the front. NaN where nobody says it, 0 of the root.

    >>> from m2v_lib.skeletons import H36M17
    >>> rest_offsets(H36M17)[3].tolist()
    [0.0, -429.4, 0.0]
    """
    offsets = np.zeros((len(skeleton), 3))
    for (parent, child), length in zip(skeleton.bones, reference_lengths(skeleton), strict=True):
        body = standing(skeleton)[[child, parent]]
        said = skeleton.rest_direction.get(skeleton.joints[child])
        direction = body[0] - body[1] if said is None else np.array(said, float)
        offsets[child] = length * direction / np.linalg.norm(direction)

    offsets.flags.writeable = False
    return offsets


@cache
def reference_lengths(skeleton: Skeleton) -> tuple[float, ...]:
    """Lengths in mm in the order of `skeleton.bones`; NaN where nobody says them."""
    at = standing(skeleton)
    lengths = []
    for parent, child in skeleton.bones:
        found = float(np.linalg.norm(at[child] - at[parent])) or float("nan")
        lengths.append(float(skeleton.reference_mm.get(skeleton.joints[child], found)))
    return tuple(lengths)


@cache
def standing(skeleton: Skeleton) -> np.ndarray:
    """Where the standing adult has the joints (J,3) mm, from the middle of the hips, by their words
    of the vocabulary or their names; NaN where it has none of either.
    """
    body, nowhere = _body(), np.full(3, np.nan)
    joints = zip(skeleton.joints, joint_keys(skeleton.joints), strict=True)
    points = np.array([body.get(skeleton.words.get(j, key), nowhere) for j, key in joints])
    points.flags.writeable = False
    return points


@cache
def _body() -> dict[str, np.ndarray]:
    """Points of the standing adult by name and by key; the left ones serve both sides."""
    text = resources.files("m2v_lib.skeletons").joinpath("standing_body.json").read_text("utf-8")
    half = {name: np.array(point) for name, point in json.loads(text).items()}

    points = dict(half)
    for name, point in half.items():
        points[name.replace("left", "right")] = point * (-1 if "left" in name else 1, 1, 1)

    return points | dict(zip(joint_keys(list(points)), points.values(), strict=True))
