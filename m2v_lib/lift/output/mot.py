"""OpenSim's motion file: joint angles over time, a file a person; what they mean is in `angles`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from m2v_lib.data.checks import DataError
from m2v_lib.lift.output.angles import MIN_BEND, joint_angles
from m2v_lib.lift.output.files import identity, write_lines
from m2v_lib.lift.people import Lifted, Motion, by_person


def write_mot(path: Path, motion: Motion) -> list[Path]:
    """Write a row for each frame in which somebody is seen: degrees, and the pelvis' place in m in
    the motion's world. Raises DataError where the joints have no hips or shoulders.
    """
    targets = []
    for target, pieces in by_person(path, motion):
        write_lines(target, _lines(target, pieces, motion))
        targets.append(target)
    return targets


def _lines(target: Path, pieces: list[Lifted], motion: Motion) -> Iterator[str]:
    joints = np.concatenate([motion.world.to_world(piece.joints_mm) for piece in pieces])
    frames = np.concatenate([piece.start + np.arange(piece.n_frames) for piece in pieces])
    times = frames / motion.fps
    columns, seen = joint_angles(joints, motion.skeleton, motion.absent, times)
    if not columns:
        raise DataError(
            f"{target}: joint angles need both hips and both shoulders, which "
            f"{motion.skeleton.name} or the layout lacks"
        )

    yield target.stem
    yield "version=1"
    yield f"nRows={len(times)}"
    yield f"nColumns={1 + len(columns)}"
    yield "inDegrees=yes"
    yield from _remarks(motion, columns, seen)
    yield "endheader"
    yield "\t".join(["time", *columns])
    for time, *values in zip(times, *columns.values(), strict=True):
        yield "\t".join([f"{time:.6f}", *(f"{value:.5f}" for value in values)])


def _remarks(
    motion: Motion, columns: dict[str, np.ndarray], seen: dict[str, float]
) -> Iterator[str]:
    """What the columns are and were made of, in lines that readers skip."""
    yield "Units are degrees, pelvis_tx, pelvis_ty, pelvis_tz m; y is up, 0 the floor."
    for key, value in identity(motion).items():
        yield f"{key}: {' '.join(str(value).split())}".replace("=", ":")

    for name, share in seen.items():
        if name in ("pelvis", "torso"):
            if share < 1:
                yield f"The front of the {name} shows in {share:.0%} of the frames only."
            continue

        where = f"bent past {MIN_BEND:g} degrees in {share:.0%} of the frames"
        between = "between them interpolated" if name in columns else "so it is left out"
        yield f"{name} shows where the next joint is {where}, {between}."
