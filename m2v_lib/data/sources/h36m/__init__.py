"""Human3.6M from the files its users pass around, each with its own protocol (spec 5); the
layout is found by content.

- one pickle of frames with 2.5D labels (``h36m_pickle``): the protocol of the paper's main tables;
- that pickle and a folder of clips cut from it (``h36m_clips``), whose 2D is then the input;
- two ``.npz`` files, 3D in the world and 2D of each camera (``h36m_npz``): labels in camera
  space, as VideoPose3D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from m2v_lib.data.checks import DataError
from m2v_lib.data.foreign_values import beginning_of
from m2v_lib.data.safe_pickle.archives import array_names
from m2v_lib.data.sources.h36m.cut_clips import is_clip_folder, put_clips
from m2v_lib.data.sources.h36m.hourglass_pickle import read_h36m_pickle
from m2v_lib.data.sources.h36m.videopose_npz import read_h36m_npz
from m2v_lib.data.store import Meta, Split, write_store

FPS: Final = 50.0
SUBJECTS: Final = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}
#: frames of the published files: by them and the subjects they are known
FRAMES: Final = {"pickle": (1_559_752, 566_920), "npz": (1_559_752, 543_344)}
#: recordings of S9 whose 3D is wrong; the authors' evaluation of the 2.5D file leaves them out
#: (audit D5)
FAULTY: Final = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")
PROTOCOL: Final = "Human3.6M: S1 S5 S6 S7 S8 train, S9 S11 test, action-averaged, "
SPACE: Final = {"pickle": "2.5D frames", "npz": "camera space"}
KNOWN: Final = (
    "h36m_sh_conf_cam_source_final.pkl",
    "data_3d_h36m.npz",
    "data_2d_h36m_cpn_ft_h36m_dbb.npz",
    "data_2d_h36m_gt.npz",
)


def looks_like(path: Path | str) -> bool:
    """Whether a file is one of these, or a folder holds some; told by content, without reading
    it all.
    """
    path = Path(path)
    return part_of(path) is not None or any((path / name).is_file() for name in KNOWN)


def part_of(path: Path) -> str | None:
    """ "pickle", "clips", "3d" or "2d", else None."""
    if path.is_dir():
        return "clips" if is_clip_folder(path) else None
    head = beginning_of(path)
    if head[:1] == b"\x80":
        return "pickle" if b"joint_2d" in head or b"joint3d_image" in head else None
    names = array_names(path)
    return "3d" if "positions_3d" in names else "2d" if "positions_2d" in names else None


def prepare_h36m(
    root: Path | str,
    store_name: str,
    sources: Sequence[Path | str],
    *,
    recipe: str = "",
    faulty: str = "left-out",
    val_subjects: Sequence[str] | None = None,
) -> Path:
    """Read the files of one layout and write the store ``<root>/<store_name>``.

    faulty: the three faulty recordings of S9 are "left-out" of the test, as in the authors'
    evaluation of the 2.5D file, or "kept"; the camera-space layout keeps them always, as
    VideoPose3D does. Validation subjects (S8, else the last one that trains) stay in the train
    split; training holds them out if asked. Every fault is a ``DataError``.
    """
    if faulty not in ("left-out", "kept"):
        raise DataError(f"{store_name}: faulty is {faulty!r}, expected left-out or kept")

    files = sort_sources(sources)
    layout = "npz" if "3d" in files else "pickle"
    train, test, detector = read(files)
    blocked = FAULTY if layout == "pickle" and faulty == "left-out" else ()

    meta = Meta(
        name=store_name,
        fps=FPS,
        protocol=protocol(train, test, layout)
        + ("" if layout == "npz" or blocked else ", faulty S9 recordings kept"),
        source=_source(files),
        detector=detector,
        val_subjects=_validation(train, val_subjects, files),
        blocked_sources=blocked,
        recipe=recipe,
    )
    return write_store(Path(root), meta, train, test)


def read(files: Mapping[str, Path]) -> tuple[Split, Split, dict[str, Any]]:
    """The training and the test split of one layout's files, and what made their 2D."""
    if "3d" in files:
        return read_h36m_npz(files["3d"], files["2d"])
    train, test = read_h36m_pickle(files["pickle"])
    if "clips" in files:
        return *put_clips(files["clips"], train, test), {"model": "of the clips"}
    published = is_published(train, test, "pickle")
    return train, test, {"model": "stacked hourglass, fine-tuned" if published else "of the file"}


def is_published(train: Split, test: Split, layout: str) -> bool:
    """Whether subjects and numbers of frames are those of the published files."""
    subjects = {
        name: {v.subject for v in split.videos}
        for name, split in (("train", train), ("test", test))
    }
    same_people = all(subjects[name] == set(SUBJECTS[name]) for name in SUBJECTS)
    return same_people and (train.n_frames, test.n_frames) == FRAMES[layout]


def protocol(train: Split, test: Split, layout: str) -> str:
    """What a store says of itself; only the published files' subjects and frames are called the
    data set.
    """
    if is_published(train, test, layout):
        return PROTOCOL + SPACE[layout]
    return (
        f"other data in the layout of Human3.6M ({train.n_frames:,} and {test.n_frames:,} "
        f"frames), {SPACE[layout]}"
    )


def sort_sources(sources: Sequence[Path | str]) -> dict[str, Path]:
    """The files of one layout by what they are: pickle, pickle and clips, or 3d and 2d."""
    files: dict[str, Path] = {}
    for path in map(Path, sources):
        inside = [path / name for name in KNOWN if (path / name).is_file()]
        for file in inside if inside and part_of(path) is None else [path]:
            kind = part_of(file)
            if kind is None:
                raise DataError(
                    f"{file}: is no file of Human3.6M that is known, expected {', '.join(KNOWN)} "
                    "or a folder with train/00000000.pkl"
                )
            if kind in files:
                raise DataError(
                    f"{file}: is a second {kind} file beside {files[kind]}, name one of them"
                )

            files[kind] = file

    if set(files) == {"clips"}:
        raise DataError(
            f"{files['clips']}: clip files hold no millimetres, actions or names of recordings, "
            "name the "
            f"pickle they were cut from too ({KNOWN[0]})"
        )

    for missing, other in (("3d", "2d"), ("2d", "3d")):
        if other in files and missing not in files:
            raise DataError(
                f"{files[other]}: the {missing} file is missing, name data_{missing}_h36m*.npz too"
            )

    if {"3d", "pickle"} <= set(files):
        raise DataError(
            f"{files['3d']}: is of another layout than {files['pickle']}, name the files of one"
        )

    return files


def _source(files: Mapping[str, Path]) -> str:
    said = ", ".join(path.name for path in files.values())
    return (
        said
        if "3d" in files
        else f"{said}; mm per px of the train split estimated, where the file has none"
    )


def _validation(
    train: Split, asked: Sequence[str] | None, files: Mapping[str, Any]
) -> tuple[str, ...]:
    subjects = sorted({v.subject for v in train.videos}, key=lambda name: int(name[1:]))
    if asked is None:
        return tuple(("S8",) if "S8" in subjects else subjects[-1:]) if len(subjects) > 1 else ()

    if unknown := [name for name in asked if name not in subjects]:
        first = next(iter(files.values()))
        raise DataError(
            f"{first}: has no subject {unknown[0]!r} to validate on, it has {', '.join(subjects)}"
        )

    return tuple(asked)
