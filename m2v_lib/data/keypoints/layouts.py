"""Which of a detector's keypoints make the 17 Human3.6M joints, for twelve layouts (spec sections 7
and 8), and for any keypoints whose names are known.

Every H36M joint is the mean of one or more keypoints of the layout: one where the detector gives
that joint, two for the middle of the hips, the shoulders or the eyes, four for the spine. A
derived joint takes the mean confidence of its keypoints and is missing (confidence 0) as soon as
one of them is. Three joints mean something else than in H36M:
- head (10): COCO, BODY_25 and MediaPipe have none, the middle of the eyes stands in, some 12 cm
  below the crown;
- neck (8): where no neck is given, the middle of the shoulders, a little below H36M's;
- spine (7): halfway from hips to neck, on the straight line that a bent spine leaves.
"""
# m detections, K keypoints of a layout, J = 17 joints

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from m2v_lib.skeletons.h36m import JOINTS


@dataclass(frozen=True)
class Layout:
    """A detector's joints by name, and for each H36M joint the keypoints whose mean it is (`()`:
    never given).
    """

    name: str
    keypoints: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]

    @property
    def n_keypoints(self) -> int:
        return len(self.keypoints)

    @property
    def absent(self) -> tuple[int, ...]:
        """H36M joints that no keypoint of this layout gives."""
        return tuple(joint for joint, sources in enumerate(self.sources) if not sources)

    def weights(self) -> np.ndarray:
        """The mapping as a matrix (J, K): each row sums to 1, or is 0 where the layout lacks the
        joint.
        """
        weights = np.zeros((len(self.sources), self.n_keypoints))
        for joint, sources in enumerate(self.sources):
            for source in sources:
                weights[joint, source] += 1 / len(sources)
        return weights

    def to_h36m(self, points: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (m,K,2) and confidence (m,K) -> joints (m,17,2), 0 where missing, and
        confidence (m,17).
        """
        weights = self.weights()
        lacking = (confidence <= 0).astype(float) @ (weights > 0).T > 0
        found = ~lacking & (weights.sum(1) > 0)
        joints = np.einsum("jk,mkc->mjc", weights, np.where(confidence[..., None] > 0, points, 0.0))
        return np.where(found[..., None], joints, 0.0), np.where(found, confidence @ weights.T, 0.0)

    def from_h36m(
        self, joints: np.ndarray, confidence: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joints (m,17,2) and confidence (m,17) as this layout's keypoints (m,K,2) and (m,K);
        what H36M lacks is 0.

        `to_h36m` gives back every joint that has a keypoint of its own, and the head between the
        two eyes.
        """
        points, scores = (
            np.zeros((len(joints), self.n_keypoints, 2)),
            np.zeros((len(joints), self.n_keypoints)),
        )
        for joint, sources in sorted(enumerate(self.sources), key=lambda row: -len(row[1])):
            alone = all(sum(source in other for other in self.sources) == 1 for source in sources)
            if len(sources) == 1 or alone:
                points[:, list(sources)], scores[:, list(sources)] = (
                    joints[:, [joint]],
                    confidence[:, [joint]],
                )

        return points, scores


def _layout(name: str, keypoints: str, middle: Mapping[str, Sequence[str]]) -> Layout:
    """Limbs by their own names, the joints of the body's middle as `middle` says."""
    names = tuple(keypoints.replace("\n", " ").split())
    rows = []
    for joint in JOINTS:
        words = middle.get(joint, (joint.replace(" ", "_"),))
        known = [names.index(word) for word in words if word in names]
        rows.append(tuple(known) if len(known) == len(words) else ())
    return Layout(name, names, tuple(rows))


_SHOULDERS, _HIPS, _EYES = (
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("left_eye", "right_eye"),
)
_NO_NECK: Final = {"root": _HIPS, "neck": _SHOULDERS, "spine": (*_SHOULDERS, *_HIPS), "head": _EYES}
_COCO = """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow
right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"""
_FEET = "left_big_toe right_big_toe left_small_toe right_small_toe left_heel right_heel"
_FEET_BY_SIDE = "left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel"
_BODY_25 = """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
mid_hip right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye
right_ear left_ear left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel"""
_MEDIAPIPE = """nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye
right_eye_outer left_ear right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow
right_elbow left_wrist right_wrist left_pinky right_pinky left_index right_index left_thumb
right_thumb left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel
left_foot_index right_foot_index"""
_POSETRACK = """nose head_bottom head_top left_ear right_ear left_shoulder right_shoulder
left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle
right_ankle"""

_COCO_18 = """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear
left_ear"""
_BODY_25B = f"{_COCO} neck head_top {_FEET_BY_SIDE}"
_MPII = """right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck
head_top right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist"""
_LSP = """right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow
right_shoulder left_shoulder left_elbow left_wrist neck head_top"""
_CROWDPOSE = """left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip
right_hip left_knee right_knee left_ankle right_ankle head_top neck"""
_MPI_INF_3DHP = """head_top neck right_shoulder right_elbow right_wrist left_shoulder left_elbow
left_wrist right_hip right_knee right_ankle left_hip left_knee left_ankle root spine nose"""
_NECK_AND_TOP: Final = {
    "root": _HIPS,
    "neck": ("neck",),
    "head": ("head_top",),
    "spine": ("neck", "neck", *_HIPS),
}

#: by name; `h36m17` is the package's own order
LAYOUTS: Final[dict[str, Layout]] = {
    layout.name: layout
    for layout in (
        _layout("h36m17", " ".join(joint.replace(" ", "_") for joint in JOINTS), {}),
        _layout("coco17", _COCO, _NO_NECK),
        _layout(
            "halpe26",
            f"{_COCO} head neck hip {_FEET}",
            {"root": ("hip",), "spine": ("hip", "neck")},
        ),
        _layout(
            "body25", _BODY_25, {"root": ("mid_hip",), "spine": ("mid_hip", "neck"), "head": _EYES}
        ),
        _layout("mediapipe33", _MEDIAPIPE, _NO_NECK),
        _layout(
            "posetrack18",
            _POSETRACK,
            {
                "root": _HIPS,
                "neck": ("head_bottom",),
                "head": ("head_top",),
                "spine": ("head_bottom", "head_bottom", *_HIPS),
            },
        ),
        # its neck is the middle of the shoulders by definition, and less sure than they are
        _layout("coco18", _COCO_18, _NO_NECK),
        # its neck is the upper one, at the larynx: the middle of the shoulders is nearer to H36M's
        _layout("body25b", _BODY_25B, _NO_NECK),
        _layout(
            "mpii16",
            _MPII,
            {
                "root": ("pelvis",),
                "neck": ("thorax",),
                "head": ("head_top",),
                "spine": ("pelvis", "thorax"),
            },
        ),
        _layout("lsp14", _LSP, _NECK_AND_TOP),
        _layout("crowdpose14", _CROWDPOSE, _NECK_AND_TOP),
        _layout(
            "mpi_inf_3dhp17",
            _MPI_INF_3DHP,
            {"root": ("root",), "spine": ("spine",), "neck": ("neck",), "head": ("head_top",)},
        ),
    )
}
#: the usual ones of so many keypoints; whole-body layouts begin with the body: 133 keypoints of
#: COCO-WholeBody, 136 of Halpe
_BY_COUNT: Final = {
    14: ("lsp14", "crowdpose14"),
    16: ("mpii16",),
    17: ("coco17", "h36m17", "posetrack18", "mpi_inf_3dhp17"),
    18: ("coco18",),
    25: ("body25", "body25b"),
    26: ("halpe26",),
    33: ("mediapipe33",),
    133: ("coco17",),
    136: ("halpe26",),
}


def by_names(names: Sequence[str]) -> Layout | None:
    """The layout whose keypoints have these names, in this order; None when there is none."""
    plain = tuple(str(name).strip().lower().replace(" ", "_").replace("-", "_") for name in names)
    return next((layout for layout in LAYOUTS.values() if layout.keypoints == plain), None)


def candidates(n_keypoints: int) -> tuple[Layout, ...]:
    """The layouts that so many keypoints may be, the most usual first, those without a place in
    that order last.
    """
    usual = _BY_COUNT.get(n_keypoints, ())
    others = (name for name in LAYOUTS if name not in usual)
    same = (name for name in others if LAYOUTS[name].n_keypoints == n_keypoints)
    return tuple(LAYOUTS[name] for name in (*usual, *same))


def begins_with(layout: Layout, n_keypoints: int) -> bool:
    """Whether so many keypoints can be, or begin with, those of the layout."""
    return n_keypoints == layout.n_keypoints or layout in candidates(n_keypoints)
