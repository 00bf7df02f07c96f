"""Which kinds of data there are, how the files of each are known, and where they are looked for."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from m2v_lib.data.checks import DataError


@dataclass(frozen=True)
class Reader:
    """One kind of data. ``function`` of ``module`` is ``prepare(root, name, sources, *, recipe,
    **options) -> folder``; the module's ``looks_like(path)`` knows its files by content.

    version: raised by whoever changes what ends up in a store, which is then made anew; moving
    or tidying code is no such change. files: sets of names looked for under $M2V_DATA, the first
    complete one is taken; advice: what to do when there is none.
    """

    module: str
    function: str
    version: int
    files: tuple[tuple[str, ...], ...] = ()
    advice: str = ""

    def call(self, name: str) -> Callable[..., Any]:
        return getattr(importlib.import_module(f"m2v_lib.data.sources.{self.module}"), name)

    def check_options(self, kind: str, options: Mapping[str, Any]) -> None:
        known = [
            p.name
            for p in inspect.signature(self.call(self.function)).parameters.values()
            if p.kind is p.KEYWORD_ONLY
        ]
        known.remove("recipe")

        if unknown := [key for key in options if key not in known]:
            takes = f"takes {', '.join(known)}" if known else "takes none"
            raise DataError(f"{kind}: there is no option {unknown[0]!r}, this kind of data {takes}")


READERS: Final = {
    "synthetic": Reader("synthetic", "prepare_people", 2),
    "mocap": Reader(
        "mocap",
        "prepare_pack",
        3,
        (("cmu_mocap_rig_50hz_train.npz",), ("cmu_mocap_h36m17_50hz_train.npz",)),
        "run `python data_scripts/fetch_cmu.py` to download CMU motion capture",
    ),
    "h36m": Reader(
        "h36m",
        "prepare_h36m",
        1,
        (
            ("h36m_sh_conf_cam_source_final.pkl",),
            ("data_3d_h36m.npz", "data_2d_h36m_cpn_ft_h36m_dbb.npz"),
            ("data_3d_h36m.npz", "data_2d_h36m_gt.npz"),
        ),
        "data_scripts/README.md says where users of Human3.6M get it",
    ),
    "mpi_inf_3dhp": Reader(
        "mpi_inf_3dhp",
        "prepare_3dhp",
        1,
        (("data_train_3dhp.npz", "data_test_3dhp.npz"),),
        "data_scripts/README.md says how to make them from the original files",
    ),
    "ntu60": Reader(
        "ntu",
        "prepare_ntu60",
        1,
        (("ntu60_hrnet.pkl",),),
        "data_scripts/README.md says how to get it",
    ),
    "keypoints": Reader(
        "unlabelled",
        "prepare_keypoints",
        2,
        (("posetrack18",),),
        "data_scripts/README.md says which files of detectors and of PoseTrack18 are read",
    ),
}


def kind_of(name: str, sources: Sequence[Path]) -> str:
    """The kind of data that is meant by a name of ours, or else by what the files hold."""
    if name in READERS:
        return name
    if not sources:
        raise DataError(
            f"{name}: no such data set, expected one of {', '.join(READERS)} or a name with "
            "--source FILE"
        )

    with_files = [kind for kind, reader in READERS.items() if reader.files]
    found = [
        kind
        for kind in with_files
        if any(READERS[kind].call("looks_like")(path) for path in sources)
    ]
    if len(found) > 1 and "keypoints" in found:  # tables of keypoints are many things
        found.remove("keypoints")

    if len(found) != 1:
        what = "files of several kinds" if found else "no file that is known"
        raise DataError(
            f"{', '.join(map(str, sources))}: {what}, expected those of "
            f"{', '.join(found or with_files)}"
        )

    return found[0]


def find_sources(kind: str, given: Sequence[Path]) -> list[Path]:
    """The given files and folders, all there; without any, those of the kind under $M2V_DATA
    (else ``data``).
    """
    reader = READERS[kind]
    if not reader.files:
        if given:
            raise DataError(f"{kind}: takes no source, it is made from nothing")
        return []

    if missing := [path for path in given if not path.exists()]:
        raise DataError(f"{missing[0]}: no such file")
    if given:
        return list(given)

    base = Path(os.environ.get("M2V_DATA") or "data")

    for names in reader.files:
        paths = [_below(base, name) for name in names]
        if all(paths):
            return [path for path in paths if path]

    wanted = " or ".join(" with ".join(names) for names in reader.files)
    raise DataError(f"{base}: holds no {wanted}; name the files with --source, or {reader.advice}")


def sha256_of(path: Path) -> str:
    """sha256 of a file, or of all files below a folder with their names; a long one shows how
    far it is.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    size = sum(file.stat().st_size for file in files)

    with tqdm(
        total=size, desc=f"checking {path.name}", unit="B", unit_scale=True, delay=2, leave=False
    ) as bar:
        for file in files:
            if file != path:
                digest.update(file.relative_to(path).as_posix().encode())
            with file.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
                    bar.update(len(block))

    return digest.hexdigest()


def _below(base: Path, name: str) -> Path | None:
    """A file of the name in a folder or up to two levels below."""
    found: Iterable[Path] = (
        path for level in ("", "*/", "*/*/") for path in sorted(base.glob(level + name))
    )
    return next(iter(found), None)
