"""`docs/any_camera.md`: motion seen by any camera, and the errors by the grid of cameras of every
network that was measured on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from m2v_lib import weights
from m2v_lib.runs.records import Record, load_record

_HEAD = """\
# Motion seen by any camera

Four cameras in one room are few. `data.cameras=random` draws, for every window of frames of every
batch, a camera of its own, and makes input and label from motion in the world:

    m2v data prepare mocap                                  # keeps the motion in world.safetensors
    m2v finetune --preset compact --data mocap --set data.cameras=random
    m2v evaluate RUN --cameras grid                         # by 48 cameras that no training saw

Both stages take it. Everything is drawn on the device from the generator of the step, so that a
run is decided by its seed and one that is killed goes on bit for bit. It costs one to two percent
of a step of `small` or `compact` on one core.

| drawn | setting (default) |
|---|---|
| height above the floor, m | `data.camera_height_min` (0.3), `_max` (4) |
| distance along the floor, m; any direction | `data.camera_distance_min` (2), `_max` (10) |
| horizontal angle of view, degrees | `data.camera_view_min` (35), `_max` (90) |
| pitch: looks at the person, or past them by up to so many degrees | `data.camera_aim_max` (10) |
| roll, degrees to either side | `data.camera_roll_max` (30) |
| the person's size | `data.person_size_min` (0.85), `_max` (1.15) |
| mirrored, half of the time | `data.flip_train` |
| share of Human3.6M's own four cameras, lens and all | `data.own_cameras` (0.25) |
| image 1280x720, 1000x1000 or 720x1280; the detector's errors | |

Nobody is out of a drawn camera's image or behind it: where a window's motion does not fit, it stands
further back. Human3.6M's own stay where they stood, and people walk out of their images as in the
store. The detector's errors have the distribution of `data/detector_noise.py`, drawn anew each time.
The floor is taken where the lowest joint mostly is, with 17 joints the ankles. A store that is
prepared without motion in world space (Human3.6M, MPI-INF-3DHP, keypoints) cannot be seen by other
cameras and says so.

A network that was trained so has learnt what place and size in the image say of the camera. `m2v lift`
shows it the image as it is, and brings nearer only who is smaller, larger or further from the middle
than nearly all that it was trained on; to a network of the four cameras it shows everybody at the
place and size that it knows.

## The grid

Heights 0.3, 1.5 and 4 m, distances 2, 4 and 10 m, views of 35, 60 and 90 degrees, rolls of 0 and
30: 54 combinations less the six in which nobody fits into the image, on 60 windows of the test
subjects, each from a direction of its own, always the same. *As seen* gives the network the
windows as they are; *framed* does first what `m2v lift` does. mm, mean over frames. The lowest of
so many errors is low by chance as well, and the highest high, so both cells are measured once more
on other windows of the same people: the last column.
`m2v evaluate RUN --cameras grid --keep FOLDER` writes `grid.json` into the folder of a record;
`m2v report` makes this page of them.
"""

_WAYS = {"as_seen": "as seen", "framed": "framed"}


def any_camera_page(records: Sequence[Record]) -> str:
    """The page, with a row for the package's network and each record that has a grid."""
    return page_of(_grids(records))


def _grids(records: Sequence[Record]) -> Iterable[tuple[str, dict[str, Any]]]:
    """What a network is called, and its errors; the package's first."""
    if (weights.FOLDER / weights.GRID).is_file():
        package = load_record(weights.FOLDER)
        yield f"the package's: {_said(package.result)}", _read(weights.FOLDER)
    for record in records:
        if (record.path / weights.GRID).is_file():
            yield _said(record.result), _read(record.path)


def _read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / weights.GRID).read_text("utf-8"))
    return found


def _said(result: Mapping[str, Any]) -> str:
    cameras = "random cameras" if "world" in result["data"] else "the four cameras"
    steps = result["schedule"]["steps"]
    return f"`{result['name']}`, {steps:,} steps, {cameras}"


def page_of(grids: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """The page of grids, as `evaluation.camera_grid` gives them."""
    lines = [
        _HEAD,
        "| network | joints | | own cameras | mean | best | worst | worst / best | on other windows |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    along: list[str] = []
    for name, found in grids:
        joints = found["data"]["protocol"].rpartition("joints ")[2]
        for way, text in _WAYS.items():
            row = found.get(way)
            if row is None:
                continue
            lines.append(
                f"| {name} | `{joints}` | {text} | {row['own_cameras']:.1f} | {row['mean']:.1f} | "
                f"{row['best'][way]:.1f} | {row['worst'][way]:.1f} | "
                f"{row['worst_over_best']:.2f} | {_on_others(row)} |"
            )
            along.append(f"| {name} | {text} | {' | '.join(_along(row['along']))} |")

    values = "height 0.3 | 1.5 | 4 m | distance 2 | 4 | 10 m | view 35 | 60 | 90° | roll 0 | 30°"
    lines += ["", "Means along each axis:", "", f"| network | | {values} |"]
    lines += [f"|---|---|{'--:|' * 11}", *along]
    return "\n".join([*lines, ""])


def _on_others(row: Mapping[str, Any]) -> str:
    others = row.get("on_others")
    if others is None:
        return "-"
    return f"{others['worst']:.1f} / {others['best']:.1f} = {others['worst_over_best']:.2f}"


def _along(along: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    for axis in ("height", "distance", "view", "roll"):
        for value in sorted(along[axis], key=float):
            yield f"{along[axis][value]:.1f}"
