"""Draw the README's picture, `overview.png` beside this file: what goes into the network and
what it has to find.

python notebooks/images/overview.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from m2v_lib.data import prepare
from m2v_lib.data.store import open_store
from m2v_lib.notebook import plots
from m2v_lib.runs.records import commit
from m2v_lib.skeletons.h36m import BONES

FRAMES = range(8440, 8500, 12)  # a person walking past the first camera


def draw(ax: Any, pose: Any) -> None:
    for parent, child in BONES:
        ax.plot(*pose[[parent, child]].T, color=plots.SIDE_COLOURS[plots.side(child)], linewidth=2)
    ax.set_axis_off()


def main() -> None:
    prepare("synthetic")
    test = open_store("synthetic").split("test")
    figure = plt.figure(figsize=(10, 4.6))
    for column, frame in enumerate(FRAMES, start=1):
        ax = figure.add_subplot(2, len(FRAMES), column)
        draw(ax, test.joint_2d[frame])
        ax.invert_yaxis()
        ax.set_aspect("equal")
        ax = figure.add_subplot(2, len(FRAMES), len(FRAMES) + column, projection="3d")
        draw(ax, plots.upright(test.truth_mm[frame] - test.truth_mm[frame, :1]))
        ax.set_aspect("equal")
        ax.set_axis_on()
        ax.tick_params(labelbottom=False, labelleft=False, length=0)
        ax.view_init(12, -50)
    figure.text(0.01, 0.97, "in: 2D joints of each frame, as a detector finds them (px)", va="top")
    figure.text(0.01, 0.49, "out: the same joints in 3D (mm)", va="top")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.93, bottom=0.01, wspace=0.02, hspace=0.12)
    target = Path(__file__).with_suffix(".png")
    figure.savefig(target, dpi=90)
    sidecar = {
        "function": "notebooks/images/overview.py",
        "data": "synthetic, test",
        "frames": list(FRAMES),
    }
    target.with_suffix(".json").write_text(
        json.dumps({**sidecar, "commit": commit()}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
