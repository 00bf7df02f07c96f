"""Human3.6M's original pose files (CDF) to the two files that `m2v data prepare h36m` reads.

    python data_scripts/h36m_cdf.py RAW [-o FOLDER] [--partial]

RAW holds S1/MyPoseFeatures/D3_Positions/Directions.cdf and so on, as Poses_D3_Positions_S1.tgz
... S11.tgz of the data set's own page unpack. FOLDER is ``h36m`` under ``$M2V_DATA`` (else
``data``). What is written is VideoPose3D's layout: ``data_3d_h36m.npz`` (32 joints, world
metres) and ``data_2d_h36m_gt.npz`` (17 joints as the four cameras see them, lens distortion
included). Needs cdflib.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from m2v_lib.data.checks import DataError, check_finite, check_millimetres
from m2v_lib.data.export.h36m import METADATA, write_objects
from m2v_lib.data.sources.h36m import KNOWN
from m2v_lib.data.sources.h36m.videopose_npz import KEPT_JOINTS, N_PUBLISHED
from m2v_lib.geometry.cameras import project, subject_cameras, subjects, world_to_camera

WORLD_FILE, SEEN_FILE = KNOWN[1], KNOWN[3]
PLACE: Final = "MyPoseFeatures/D3_Positions"
#: recordings of a subject: two of each of 15 actions
N_RECORDINGS: Final = 30
#: the same action has two names in the original archive
RENAMED: Final = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}
#: the recording that everybody leaves out: its video is damaged
DAMAGED: Final = ("S11", "Directions")


def read_positions(path: Path) -> np.ndarray:
    """Joints (n,32,3) of one recording, world metres, float32."""
    try:
        import cdflib
    except ImportError:
        raise DataError(
            f"{path}: reading a CDF file needs cdflib, run `pip install cdflib`"
        ) from None
    try:
        flat = np.asarray(cdflib.CDF(str(path)).varget("Pose"), np.float64)
    except Exception as error:  # cdflib does not say which of its errors mean a damaged file
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"{path}: cannot be read as a CDF file with the variable Pose ({reason})"
        ) from error
    if flat.size == 0 or flat.size % (N_PUBLISHED * 3) or flat.shape[-1] != N_PUBLISHED * 3:
        raise DataError(
            f"{path}: Pose has shape {flat.shape}, expected frames of {N_PUBLISHED} joints x 3"
        )
    joints = flat.reshape(-1, N_PUBLISHED, 3)
    check_finite(joints, f"{path}: Pose")
    check_millimetres(joints[:, list(KEPT_JOINTS)], f"{path}: Pose")
    return (joints / 1000).astype(np.float32)


def recordings(raw: Path, *, partial: bool = False) -> dict[str, dict[str, Path]]:
    """The files of every subject by the name of the recording; a missing one is an error unless
    ``partial``.
    """
    found: dict[str, dict[str, Path]] = {}
    for subject in subjects():
        files = sorted(raw.glob(f"**/{subject}/{PLACE}/*.cdf"))
        if len(files) != N_RECORDINGS and not (partial and len(files) < N_RECORDINGS):
            raise DataError(
                f"{raw}: has {len(files)} files {subject}/{PLACE}/*.cdf, expected {N_RECORDINGS}; "
                "--partial takes what is there"
            )
        named = {_name(file.stem): file for file in files if (subject, file.stem) != DAMAGED}
        if named:
            found[subject] = named
    if not found:
        raise DataError(f"{raw}: has no file S*/{PLACE}/*.cdf")
    return found


def _name(stem: str) -> str:
    for old, new in RENAMED.items():
        stem = stem.replace(old, new)
    return stem


def views(world: np.ndarray, subject: str) -> list[np.ndarray]:
    """What each of the subject's cameras sees of 32 joints (n,32,3) in world metres: px
    (n,17,2), float32.
    """
    joints = world[:, list(KEPT_JOINTS)].astype(np.float64) * 1000
    cameras = subject_cameras(subject).values()
    return [
        project(world_to_camera(joints, camera), camera, h36m=True).astype(np.float32)
        for camera in cameras
    ]


def convert(raw: Path, out: Path, *, partial: bool = False) -> list[Path]:
    """Read every recording and write both files. Raises DataError, then nothing is written."""
    files = recordings(raw, partial=partial)
    world: dict[str, dict[str, Any]] = {subject: {} for subject in files}
    seen: dict[str, dict[str, Any]] = {subject: {} for subject in files}
    every = [
        (subject, name, path) for subject, named in files.items() for name, path in named.items()
    ]
    for subject, name, path in tqdm(every, desc="reading recordings", delay=2, leave=False):
        world[subject][name] = read_positions(path)
        try:
            seen[subject][name] = views(world[subject][name], subject)
        except ValueError as error:
            raise DataError(
                f"{path}: {error}; are these D3_Positions, in the room and not in a camera?"
            ) from error
    return [
        write_objects(out / WORLD_FILE, positions_3d=world),
        write_objects(out / SEEN_FILE, positions_2d=seen, metadata=METADATA),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("raw", type=Path, help="folder of the unpacked archives")
    default = Path(os.environ.get("M2V_DATA") or "data") / "h36m"
    parser.add_argument(
        "-o", dest="out", type=Path, default=default, help="folder for the two .npz files"
    )
    parser.add_argument(
        "--partial", action="store_true", help="convert what is there of the recordings"
    )
    args = parser.parse_args(argv)
    try:
        for path in convert(args.raw, args.out, partial=args.partial):
            print(path)
    except (DataError, OSError) as error:
        print(f"h36m_cdf: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
