"""Each layout's mapping onto the 17 joints, by hand: a keypoint's x is its index, so a joint's x
says what made it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from m2v_lib.data.keypoints.layouts import LAYOUTS, by_names, candidates
from m2v_lib.data.keypoints.proportions import spread_of_bones
from m2v_lib.skeletons.h36m import JOINTS

LIMBS_COCO = {1: 12, 2: 14, 3: 16, 4: 11, 5: 13, 6: 15, 11: 5, 12: 7, 13: 9, 14: 6, 15: 8, 16: 10}
#: joint -> index, or the mean of indices, written out from the layouts' own documents
BY_HAND: dict[str, dict[int, float]] = {
    "coco17": {**LIMBS_COCO, 0: 11.5, 7: (5 + 6 + 11 + 12) / 4, 8: 5.5, 9: 0, 10: 1.5},
    "halpe26": {**LIMBS_COCO, 0: 19, 7: 18.5, 8: 18, 9: 0, 10: 17},
    "posetrack18": {**LIMBS_COCO, 0: 11.5, 7: (1 + 11.5) / 2, 8: 1, 9: 0, 10: 2},
    "body25": {
        0: 8,
        1: 9,
        2: 10,
        3: 11,
        4: 12,
        5: 13,
        6: 14,
        7: 4.5,
        8: 1,
        9: 0,
        10: 15.5,
        11: 5,
        12: 6,
        13: 7,
        14: 2,
        15: 3,
        16: 4,
    },
    "mediapipe33": {
        0: 23.5,
        1: 24,
        2: 26,
        3: 28,
        4: 23,
        5: 25,
        6: 27,
        7: (11 + 12 + 23 + 24) / 4,
        8: 11.5,
        9: 0,
        10: 3.5,
        11: 11,
        12: 13,
        13: 15,
        14: 12,
        15: 14,
        16: 16,
    },
    "h36m17": {joint: joint for joint in range(17)},
    "coco18": {
        **dict(zip((14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6), range(2, 14), strict=True)),
        **{0: 9.5, 7: (2 + 5 + 8 + 11) / 4, 8: 3.5, 9: 0, 10: 14.5},
    },
    "body25b": {**LIMBS_COCO, 0: 11.5, 7: (5 + 6 + 11 + 12) / 4, 8: 5.5, 9: 0, 10: 1.5},
    "mpii16": {
        **dict(zip((3, 2, 1, 4, 5, 6), range(6), strict=True)),
        **dict(zip((16, 15, 14, 11, 12, 13), range(10, 16), strict=True)),
        **{0: 6, 7: 6.5, 8: 7, 10: 9},
    },
    "lsp14": {
        **dict(zip((3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13), range(12), strict=True)),
        **{0: 2.5, 7: (12 + 2.5) / 2, 8: 12, 10: 13},
    },
    "crowdpose14": {
        **dict(zip((11, 14, 12, 15, 13, 16, 4, 1, 5, 2, 6, 3), range(12), strict=True)),
        **{0: 6.5, 7: (13 + 6.5) / 2, 8: 13, 10: 12},
    },
    "mpi_inf_3dhp17": {
        **dict(zip((14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6), range(2, 14), strict=True)),
        **{0: 14, 7: 15, 8: 1, 9: 16, 10: 0},
    },
}
#: joints that no keypoint of a layout gives
ABSENT = {"mpii16": (9,), "lsp14": (9,), "crowdpose14": (9,)}


@pytest.mark.parametrize("name", BY_HAND)
def test_each_joint_is_made_of_the_right_keypoints(name: str) -> None:
    layout = LAYOUTS[name]
    index = np.arange(layout.n_keypoints, dtype=float)
    xy, confidence = layout.to_h36m(
        np.stack([index, 100 - index], axis=-1)[None], np.ones((1, layout.n_keypoints))
    )
    given = [joint for joint in range(17) if joint not in ABSENT.get(name, ())]
    assert layout.absent == ABSENT.get(name, ())
    expected = np.array([BY_HAND[name][joint] for joint in given])
    np.testing.assert_allclose(xy[0, given], np.stack([expected, 100 - expected], axis=-1))
    np.testing.assert_allclose(confidence[0, given], 1.0)
    assert not confidence[0, list(layout.absent)].any()


@pytest.mark.parametrize("name", LAYOUTS)
def test_limbs_are_the_keypoints_of_their_name(name: str) -> None:
    layout = LAYOUTS[name]
    for joint, sources in zip(JOINTS, layout.sources, strict=True):
        if joint.split()[0] in ("left", "right") and sources:
            assert [layout.keypoints[k] for k in sources] == [joint.replace(" ", "_")]


@pytest.mark.parametrize("name", LAYOUTS)
def test_sides_are_not_swapped(name: str) -> None:
    layout = LAYOUTS[name]
    for joint, sources in zip(JOINTS, layout.sources, strict=True):
        words = {layout.keypoints[source].split("_")[0] for source in sources}
        if joint.split()[0] in ("left", "right"):
            assert words == {joint.split()[0]}
        else:
            assert ("left" in words) == ("right" in words), f"{joint} leans to one side"


def test_a_derived_joint_has_the_mean_confidence_and_needs_all_its_keypoints() -> None:
    confidence = np.full((3, 17), 0.5)
    confidence[0, 11], confidence[1, 12], confidence[2, 5] = (
        1.0,
        0.0,
        0.0,
    )  # left hip, right hip, left shoulder
    points = np.random.default_rng(0).uniform(1, 9, (3, 17, 2))
    xy, out = LAYOUTS["coco17"].to_h36m(points, confidence)
    assert out[0, 0] == 0.75 and out[0, 4] == 1.0 and out[0, 7] == 0.625 and out[0, 8] == 0.5
    assert out[1, [0, 1, 7]].tolist() == [0, 0, 0] and out[1, 8] == 0.5
    assert out[2, [7, 8, 11]].tolist() == [0, 0, 0] and out[2, 0] == 0.5
    assert (xy[out == 0] == 0).all() and (xy[out > 0] > 0).all()


def test_what_is_missing_may_hold_anything() -> None:
    points, confidence = np.ones((1, 17, 2)), np.ones((1, 17))
    points[0, 16], confidence[0, 16] = np.nan, 0
    xy, out = LAYOUTS["coco17"].to_h36m(points, confidence)
    assert np.isfinite(xy).all() and out[0].tolist() == [1.0] * 3 + [0.0] + [1.0] * 13


def test_layouts_are_known_by_names_and_by_number() -> None:
    for layout in LAYOUTS.values():
        assert by_names([name.replace("_", " ").title() for name in layout.keypoints]) is layout
    assert by_names(["nose", "neck"]) is None
    of_one = {18: "coco18", 26: "halpe26", 33: "mediapipe33", 133: "coco17", 136: "halpe26"}
    assert {n: [layout.name for layout in candidates(n)] for n in of_one} == {
        n: [name] for n, name in of_one.items()
    }
    assert len(candidates(17)) > 1 and len(candidates(25)) > 1


def test_seventeen_points_of_coco_and_of_human36m_are_told_apart() -> None:
    standing = np.array(
        [
            (0, 0),
            (-9, 0),
            (-10, 45),
            (-10, 88),
            (9, 0),
            (10, 45),
            (10, 88),
            (0, -25),
            (0, -50),
            (0, -60),
            (0, -70),
            (17, -48),
            (22, -20),
            (22, 5),
            (-17, -48),
            (-22, -20),
            (-22, 5),
        ],
        float,
    )[None]
    coco, scores = LAYOUTS["coco17"].from_h36m(standing, np.ones((1, 17)))
    coco[0, 3], coco[0, 4] = (5, -62), (-5, -62)  # ears
    everywhere = np.ones((1, 17))
    best = {}
    for name, points, seen in (("h36m17", standing, everywhere), ("coco17", coco, everywhere)):
        spreads = {c.name: spread_of_bones(c, points, seen) or 9.0 for c in candidates(17)}
        best[name] = min(spreads, key=lambda key: spreads[key])
        assert spreads[name] < 0.3 and sorted(spreads.values())[1] > spreads[name] + 0.1
    assert best == {"h36m17": "h36m17", "coco17": "coco17"}
    assert spread_of_bones(LAYOUTS["coco17"], coco, scores * 0) is None


@pytest.mark.parametrize("name", LAYOUTS)
def test_from_the_17_joints_and_back(name: str) -> None:
    layout = LAYOUTS[name]
    joints, scores = np.random.default_rng(1).uniform(1, 9, (4, 17, 2)), np.ones((4, 17))
    xy, confidence = layout.to_h36m(*layout.from_h36m(joints, scores))
    own = [
        j
        for j, sources in enumerate(layout.sources)
        if len(sources) == 1 or j == JOINTS.index("head")
    ]
    np.testing.assert_allclose(xy[:, own], joints[:, own])
    assert set(range(17)) - set(own) <= {0, 7, 8, *layout.absent}
    assert (np.delete(confidence, list(layout.absent), axis=1) == 1).all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_offered_for_its_count(name: str) -> None:
    assert LAYOUTS[name] in candidates(LAYOUTS[name].n_keypoints)


def test_a_layout_of_ones_own_is_offered_last(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = dataclasses.replace(LAYOUTS["lsp14"], name="mine14")
    monkeypatch.setitem(LAYOUTS, "mine14", mine)
    assert [layout.name for layout in candidates(14)] == ["lsp14", "crowdpose14", "mine14"]
