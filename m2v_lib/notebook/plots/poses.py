"""Poses in the image and in space. Predictions are solid, ground truth is dashed."""
# J joints

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from m2v_lib.notebook.colours import SIDES as SIDE_COLOURS
from m2v_lib.notebook.plots.figure import new_figure, side, side_colours
from m2v_lib.skeletons import H36M17, Skeleton


def upright(pose_J3: ArrayLike) -> np.ndarray:
    """Camera coordinates (..., 3) with y down, as (right, away, up) for an axis that points up."""
    pose = np.asarray(pose_J3, dtype=float)
    return np.stack([pose[..., 0], pose[..., 2], -pose[..., 1]], axis=-1)


def _check_pose(pose: ArrayLike, n_axes: tuple[int, ...], skeleton: Skeleton) -> np.ndarray:
    array = np.asarray(pose, dtype=float)
    if array.ndim != 2 or array.shape[0] != len(skeleton) or array.shape[1] not in n_axes:
        expected = (len(skeleton), n_axes[0])
        raise ValueError(f"a pose of {skeleton.name} must have shape {expected}, got {array.shape}")
    return array


def _bones(ax: Any, pose: np.ndarray, skeleton: Skeleton, *, truth: bool) -> None:
    for parent, child in skeleton.bones:
        ends = pose[[parent, child]].T
        ax.plot(
            *ends,
            color=SIDE_COLOURS[side(child, skeleton)],
            linestyle="--" if truth else "-",
            linewidth=1.2 if truth else 2,
        )


def _side_legend(ax: Any, *, truth: bool, what: str = "prediction") -> None:
    for name, colour in SIDE_COLOURS.items():
        ax.plot([], [], color=colour, label=name)
    if truth:
        ax.plot([], [], color="black", label=what)
        ax.plot([], [], color="black", linestyle="--", label="ground truth")
    ax.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def skeleton_2d(
    pose_J2: ArrayLike,
    truth_J2: ArrayLike | None = None,
    *,
    confidence_J: ArrayLike | None = None,
    unit: str = "px",
    title: str = "",
    what: str = "detected",
    skeleton: Skeleton = H36M17,
) -> Figure:
    """One pose in the image, y down; joints grow with the detector's confidence (0..1) where it
    is given.

    `what` is what the legend calls the solid pose.
    """
    pose = _check_pose(pose_J2, (2, 3), skeleton)[:, :2]
    fig, ax = new_figure(5, 4.5)
    if truth_J2 is not None:
        _bones(ax, _check_pose(truth_J2, (2, 3), skeleton)[:, :2], skeleton, truth=True)
    _bones(ax, pose, skeleton, truth=False)
    sizes = 6 + 30 * (
        np.ones(len(skeleton))
        if confidence_J is None
        else np.asarray(confidence_J, dtype=float).reshape(-1)
    )
    ax.scatter(*pose.T, s=sizes, color=side_colours(skeleton), zorder=3)
    ax.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", title=title, aspect="equal")
    ax.invert_yaxis()
    _side_legend(ax, truth=truth_J2 is not None, what=what)

    return fig


def skeleton_3d(
    pose_J3: ArrayLike,
    truth_J3: ArrayLike | None = None,
    *,
    unit: str = "mm",
    title: str = "",
    view: tuple[float, float] = (12.0, -70.0),
    skeleton: Skeleton = H36M17,
) -> Figure:
    """One pose in camera coordinates (y down), upright, on equal axes; `view` is (elevation,
    azimuth) in degrees.
    """
    points = pose = upright(_check_pose(pose_J3, (3,), skeleton))
    fig, ax = new_figure(6.2, 5, subplot_kw={"projection": "3d"})

    if truth_J3 is not None:
        truth = upright(_check_pose(truth_J3, (3,), skeleton))
        points = np.concatenate([pose, truth])
        _bones(ax, truth, skeleton, truth=True)

    _bones(ax, pose, skeleton, truth=False)
    middle, half = (points.max(0) + points.min(0)) / 2, 0.55 * np.ptp(points, axis=0).max()
    low, high = middle - half, middle + half
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]), title=title)
    ax.set(xlabel=f"right ({unit})", ylabel=f"away ({unit})", zlabel=f"up ({unit})")
    ax.set_box_aspect((1, 1, 1))
    ax.view_init(*view)
    ax.locator_params(nbins=4)
    _side_legend(ax, truth=truth_J3 is not None)

    return fig
