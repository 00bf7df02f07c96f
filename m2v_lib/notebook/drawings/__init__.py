"""Schematic drawings for chapters, documents and README, each a function that returns SVG.

`python -m m2v_lib.notebook.drawings` writes them all into `notebooks/images`, where they are
committed; a test says when a committed one is not what the code draws. Colours are those of the
plots (`notebook.colours`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from m2v_lib.notebook.drawings import learning, network, project
from m2v_lib.notebook.drawings.svg import Drawing

#: File name without suffix -> the function that draws it.
DRAWINGS: Mapping[str, Callable[[], Drawing]] = {
    "architecture": network.architecture,
    "attention-axes": network.attention_axes,
    "block": network.block,
    "camera": project.camera,
    "detector": project.detector,
    "errors": learning.errors,
    "fusion": network.fusion,
    "graph-convolution": network.graph_convolution,
    "joints": network.joints,
    "life-of-a-number": project.life_of_a_number,
    "life-of-a-run": project.life_of_a_run,
    "masking": learning.masking,
    "moving-average": learning.moving_average,
    "receptive-field": network.receptive_field,
    "split": learning.split,
    "stages": project.stages,
    "store": project.store,
    "temporal-graphs": network.temporal_graphs,
    "windows": project.windows,
}


def write(folder: Path) -> list[Path]:
    """Write every drawing into the folder as `<name>.svg`."""
    paths = []
    for name, draw in DRAWINGS.items():
        path = folder / f"{name}.svg"
        path.write_text(draw().svg(), encoding="utf-8")
        paths.append(path)
    return paths
