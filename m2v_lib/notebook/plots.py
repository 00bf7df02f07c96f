"""Still pictures with matplotlib: each function takes data and returns the figure.

Left is blue, right is orange, the spine grey; predictions are solid and ground truth is dashed.
The two colours and the maps stay apart for colour-blind readers. Poses are in camera
coordinates: x right, y down, z away.
"""
# T frames, J joints, N graph nodes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from m2v_lib.notebook import colours
from m2v_lib.skeletons import H36M17, Skeleton

SIDE_COLOURS, LINE_COLOURS = colours.SIDES, colours.LINES
_MAP = "cividis"
#: Characters of a name that would take more room below a bar than the bar.
LONG_NAME = 24


def side(joint: int, skeleton: Skeleton = H36M17) -> str:
    """'left', 'right' or 'spine'; a bone takes the side of its child joint."""
    return skeleton.side(joint).replace("middle", "spine")


def side_colours(skeleton: Skeleton) -> list[str]:
    """The colour of each joint."""
    return [SIDE_COLOURS[side(joint, skeleton)] for joint in range(len(skeleton))]


def upright(pose_J3: ArrayLike) -> np.ndarray:
    """Camera coordinates (..., 3) with y down, as (right, away, up) for an axis that points up."""
    pose = np.asarray(pose_J3, dtype=float)
    return np.stack([pose[..., 0], pose[..., 2], -pose[..., 1]], axis=-1)


def _axes(width: float = 6.0, height: float = 3.5, **kwargs: Any) -> tuple[Figure, Any]:
    fig, axes = plt.subplots(figsize=(width, height), layout="constrained", **kwargs)
    plt.close(fig)  # the caller shows it; left open, a notebook would show it twice
    return fig, axes


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
    fig, ax = _axes(5, 4.5)
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
    fig, ax = _axes(6.2, 5, subplot_kw={"projection": "3d"})

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


Curve = tuple[Sequence[float], Sequence[float]]


def learning_curves(
    curves: Mapping[str, Curve],
    *,
    references: Mapping[str, float] | None = None,
    quantity: str = "MPJPE (mm)",
    x_label: str = "step",
) -> Figure:
    """One line a run, `{label: (steps, values)}`; `references` are dotted levels such as a ridge
    regression's.
    """
    fig, ax = _axes()
    _lines(ax, curves, marker="o")

    for name, value in (references or {}).items():
        ax.axhline(value, color="black", linestyle=":", linewidth=1)
        ax.annotate(
            name,
            (0.99, value),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize="small",
        )

    ax.set(xlabel=x_label, ylabel=quantity, ylim=(0, None))
    return fig


def learning_curve(steps: Sequence[float], values: Sequence[float], **kwargs: Any) -> Figure:
    """`learning_curves` of a single run."""
    return learning_curves({"": (steps, values)}, **kwargs)


def loss_curves(
    curves: Mapping[str, Curve], *, quantity: str = "loss", x_label: str = "step"
) -> Figure:
    """Training losses on a logarithmic axis, `{label: (steps, losses)}`."""
    fig, ax = _axes()
    _lines(ax, curves, marker="")
    ax.set(xlabel=x_label, ylabel=quantity, yscale="log")
    return fig


def growth(curves: Mapping[str, Curve], *, quantity: str, x_label: str) -> Figure:
    """`{label: (sizes, costs)}` on two logarithmic axes, where a power of the size is a straight
    line.
    """
    fig, ax = _axes()
    _lines(ax, curves, marker="o")
    ax.set(xlabel=x_label, ylabel=quantity, xscale="log", yscale="log")
    sizes = sorted({x for xs, _ in curves.values() for x in xs})
    ax.set_xticks(sizes, [f"{x:g}" for x in sizes], minor=False)
    ax.xaxis.minorticks_off()
    if any(curves):
        ax.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    return fig


def roofline(
    points: Mapping[str, Curve], *, ceilings: Mapping[str, float], gb_per_s: float
) -> Figure:
    """Rates against arithmetic intensity, `{label: (FLOPs per byte, TFLOP/s)}`, under what a
    device allows.

    `ceilings` are its TFLOP/s by name; left of where they meet the slope, memory of `gb_per_s`
    is the limit.
    """
    if not points or not ceilings:
        raise ValueError("no point to draw, or no ceiling")

    fig, ax = _axes(6.5, 4)
    known = [x for xs, _ in points.values() for x in xs]
    meeting = [1e3 * ceiling / gb_per_s for ceiling in ceilings.values()]
    low, high = min([*known, *meeting]) / 4, max([*known, *meeting]) * 4

    for (name, ceiling), corner in zip(ceilings.items(), meeting, strict=True):
        ax.plot([corner, high], [ceiling, ceiling], color="black", linewidth=1)
        ax.annotate(name, (high, ceiling), ha="right", va="bottom", fontsize="small")

    ax.plot(
        [low, max(meeting)],
        [1e-3 * gb_per_s * low, max(ceilings.values())],
        color="black",
        linewidth=1,
    )
    ax.annotate(
        "memory",
        (low * 1.5, 1e-3 * gb_per_s * low * 1.5),
        ha="right",
        va="bottom",
        fontsize="small",
    )
    for i, (label, (intensities, rates)) in enumerate(points.items()):
        ax.plot(intensities, rates, "o", color=LINE_COLOURS[i % len(LINE_COLOURS)], label=label)

    ax.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="operations a byte (FLOP/B)",
        ylabel="rate (TFLOP/s)",
        xlim=(low / 2, high),
    )
    ax.spines[["top", "right"]].set_visible(False)

    return fig


def panels(curves: Mapping[str, Curve], *, x_label: str = "step") -> Figure:
    """One small axis a quantity, two in a row, from `{what it shows: (steps, values)}`: for
    unlike units.
    """
    if not curves:
        raise ValueError("no curve to draw")

    n_rows = -(-len(curves) // 2)

    fig, axes = _axes(7, 2.2 * n_rows, nrows=n_rows, ncols=2, squeeze=False)
    for ax, (quantity, (steps, values)) in zip(axes.flat, curves.items(), strict=False):
        ax.plot(steps, values, color=LINE_COLOURS[0], marker="o", markersize=3)
        ax.set(xlabel=x_label, ylabel=quantity)
        ax.spines[["top", "right"]].set_visible(False)

    for ax in axes.flat[len(curves) :]:
        ax.remove()

    return fig


def _lines(ax: Axes, curves: Mapping[str, Curve], *, marker: str) -> None:
    if not curves:
        raise ValueError("no curve to draw")

    for i, (label, (steps, values)) in enumerate(curves.items()):
        style = ("-", "-.")[i // len(LINE_COLOURS) % 2]  # dashes are kept for ground truth
        colour = LINE_COLOURS[i % len(LINE_COLOURS)]
        ax.plot(
            steps, values, label=label, color=colour, linestyle=style, marker=marker, markersize=3
        )

    if any(curves):
        ax.legend(fontsize="small", frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def mask_image(mask_TJ: ArrayLike, *, title: str = "", skeleton: Skeleton = H36M17) -> Figure:
    """Masked tokens (true) dark over frames and joints; the share of masked tokens is in the
    title.
    """
    mask = np.asarray(mask_TJ, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"expected one mask of shape (T, J), got {mask.shape}")

    fig, ax = _axes(6, 3.2)
    ax.imshow(mask.T, cmap="Greys", vmin=0, vmax=1.3, aspect="auto", interpolation="nearest")
    if mask.shape[1] == len(skeleton):
        ax.set_yticks(range(len(skeleton)), skeleton.joints, fontsize=6)
    ax.set(xlabel="frame", ylabel="joint", title=f"{title} ({mask.mean():.1%} masked)".strip())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))

    return fig


def per_joint_error(
    error_J: ArrayLike,
    *,
    quantity: str = "error (mm)",
    title: str = "",
    skeleton: Skeleton = H36M17,
) -> Figure:
    """One bar a joint, coloured by side."""
    error = np.asarray(error_J, dtype=float)
    if error.shape != (len(skeleton),):
        raise ValueError(f"errors must be {len(skeleton)}, got shape {error.shape}")

    fig, ax = _axes(6, 4)
    ax.barh(range(len(skeleton)), error, color=side_colours(skeleton))
    ax.set_yticks(range(len(skeleton)), skeleton.joints)
    ax.invert_yaxis()
    ax.set(xlabel=quantity, title=title)
    ax.spines[["top", "right"]].set_visible(False)

    return fig


def bars(
    values: Mapping[str, float],
    other: Mapping[str, float] | None = None,
    *,
    labels: tuple[str, str] = ("measured", "reference"),
    quantity: str,
) -> Figure:
    """One bar a name, largest first; `other` draws a second bar where it has the name. Long names
    stand beside lying bars.
    """
    if not values:
        raise ValueError("nothing to draw")

    names = sorted(values, key=lambda name: -values[name])
    if other is None and max(map(len, names)) > LONG_NAME:
        return _lying_bars({name: values[name] for name in names}, quantity)

    where = np.arange(len(names))
    fig, ax = _axes(max(4.0, 0.5 * len(names) + 1.5), 3.5)
    width = 0.8 if other is None else 0.4
    ax.bar(where, [values[name] for name in names], width, color=LINE_COLOURS[0], label=labels[0])

    if other is not None:
        second = [other.get(name, np.nan) for name in names]
        ax.bar(where + width, second, width, color=LINE_COLOURS[5], label=labels[1])
        ax.legend(
            fontsize="small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2
        )

    ax.set_xticks(
        where + (0 if other is None else width / 2),
        names,
        rotation=60,
        ha="right",
        rotation_mode="anchor",
    )
    ax.set(ylabel=quantity)
    ax.spines[["top", "right"]].set_visible(False)

    return fig


def _lying_bars(values: Mapping[str, float], quantity: str) -> Figure:
    fig, ax = _axes(7.0, 0.35 * len(values) + 1.0)
    ax.barh(list(values), list(values.values()), color=LINE_COLOURS[0])
    ax.invert_yaxis()
    ax.set(xlabel=quantity)
    ax.spines[["top", "right"]].set_visible(False)
    return fig


def intervals(
    effects: Mapping[str, tuple[float, float, float]], *, quantity: str, band: float = np.nan
) -> Figure:
    """A dot and its interval a name, `{name: (mean, low, high)}`, beside 0; grey where it holds
    0, hollow where it is not known (nan). Chance alone moves a hollow one within 0 +- `band`,
    which is shaded.
    """
    if not effects:
        raise ValueError("nothing to draw")

    fig, ax = _axes(7.0, 0.32 * len(effects) + 1.2)
    ax.axvline(0, color="black", linewidth=1)
    hollow = [name for name, (_, low, _) in effects.items() if np.isnan(low)]
    if hollow and np.isfinite(band):
        ax.axvspan(-band, band, color="#eeeeee", zorder=0)

    for i, (name, (mean, low, high)) in enumerate(effects.items()):
        colour = SIDE_COLOURS["spine"] if name in hollow or low <= 0 <= high else LINE_COLOURS[0]
        if name not in hollow:
            ax.plot([low, high], [i, i], color=colour, linewidth=2)
        ax.plot(mean, i, "o", color=colour, markerfacecolor="white" if name in hollow else colour)

    ax.set_yticks(range(len(effects)), list(effects), fontsize="small")
    ax.invert_yaxis()
    shaded = ", shaded what two seeds may differ by" if np.isfinite(band) else ""
    parts = ["95 % intervals over seeds"] * (len(hollow) < len(effects)) + [
        f"hollow: one seed{shaded}"
    ] * bool(hollow)
    ax.set_title("; ".join(parts), fontsize="small")
    ax.set(xlabel=quantity)
    ax.spines[["top", "right"]].set_visible(False)

    return fig


def error_against_cost(
    points: Mapping[str, tuple[float, float, float]], *, x_label: str, y_label: str
) -> Figure:
    """A dot a system, `{name: (cost, error, half of its interval)}`; without an error (nan) it
    stands as a mark on the lower edge, for it is not known how high.
    """
    if not points:
        raise ValueError("nothing to draw")

    fig, ax = _axes(7.0, 4.0)
    errors = [error for _, error, _ in points.values() if np.isfinite(error)]
    ground = min(errors, default=0.0)

    for name, (cost, error, half) in points.items():
        if np.isfinite(error):
            ax.errorbar(
                cost, error, yerr=np.nan_to_num(half), fmt="o", color=LINE_COLOURS[0], capsize=3
            )
        else:
            ax.plot(cost, ground, "x", color=SIDE_COLOURS["spine"])
        ax.annotate(
            name,
            (cost, error if np.isfinite(error) else ground),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize="x-small",
            rotation=0 if np.isfinite(error) else 60,
        )

    if not errors:
        ax.set(ylim=(0, 1), yticks=[])
    ax.set(xlabel=x_label, ylabel=y_label, xscale="log")
    ax.set_title("crosses: not run" if len(errors) < len(points) else "", fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)

    return fig


def per_action(
    errors: Mapping[str, float], other: Mapping[str, float] | None = None, **kwargs: Any
) -> Figure:
    """`bars` of the error of each action, worst first."""
    return bars(errors, other, **{"quantity": "MPJPE (mm)", **kwargs})


def adjacency(
    adjacency_NN: ArrayLike, *, names: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Weights of a graph: row = the node that receives, column = the node it hears; 17 nodes are
    named as joints.
    """
    weights = np.asarray(adjacency_NN, dtype=float)
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise ValueError(f"expected a square adjacency, got shape {weights.shape}")

    fig, ax = _axes(5, 4.2)
    image = ax.imshow(weights, cmap=_MAP, interpolation="nearest")
    fig.colorbar(image, ax=ax, label="weight")

    names = names or (H36M17.joints if len(weights) == len(H36M17) else None)
    if names is not None:
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        ax.set_yticks(range(len(names)), names, fontsize=6)

    ax.set(xlabel="from node", ylabel="to node", title=title)
    return fig


def heat(
    values_RC: ArrayLike,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    quantity: str,
    x_label: str = "joint",
) -> Figure:
    """A value for each row and column, such as one for each block and joint."""
    values = np.asarray(values_RC, dtype=float)
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"expected {len(rows)} rows of {len(columns)} values, got shape {values.shape}"
        )

    fig, ax = _axes(1.8 + 0.32 * len(columns), 1.5 + 0.32 * len(rows))
    image = ax.imshow(values, cmap=_MAP, interpolation="nearest", aspect="auto")
    bar = fig.colorbar(image, ax=ax, orientation="horizontal", location="top", shrink=0.7)
    bar.set_label(quantity)
    ax.set_xticks(
        range(len(columns)),
        columns,
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize="small",
    )
    ax.set_yticks(range(len(rows)), rows, fontsize="small")
    ax.set(xlabel=x_label)

    return fig


def confusion(counts_CC: ArrayLike, classes: Sequence[str], *, title: str = "") -> Figure:
    """Share of each class's samples (row) that were named as each class (column), in percent;
    empty rows stay blank.
    """
    counts = np.asarray(counts_CC, dtype=float)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(
            f"expected counts of {len(classes)} by {len(classes)} classes, got shape {counts.shape}"
        )

    total = counts.sum(1, keepdims=True)
    share = 100 * np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    fig, ax = _axes(2.8 + 0.42 * len(classes), 1.2 + 0.42 * len(classes))
    image = ax.imshow(share, cmap=_MAP, vmin=0, vmax=100, interpolation="nearest")
    fig.colorbar(image, ax=ax, label="of the class's samples (%)")
    ax.set_xticks(
        range(len(classes)),
        classes,
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize="small",
    )
    ax.set_yticks(range(len(classes)), classes, fontsize="small")
    ax.set(xlabel="named as", ylabel="is", title=title)

    return fig
