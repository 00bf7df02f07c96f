"""Still pictures with matplotlib: each function takes data and returns the figure.

Left is blue, right is orange, the spine grey; predictions are solid and ground truth is dashed.
The two colours and the maps stay apart for colour-blind readers. Poses are in camera
coordinates: x right, y down, z away.
"""

from m2v_lib.notebook.colours import LINES as LINE_COLOURS
from m2v_lib.notebook.colours import SIDES as SIDE_COLOURS
from m2v_lib.notebook.plots.bars import (
    LONG_NAME,
    bars,
    intervals,
    per_action,
    per_joint_error,
)
from m2v_lib.notebook.plots.curves import (
    Curve,
    growth,
    learning_curve,
    learning_curves,
    loss_curves,
    panels,
    roofline,
)
from m2v_lib.notebook.plots.figure import side, side_colours
from m2v_lib.notebook.plots.images import adjacency, confusion, heat, mask_image
from m2v_lib.notebook.plots.points import error_against_cost
from m2v_lib.notebook.plots.poses import skeleton_2d, skeleton_3d, upright

__all__ = [
    "Curve",
    "LINE_COLOURS",
    "LONG_NAME",
    "SIDE_COLOURS",
    "adjacency",
    "bars",
    "confusion",
    "error_against_cost",
    "growth",
    "heat",
    "intervals",
    "learning_curve",
    "learning_curves",
    "loss_curves",
    "mask_image",
    "panels",
    "per_action",
    "per_joint_error",
    "roofline",
    "side",
    "side_colours",
    "skeleton_2d",
    "skeleton_3d",
    "upright",
]
