"""From a detector's layout to the joints of any skeleton, by the names of both.

The joints of Human3.6M are made as `layouts` says. Of another skeleton, limbs, eyes, ears and feet
are the keypoints of the same name; root, spine, neck and nose are those of Human3.6M. A joint that no
keypoint gives is absent.
"""
# m detections, K keypoints of a layout, J joints of the skeleton

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import listed
from m2v_lib.data.keypoints.layouts import LAYOUTS, Layout
from m2v_lib.skeletons import H36M17, KNOWN, VOCABULARY, Skeleton
from m2v_lib.skeletons.h36m import JOINTS
from m2v_lib.skeletons.known import RIG38
from m2v_lib.skeletons.names import joint_keys

#: joints of the body's middle that layouts without a keypoint of their own make of others
_MADE: Final = ("root", "spine", "neck", "nose")
#: OpenPose's neck, where a skeleton tells it from others
_SHOULDER_MIDDLE: Final = "middle shoulder"
#: what 3DHP calls head, where there is a top of the head beside it and no nose
_LIKE_NOSE: Final = "head"
#: joints that have to be given for it to be the skeleton's body (all of a smaller skeleton's)
MIN_JOINTS: Final = 6


def own_layout(skeleton: Skeleton) -> Layout:
    """Keypoints that are the skeleton's joints, in its order."""
    keys = joint_keys(skeleton.joints)
    of_h36m = joint_keys(JOINTS)
    sources = tuple((keys.index(key),) if key in keys else () for key in of_h36m)
    names = tuple(joint.replace(" ", "_") for joint in skeleton.joints)
    return Layout(skeleton.name, names, sources)


def known_layouts(skeleton: Skeleton) -> dict[str, Layout]:
    """The layouts by name, with the skeleton's own where none of them is called so."""
    if skeleton.name in LAYOUTS:
        return LAYOUTS
    return {**LAYOUTS, skeleton.name: own_layout(skeleton)}


def skeleton_of_layout(layout: Layout, where: str) -> Skeleton:
    """The known skeleton that has most of a layout's joints, less those that the layout lacks: what
    comes out of a network for any skeleton. Raises DataError where there is none.

    >>> skeleton_of_layout(LAYOUTS["coco17"], "here").name
    'coco17'
    """
    best, found = 0, None
    for skeleton in (s for s in KNOWN.values() if s not in (VOCABULARY, RIG38)):
        keys = joint_keys(layout.keypoints)
        given = [bool(_given(layout, keys, skeleton, joint)) for joint in range(len(skeleton))]
        n = sum(given)
        if n > best or (n == best and found is not None and len(skeleton) < len(found[0])):
            best, found = n, (skeleton, given)

    if found is None or best < MIN_JOINTS:
        raise DataError(f"{where}: the keypoints of {layout.name} make no known skeleton")
    skeleton, given = found
    if all(given):
        return skeleton
    return skeleton.without([joint for joint, there in enumerate(given) if not there])


def _given(
    layout: Layout, keypoints: tuple[str, ...], skeleton: Skeleton, joint: int
) -> tuple[int, ...]:
    """The keypoints of the layout that make a joint of a known skeleton."""
    if skeleton == H36M17:
        return layout.sources[joint]
    if _is_own(layout, skeleton):
        return (joint,)
    keys = joint_keys(skeleton.joints)
    return _sources(layout, keypoints, keys[joint], keys)


def mapped(layout: Layout, skeleton: Skeleton, where: str) -> Layout:
    """The layout with the sources of the skeleton's joints in place of Human3.6M's.

    Raises DataError where it gives too few of them.
    """
    if skeleton == H36M17:
        return layout

    keypoints = joint_keys(layout.keypoints)
    keys = joint_keys(skeleton.joints)
    sources: tuple[tuple[int, ...], ...] = tuple((joint,) for joint in range(len(keys)))
    if not _is_own(layout, skeleton):
        sources = tuple(_sources(layout, keypoints, key, keys) for key in keys)
        sources = tuple(
            source or _by_word(layout, word)
            for source, word in zip(sources, skeleton.vocabulary, strict=True)
        )

    n_given = sum(map(bool, sources))
    if n_given < min(MIN_JOINTS, len(skeleton)):
        raise DataError(
            f"{where}: the model needs joints of {skeleton.name} "
            f"({listed(list(skeleton.joints), 3)}), of which the keypoints of {layout.name} give "
            f"{n_given}"
        )
    return replace(layout, sources=sources)


def _is_own(layout: Layout, skeleton: Skeleton) -> bool:
    """Whether the keypoints are the skeleton's joints, in its order."""
    usual = LAYOUTS.get(layout.name) is layout and KNOWN.get(layout.name) == skeleton
    return usual or layout == own_layout(skeleton)


def _sources(
    layout: Layout, keypoints: tuple[str, ...], key: str, keys: tuple[str, ...]
) -> tuple[int, ...]:
    """The keypoints whose mean is the joint of this key; none where the layout lacks it."""
    if key == _LIKE_NOSE and "head_top" in keys and "nose" not in keys:
        key = "nose"
    if key == _SHOULDER_MIDDLE and {"left_shoulder", "right_shoulder"} <= set(keypoints):
        return tuple(keypoints.index(f"{side}_shoulder") for side in ("left", "right"))
    if key in _MADE and (made := layout.sources[JOINTS.index(key)]):
        return made
    return (keypoints.index(key),) if key in keypoints else ()


def _by_word(layout: Layout, word: str) -> tuple[int, ...]:
    """The keypoint that the vocabulary of joints calls so, where the layout is a known skeleton's."""
    skeleton = KNOWN.get(layout.name)
    if skeleton is None or len(skeleton) != layout.n_keypoints or word not in skeleton.vocabulary:
        return ()
    return (skeleton.vocabulary.index(word),)


def joints_of(
    layout: Layout, points: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (m,K,2) and confidence (m,K) of a `mapped` layout as the skeleton's joints
    (m,J,2), 0 where missing, and confidence (m,J).
    """
    return layout.to_h36m(points, confidence)
