"""NTU RGB+D 60's original ``.skeleton`` files to the pickle that ``m2v data prepare ntu60``
reads.

    python data_scripts/ntu_skeletons.py FOLDER [-o ntu60_kinect.pkl]

The files (``S001C002P003R002A013.skeleton``) hold what the Kinect tracked: for each frame its
bodies, for each body 25 joints in space and where the colour camera saw them. The latter, pixels
of 1920 x 1080, become COCO keypoints: limbs as they are; nose, eyes and ears at or beside the
Kinect's head, it has nothing finer. A tracked joint has the score 1, an inferred one 0.5, one
outside the image or untracked 0. X-Sub and X-View are those of the data set's authors.
"""

from __future__ import annotations

import argparse
import pickle
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from m2v_lib.data.actions import h36m_to_coco
from m2v_lib.data.sources.ntu import CLASSES, SPLITS, TEST_CAMERA, TRAIN_SUBJECTS
from m2v_lib.data.store import DataError
from m2v_lib.runs.records import write_stream

NAME: Final = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})\.skeleton")
HEIGHT, WIDTH = 1080, 1920
N_KINECT: Final = 25
#: the Kinect's joint, counted from 0, for each of the 17 Human3.6M joints; its head is both our
#: head and our nose
KINECT: Final = (0, 16, 17, 18, 12, 13, 14, 1, 20, 3, 3, 4, 5, 6, 8, 9, 10)
#: columns of a joint's line: x and y in the colour image, and how well it is tracked (0 not, 1
#: inferred, 2 tracked)
COLOUR, TRACKED = slice(5, 7), 11
SCORES: Final = np.array([0.0, 0.5, 1.0])
#: a second body must be there in this share of the first one's frames; what is there less is
#: mostly furniture
SECOND: Final = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "folder", type=Path, help="folder with the .skeleton files, searched to the bottom"
    )
    parser.add_argument("-o", dest="out", type=Path, default=Path("ntu60_kinect.pkl"))
    args = parser.parse_args(argv)
    try:
        content, left_out = convert(args.folder)
        write_stream(args.out, lambda stream: pickle.dump(content, stream, protocol=4))
    except (DataError, OSError) as error:
        print(f"ntu_skeletons: {error}", file=sys.stderr)
        return 2
    print(
        f"{args.out}: {len(content['annotations'])} samples; left out {left_out['empty']} files "
        "without a body "
        f"and {left_out['ntu120']} of actions beyond the {len(CLASSES)}"
    )
    return 0


def convert(folder: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """All files under a folder in the published layout, and how many were left out, by reason.
    Raises DataError.
    """
    paths = sorted(folder.rglob("*.skeleton"))
    if not paths:
        raise DataError(
            f"{folder}: holds no .skeleton file, expected names such as "
            "S001C002P003R002A013.skeleton"
        )
    left_out = {"empty": 0, "ntu120": 0}
    annotations: list[dict[str, Any]] = []
    split: dict[str, list[str]] = {key: [] for key in SPLITS}
    for path in tqdm(paths, unit="file", leave=False, delay=2):
        camera, subject, label = numbers_of(path)
        if label > len(CLASSES):
            left_out["ntu120"] += 1
            continue
        points, score = read_skeleton(path)
        if not len(points):
            left_out["empty"] += 1
            continue
        annotations.append(
            {
                "frame_dir": path.stem,
                "label": label - 1,
                "img_shape": (HEIGHT, WIDTH),
                "original_shape": (HEIGHT, WIDTH),
                "total_frames": points.shape[1],
                "keypoint": points.astype(np.float16),
                "keypoint_score": score.astype(np.float16),
            }
        )
        split["xsub_train" if subject in TRAIN_SUBJECTS else "xsub_val"].append(path.stem)
        split["xview_val" if camera == TEST_CAMERA else "xview_train"].append(path.stem)
    return {"split": split, "annotations": annotations}, left_out


def numbers_of(path: Path) -> tuple[int, int, int]:
    """Camera, person and action of a file, from its name. Raises DataError."""
    match = NAME.fullmatch(path.name)
    if not match:
        raise DataError(
            f"{path}: is not named as NTU names its files, such as S001C002P003R002A013.skeleton"
        )
    _, camera, subject, _, label = (int(number) for number in match.groups())
    return camera, subject, label


def read_skeleton(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """COCO keypoints (M,T,17,2) px and scores (M,T,17) of the one or two people of a file; M is
    0 where there is none.

    Frames in which one of them is not tracked are all zeros. Raises DataError naming the line.
    """
    frames = list(_frames(path))
    seen: dict[str, int] = {}
    for bodies in frames:
        for name in bodies:
            seen[name] = seen.get(name, 0) + 1
    people = sorted(seen, key=lambda name: -seen[name])[:2]
    people = [name for name in people if seen[name] >= SECOND * seen[people[0]]]
    points, score = (
        np.zeros((len(people), len(frames), 17, 2)),
        np.zeros((len(people), len(frames), 17)),
    )
    for t, bodies in enumerate(frames):
        for person, name in enumerate(people):
            if name in bodies:
                points[person, t], score[person, t] = (values[0] for values in _coco(bodies[name]))
    return points, score


def _coco(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One body's lines (25,12) as COCO keypoints (1,17,2) and scores (1,17)."""
    at, tracked = joints[KINECT, COLOUR], joints[KINECT, TRACKED]
    inside = np.isfinite(at).all(1) & (at >= 0).all(1) & (at < (WIDTH, HEIGHT)).all(1)
    score = np.where(inside, SCORES[np.clip(tracked, 0, 2).astype(int)], 0.0)
    return h36m_to_coco(np.where(inside[:, None], at, 0.0)[None], score[None])


def _frames(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Bodies of each frame by their number, each with its 25 lines of 12 numbers."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as text ({' '.join(str(error).split())})"
        ) from error
    at = 0

    def line(what: str, n: int) -> list[str]:
        nonlocal at
        words = lines[at].split() if at < len(lines) else []
        at += 1
        if len(words) != n:
            found = f"{len(words)} numbers" if words else "the end of the file"
            raise DataError(f"{path}: line {at} holds {found}, expected {what}")
        return words

    def count(what: str) -> int:
        (word,) = line(what, 1)
        if not word.isdigit():
            raise DataError(f"{path}: line {at} says {word!r}, expected {what}")
        return int(word)

    for _ in range(count("the number of frames")):
        bodies = {}
        for _ in range(count("the number of bodies")):
            name = line("a body of 10 numbers", 10)[0]
            if (n_joints := count("the number of joints")) != N_KINECT:
                raise DataError(f"{path}: line {at} says {n_joints} joints, expected {N_KINECT}")
            rows = [line("a joint of 12 numbers", 12) for _ in range(N_KINECT)]
            try:
                bodies[name] = np.array(rows, dtype=float)
            except ValueError as error:
                raise DataError(
                    f"{path}: before line {at + 1} a joint is not 12 numbers ({error})"
                ) from error
        yield bodies
    if any(lines[at:]):
        raise DataError(
            f"{path}: line {at + 1} comes after the last of the frames that line 1 announces"
        )


if __name__ == "__main__":
    sys.exit(main())
