"""Errors of a lifting model by a fixed grid of cameras: how high, how far, how wide, how much
rolled. The same motion, directions and detector's errors whenever it is called.

Of the test subjects' motion a fixed choice of windows is seen by every camera of the grid, each
window from a direction of its own. Cameras look at the middle of the motion and take square
images without distortion; where a window's motion does not fit into the image they stand further
back (`distance_stood` says how far). Millimetres are those of the labels (spec 5.1).
"""
# B windows, T frames, J joints; m and degrees unless said

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from m2v_lib.config import ConfigError, DataConfig
from m2v_lib.data.projection import to_image_and_depth
from m2v_lib.data.random_cameras import Cameras, place_cameras
from m2v_lib.data.store import Store, open_store
from m2v_lib.data.views import Views, make_views
from m2v_lib.evaluation.protocols import predict
from m2v_lib.lift.windows import Lifter
from m2v_lib.skeletons import H36M17

HEIGHTS: Final = (0.3, 1.5, 4.0)
DISTANCES: Final = (2.0, 4.0, 10.0)
VIEWS: Final = (35.0, 60.0, 90.0)
ROLLS: Final = (0.0, 30.0)
#: A cell is left out where not even somebody of this height (m), standing still, is in view.
STATURE: Final = 1.8
IMAGE_SIZE: Final = 1000.0
#: Windows that each cell is measured on, spread over all there are.
N_WINDOWS: Final = 60
#: Further ones, for the best and the worst cell.
N_OTHERS: Final = 240
#: From one window's direction to the next: they never repeat and fill the circle evenly.
GOLDEN_ANGLE: Final = math.pi * (3 - math.sqrt(5))
SEED: Final = 20_240

#: Lifts windows (B,T,J,3) in units of half the image's width.
Way = Callable[[Tensor], Tensor]


class Cell(NamedTuple):
    """A camera of the grid: m above the floor, m along it, horizontal view and roll in degrees."""

    height: float
    distance: float
    view: float
    roll: float


def grid() -> list[Cell]:
    """The 48 cells: every combination but those in which no person fits."""
    every = (Cell(*values) for values in itertools.product(HEIGHTS, DISTANCES, VIEWS, ROLLS))
    return [
        cell
        for cell in every
        if cell.distance * math.tan(math.radians(cell.view / 2)) >= STATURE / 2
    ]


def evaluate_run(
    run: Path | str, data: str | None = None, *, split: str = "test", device: str = "cpu"
) -> dict[str, Any]:
    """The grid for a finished run (its folder or weights), on its own store or another."""
    from m2v_lib.training.checkpoint import load_checkpoint

    model, exp = load_checkpoint(run, device=device)
    store = open_store(data or exp.data.name)
    chosen, others = (
        grid_views(store, exp.data, exp.model.n_frames, split=split, device=device, others=others)
        for others in (False, True)
    )
    found = evaluate_grid(
        model,
        chosen,
        others,
        flip_test=exp.finetune.flip_test,
        any_camera=exp.data.cameras == "random",
    )
    return {
        "data": {
            "name": store.meta.name,
            "protocol": store.meta.protocol,
            "fingerprint": store.meta.fingerprint,
            "split": split,
        },
        **found,
    }


def grid_views(
    store: Store,
    data: DataConfig,
    n_frames: int,
    *,
    split: str = "test",
    device: torch.device | str = "cpu",
    n_windows: int | None = None,
    others: bool = False,
) -> Views:
    """A fixed choice of windows of the "test" or "val" subjects; with `others` one of those which
    are left. Raises ConfigError where the store names none, DataError where it has no motion in
    world space.
    """
    if split == "val" and not store.meta.val_subjects:
        raise ConfigError(f"{store.path}: the store names no validation subjects")

    people: dict[str, Any] = {"splits": ("test",)}
    if split == "val":
        people = {"splits": ("train",), "subjects": store.meta.val_subjects}
    whole = replace(data, train_stride=n_frames)
    views = make_views(store, whole, n_frames, device, labels=False, **people)

    W = len(views.index_WT)
    chosen = _spread(W, n_windows or N_WINDOWS)
    if others:
        left = torch.ones(W, dtype=torch.bool)
        left[chosen] = False
        rest = left.nonzero()[:, 0]
        chosen = rest[_spread(len(rest), N_OTHERS)]

    chosen = chosen.to(device)
    return replace(views, index_WT=views.index_WT[chosen], floor_W=views.floor_W[chosen], repeats=1)


def _spread(n: int, m: int) -> Tensor:
    """Numbers of m of n things, spread over them; all where there are no more."""
    return torch.linspace(0, n - 1, min(m, n)).round().long()


@torch.no_grad()
def evaluate_grid(
    model: nn.Module,
    views: Views,
    others: Views | None = None,
    *,
    flip_test: bool = True,
    any_camera: bool = False,
) -> dict[str, Any]:
    """MPJPE (mm) of every cell in two ways, and of each way the mean of the cells, the best and
    the worst one, the mean along each axis, and the error by the store's own cameras; where there
    are `others`, the best and the worst cell on them (`on_others`).

    `as_seen` gives the model the windows as they are, `framed` moves and scales each window
    first, as `m2v lift` does for models of whole windows, trained by `any_camera` or not.
    """
    was_training = model.training
    model.eval()
    frame = _output_frame(model, views)
    evaluated = slice(None) if frame is None else slice(frame, frame + 1)
    ways = _ways(model, views, flip_test, any_camera)
    world = views.world_nJ3[views.index_WT]
    own = views.own.at(torch.arange(len(world), device=world.device) % len(views.own.T))
    by_own = _errors(ways, views, world, own, evaluated, number=0)

    cells: list[dict[str, Any]] = []
    for number, cell in enumerate(grid(), start=1):
        cameras = cell_cameras(world, views.floor_W, cell)
        errors = _errors(ways, views, world, cameras, evaluated, number=number)
        cells.append({**cell._asdict(), "distance_stood": _stood(world, cameras), **errors})

    summaries = {way: {**_summary(cells, way), "own_cameras": by_own[way]} for way in ways}
    if others is not None and len(others.index_WT):
        for way, summary in summaries.items():
            summary["on_others"] = _on_others({way: ways[way]}, others, summary, evaluated)

    model.train(was_training)
    return {**summaries, "cells": cells, "n_frames": world.shape[0] * world.shape[1]}


def _ways(model: nn.Module, views: Views, flip_test: bool, any_camera: bool) -> dict[str, Way]:
    """How windows are lifted (B,T,J,3), normalised: as they are, and framed."""

    def as_seen(x_BTJ3: Tensor) -> Tensor:
        return predict(model, x_BTJ3, flip_test=flip_test, skeleton=views.skeleton)

    ways: dict[str, Way] = {"as_seen": as_seen}
    if _output_frame(model, views) is None and views.skeleton == H36M17:
        lifter = Lifter(model, views.index_WT.shape[1], flip=flip_test, any_camera=any_camera)
        ways["framed"] = partial(_framed, lifter)
    return ways


def _output_frame(model: nn.Module, views: Views) -> int | None:
    """Number of the frame of a window whose pose the model gives; None where it gives all."""
    contract: Any = model
    if not hasattr(model, "output_frame"):
        return None
    return contract.output_frame(contract.settings, views.index_WT.shape[1])


def _framed(lifter: Lifter, x_BTJ3: Tensor) -> Tensor:
    """What the lifter makes of windows in an image two units wide, whose corner is at (0, 0)."""
    seen = x_BTJ3.cpu().numpy() + np.array([1, 1, 0], np.float32)
    return torch.from_numpy(lifter.windows(seen, (2.0, 2.0))).to(x_BTJ3.device)


def _stood(world_BTJ3: Tensor, cameras: Cameras) -> float:
    """How far (m) the cameras are from the middle of the motion along the floor, on average."""
    middle = (world_BTJ3.amin((1, 2)) + world_BTJ3.amax((1, 2)))[:, :2] / 2
    return round(float((cameras.T[:, :2] - middle).norm(dim=-1).mean()) / 1000, 2)


def cell_cameras(world_BTJ3: Tensor, floor_B: Tensor, cell: Cell) -> Cameras:
    """The camera of a cell for each window, every window from another direction."""
    number = torch.arange(len(world_BTJ3), device=world_BTJ3.device, dtype=torch.float64)
    ones = torch.ones_like(floor_B)
    return place_cameras(
        world_BTJ3,
        floor_B,
        height=1000 * cell.height * ones,
        distance=1000 * cell.distance * ones,
        azimuth=torch.remainder(number * GOLDEN_ANGLE, 2 * math.pi).to(ones.dtype),
        view=math.radians(cell.view) * ones,
        roll=math.radians(cell.roll) * ones,
        aim=(0 * ones, 0 * ones),
        size=IMAGE_SIZE * ones[:, None].expand(-1, 2),
    )


def _errors(
    ways: dict[str, Way],
    views: Views,
    world_BTJ3: Tensor,
    cameras: Cameras,
    evaluated: slice,
    *,
    number: int,
    batch_size: int = 64,
) -> dict[str, float]:
    """MPJPE (mm) of the `evaluated` frames by these cameras; the detector's errors are those of the
    cell's number.
    """
    generator = torch.Generator(world_BTJ3.device).manual_seed(SEED + number)
    x, y = views.seen(world_BTJ3, cameras, generator)
    _, factor = to_image_and_depth(world_BTJ3, cameras, views.skeleton.root)
    target, scale = y[:, evaluated], (factor * cameras.size[:, :1] / 2)[:, evaluated]

    found = {}
    for name, lift in ways.items():
        pred = torch.cat([lift(rows) for rows in x.split(batch_size)])
        found[name] = float(((pred - target).norm(dim=-1).mean(-1) * scale).mean())

    return found


def _summary(cells: list[dict[str, Any]], way: str) -> dict[str, Any]:
    errors = [cell[way] for cell in cells]
    best, worst = (choose(cells, key=lambda cell: cell[way]) for choose in (min, max))

    along: dict[str, dict[str, float]] = {}
    for axis in Cell._fields:
        values = sorted({cell[axis] for cell in cells})
        along[axis] = {f"{value:g}": _mean(cells, way, axis, value) for value in values}

    named = {
        name: {key: cell[key] for key in (*Cell._fields, way)}
        for name, cell in (("best", best), ("worst", worst))
    }
    ratio = worst[way] / best[way]
    return {"mean": sum(errors) / len(errors), **named, "worst_over_best": ratio, "along": along}


def _on_others(
    ways: dict[str, Way], views: Views, summary: dict[str, Any], evaluated: slice
) -> dict[str, float]:
    """The best and the worst cell on other windows than those that chose them."""
    world = views.world_nJ3[views.index_WT]
    found: dict[str, float] = {}
    for number, name in enumerate(("best", "worst"), start=len(grid()) + 1):
        cell = Cell(*(summary[name][axis] for axis in Cell._fields))
        cameras = cell_cameras(world, views.floor_W, cell)
        (found[name],) = _errors(ways, views, world, cameras, evaluated, number=number).values()

    found["worst_over_best"] = found["worst"] / found["best"]
    return {**found, "n_frames": world.shape[0] * world.shape[1]}


def _mean(cells: list[dict[str, Any]], way: str, axis: str, value: float) -> float:
    chosen = [cell[way] for cell in cells if cell[axis] == value]
    return sum(chosen) / len(chosen)
