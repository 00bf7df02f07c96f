"""Download the benchmark's motion capture from mocap.cs.cmu.edu and convert it to a pack with
the rig's 38 points.

    python data_scripts/fetch_cmu.py [--data FOLDER] [--only 05_01 09_02 ...]

FOLDER is ``$M2V_DATA``, else ``data``. ASF and AMC files go to ``cmu_mocap/raw/NN/`` there, the
pack beside them, where
``m2v data prepare mocap`` finds it. Can be stopped and run again at any time.

The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with
funding from NSF EIA-0196217. It is free for all uses but must not be resold as such.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from download import Lock, fetch

from m2v_lib.data.checks import DataError
from m2v_lib.data.sources.amc import Segment, convert, to_pack
from m2v_lib.data.sources.packs import RIG_FILE, write_pack

BASE: Final = "http://mocap.cs.cmu.edu/subjects"
HERE: Final = Path(__file__).resolve().parent
CLIPS: Final = HERE / "cmu_clips.csv"
KNOWN: Final = HERE / "cmu_known.sha256"


@dataclass(frozen=True)
class Row:
    """One motion file: e.g. ``05_01``, what CMU says is done in it, and the action group it
    counts for.
    """

    name: str
    action: str
    action_class: str

    @property
    def subject(self) -> str:
        return self.name.split("_")[0]


def read_clips(path: Path, only: Sequence[str] = ()) -> list[Row]:
    """The rows of the clip list, or those named in ``only``."""
    with path.open(newline="") as stream:
        rows = [
            Row(row["amc"], row["action"], row["action_class"]) for row in csv.DictReader(stream)
        ]
    if unknown := sorted(set(only) - {row.name for row in rows}):
        raise DataError(f"{path}: has no clip {unknown[0]}, expected names such as {rows[0].name}")
    return [row for row in rows if not only or row.name in only]


def fetch_clip(row: Row, raw: Path, lock: Lock, base: str, pause: float = 1.0) -> tuple[Path, Path]:
    """The skeleton and the motion file of a row, downloaded if they are not there, checked
    either way.
    """
    found = []
    for name in (f"{row.subject}/{row.subject}.asf", f"{row.subject}/{row.name}.amc"):
        file = fetch(f"{base}/{name}", raw / name, pause=pause)
        lock.check(name, file)
        found.append(file)
    return found[0], found[1]


def fetch_pack(
    data: Path,
    *,
    only: Sequence[str] = (),
    base: str = BASE,
    clips: Path = CLIPS,
    known: Path = KNOWN,
    pause: float = 1.0,
) -> Path:
    """Download, check, convert, write; returns the pack's path. An existing pack is kept."""
    folder = data / "cmu_mocap"
    pack = folder / (RIG_FILE if not only else "cmu_mocap_selection.npz")
    if pack.exists() and not only:
        print(f"{pack} is there already")
        return pack
    rows, lock = read_clips(clips, only), Lock(folder / "raw" / "SHA256SUMS", known)
    segments: list[Segment] = []
    for number, row in enumerate(rows, start=1):
        asf, amc = fetch_clip(row, folder / "raw", lock, base, pause)
        segments += convert(asf, amc, action=row.action, action_class=row.action_class)
        print(f"[{number}/{len(rows)}] {row.name}: {row.action}", flush=True)
    write_pack(pack, to_pack(segments))
    print(f"{pack}: {len(segments)} clips, {sum(len(s.clip.positions) for s in segments)} frames")
    return pack


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    default = Path(os.environ.get("M2V_DATA") or "data")
    parser.add_argument(
        "--data", type=Path, default=default, help="folder to fill ($M2V_DATA, else data)"
    )
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="NN_MM", help="these motion files alone"
    )
    parser.add_argument("--base", default=BASE, help="where the subjects' folders are")
    options = parser.parse_args(arguments)
    try:
        fetch_pack(options.data, only=options.only, base=options.base)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
