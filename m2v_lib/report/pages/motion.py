"""`docs/motion.md`: what is done to a lifted motion and what it is worth, made from the figures
that come with the package's network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

_HEAD = """\
# Motion worth using

What a network gives is a pose a frame: its bones breathe, its joints tremble, its feet slide, and
up is the image's. Before anything is written, `m2v lift` therefore treats the motion of a file (a
stream is written as lifted):

1. **Bones** get one length each for the whole recording, the same on both sides: half what was
   lifted, half a body's proportions. Every bone keeps its direction. (Of one or two frames they stay
   as they are.)
2. **Smoothing** fits a parabola to what lies before and after each frame, weighted by nearness and
   confidence; it shifts nothing in time. `--smooth HZ` says the frequency of which half is left,
   `--smooth off` leaves out this step and the next but one.
3. **Up and floor** follow from people who stand straight and from where their feet stand, of a
   camera that does not move; every file's axes with y up are these, and the report says how the
   camera is held. Where nobody stands, the camera is taken as level, and the report says so. The
   floor goes through the lowest joints of standing feet: the ankles, where a skeleton ends there.
4. **Feet** that stand do not slide: the body is moved in depth, then each leg reaches to where its
   foot stands.
5. **Uncertainty**: `spread_mm` of every joint and frame is how near it is to the truth in about
   two thirds of cases, from how much the network's windows and mirror images differ.

What is below was measured on motion capture of people that no training saw ({protocol}), by
`m2v evaluate m2v_lib/weights --data {data} --motion m2v_lib/weights/motion.json`; `m2v report`
makes this page. The network is the package's (`{model}`, {state}).
"""

_STEPS = {"lifted": "as lifted", "bones": "+ bones", "smooth": "+ smoothing", "feet": "+ feet"}
_CAMERAS = {
    "own": "Human3.6M's four cameras, known from training",
    "grid": "six cameras of the grid: 0.3, 1.5 and 4 m high, level and rolled by 30°",
}

_STEP_TEXT = """
Acceleration is beside the root, in m/s²; its error is {still:.1f} for a motion held still and
{smooth:.1f} for the true motion, smoothed in the same way. What is above that is the network's
trembling; a motion smoothed like this can hardly be below it, however well it was lifted. Slide is
the speed along the floor of ankles that in truth stand (the truth's own: {slide:.0f} mm/s).
"""

_FOCAL_TEXT = """
With the focal length assumed (1.145 times the longer side; the grid's is 0.87 times) the pose hardly
changes, but depth is off as much as the focal length: give `--focal` or `--fov` where known. It
is not estimated from the motion: on the same people, with the smaller network that the package had
before, neither bones that keep their length nor feet that stand told it better than the assumption
does, though bones do in true motion; that network's poses were not exact enough. Knees that bend
backwards are left as they are: they were rare, and putting them right made the error larger; what an
elbow can do cannot be told from positions.
"""


def motion_page() -> str:
    """The text of the page; '' where the package's network has no such figures."""
    file = resources.files("m2v_lib.weights").joinpath("motion.json")
    return page_of(json.loads(file.read_text("utf-8"))) if file.is_file() else ""


def page_of(found: Mapping[str, Any]) -> str:
    """The page of measured figures, as `lift.motion.measure` gives them."""
    data = found["data"]
    lines = [
        _HEAD.format(
            protocol=data["protocol"],
            data=data["name"],
            model=found["model"],
            state=found["state"],
        )
    ]
    for title, focal in (("Each step", "known"), ("With the focal length assumed", "assumed")):
        rows = [row for row in found["rows"] if row["focal"] == focal]
        lines.append(f"## {title}\n")
        lines += _steps(rows)
        lines.append(
            _FOCAL_TEXT
            if focal == "assumed"
            else _STEP_TEXT.format(
                still=rows[0]["accel_still"],
                smooth=rows[0]["accel_smooth_truth"],
                slide=rows[0]["slide_true"],
            )
        )

    lines += ["## Up\n", *_up(found["up"]), "", "## Uncertainty\n", *_spread(found["spread"])]
    lines += ["", "## How much smoothing\n", *_smoothing(found["smoothing"])]
    return "\n".join([*lines, ""])


def _steps(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    head = "MPJPE (mm) | P-MPJPE (mm) | acceleration | root's path (mm) | slide (mm/s) | bones vary"
    for cameras, text in _CAMERAS.items():
        chosen = [row for row in rows if row["cameras"] == cameras]
        if not chosen:
            continue
        yield f"{text}, {chosen[0]['n_frames']:,} frames:\n"
        yield f"| | {head} |\n|---|--:|--:|--:|--:|--:|--:|"
        for row in chosen:
            yield (
                f"| {_STEPS[row['step']]} | {row['mpjpe']:.1f} | {row['p_mpjpe']:.1f} | "
                f"{row['accel']:.1f} | {row['root']:.0f} | {row['slide']:.0f} | "
                f"{row['bone_spread']:.1f} % |"
            )
        yield ""


def _up(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield (
        "Mean angle between the true up and that of a level camera, and that which is found; how "
        "unsure it says to be (one sigma); and how far off the camera's height is.\n"
    )
    yield "| camera | rolled | level | found | said | height off (m) |\n|---|--:|--:|--:|--:|--:|"
    for row in rows:
        name = "Human3.6M's" if row["cameras"] == "own" else row["cameras"]
        roll = "" if row["roll"] is None else f"{row['roll']:.0f}°"
        yield (
            f"| {name} | {roll} | {row['level']:.1f}° | {row['found']:.1f}° | {row['said']:.1f}° | "
            f"{row['height_mm'] / 1000:.2f} |"
        )


def _spread(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield (
        "Share of joints nearer to the truth than one and two times `spread_mm`, which was fitted "
        "on other recordings of the same subjects (the network was trained on everybody else), and "
        "the rank correlation of spread and error.\n"
    )
    yield "| cameras | within 1 | within 2 | correlation | median (mm) |\n|---|--:|--:|--:|--:|"
    for row in rows:
        yield (
            f"| {_CAMERAS[row['cameras']]} | {row['within_1']:.0%} | {row['within_2']:.0%} | "
            f"{row['rank_correlation']:.2f} | {row['spread_mm']:.0f} |"
        )


def _smoothing(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield (
        "The default, 3 Hz, was chosen for the least joint error on the store's validation subjects "
        "while a network was the package's that had not seen them. Of this one, which was trained "
        "on them too, by Human3.6M's cameras (held still, their acceleration error is "
        f"{rows[0]['accel_still']:.1f} m/s²; beside it that of the true motion, smoothed):\n"
    )
    yield "| Hz | MPJPE (mm) | acceleration | of the truth | slide (mm/s) |\n|--:|--:|--:|--:|--:|"
    for row in rows:
        yield (
            f"| {row['hz']:g} | {row['mpjpe']:.2f} | {row['accel']:.2f} | "
            f"{row['accel_smooth_truth']:.2f} | {row['slide']:.0f} |"
        )
