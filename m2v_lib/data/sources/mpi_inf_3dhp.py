"""MPI-INF-3DHP in the two files its users pass around, ``data_train_3dhp.npz`` and
``data_test_3dhp.npz`` (spec 6).

Joints come in the data set's own order with the root at 14 and leave in Human3.6M's. 3D is
camera-space millimetres of the universal skeleton, 2D its ground-truth projection, confidence 1.
The network's unit is 1024 mm in training: half the image width, with pixels taken for
millimetres. Images of TS5 and TS6 are 1920 pixels wide, and the authors' code takes predictions
for them times 960 (audit D9); ``scale="released"`` does so too, ``"paper"`` takes 1024 for all.
"""
# n frames, J = 17 joints

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from m2v_lib.data.checks import check_finite, check_millimetres
from m2v_lib.data.foreign_values import as_number, as_text, listed, shown
from m2v_lib.data.limits import MAX_FPS, MIN_FPS
from m2v_lib.data.safe_pickle.archives import BROKEN
from m2v_lib.data.safe_pickle.reader import read_object_npz
from m2v_lib.data.sources.pose_checks import check_inside, check_limbs, check_projection
from m2v_lib.data.store import GROUND_TRUTH, DataError, Meta, Split, Video, write_store
from m2v_lib.skeletons.h36m import H36M_FROM_MPI, N_JOINTS

TRAIN_FILE: Final = "data_train_3dhp.npz"
TEST_FILE: Final = "data_test_3dhp.npz"
SEQUENCE: Final = {"train": re.compile(r"S\d+ Seq\d+"), "test": re.compile(r"TS\d+")}
CAMERAS: Final = ("0", "1", "2", "4", "5", "6", "7", "8")
TRAIN_WIDTH: Final = 2048  # and height
#: valid frames of the published test sequences (spec 6.1): by them the published file is known
VALID_FRAMES: Final = {"TS1": 603, "TS2": 540, "TS3": 505, "TS4": 553, "TS5": 276, "TS6": 452}
SCALES: Final = ("paper", "released")
NAME: Final = "MPI-INF-3DHP"


@dataclass(frozen=True)
class Take:
    """One sequence seen by one camera, joints in Human3.6M's order: px (n,J,2), camera mm
    (n,J,3), valid (n,) bool.
    """

    sequence: str
    camera: str
    fps: float
    joint_2d: np.ndarray
    joints_mm: np.ndarray
    valid: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        return image_size(self.sequence)


def image_size(sequence: str) -> tuple[int, int]:
    """Width and height of a sequence's images, px (spec 6.4)."""
    return (1920, 1080) if sequence in ("TS5", "TS6") else (TRAIN_WIDTH, TRAIN_WIDTH)


def is_3dhp(meta: Meta) -> bool:
    """Whether a store is trained on and evaluated as MPI-INF-3DHP: windows of spec 6.4 and 6.5,
    PCK and AUC.
    """
    return NAME in meta.protocol


def looks_like(path: Path | str) -> bool:
    """Whether a file is one of the two, or a folder holds them; told by content, without reading
    it all.
    """
    path = Path(path)
    return (
        any((path / name).is_file() for name in (TRAIN_FILE, TEST_FILE)) or _kind(path) is not None
    )


def _kind(path: Path) -> str | None:
    """ "train" or "test" by the first sequence named in the file's pickle, None for any other
    file.
    """
    try:
        if not path.is_file():
            return None
        with zipfile.ZipFile(path) as archive, archive.open("data.npy") as stream:
            beginning = stream.read(1 << 12)
    except (OSError, KeyError, *BROKEN):
        return None

    text = beginning.decode("latin-1")
    return next(
        (
            kind
            for kind, name in SEQUENCE.items()
            if re.search(rf"[^A-Za-z]{name.pattern}[^\w]", text)
        ),
        None,
    )


def prepare_3dhp(
    root: Path | str,
    store_name: str,
    sources: Sequence[Path | str],
    *,
    recipe: str = "",
    scale: str = "paper",
    val_subjects: Sequence[str] | None = None,
) -> Path:
    """Read both files (or the folder that holds them) and write the store
    ``<root>/<store_name>``.

    Validation subjects (default: the last training subject, where there are several) stay in the
    train split; training holds them out if asked. Every fault is a ``DataError`` of one
    sentence, and then nothing is written.
    """
    if scale not in SCALES:
        raise DataError(f"{store_name}: scale is {scale!r}, expected one of {', '.join(SCALES)}")

    files = find_files(sources)
    train, test = read_train(files["train"]), read_test(files["test"])
    subjects = sorted({take.sequence.split()[0] for take in train}, key=lambda name: int(name[1:]))
    val = (
        tuple(subjects[-1:] if len(subjects) > 1 else ())
        if val_subjects is None
        else tuple(val_subjects)
    )
    if unknown := [name for name in val if name not in subjects]:
        raise DataError(
            f"{files['train']}: has no subject {unknown[0]!r} to validate on, it has "
            f"{', '.join(subjects)}"
        )

    meta = Meta(
        name=store_name,
        fps=Counter(take.fps for take in train).most_common(1)[0][0],
        protocol=protocol(train, test, scale),
        source=", ".join(path.name for path in files.values()),
        detector={"model": GROUND_TRUTH},
        val_subjects=val,
        recipe=recipe,
    )
    return write_store(Path(root), meta, to_split(train, scale), to_split(test, scale))


def protocol(train: Iterable[Take], test: Iterable[Take], scale: str) -> str:
    """What a store says of itself; only files with the published sequences and valid frames are
    called the data set.
    """
    sequences = {f"S{s} Seq{q}" for s in range(1, 9) for q in (1, 2)}
    published = {take.sequence for take in train} == sequences
    published = (
        published and {take.sequence: int(take.valid.sum()) for take in test} == VALID_FRAMES
    )
    files = f"{NAME}: S1-S8 train, TS1-TS6 test, ground-truth 2D, universal skeleton"
    what = files if published else f"other data in the layout of {NAME}"

    unit = (
        "one unit for all sequences"
        if scale == "paper"
        else "TS5 and TS6 in their own unit, as released"
    )
    return f"{what}; valid frames; {unit}"


def to_split(takes: Sequence[Take], scale: str = "paper") -> Split:
    """Takes one after another. ``factor`` makes a unit of the network 1024 mm, or (released)
    half the image's width.
    """
    counts = [len(take.joints_mm) for take in takes]
    widths = [take.size[0] for take in takes]
    factors = [TRAIN_WIDTH / width if scale == "paper" else 1.0 for width in widths]
    factor = np.repeat(np.array(factors, np.float32), counts)
    truth = np.concatenate([take.joints_mm for take in takes])
    joint_2d = np.concatenate([take.joint_2d for take in takes])
    starts = np.cumsum([0, *counts])

    videos = tuple(
        Video(
            f"{take.sequence}.{take.camera}",
            take.sequence.split()[0],
            take.sequence,
            take.camera,
            int(start),
            len(take.joints_mm),
            *take.size,
        )
        for take, start in zip(takes, starts[:-1], strict=True)
    )
    return Split(
        joint_2d=joint_2d,
        confidence=np.ones(joint_2d.shape[:2], np.float32),
        label_px=truth if (factor == 1).all() else truth / factor[:, None, None],
        truth_mm=truth,
        factor=factor,
        videos=videos,
        valid=np.concatenate([take.valid for take in takes]),
    )


def read_train(path: Path | str) -> list[Take]:
    """Every sequence and camera of the training file."""
    takes = []
    for sequence, entry in _sequences(Path(path), "train").items():
        where = f"{path}: {sequence}"
        if (
            not isinstance(entry, list)
            or len(entry) != 2
            or not isinstance(entry[0], dict)
            or not entry[0]
        ):
            raise DataError(
                f"{where} is {_told(entry)}, expected a list of the cameras' poses and the frame "
                "rate"
            )

        cameras, fps = entry
        fps = as_number(fps, f"{where}: frame rate", MIN_FPS, MAX_FPS)

        for key, poses in cameras.items():
            name = as_text(str(key) if isinstance(key, int) else key, f"{where}: camera")
            takes.append(_take(f"{where}, camera {name}", sequence, name, fps, poses))

    check_inside(
        (take.joint_2d[::20] for take in takes), (TRAIN_WIDTH, TRAIN_WIDTH), f"{path}: data_2d"
    )
    return takes


def read_test(path: Path | str) -> list[Take]:
    """Every sequence of the test file, with its valid frames."""
    takes = [
        _take(f"{path}: {sequence}", sequence, "0", 25.0, entry, needs_valid=True)
        for sequence, entry in _sequences(Path(path), "test").items()
    ]
    for size in {take.size for take in takes}:
        of_size = [take for take in takes if take.size == size]
        names = ", ".join(take.sequence for take in of_size[:6])
        check_inside(
            (take.joint_2d[take.valid] for take in of_size), size, f"{path}: data_2d of {names}"
        )

    return takes


def find_files(sources: Sequence[Path | str]) -> dict[str, Path]:
    """The training and the test file among files and folders, by what they hold."""
    files: dict[str, Path] = {}
    for path in map(Path, sources):
        inside = [path / name for name in (TRAIN_FILE, TEST_FILE)] if path.is_dir() else [path]
        for file in inside:
            if not file.is_file():
                raise DataError(f"{file}: no such file, expected {TRAIN_FILE} and {TEST_FILE}")
            kind = _kind(file) or ("test" if file.name == TEST_FILE else "train")
            if kind in files:
                raise DataError(f"{file}: is a second {kind} file beside {files[kind]}")
            files[kind] = file

    for kind, name in (("train", TRAIN_FILE), ("test", TEST_FILE)):
        if kind not in files:
            raise DataError(
                f"{', '.join(map(str, sources))}: the {kind} split is missing, name {name} too"
            )

    return {kind: files[kind] for kind in ("train", "test")}


def _sequences(path: Path, kind: str) -> dict[str, Any]:
    data = read_object_npz(path).get("data")
    if not isinstance(data, dict):
        raise DataError(
            f"{path}: has no dict of sequences under the key 'data', as {TRAIN_FILE} and "
            f"{TEST_FILE} have"
        )
    if not data:
        raise DataError(f"{path}: holds no sequence")

    expected = "names such as 'S1 Seq1'" if kind == "train" else "names such as 'TS1'"

    for name in data:
        if not isinstance(name, str) or not SEQUENCE[kind].fullmatch(name):
            raise DataError(
                f"{path}: {shown(name)} is no sequence of the {kind} file, expected {expected}"
            )

    return data


def _take(
    where: str, sequence: str, camera: str, fps: float, entry: Any, *, needs_valid: bool = False
) -> Take:
    keys = ("data_2d", "data_3d", *(["valid"] if needs_valid else []))
    if not isinstance(entry, Mapping) or not all(
        isinstance(entry.get(key), np.ndarray) for key in keys
    ):
        raise DataError(f"{where} is {_told(entry)}, expected the arrays {', '.join(keys)}")

    arrays = {}
    for key, axes in (("data_2d", 2), ("data_3d", 3)):
        array = entry[key]
        if array.ndim != 3 or array.shape[1:] != (N_JOINTS, axes) or array.dtype.kind != "f":
            expected = f"numbers (n, {N_JOINTS}, {axes})"
            raise DataError(f"{where}: {key} is {array.dtype} {array.shape}, expected {expected}")

        if len(array) == 0:
            raise DataError(f"{where}: {key} has no frame")

        check_finite(array, f"{where}: {key}")
        arrays[key] = np.asarray(array[:, list(H36M_FROM_MPI)], np.float32)

    n = len(arrays["data_3d"])
    if len(arrays["data_2d"]) != n:
        raise DataError(
            f"{where}: data_2d has {len(arrays['data_2d'])} frames and data_3d {n}, expected the "
            "same"
        )

    valid = _valid(entry["valid"], n, where) if needs_valid else np.ones(n, bool)
    take = Take(sequence, camera, fps, arrays["data_2d"], arrays["data_3d"], valid)
    _check_poses(take, where)

    return take


def _valid(array: np.ndarray, n: int, where: str) -> np.ndarray:
    flat = array.reshape(-1)
    if flat.shape != (n,) or flat.dtype.kind not in "biuf" or not np.isin(flat, (0, 1)).all():
        raise DataError(
            f"{where}: valid is {array.dtype} {array.shape}, expected 0 or 1 for each of {n} frames"
        )
    if not flat.any():
        raise DataError(f"{where}: no frame is valid, expected at least one")
    return flat.astype(bool)


def _check_poses(take: Take, where: str) -> None:
    """Metres, another joint order, 2D that is normalised or of another image: looked for in up
    to 2000 valid frames.
    """
    px, mm = take.joint_2d[take.valid], take.joints_mm[take.valid]
    step = max(1, len(mm) // 2000)
    px, mm = px[::step].astype(np.float64), mm[::step].astype(np.float64)
    check_millimetres(mm, f"{where}: data_3d")
    check_limbs(
        mm,
        f"{where}: data_3d",
        "the joint order head top, neck, right shoulder ... with the root at 14",
    )
    check_projection(px, mm, f"{where}: data_2d")


def _told(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Mapping):
        return f"a dict of {listed(list(value))}"
    return shown(value)
