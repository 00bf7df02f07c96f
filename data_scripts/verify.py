"""What you have of a data set against what its protocol expects: counts, shapes, ranges,
fingerprints.

    python data_scripts/verify.py FILE [FILE ...]

The files' kind is found by content, as `m2v data prepare` does. ✓ is as published, ✗ is not, ·
has no published value. The command ends with status 0 when there is no ✗, 1 when there is one, 2
when the files cannot be read.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from convert_3dhp import SEQUENCES as SEQUENCES_3DHP

from m2v_lib.data.checks import DataError
from m2v_lib.data.cutting import clip_index, clip_index_3dhp
from m2v_lib.data.sources.readers import kind_of, sha256_of
from m2v_lib.data.store import Split

#: sha256 of published files, where they are on record
KNOWN_SHA256: Final = {
    "h36m_sh_conf_cam_source_final.pkl": "73b642f2567a8d0b194f88c54a3182c7b635c003c832b48ae6ee559f10232175",
}
#: of 56,880 recordings 302 lack a skeleton; splits as in the literature on the data set
NTU60_SAMPLES: Final[dict[Any, int]] = {
    "all": 56_578,
    ("xsub", "train"): 40_091,
    ("xsub", "test"): 16_487,
    ("xview", "train"): 37_646,
    ("xview", "test"): 18_932,
}
NTU60_NAME: Final = re.compile(r"S\d{3}C(\d{3})P(\d{3})R\d{3}A(\d{3})$")


@dataclass(frozen=True)
class Row:
    """One line of the table; ``ok`` is None where nothing is expected."""

    what: str
    found: str
    expected: str = ""
    ok: bool | None = None


def equal(what: str, found: Any, expected: Any) -> Row:
    return Row(what, _text(found), _text(expected), found == expected)


def within(what: str, values: np.ndarray, low: float, high: float) -> Row:
    """All values (not NaN) from ``low`` to ``high``; looks at up to 100,000 of the first axis."""
    sample = np.asarray(values[:: max(1, len(values) // 100_000)])
    least, most = float(sample.min()), float(sample.max())
    return Row(
        what,
        f"{least:.4g} to {most:.4g}",
        f"{low:g} to {high:g}",
        bool(low <= least and most <= high),
    )


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def h36m_rows(paths: Sequence[Path]) -> Iterator[Row]:
    """Human3.6M, the pickle (with clips or without) or the two .npz files (spec 5)."""
    from m2v_lib.data.sources import h36m

    files = h36m.sort_sources(paths)
    layout = "npz" if "3d" in files else "pickle"
    train, test, detector = h36m.read(files)
    yield Row("2D", str(detector["model"]))
    for name, split, frames in (
        ("train", train, h36m.FRAMES[layout][0]),
        ("test", test, h36m.FRAMES[layout][1]),
    ):
        yield equal(f"{name}: frames", split.n_frames, frames)
        people = sorted({v.subject for v in split.videos}, key=lambda s: int(s[1:]))
        yield equal(f"{name}: subjects", people, list(h36m.SUBJECTS[name]))
        yield equal(f"{name}: actions", len({v.action for v in split.videos}), 15)
        yield equal(f"{name}: cameras", len({v.camera for v in split.videos}), 4)
        yield Row(f"{name}: videos", _text(len(split.videos)))
        yield equal(f"{name}: joints", split.joint_2d.shape[1], 17)
        yield from _ranges(name, split)
        spans = [(v.start, v.n_frames) for v in split.videos]
        clips = {"pickle": (17_748, 2_228)}.get(layout, (None, None))[name == "test"]
        found = len(clip_index(spans, 243, 81 if name == "train" else 243))
        yield Row(
            f"{name}: clips of 243",
            _text(found),
            *((_text(clips), found == clips) if clips else ()),
        )
    if layout == "pickle":
        faulty = sorted({v.recording for v in test.videos} & set(h36m.FAULTY))
        yield equal("test: faulty recordings of S9", len(faulty), len(h36m.FAULTY))


def _ranges(name: str, split: Split) -> Iterator[Row]:
    yield within(f"{name}: 2D (px)", split.joint_2d, -500, 1500)
    yield within(f"{name}: confidence", split.confidence, 0, 1.1)
    yield within(f"{name}: mm per px", split.factor, 1, 10)
    root_relative = np.asarray(split.truth_mm[:: max(1, split.n_frames // 20_000)])
    yield within(f"{name}: joint from root (mm)", root_relative - root_relative[:, :1], -2000, 2000)


def mpi_inf_3dhp_rows(paths: Sequence[Path]) -> Iterator[Row]:
    """MPI-INF-3DHP's two files (spec 6)."""
    from m2v_lib.data.sources import mpi_inf_3dhp as mpi

    files = mpi.find_files(paths)
    train, test = mpi.read_train(files["train"]), mpi.read_test(files["test"])
    yield equal("train: sequences", sorted({t.sequence for t in train}), list(SEQUENCES_3DHP))
    yield equal("train: cameras", sorted({t.camera for t in train}), list(mpi.CAMERAS))
    off = [
        f"{t.sequence} camera {t.camera}"
        for t in train
        if _frames_and_rate(t) != SEQUENCES_3DHP.get(t.sequence)
    ]
    yield equal("train: of other length or rate", off[:3] or "none", "none")
    n_cameras, lengths = len(mpi.CAMERAS), [n for n, _ in SEQUENCES_3DHP.values()]
    yield equal("train: frames", sum(len(t.joints_mm) for t in train), n_cameras * sum(lengths))
    clips = len(clip_index_3dhp([(0, len(t.joints_mm)) for t in train], 81, 9))
    yield equal("train: clips of 81", clips, n_cameras * sum(-(-n // 9) for n in lengths))
    yield equal("test: sequences", sorted(t.sequence for t in test), list(mpi.VALID_FRAMES))
    for take in test:
        expected = mpi.VALID_FRAMES.get(take.sequence, 0)
        yield equal(f"test: valid frames of {take.sequence}", int(take.valid.sum()), expected)
    yield equal(
        "test: valid frames", int(sum(t.valid.sum() for t in test)), sum(mpi.VALID_FRAMES.values())
    )
    for name, takes in (("train", train), ("test", test)):
        joints = np.concatenate([t.joints_mm[t.valid][::20] for t in takes])
        yield within(
            f"{name}: 2D (px)",
            np.concatenate([t.joint_2d[t.valid][::20] for t in takes]),
            -2048,
            4096,
        )
        yield within(f"{name}: joint from root (mm)", joints - joints[:, :1], -2000, 2000)
        yield within(f"{name}: depth (mm)", joints[..., 2], 500, 15_000)


def _frames_and_rate(take: Any) -> tuple[int, float]:
    return len(take.joints_mm), take.fps


def ntu60_rows(paths: Sequence[Path]) -> Iterator[Row]:
    """NTU RGB+D 60's pickle (spec 7)."""
    from m2v_lib.data.sources import ntu

    data = ntu.read_ntu60(paths[0])
    yield equal("samples", len(data), NTU60_SAMPLES["all"])
    yield equal("classes with samples", len(np.unique(data.label)), len(ntu.CLASSES))
    numbers = np.array(
        [
            [int(n) for n in match.groups()]
            for name in data.names
            if (match := NTU60_NAME.match(name))
        ]
    )
    yield equal("names as NTU's", len(numbers), len(data))
    for protocol in ("xsub", "xview"):
        for part in ("train", "test"):
            found = len(data.part(protocol, part))  # type: ignore[arg-type]
            yield equal(f"{protocol}: samples that {part}", found, NTU60_SAMPLES[protocol, part])
    if len(numbers) == len(data):
        people = sorted({int(p) for p in numbers[data.part("xsub", "train"), 1]})
        yield equal("xsub: people who train", people, list(ntu.TRAIN_SUBJECTS))
        cameras = sorted({int(c) for c in numbers[data.part("xview", "test"), 0]})
        yield equal("xview: cameras that test", cameras, [ntu.TEST_CAMERA])
        yield equal(
            "labels that are not the name's", int((numbers[:, 2] - 1 != data.label).sum()), 0
        )
    yield within("people in a sample", data.n_persons, 1, 2)
    yield within("frames of a sample", data.n_frames, 1, 300)
    yield within("confidence", data.confidence, 0, 1.1)


ROWS: Final[dict[str, Callable[[Sequence[Path]], Iterator[Row]]]] = {
    "h36m": h36m_rows,
    "mpi_inf_3dhp": mpi_inf_3dhp_rows,
    "ntu60": ntu60_rows,
}


def verify(paths: Sequence[Path]) -> Iterator[Row]:
    """The rows of the table, as they are found. Raises DataError where the files cannot be read."""
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file")
    kind = kind_of("", paths)
    if kind not in ROWS:
        raise DataError(
            f"{paths[0]}: is of kind {kind}, which has no published counts; known are "
            f"{', '.join(ROWS)}"
        )
    yield Row("kind", kind)
    for path in (path for path in paths if path.is_file()):
        known = KNOWN_SHA256.get(path.name)
        found = sha256_of(path)
        yield Row(
            f"sha256 of {path.name}",
            found[:16],
            known[:16] if known else "",
            found == known if known else None,
        )
    yield from ROWS[kind](paths)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="FILE", help="the files, or folders, of one data set"
    )
    args = parser.parse_args(argv)
    wrong = 0
    try:
        for row in verify(args.paths):
            mark = {True: "✓", False: "✗", None: "·"}[row.ok]
            expected = f"   expected {row.expected}" if row.ok is False else ""
            print(f"{mark} {row.what:34} {row.found}{expected}", flush=True)
            wrong += row.ok is False
    except DataError as error:
        print(f"✗ {error}")
        return 2
    print(f"{wrong} not as published" if wrong else "all as published")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
