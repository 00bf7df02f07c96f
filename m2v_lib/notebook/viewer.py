"""Skeletons to turn round, with plotly: a motion that plays, prediction against truth; joints
lit by a slider.
"""
# T frames, J joints, K positions of a slider

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from m2v_lib.notebook.plots import SIDE_COLOURS, side, upright
from m2v_lib.skeletons import H36M17, Skeleton


def paths(skeleton: Skeleton) -> dict[str, list[int]]:
    """Joints of each side in drawing order, -1 lifts the pen. Together they draw every bone once.

    >>> paths(H36M17)["left"]
    [0, 4, 5, 6, -1, 8, 11, 12, 13]
    """
    drawn: dict[str, list[int]] = {"left": [], "right": [], "spine": []}
    for parent, child in skeleton.bones:
        path = drawn[side(child, skeleton)]
        if path and path[-1] != parent:
            path.append(-1)
        path += [child] if path and path[-1] == parent else [parent, child]
    return drawn


class OfflineFigure(go.Figure):
    """Gives a notebook its data and no script: a page brings one plotly.js for all its figures,
    without a network.
    """

    _ipython_display_ = None  # plotly's own would choose a renderer by the environment
    _repr_html_ = None  # and this one would name a script on the network

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {
            "application/vnd.plotly.v1+json": self.to_plotly_json(),
            "text/plain": f"{len(self.frames)} frames",
        }


def skeleton_player(
    pred_TJ3: ArrayLike,
    truth_TJ3: ArrayLike | None = None,
    *,
    fps: float = 50.0,
    title: str = "",
    max_frames: int = 60,
    skeleton: Skeleton = H36M17,
) -> OfflineFigure:
    """Play a motion in camera coordinates (mm, y down), prediction solid and truth dashed, on
    axes that stand still.

    Poses are rounded to whole millimetres; a clip longer than `max_frames` is thinned to every
    n-th frame and still plays at its true speed. Raises ValueError for arrays of another shape
    or with gaps.
    """
    pred = _check(pred_TJ3, "prediction", skeleton)
    motions = {"prediction": pred}
    if truth_TJ3 is not None:
        motions["truth"] = _check(truth_TJ3, "truth", skeleton)
        if len(motions["truth"]) != len(pred):
            raise ValueError(f"prediction has {len(pred)} frames, truth {len(motions['truth'])}")
    step = -(-len(pred) // max_frames)
    shown = range(0, len(pred), step)
    frames = [
        go.Frame(
            name=str(t), data=_lines({k: m[t] for k, m in motions.items()}, skeleton, bare=True)
        )
        for t in shown
    ]
    fig = OfflineFigure(
        _lines({name: motion[0] for name, motion in motions.items()}, skeleton), frames=frames
    )
    fig.update_layout(
        template="none",
        title={"text": title, "font": {"size": 15}},
        height=520,
        margin={"l": 10, "r": 10, "t": 40, "b": 90},
        scene=_scene(np.concatenate(list(motions.values()))),
        legend={"x": 0.01, "y": 0.98},
        updatemenus=[_buttons(1000.0 * step / fps)],
        sliders=[_slider({str(t): f"{t / fps:.2f} s" for t in shown}, "time ")],
    )
    return fig


def joint_slider(
    pose_J3: ArrayLike,
    values: Mapping[str, ArrayLike],
    *,
    quantity: str,
    prefix: str = "",
    title: str = "",
    skeleton: Skeleton = H36M17,
) -> OfflineFigure:
    """One pose in camera coordinates (mm, y down), its joints coloured by the row of values
    (17,) the slider is at.

    Joints whose value is 0 stay small. Raises ValueError for arrays of another shape or with
    gaps, and for no values.
    """
    (pose,) = _check(np.asarray(pose_J3, dtype=float)[None], "pose", skeleton)
    rows = {label: np.asarray(row, dtype=float).round(2) for label, row in values.items()}
    if not rows or any(
        row.shape != (len(skeleton),) or not np.isfinite(row).all() for row in rows.values()
    ):
        raise ValueError(f"values must be one or more rows of {len(skeleton)} finite numbers")
    lines = _lines({"skeleton": pose}, skeleton)
    for line in lines:
        line.update(showlegend=False, line={"width": 3, "dash": "solid"})
    highest = max(1e-9, *(row.max() for row in rows.values()))
    bar = {
        "title": {"text": quantity, "side": "right"},
        "thickness": 12,
    }  # narrow: a phone shows it too
    scale = {"colorscale": "Cividis", "cmin": 0.0, "cmax": highest, "colorbar": bar}
    marks = {label: _marks(row, quantity, skeleton) for label, row in rows.items()}
    steps = [
        go.Frame(name=label, data=[go.Scatter3d(**mark)], traces=[len(lines)])
        for label, mark in marks.items()
    ]
    x, y, z = pose.T.astype(np.float32)
    first = next(iter(marks.values()))
    points = go.Scatter3d(
        x=x, y=y, z=z, mode="markers", hoverinfo="text", showlegend=False, **first
    )
    points.update(marker={**scale, "opacity": 1.0, "line": {"color": "black", "width": 1}})
    fig = OfflineFigure([*lines, points], frames=steps)
    fig.update_layout(
        template="none", title={"text": title, "font": {"size": 15}}, height=520, scene=_scene(pose)
    )
    fig.update_layout(margin={"l": 10, "r": 10, "t": 40, "b": 90})
    fig.update_layout(
        sliders=[{**_slider({label: label for label in rows}, prefix), "x": 0.0, "len": 1.0}]
    )
    return fig


def _marks(values_J: np.ndarray, quantity: str, skeleton: Skeleton) -> dict[str, Any]:
    """What changes with the slider: colour and size of the joints and what they say of
    themselves.
    """
    sizes = [12 if value > 0 else 4 for value in values_J]
    text = [
        f"{name}: {value:g} {quantity}"
        for name, value in zip(skeleton.joints, values_J.tolist(), strict=True)
    ]
    return {"marker": {"color": values_J.tolist(), "size": sizes}, "text": text}


def _check(motion: ArrayLike, name: str, skeleton: Skeleton) -> np.ndarray:
    """(T, J, 3) whole millimetres, upright."""
    array = np.asarray(motion, dtype=float)
    if array.ndim != 3 or array.shape[1:] != (len(skeleton), 3) or not len(array):
        raise ValueError(f"{name} must have shape (T, {len(skeleton)}, 3), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} has a value that is not finite in frame "
            f"{np.argwhere(~np.isfinite(array))[0][0]}"
        )
    return np.rint(upright(array))


def _lines(
    poses: dict[str, np.ndarray], skeleton: Skeleton, *, bare: bool = False
) -> list[go.Scatter3d]:
    """One polyline a side and motion; `bare` leaves the style out, as an animation frame only
    moves points.
    """
    lines = []
    for motion, pose_J3 in poses.items():
        for side_name, path in paths(skeleton).items():
            # float32 arrays travel in base64, a third of the size of a list in an indented
            # notebook; nan lifts the pen
            points = np.array(
                [[np.nan] * 3 if joint < 0 else pose_J3[joint] for joint in path], dtype=np.float32
            )
            x, y, z = points.T
            line = {"color": SIDE_COLOURS[side_name], "width": 6 if motion == "prediction" else 3}
            line["dash"] = "solid" if motion == "prediction" else "dash"
            style = {
                "mode": "lines",
                "name": f"{motion}, {side_name}",
                "line": line,
                "hoverinfo": "skip",
            }
            lines.append(go.Scatter3d(x=x, y=y, z=z, **({} if bare else style)))
    return lines


def _scene(points: np.ndarray) -> dict[str, Any]:
    """Axes of equal length around everything that will move, seen from the camera's side and a
    little above.
    """
    flat = points.reshape(-1, 3)
    middle, half = (flat.max(0) + flat.min(0)) / 2, 0.55 * np.ptp(flat, axis=0).max()
    ranges = [[round(m - half), round(m + half)] for m in middle.tolist()]
    names = ("right (mm)", "away (mm)", "up (mm)")
    axes = [
        {"title": {"text": name}, "range": r, "nticks": 5}
        for name, r in zip(names, ranges, strict=True)
    ]
    eye = {"x": 0.55, "y": -1.75, "z": 0.35}
    axis_names = ("xaxis", "yaxis", "zaxis")
    return {
        **dict(zip(axis_names, axes, strict=True)),
        "aspectmode": "cube",
        "camera": {"eye": eye},
    }


def _buttons(milliseconds: float) -> dict[str, Any]:
    at_once = {"transition": {"duration": 0}}
    play = {
        "frame": {"duration": round(milliseconds), "redraw": True},
        "fromcurrent": True,
        **at_once,
    }
    stop = {"frame": {"duration": 0, "redraw": False}, "mode": "immediate", **at_once}
    return {
        "type": "buttons",
        "direction": "left",
        "x": 0,
        "y": -0.02,
        "xanchor": "left",
        "yanchor": "top",
        "showactive": False,
        "buttons": [
            {"label": "play", "method": "animate", "args": [None, play]},
            {"label": "pause", "method": "animate", "args": [[None], stop]},
        ],
    }


def _slider(labels: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Jumps to the frame of each name; shows its label after the prefix."""
    jump = {
        "frame": {"duration": 0, "redraw": True},
        "mode": "immediate",
        "transition": {"duration": 0},
    }
    steps = [
        {"label": label, "method": "animate", "args": [[name], jump]}
        for name, label in labels.items()
    ]
    return {
        "steps": steps,
        "x": 0.2,
        "len": 0.8,
        "y": 0,
        "pad": {"t": 0},
        "currentvalue": {"prefix": prefix},
    }
