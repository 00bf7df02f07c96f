"""Matrices as pictures: masks, graphs, attention, confusions."""
# T frames, J joints, N graph nodes, C classes

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from m2v_lib.notebook.plots.figure import new_figure
from m2v_lib.skeletons import H36M17, Skeleton

_MAP = "cividis"


def mask_image(mask_TJ: ArrayLike, *, title: str = "", skeleton: Skeleton = H36M17) -> Figure:
    """Masked tokens (true) dark over frames and joints; the share of masked tokens is in the
    title.
    """
    mask = np.asarray(mask_TJ, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"expected one mask of shape (T, J), got {mask.shape}")

    fig, ax = new_figure(6, 3.2)
    ax.imshow(mask.T, cmap="Greys", vmin=0, vmax=1.3, aspect="auto", interpolation="nearest")
    if mask.shape[1] == len(skeleton):
        ax.set_yticks(range(len(skeleton)), skeleton.joints, fontsize=6)
    ax.set(xlabel="frame", ylabel="joint", title=f"{title} ({mask.mean():.1%} masked)".strip())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))

    return fig


def adjacency(
    adjacency_NN: ArrayLike, *, names: Sequence[str] | None = None, title: str = ""
) -> Figure:
    """Weights of a graph: row = the node that receives, column = the node it hears; 17 nodes are
    named as joints.
    """
    weights = np.asarray(adjacency_NN, dtype=float)
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise ValueError(f"expected a square adjacency, got shape {weights.shape}")

    fig, ax = new_figure(5, 4.2)
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

    fig, ax = new_figure(1.8 + 0.32 * len(columns), 1.5 + 0.32 * len(rows))
    image = ax.imshow(values, cmap=_MAP, interpolation="nearest", aspect="auto")
    bar = fig.colorbar(image, ax=ax, orientation="horizontal", location="top", shrink=0.7)
    bar.set_label(quantity)
    _name_cells(ax, rows, columns)
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
    fig, ax = new_figure(2.8 + 0.42 * len(classes), 1.2 + 0.42 * len(classes))
    image = ax.imshow(share, cmap=_MAP, vmin=0, vmax=100, interpolation="nearest")
    fig.colorbar(image, ax=ax, label="of the class's samples (%)")
    _name_cells(ax, classes, classes)
    ax.set(xlabel="named as", ylabel="is", title=title)

    return fig


def _name_cells(ax: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    ax.set_yticks(range(len(rows)), rows, fontsize="small")
    ax.set_xticks(
        range(len(columns)),
        columns,
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize="small",
    )
