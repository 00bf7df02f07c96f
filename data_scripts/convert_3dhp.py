"""Turn MPI-INF-3DHP's original annotation files into the two files that `m2v data prepare
mpi_inf_3dhp` reads.

    python data_scripts/convert_3dhp.py RAW [-o FOLDER] [--partial]

RAW holds S1/Seq1/annot.mat ... S8/Seq2/annot.mat and TS1/annot_data.mat ... TS6/annot_data.mat
at any depth, as the data set's own download scripts leave them. FOLDER is ``mpi_inf_3dhp`` under
``$M2V_DATA`` (else ``data``). Needs scipy and, for the test set's files (MATLAB 7.3), h5py.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.export.mpi_inf_3dhp import write_npz
from m2v_lib.data.sources.mpi_inf_3dhp import CAMERAS, TEST_FILE, TRAIN_FILE, VALID_FRAMES
from m2v_lib.data.store import DataError

#: which of the 28 annotated joints are the 17, in the data set's order (spec 6.1), and how many
#: cameras there are
JOINT_SET: Final = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
N_ANNOTATED: Final = 28
N_CAMERAS: Final = 14
#: frames that are used of each training sequence, and frames a second
SEQUENCES: Final = {
    "S1 Seq1": (6416, 25),
    "S1 Seq2": (12430, 50),
    "S2 Seq1": (6502, 25),
    "S2 Seq2": (6081, 25),
    "S3 Seq1": (12488, 50),
    "S3 Seq2": (12283, 50),
    "S4 Seq1": (6171, 25),
    "S4 Seq2": (6675, 25),
    "S5 Seq1": (12820, 50),
    "S5 Seq2": (12312, 50),
    "S6 Seq1": (6188, 25),
    "S6 Seq2": (6145, 25),
    "S7 Seq1": (6239, 25),
    "S7 Seq2": (6320, 25),
    "S8 Seq1": (6468, 25),
    "S8 Seq2": (6054, 25),
}


def read_mat(path: Path, names: Sequence[str]) -> list[Any]:
    """Variables of a MATLAB file in MATLAB's axis order; a cell array is a list. Version 7.3 is
    read with h5py.
    """
    try:
        with path.open("rb") as stream:
            newer = stream.read(116).startswith(b"MATLAB 7.3")
        return _read_hdf5(path, names) if newer else _read_scipy(path, names)
    except ImportError as error:
        version = "7.3" if newer else "5"
        raise DataError(
            f"{path}: reading a MATLAB {version} file needs {error.name}, "
            f"run `pip install {error.name}`"
        ) from None
    except KeyError as error:
        raise DataError(f"{path}: has no variable {error}, expected {', '.join(names)}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # neither reader says which of its errors mean a damaged file
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"{path}: cannot be read as a MATLAB file, truncated? ({reason})"
        ) from error


def _read_scipy(path: Path, names: Sequence[str]) -> list[Any]:
    from scipy.io import loadmat

    content = loadmat(path, variable_names=list(names))
    found = []
    for name in names:
        try:
            value = content[name]
        except KeyError:
            raise KeyError(name) from None
        found.append(
            [np.asarray(cell) for cell in value.ravel()] if value.dtype == object else value
        )
    return found


def _read_hdf5(path: Path, names: Sequence[str]) -> list[Any]:
    import h5py

    found: list[Any] = []
    with h5py.File(path, "r") as file:
        for name in names:
            if name not in file:
                raise KeyError(name)
            value = file[name][()]
            cells = value.dtype == object
            found.append(
                [file[reference][()].T for reference in value.T.ravel()] if cells else value.T
            )
    return found


def train_sequence(path: Path, name: str) -> list[Any]:
    """One training sequence as in the published file: [{camera: poses}, frames a second]."""
    n_frames, fps = SEQUENCES[name]
    annot2, annot3 = read_mat(path, ["annot2", "univ_annot3"])
    cameras = {}
    for camera in map(int, CAMERAS):
        poses = {}
        for key, cells, axes in (("data_2d", annot2, 2), ("data_3d", annot3, 3)):
            if not isinstance(cells, list) or len(cells) != N_CAMERAS:
                raise DataError(f"{path}: {key} is not a cell array of {N_CAMERAS} cameras")
            flat = cells[camera]
            if flat.ndim != 2 or flat.shape[1] != N_ANNOTATED * axes:
                raise DataError(
                    f"{path}: camera {camera} has annotations {flat.shape}, expected "
                    f"(frames, {N_ANNOTATED} joints x {axes})"
                )
            if len(flat) < n_frames:
                raise DataError(
                    f"{path}: camera {camera} has {len(flat)} frames, {name} has {n_frames}"
                )
            poses[key] = flat.reshape(len(flat), N_ANNOTATED, axes)[:n_frames, list(JOINT_SET)]
        cameras[str(camera)] = poses
    return [cameras, fps]


def test_sequence(path: Path) -> dict[str, np.ndarray]:
    """One test sequence as in the published file; its 17 joints are in order already."""
    annot2, annot3, valid = read_mat(path, ["annot2", "univ_annot3", "valid_frame"])
    poses = {}
    for key, array, axes in (("data_2d", annot2, 2), ("data_3d", annot3, 3)):
        frames = (
            array.T if isinstance(array, np.ndarray) else np.empty(0)
        )  # (frames, 1, joints, axes)
        if frames.ndim != 4 or frames.shape[1:] != (1, len(JOINT_SET), axes):
            raise DataError(
                f"{path}: {key} is {frames.shape} frames first, expected (frames, 1, 17, {axes})"
            )
        poses[key] = np.ascontiguousarray(frames[:, 0])
    return {**poses, "valid": valid.reshape(-1)}


def convert(raw: Path, out: Path, *, partial: bool = False) -> list[Path]:
    """Write both files; a missing sequence is an error unless `partial`."""
    found = {" ".join(p.parts[-3:-1]): p for p in sorted(raw.glob("**/S*/Seq*/annot.mat"))}
    tests = {p.parent.name: p for p in sorted(raw.glob("**/TS*/annot_data.mat"))}
    wanted = {
        **{name: found.get(name) for name in SEQUENCES},
        **{name: tests.get(name) for name in VALID_FRAMES},
    }
    missing = [name for name, path in wanted.items() if path is None]
    if len(missing) == len(wanted) or (missing and not partial):
        names = ", ".join(missing[:4]) + (" ..." if len(missing) > 4 else "")
        raise DataError(
            f"{raw}: holds no annotations of {names}, expected S1/Seq1/annot.mat and so on to "
            "TS6/annot_data.mat; --partial takes what is there"
        )
    train = {name: train_sequence(found[name], name) for name in _shown(SEQUENCES, found)}
    test = {name: test_sequence(tests[name]) for name in _shown(VALID_FRAMES, tests)}
    for name, entry in test.items():
        if (n := int(entry["valid"].sum())) != VALID_FRAMES[name]:
            print(
                f"note: {name} has {n} valid frames, the published test set {VALID_FRAMES[name]}",
                flush=True,
            )
    out.mkdir(parents=True, exist_ok=True)
    return [
        write_npz(out / file, data)
        for file, data in ((TRAIN_FILE, train), (TEST_FILE, test))
        if data
    ]


def _shown(names: Iterable[str], there: dict[str, Path]) -> Iterable[str]:
    for name in names:
        if name in there:
            print(f"{name}: {there[name]}", flush=True)
            yield name


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    default = Path(os.environ.get("M2V_DATA") or "data") / "mpi_inf_3dhp"
    parser.add_argument("raw", type=Path, help="folder of the original files")
    parser.add_argument(
        "-o", dest="out", type=Path, default=default, help="folder for the two .npz files"
    )
    parser.add_argument(
        "--partial", action="store_true", help="convert what is there of the sequences"
    )
    options = parser.parse_args(arguments)
    try:
        for path in convert(options.raw, options.out, partial=options.partial):
            print(path)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
