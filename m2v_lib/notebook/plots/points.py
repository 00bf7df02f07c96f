"""Points that bear names: errors of systems against what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from m2v_lib.notebook.colours import LINES as LINE_COLOURS
from m2v_lib.notebook.colours import SIDES as SIDE_COLOURS
from m2v_lib.notebook.plots.figure import new_figure

#: From a point to its name, in typographic points: right, up.
BESIDE = (5.0, 3.0)
#: Half the side of the square that a marker takes, in pixels.
MARKER = 4.0


def error_against_cost(
    points: Mapping[str, tuple[float, float, float]], *, x_label: str, y_label: str
) -> Figure:
    """A dot a system, `{name: (cost, error, half of its interval)}`; without an error (nan) it
    stands as a mark on the lower edge, for it is not known how high.
    """
    if not points:
        raise ValueError("nothing to draw")

    fig, ax = new_figure(7.0, 4.0)
    errors = [error for _, error, _ in points.values() if np.isfinite(error)]
    ground = min(errors, default=0.0)
    places = {}

    for name, (cost, error, half) in points.items():
        if np.isfinite(error):
            bar = np.nan_to_num(half)
            ax.errorbar(cost, error, yerr=bar, fmt="o", color=LINE_COLOURS[0], capsize=3)
        else:
            ax.plot(cost, ground, "x", color=SIDE_COLOURS["spine"])
        places[name] = (cost, error if np.isfinite(error) else ground)

    if not errors:
        ax.set(ylim=(0, 1), yticks=[])
    ax.set(xlabel=x_label, ylabel=y_label, xscale="log")
    ax.set_title("crosses: not run" if len(errors) < len(points) else "", fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)
    write_names(ax, places)

    return fig


def write_names(ax: Any, places: Mapping[str, tuple[float, float]]) -> None:
    """Each name beside its point (x, y); where something else stands, further up, with a line
    to the point.
    """
    offset = {"textcoords": "offset points"}
    line = {"arrowstyle": "-", "linewidth": 0.4, "color": SIDE_COLOURS["spine"], "shrinkB": 3}
    notes = [
        ax.annotate(name, xy, BESIDE, fontsize="x-small", **offset)
        for name, xy in sorted(places.items(), key=lambda named: named[1][::-1])
    ]
    ax.figure.draw_without_rendering()  # lays the figure out
    xy_N2 = ax.transData.transform(list(places.values()))
    taken = [Bbox([xy - MARKER, xy + MARKER]) for xy in xy_N2]

    for note in notes:
        box, rise = note.get_window_extent(), 0
        while any(box.translated(0, rise).overlaps(other) for other in taken):
            rise += 1
        taken.append(box.translated(0, rise))
        raised = (BESIDE[0], BESIDE[1] + rise * 72 / ax.figure.dpi)
        note.set_position(raised)
        if rise:
            ax.annotate("", note.xy, raised, arrowprops=line, **offset)
