"""Lines: losses and errors by step, rates by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from m2v_lib.notebook.colours import LINES as LINE_COLOURS
from m2v_lib.notebook.plots.figure import new_figure

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
    fig, ax = new_figure()
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
    fig, ax = new_figure()
    _lines(ax, curves, marker="")
    ax.set(xlabel=x_label, ylabel=quantity, yscale="log")
    return fig


def growth(curves: Mapping[str, Curve], *, quantity: str, x_label: str) -> Figure:
    """`{label: (sizes, costs)}` on two logarithmic axes, where a power of the size is a straight
    line.
    """
    fig, ax = new_figure()
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

    fig, ax = new_figure(6.5, 4)
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

    fig, axes = new_figure(7, 2.2 * n_rows, nrows=n_rows, ncols=2, squeeze=False)
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
