"""NTU RGB+D 60 in the field's file, ``ntu60_hrnet.pkl``: COCO keypoints of one or two people, a
label a recording.

The file (spec section 7) is a pickle of a dict: ``split``, four lists of names (``xsub_train``,
``xsub_val``, ``xview_train``, ``xview_val``), and ``annotations``, a list of dicts:
``frame_dir`` (the name), ``total_frames``, ``img_shape`` (height, width), ``original_shape``,
``label``, ``keypoint`` (M,T,17,2) px, ``keypoint_score`` (M,T,17).
"""
# S samples, M people, T frames, n rows (a person in a frame), J = 17 joints or keypoints

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import (
    as_array,
    as_list,
    as_table,
    as_text,
    as_whole,
    beginning_of,
    kind_of,
    listed,
    read_text,
    shown,
)
from m2v_lib.data.keypoints.layouts import LAYOUTS
from m2v_lib.data.limits import MAX_DESCRIPTION_BYTES, MAX_FRAME_NUMBER, MAX_IMAGE_SIDE
from m2v_lib.data.safe_pickle.reader import read_pickle
from m2v_lib.data.store.action_store import (
    NEITHER,
    TEST,
    TRAIN,
    ActionData,
    ActionMeta,
    write_actions,
)

FILE_NAME: Final = "ntu60_hrnet.pkl"
#: names of the classes, one a line, beside a pickle whose labels are not NTU's
LABEL_MAP: Final = "label_map.txt"
SPLITS: Final = {
    "xsub_train": ("xsub", TRAIN),
    "xsub_val": ("xsub", TEST),
    "xview_train": ("xview", TRAIN),
    "xview_val": ("xview", TEST),
}
KEYS: Final = ("frame_dir", "total_frames", "img_shape", "label", "keypoint", "keypoint_score")
COCO: Final = LAYOUTS["coco17"]
#: people who train in the cross-subject protocol; in the cross-view protocol cameras 2 and 3
#: train and camera 1 tests
TRAIN_SUBJECTS: Final = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
TEST_CAMERA: Final = 1
CLASSES: Final = (
    "drink water",
    "eat meal",
    "brush teeth",
    "brush hair",
    "drop",
    "pick up",
    "throw",
    "sit down",
    "stand up",
    "clapping",
    "reading",
    "writing",
    "tear up paper",
    "put on jacket",
    "take off jacket",
    "put on a shoe",
    "take off a shoe",
    "put on glasses",
    "take off glasses",
    "put on a hat",
    "take off a hat",
    "cheer up",
    "hand waving",
    "kicking something",
    "reach into pocket",
    "hopping",
    "jump up",
    "phone call",
    "play with phone",
    "type on a keyboard",
    "point to something",
    "taking a selfie",
    "check time",
    "rub two hands",
    "nod head",
    "shake head",
    "wipe face",
    "salute",
    "put palms together",
    "cross hands in front",
    "sneeze or cough",
    "staggering",
    "falling down",
    "headache",
    "chest pain",
    "back pain",
    "neck pain",
    "nausea",
    "fan self",
    "punch",
    "kick",
    "push",
    "pat on back",
    "point finger",
    "hugging",
    "giving object",
    "touch pocket",
    "shaking hands",
    "walking towards",
    "walking apart",
)


def looks_like(path: Path) -> bool:
    """Whether a file begins as a pickle of this layout does."""
    head = beginning_of(Path(path))
    return head[:1] == b"\x80" and any(
        word in head for word in (b"xsub_train", b"xview_train", b"keypoint_score")
    )


def prepare_ntu60(root: Path, store_name: str, sources: Sequence[Path], *, recipe: str) -> Path:
    """Read the pickle and write the action data ``<root>/<store_name>``. Raises DataError."""
    if len(sources) != 1:
        raise DataError(f"{store_name}: got {len(sources)} files, expected one {FILE_NAME}")

    path = Path(sources[0])
    data = read_ntu60(path)

    protocol = (
        f"layout of NTU RGB+D 60: {len(data):,} samples, {len(data.classes)} classes, splits of "
        "the file"
    )
    return write_actions(
        root, ActionMeta(name=store_name, protocol=protocol, source=path.name, recipe=recipe), data
    )


def read_ntu60(path: Path | str) -> ActionData:
    """Read the pickle; every fault is a ``DataError`` that names the file, the sample and what
    was expected.
    """
    path = Path(path)
    content = read_pickle(path)
    if not isinstance(content, Mapping) or not {"split", "annotations"} <= set(content):
        found = listed(list(content)) if isinstance(content, Mapping) else kind_of(content)
        raise DataError(f"{path}: holds {found}, expected a dict with split and annotations")
    return from_annotations(
        content["annotations"], content["split"], str(path), _read_classes(path)
    )


def from_annotations(
    annotations: Sequence[Mapping[str, Any]],
    split: Mapping[str, Sequence[str]],
    where: str,
    classes: Sequence[str],
) -> ActionData:
    """Annotations as in the file -> joints in Human3.6M order, two people followed, confidences
    with their joints.

    Of more than two people in a sample those two with the largest sum of scores are kept.
    """
    if not isinstance(annotations, list | tuple) or not annotations:
        raise DataError(f"{where}: annotations is no list of samples, expected at least one")

    samples = [
        _check(a, f"{where}: annotation {i}", len(classes)) for i, a in enumerate(annotations)
    ]

    names = tuple(str(a["frame_dir"]) for a in samples)
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"{where}: frame_dir {twice!r} occurs twice, expected each sample once")

    height, width = np.array([a["img_shape"] for a in samples], np.int64).T
    n_frames = np.array([a["total_frames"] for a in samples], np.int64)
    n_persons = np.array([min(2, len(a["keypoint"])) for a in samples], np.int64)
    data = ActionData(
        **_fill(samples, int((n_frames * n_persons).sum())),
        label=np.array([a["label"] for a in samples], np.int64),
        n_frames=n_frames,
        n_persons=n_persons,
        width=width,
        height=height,
        **_parts(split, names, where),
        names=names,
        classes=tuple(classes),
    )
    _check_images(data, where)

    return data


def _fill(samples: Sequence[Mapping[str, Any]], n: int) -> dict[str, np.ndarray]:
    """The rows of all samples, one sample in memory at a time beside them."""
    joints, confidence = np.empty((n, 17, 2), np.float32), np.empty((n, 17), np.float32)
    scores, start = np.empty((n, 17), np.float32), 0

    for sample in tqdm(samples, desc="following people", unit="sample", delay=10, leave=False):
        points, score = (
            np.asarray(sample[key], np.float32) for key in ("keypoint", "keypoint_score")
        )
        if len(points) > 2:
            chosen = np.sort(np.argsort(-score.sum((1, 2)), kind="stable")[:2])
            points, score = points[chosen], score[chosen]

        rows = slice(start, start := start + score.shape[0] * score.shape[1])
        scores[rows] = score.reshape(-1, 17)
        points, score = follow(points, score)
        joints[rows], confidence[rows] = COCO.to_h36m(
            points.reshape(-1, 17, 2), score.reshape(-1, 17)
        )

    return {"joint_2d": joints, "confidence": confidence, "coco_score": scores}


def follow(points_MTJ2: np.ndarray, score_MTJ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same keypoints and scores with each of two people in one place throughout.

    A detector lists people frame by frame, so the two can change places from one frame to the
    next. Each frame's are given the order in which they are nearer to where the two were last
    seen. One person comes back as given.
    """
    if len(points_MTJ2) != 2:
        return points_MTJ2, score_MTJ

    seen, far = score_MTJ.max(-1) > 0, 1e3 * (1 + np.abs(points_MTJ2).max())
    last: list[np.ndarray | None] = [None, None]
    order_T2 = np.tile([0, 1], (points_MTJ2.shape[1], 1))

    for t, (both, here) in enumerate(zip(points_MTJ2.swapaxes(0, 1), seen.T, strict=True)):
        moved = [
            [np.abs(row - place).sum() if place is not None else far for place in last]
            for row in both
        ]
        stay = sum(moved[row][row] for row in (0, 1) if here[row])
        change = sum(moved[row][1 - row] for row in (0, 1) if here[row])
        if change < stay:
            order_T2[t] = 1, 0

        for person, row in enumerate(order_T2[t]):
            if here[row]:
                last[person] = both[row]

    frames = np.arange(len(order_T2))
    return points_MTJ2[order_T2.T, frames], score_MTJ[order_T2.T, frames]


def _check(sample: Any, where: str, n_classes: int) -> Mapping[str, Any]:
    """The sample, when it keeps the layout; DataError otherwise."""
    sample = as_table(sample, where)
    if "frame_dir" in sample:
        where = f"{where} ({as_text(sample['frame_dir'], f'{where}: frame_dir')})"
    if missing := [key for key in KEYS if key not in sample]:
        raise DataError(f"{where} has no key {missing[0]!r}, expected {', '.join(KEYS)}")

    points, score = (
        as_array(sample[key], f"{where}: {key}", "f") for key in ("keypoint", "keypoint_score")
    )
    if points.ndim != 4 or points.shape[2:] != (17, 2) or 0 in points.shape:
        raise DataError(
            f"{where}: keypoint has shape {points.shape}, expected (people, frames, 17 COCO "
            "keypoints, 2)"
        )
    if score.shape != points.shape[:3]:
        raise DataError(
            f"{where}: keypoint_score has shape {score.shape}, expected {points.shape[:3]}"
        )

    n_frames = as_whole(sample["total_frames"], f"{where}: total_frames", 1, MAX_FRAME_NUMBER)
    if n_frames != points.shape[1]:
        raise DataError(
            f"{where}: total_frames says {n_frames}, keypoint has {points.shape[1]} frames"
        )

    bad = ~(np.isfinite(points).all((2, 3)) & np.isfinite(score).all(2))
    if bad.any():
        person, frame = np.argwhere(bad)[0]
        raise DataError(
            f"{where}: person {person}, frame {frame} holds a number that is not finite"
        )

    if score.min() < 0 or score.max() > 1.5:  # the peak of a heat map can be a little over 1
        raise DataError(
            f"{where}: keypoint_score runs from {score.min():g} to {score.max():g}, expected 0 to 1"
        )

    sides = as_list(sample["img_shape"], f"{where}: img_shape")
    if len(sides) != 2:
        raise DataError(f"{where}: img_shape has {len(sides)} numbers, expected height and width")

    for side in sides:
        as_whole(side, f"{where}: img_shape (height, width)", 1, MAX_IMAGE_SIDE)

    as_whole(sample["label"], f"{where}: label", 0, n_classes - 1)
    return sample


def _parts(split: Any, names: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """Which samples train and which test under each protocol."""
    split = as_table(split, f"{where}: split")
    if missing := [key for key in SPLITS if key not in split]:
        raise DataError(f"{where}: split has no {missing[0]!r}, expected {', '.join(SPLITS)}")

    number = {name: i for i, name in enumerate(names)}
    parts = {protocol: np.full(len(names), NEITHER, np.int64) for protocol in ("xsub", "xview")}

    for key, (protocol, part) in SPLITS.items():
        listed_names = as_list(split[key], f"{where}: split {key}")
        if not listed_names:
            raise DataError(f"{where}: split {key} is empty, expected names of samples")
        for name in listed_names:
            at = number.get(name) if isinstance(name, str) else None
            if at is None:
                raise DataError(
                    f"{where}: split {key} names {shown(name)}, which no annotation has"
                )
            if parts[protocol][at] not in (NEITHER, part):
                raise DataError(
                    f"{where}: {name!r} is in both splits of {protocol}, expected it to train or "
                    "to test"
                )

            parts[protocol][at] = part

    return parts


def _check_images(data: ActionData, where: str) -> None:
    """The joints must lie where the images are: in pixels, and better with height and width as
    given than exchanged.
    """
    image = np.stack(
        [np.repeat(size, data.n_frames * data.n_persons) for size in (data.width, data.height)], -1
    )
    step = max(1, len(image) // 200_000)
    image, sure, joints = image[::step, None], data.confidence[::step] > 0.3, data.joint_2d[::step]
    if not sure.any():
        return
    if np.abs(joints[sure]).max() < 4:
        raise DataError(
            f"{where}: keypoint runs to {np.abs(joints[sure]).max():.2g} only, expected pixels"
        )

    inside = [
        np.all((joints >= 0) & (joints <= size), axis=-1) for size in (image, image[..., ::-1])
    ]
    share, exchanged = (float(np.mean(there[sure])) for there in inside)
    if exchanged > share + 0.02:
        raise DataError(
            f"{where}: {share:.0%} of the sure joints lie inside img_shape and {exchanged:.0%} "
            "would if it "
            "were exchanged, expected (height, width)"
        )


def _read_classes(path: Path) -> tuple[str, ...]:
    """NTU's 60 class names, or those of the label map beside the file."""
    beside = path.with_name(LABEL_MAP)
    if not beside.is_file():
        return CLASSES

    text = read_text(beside, MAX_DESCRIPTION_BYTES)
    lines = (line.strip() for line in text.splitlines())
    classes = tuple(as_text(line, f"{beside}: class") for line in lines if line)
    if not classes:
        raise DataError(f"{beside}: is empty, expected the name of a class on each line")

    return classes
