"""What every picture begins with: a figure, the colours, the sides of a body."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from m2v_lib.notebook.colours import SIDES as SIDE_COLOURS
from m2v_lib.skeletons import H36M17, Skeleton


def new_figure(width: float = 6.0, height: float = 3.5, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure of this size (inches) and its axes; `kwargs` as those of `plt.subplots`."""
    fig, axes = plt.subplots(figsize=(width, height), layout="constrained", **kwargs)
    plt.close(fig)  # the caller shows it; left open, a notebook would show it twice
    return fig, axes


def side(joint: int, skeleton: Skeleton = H36M17) -> str:
    """'left', 'right' or 'spine'; a bone takes the side of its child joint."""
    return skeleton.side(joint).replace("middle", "spine")


def side_colours(skeleton: Skeleton) -> list[str]:
    """The colour of each joint."""
    return [SIDE_COLOURS[side(joint, skeleton)] for joint in range(len(skeleton))]
