"""Bars and intervals: an error of each joint, action or system."""
# J joints

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from m2v_lib.notebook.colours import LINES as LINE_COLOURS
from m2v_lib.notebook.colours import SIDES as SIDE_COLOURS
from m2v_lib.notebook.plots.figure import new_figure, side_colours
from m2v_lib.skeletons import H36M17, Skeleton

#: Characters of a name that would take more room below a bar than the bar.
LONG_NAME = 24


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

    fig, ax = new_figure(6, 4)
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
    fig, ax = new_figure(max(4.0, 0.5 * len(names) + 1.5), 3.5)
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
    fig, ax = new_figure(7.0, 0.35 * len(values) + 1.0)
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

    fig, ax = new_figure(7.0, 0.32 * len(effects) + 1.2)
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


def per_action(
    errors: Mapping[str, float], other: Mapping[str, float] | None = None, **kwargs: Any
) -> Figure:
    """`bars` of the error of each action, worst first."""
    return bars(errors, other, **{"quantity": "MPJPE (mm)", **kwargs})
