"""What the treatment of motion is worth: errors on motion capture as lifted and after each step,
by Human3.6M's cameras and by six of the grid that the network has not seen, with the focal length
known and assumed (`m2v evaluate RUN --motion FILE`).
"""
# n frames, J joints

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from m2v_lib.data.checks import DataError
from m2v_lib.data.store import Store
from m2v_lib.evaluation import metrics
from m2v_lib.evaluation.camera_grid import Cell
from m2v_lib.lift.camera import assumed_camera, bone_lengths
from m2v_lib.lift.motion import SMOOTH_HZ
from m2v_lib.lift.motion.anatomy import legs
from m2v_lib.lift.motion.filmed import Film, chosen_clips, films
from m2v_lib.lift.motion.gravity import Found
from m2v_lib.lift.motion.smooth import smooth
from m2v_lib.lift.motion.spread import calibrate
from m2v_lib.lift.motion.treatment import steps
from m2v_lib.lift.motion.world import LEVEL_UP
from m2v_lib.lift.people import Lifted, lift_person
from m2v_lib.lift.windows import Lifter, load_lifter
from m2v_lib.results.cell_states import cell_state
from m2v_lib.runs.records import environment, load_record
from m2v_lib.skeletons import Skeleton

#: cameras of the grid: from the floor to the ceiling, level and rolled
CELLS: Final = tuple(Cell(h, 4.0, 60.0, r) for h in (0.3, 1.5, 4.0) for r in (0.0, 30.0))
N_CLIPS: Final = 12
#: Hz that smoothing is tried with, on validation subjects
CUTOFFS: Final = (2.0, 3.0, 4.0, 6.0, 8.0)
#: mm/s and mm above the floor below which a true ankle stands
TRUE_SPEED: Final = 200.0
TRUE_HEIGHT: Final = 180.0

Rows = dict[tuple[Any, ...], list[dict[str, float]]]


def measure(
    model: Path,
    store: Store,
    *,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """All figures of a model, a run's folder, on a store's test subjects, but `smoothing`, which
    is on its validation subjects. Raises DataError where the store has other joints than the model.
    """
    result, lifter = load_record(model).result, load_lifter(model)
    if lifter.skeleton.joints != store.meta.joints.joints:
        raise DataError(
            f"{store.meta.name}: holds joints of {store.meta.joints.name}, the model those of "
            f"{lifter.skeleton.name}; they must be the same"
        )

    n_clips = N_CLIPS
    rows: Rows = defaultdict(list)
    ups: Rows = defaultdict(list)
    spreads: Rows = defaultdict(list)
    for cell, film in films(store, chosen_clips(store, "test", n_clips), [None, *CELLS]):
        where = "own" if cell is None else "grid"
        for focal in ("known", "assumed"):
            person = _lifted(film, lifter, film.focal if focal == "known" else None)
            found = Found(None, "")
            for step, found in _all_steps(person, film, lifter.skeleton):  # noqa: B007
                rows[where, focal, step].append(motion_errors(film, person, lifter.skeleton))

            if focal == "known":
                calibrate(person, lifter.skeleton.root)
                spreads[(where,)].append(_within(film, person, lifter.skeleton.root))
                ups[_named(cell)].append(_up_errors(film, found))

        say(f"{film.tracks.source} by {'its own camera' if cell is None else cell}")

    machine = environment({"device": "cpu", "threads": torch.get_num_threads()})
    return {
        "schema": 1,
        "model": result["name"],
        "state": cell_state(result),
        "data": {
            "name": store.meta.name,
            "protocol": store.meta.protocol,
            "fingerprint": store.meta.fingerprint,
            "clips": n_clips,
        },
        "rows": _means(rows, ("cameras", "focal", "step")),
        "up": _means(ups, ("cameras", "roll")),
        "spread": _means(spreads, ("cameras",)),
        "smoothing": _smoothing(store, lifter, n_clips),
        **machine,
    }


def _lifted(film: Film, lifter: Lifter, focal: float | None) -> Lifted:
    """The person of a film as lifted, before any treatment."""
    tracks = film.tracks
    camera = assumed_camera(tracks.width or 0, tracks.height or 0, focal)
    return lift_person(tracks.people[0], lifter, film.fps, camera)


def _all_steps(person: Lifted, film: Film, skeleton: Skeleton) -> Iterator[tuple[str, Found]]:
    yield "lifted", Found(None, "")
    yield from steps([person], skeleton, film.fps)


def motion_errors(
    film: Film, person: Lifted, skeleton: Skeleton, cutoff: float = SMOOTH_HZ
) -> dict[str, float]:
    """Of one motion: mpjpe, p_mpjpe and root (mm, the root's distance from its true place), accel
    (m/s^2, error of the acceleration beside the root; `accel_still` is that of a motion held
    still, `accel_smooth_truth` that of the true motion smoothed at `cutoff` Hz), slide (mm/s along
    the floor, of ankles that in truth stand; `slide_true` their own), bone_spread (%) and n, the
    frames.
    """
    pose, joints = person.pose_mm.astype(np.float64), person.joints_mm.astype(np.float64)
    truth, root = film.joints_mm, skeleton.root
    target = truth - truth[:, root : root + 1]
    length = bone_lengths(pose, skeleton)
    to_metres = film.fps**2 / 1000
    ankles = [leg.ankle for leg in legs(skeleton)]
    stands = _truly_standing(film, ankles)
    smoothed = target.copy()
    smooth(smoothed, film.fps, cutoff)

    return {
        "mpjpe": metrics.mpjpe(pose, target),
        "p_mpjpe": metrics.p_mpjpe(pose, target),
        "accel": metrics.accel_error(pose, target) * to_metres,
        "accel_still": metrics.accel_error(0 * target, target) * to_metres,
        "accel_smooth_truth": metrics.accel_error(smoothed, target) * to_metres,
        "root": float(np.linalg.norm(joints[:, root] - truth[:, root], axis=-1).mean()),
        "slide": _slide(joints[:, ankles], stands, film),
        "slide_true": _slide(truth[:, ankles], stands, film),
        "bone_spread": float(100 * (length.std(0) / length.mean(0)).mean()),
        "n": len(pose),
    }


def _truly_standing(film: Film, ankles: Sequence[int]) -> np.ndarray:
    """Between which frames each ankle stands (n-1,A) bool."""
    places = film.joints_mm[:, ankles]
    slow = np.linalg.norm(np.diff(places, axis=0), axis=-1) * film.fps < TRUE_SPEED
    return slow & (places @ film.up + film.camera_height < TRUE_HEIGHT)[1:]


def _slide(places: np.ndarray, stands: np.ndarray, film: Film) -> float:
    """Mean speed (mm/s) along the floor; NaN where nothing stands."""
    step = np.diff(places, axis=0)
    along = step - (step @ film.up)[..., None] * film.up
    speed = np.linalg.norm(along, axis=-1)[stands] * film.fps
    return float(speed.mean()) if len(speed) else float("nan")


def _within(film: Film, person: Lifted, root: int) -> dict[str, float]:
    """Share of joints but the root nearer to the truth than one and two times their spread."""
    assert person.spread_mm is not None
    target = film.joints_mm - film.joints_mm[:, root : root + 1]
    error = np.delete(np.linalg.norm(person.pose_mm - target, axis=-1), root, axis=1)
    sigma = np.delete(person.spread_mm, root, axis=1)
    of_error, of_sigma = (np.argsort(np.argsort(values.ravel())) for values in (error, sigma))
    return {
        "within_1": float((error < sigma).mean()),
        "within_2": float((error < 2 * sigma).mean()),
        "rank_correlation": float(np.corrcoef(of_error, of_sigma)[0, 1]),
        "spread_mm": float(np.median(sigma)),
        "n": len(error),
    }


def _up_errors(film: Film, found: Found) -> dict[str, float]:
    """Degrees between the true up and a level camera's, and that which was found; how unsure it
    says to be; and mm that the camera's height is off, but where nothing was found.
    """
    world = found.world
    up = np.array(LEVEL_UP) if world is None else world.up
    off = float("nan") if world is None else abs(world.camera_height - film.camera_height)
    return {
        "level": _angle(np.array(LEVEL_UP), film.up),
        "found": _angle(up, film.up),
        "said": float(np.hypot(*found.sure)),
        "height_mm": off,
        "n": 1,
    }


def _named(cell: Cell | None) -> tuple[Any, ...]:
    return ("own", None) if cell is None else (f"{cell.height:g} m high", cell.roll)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _smoothing(store: Store, lifter: Lifter, n_clips: int) -> list[dict[str, Any]]:
    """Errors of validation subjects by Human3.6M's cameras, smoothed with each cut-off."""
    rows: Rows = defaultdict(list)
    for _, film in films(store, chosen_clips(store, "val", n_clips), [None]):
        made = _lifted(film, lifter, film.focal)
        for cutoff in CUTOFFS:
            person = copy.deepcopy(made)
            for step, _ in steps([person], lifter.skeleton, film.fps, cutoff=cutoff):
                if step == "smooth":
                    errors = motion_errors(film, person, lifter.skeleton, cutoff)
                    rows[(cutoff,)].append(errors)

    return _means(rows, ("hz",))


def _means(rows: Rows, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Means over frames of what is known, a row for each key."""
    found = []
    for key, errors in rows.items():
        weight = np.array([row["n"] for row in errors], float)
        row: dict[str, Any] = dict(zip(keys, key, strict=True))

        for name in errors[0]:
            values = np.array([error[name] for error in errors], float)
            known = np.isfinite(values)
            if name != "n" and known.any():
                row[name] = float(np.average(values[known], weights=weight[known]))

        found.append({**row, "n_frames": int(weight.sum())})
    return found
